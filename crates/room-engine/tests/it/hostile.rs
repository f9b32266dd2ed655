//! A Matrix server in a room's graph, with all the power that a node can give away, that means no good. Whatever it
//! does the MIMI room, its log and its feed stay what they were, and go on.
//!
//! A seed names a story; `CAUSEWAY_HOSTILE_SEED` tells one, `CAUSEWAY_HOSTILE_STORIES` says how many there are.

use event_graph::{EventId, Pdu};
use room_engine::graphs::{Fate, GraphCommand, Question};
use room_engine::outbox::Destination;
use room_engine::{FeedEntry, RoomView};
use serde_json::json;
use std::collections::BTreeMap;

use crate::follower::texts;
use crate::mallory::{Mallory, captor, is_carrier, levels, witness};
use crate::world::{A, B, Person, World, ctx, uri};

const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";
const DAVE: &str = "mimi://a.example/u/dave";
/// Stories told without being asked for more.
const STORIES: u64 = 3;
/// Things that happen in one.
const LENGTH: usize = 40;

/// Waits until nothing is left to send to anybody but the hostile server, which takes nothing.
async fn quiet(world: &World) {
    for _ in 0..2000 {
        let mut waiting = 0;
        for provider in [A, B] {
            let queues = world.engine(provider).queues().await.unwrap();
            let ours = queues
                .iter()
                .filter(|q| !matches!(q.destination, Destination::Server(_)));
            waiting += ours.map(|queue| queue.waiting).sum::<usize>();
        }
        if waiting == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("something is never delivered");
}

/// What nobody but MIMI's own may change.
#[derive(Debug, PartialEq)]
struct Untouched {
    epoch: u64,
    log_entries: u64,
    participants: Vec<(mimi_wire::MimiUri, Option<u32>)>,
    feed: Vec<FeedEntry>,
}

async fn look(world: &World, room: &str) -> Untouched {
    let engine = world.engine(A);
    let view: RoomView = engine.room(&uri(room)).await.unwrap().unwrap();
    let page = engine.feed(&uri(room), &uri(ALICE), 1, 500, None).await.unwrap();
    Untouched {
        epoch: view.epoch,
        log_entries: view.log_entries,
        participants: view.participants,
        feed: page.entries,
    }
}

async fn story(seed: u64) {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    world.user(A, "dave").await;
    let room = alice.client.create("club").await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    alice.say(&room, "first").await;
    let mut said = vec!["first".to_owned()];
    let mut mallory = witness(&world, &room, seed).await;
    let mut carriers: BTreeMap<EventId, Vec<u8>> = BTreeMap::new();
    let mut dave = false;
    let mut happened = Vec::new();
    for number in 0..LENGTH {
        if mallory.dice.below(3) > 0 {
            let before = look(&world, &room).await;
            happened.push(mallory.act(&world).await);
            let after = look(&world, &room).await;
            assert_eq!(before, after, "seed {seed}: {happened:?}");
        } else {
            let text = format!("{number}");
            let people: [&mut Person; 2] = [&mut alice, &mut bob];
            happened.push(match mallory.dice.below(6) {
                0 => {
                    alice.client.sync().await.unwrap();
                    let done = if dave {
                        alice.client.remove(&room, &[uri(DAVE)]).await
                    } else {
                        alice.client.add(&room, &[uri(DAVE)]).await
                    };
                    done.unwrap_or_else(|e| panic!("seed {seed}: {e}: {happened:?}"));
                    dave = !dave;
                    "dave came or went"
                }
                1 => {
                    alice.client.sync().await.unwrap();
                    let done = alice.client.renew_keys(&room).await;
                    done.unwrap_or_else(|e| panic!("seed {seed}: {e}: {happened:?}"));
                    "keys were renewed"
                }
                2 => {
                    world.restart(A).await;
                    "the hub was restarted"
                }
                _ => {
                    quiet(&world).await;
                    let speaker = people.into_iter().nth(number % 2).unwrap();
                    speaker.client.sync().await.unwrap();
                    speaker.insist(&room, &text).await;
                    said.push(text);
                    quiet(&world).await;
                    "somebody spoke"
                }
            });
        }
        // Each carrier is what it was when it was written.
        for pdu in mallory.events(&world).await.iter().filter(|pdu| is_carrier(pdu)) {
            let first = carriers
                .entry(pdu.event_id())
                .or_insert_with(|| pdu.as_bytes().to_vec());
            assert_eq!(first, pdu.as_bytes(), "seed {seed}: {happened:?}");
        }
    }
    quiet(&world).await;
    for person in [&mut alice, &mut bob] {
        assert_eq!(
            texts(&person.texts(&room).await),
            said,
            "seed {seed}: {happened:?}"
        );
    }
}

#[tokio::test]
async fn a_hostile_server_in_the_graph_touches_nothing() {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match variable("CAUSEWAY_HOSTILE_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=variable("CAUSEWAY_HOSTILE_STORIES").unwrap_or(STORIES),
    };
    for seed in seeds {
        story(seed).await;
    }
}

/// ATK-01: nothing is deeper than an event of the greatest depth, and the room goes on all the same.
#[tokio::test]
async fn a_room_goes_on_from_the_greatest_depth() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let room = alice.client.create("club").await.unwrap();
    let mut mallory = witness(&world, &room, 1).await;
    mallory.speak_deep(&world.engine(A)).await;
    alice.say(&room, "still here").await;
    alice.client.renew_keys(&room).await.unwrap();
    assert_eq!(texts(&alice.texts(&room).await), ["still here"]);
}

/// How the node user loses what it had in a graph that another server has made.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Level,
    Banned,
    PutOut,
}

impl Loss {
    /// It takes effect: the graph has no room for what the node says from here on.
    async fn strike(self, world: &World, mallory: &mut Mallory) {
        let engine = &world.engine(A);
        let node = engine.node_user();
        let fate = match self {
            Self::Level => {
                let levels = levels(&node, 0);
                mallory
                    .says(engine, "m.room.power_levels", Some(""), levels)
                    .await
            }
            Self::Banned => mallory.puts_out(engine, "ban").await,
            Self::PutOut => {
                // Not to come again either.
                let rules = json!({ "join_rule": "invite" });
                let fate = mallory.says(engine, "m.room.join_rules", Some(""), rules).await;
                assert_eq!(fate, Fate::Accepted);
                mallory.puts_out(engine, "leave").await
            }
        };
        assert_eq!(fate, Fate::Accepted, "{self:?}");
        let (heads, _) = engine.graph_state(ctx(), &mallory.graph).await.unwrap();
        assert_eq!(heads.joined, matches!(self, Self::Level), "{self:?}");
    }
}

/// How many carriers are there, and how many of them the graph takes for part of the room.
async fn carriers(world: &World, mallory: &Mallory) -> (usize, usize) {
    let (mut all, mut shown) = (0, 0);
    for pdu in mallory.events(world).await.iter().filter(|pdu| is_carrier(pdu)) {
        let ask = GraphCommand::Ask {
            asker: None,
            question: Question::Event(pdu.event_id()),
        };
        all += 1;
        shown += usize::from(world.engine(A).graph(ctx(), &mallory.graph, ask).await.is_ok());
    }
    (all, shown)
}

/// The log is what the node has signed, whatever the graph makes of the node: one that is demoted, banned or put out
/// where that is in force orders on, and nobody in the room notices.
#[tokio::test]
async fn a_node_that_has_lost_its_place_in_the_graph_orders_on() {
    for loss in [Loss::Level, Loss::Banned, Loss::PutOut] {
        let world = World::new().await;
        let (mut alice, _) = world.user(A, "alice").await;
        let (mut bob, _) = world.user(B, "bob").await;
        world.user(A, "dave").await;
        let room = alice.client.create("club").await.unwrap();
        alice.client.add(&room, &[uri(BOB)]).await.unwrap();
        alice.say(&room, "first").await;
        world.quiet().await;
        let mut said = vec!["first".to_owned()];
        let mut mallory = captor(&world, &room).await;
        alice.say(&room, "second").await;
        said.push("second".to_owned());
        quiet(&world).await;
        assert_eq!(carriers(&world, &mallory).await, (1, 1), "{loss:?}");

        let before = look(&world, &room).await;
        loss.strike(&world, &mut mallory).await;
        assert_eq!(before, look(&world, &room).await, "{loss:?}");
        for round in 0..4 {
            let entries = look(&world, &room).await.log_entries;
            alice.client.sync().await.unwrap();
            if round % 2 == 0 {
                alice.client.add(&room, &[uri(DAVE)]).await.unwrap();
            } else {
                alice.client.remove(&room, &[uri(DAVE)]).await.unwrap();
            }
            alice.client.renew_keys(&room).await.unwrap();
            for person in [&mut alice, &mut bob] {
                quiet(&world).await;
                person.client.sync().await.unwrap();
                said.push(format!("{round}: {}", said.len()));
                person.insist(&room, said.last().unwrap()).await;
            }
            quiet(&world).await;
            let before = look(&world, &room).await;
            assert!(before.log_entries >= entries + 2, "{loss:?}");
            assert_eq!(before.participants.len(), 3 - round % 2, "{loss:?}");

            // What the others hear of it is emptied and repeated, and they speak on.
            let engine = &world.engine(A);
            let carriers: Vec<Pdu> = mallory
                .events(&world)
                .await
                .into_iter()
                .filter(is_carrier)
                .collect();
            for carrier in &carriers {
                assert_eq!(mallory.redacts(engine, carrier.event_id()).await, Fate::Accepted);
            }
            for past in [false, true] {
                let emptied = carriers.iter().map(Pdu::redact).collect();
                let fates = mallory.give(engine, emptied, past).await;
                assert!(fates.iter().all(|fate| *fate == Fate::Known), "{fates:?}");
            }
            assert_eq!(before, look(&world, &room).await, "{loss:?}");
            if round % 2 == 0 {
                world.restart(A).await;
                assert_eq!(before, look(&world, &room).await, "{loss:?}");
            }
            let kept: Vec<Pdu> = mallory
                .events(&world)
                .await
                .into_iter()
                .filter(is_carrier)
                .collect();
            assert_eq!(kept.len(), carriers.len());
            assert!(
                kept.iter()
                    .zip(&carriers)
                    .all(|(kept, was)| kept.as_bytes() == was.as_bytes())
            );
        }
        // All of them are there, and in the room there is the one from before.
        let (all, shown) = self::carriers(&world, &mallory).await;
        assert!(all > 16, "{loss:?}: {all}");
        assert_eq!(shown, 1, "{loss:?}");
        for person in [&mut alice, &mut bob] {
            assert_eq!(texts(&person.texts(&room).await), said, "{loss:?}");
        }
    }
}
