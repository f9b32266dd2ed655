//! A Matrix server in a room's graph, with all the power that a node can give away, that means no good. Whatever it
//! does the MIMI room, its log and its feed stay what they were, and go on.
//!
//! A seed names a story; `CAUSEWAY_SIM_SEED` tells one, `CAUSEWAY_SIM_FIRST` and `CAUSEWAY_SIM_STORIES` others.

use crate::follower::texts;
use crate::world::{A, B, Person, World, ctx, uri};
use event_graph::auth::auth_keys;
use event_graph::limits::MAX_INTEGER;
use event_graph::{Draft, EventId, Pdu, RoomVersion, SigningIdentity};
use room_engine::carrier::{HANDSHAKE, MESSAGE};
use room_engine::graphs::{GraphCommand, GraphReply};
use room_engine::outbox::Destination;
use room_engine::{Engine, FeedEntry, RoomView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::Space;

const VERSION: RoomVersion = RoomVersion::V12;
const MALLORY: &str = "@mallory:matrix.example";
const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";
const DAVE: &str = "mimi://a.example/u/dave";
/// Stories told without being asked for more.
const STORIES: u64 = 3;
/// Things that happen in one.
const LENGTH: usize = 40;

/// Xorshift.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.below(2);
        }
        dice
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// The hostile server, and what it sees of the graph.
struct Mallory {
    identity: SigningIdentity,
    graph: String,
    dice: Dice,
    /// Events that it has made and given to nobody.
    withheld: Vec<Pdu>,
    made: i64,
}

impl Mallory {
    async fn state(&self, engine: &Engine) -> (Vec<EventId>, BTreeMap<(String, String), EventId>) {
        let (heads, entries) = engine.graph_state(ctx(), &self.graph).await.unwrap();
        let state = entries.into_iter().map(|(kind, key, id)| ((kind, key), id));
        (heads.heads, state.collect())
    }

    async fn draft(&mut self, engine: &Engine, kind: &str, key: Option<&str>, content: Value) -> Draft {
        let (heads, state) = self.state(engine).await;
        self.made += 1;
        let auth_events = auth_keys(VERSION, kind, MALLORY, key, &content)
            .unwrap()
            .iter()
            .filter_map(|of| state.get(&(of.event_type.clone(), of.state_key.clone())))
            .copied()
            .collect();
        Draft {
            room_id: Some(self.graph.clone()),
            event_type: kind.to_owned(),
            sender: MALLORY.to_owned(),
            state_key: key.map(str::to_owned),
            content,
            prev_events: heads.into_iter().take(10).collect(),
            auth_events,
            depth: 1_000,
            origin_server_ts: 1_900_000_000_000 + self.made,
        }
    }

    async fn give(&self, engine: &Engine, pdus: Vec<Pdu>, past: bool) {
        let admit = GraphCommand::Admit {
            origin: (!past).then(|| "matrix.example".to_owned()),
            pdus,
            past,
        };
        engine.graph(ctx(), &self.graph, admit).await.unwrap();
    }

    async fn says(&mut self, engine: &Engine, kind: &str, key: Option<&str>, content: Value) {
        let pdu = self.draft(engine, kind, key, content).await;
        let pdu = pdu.sign(&self.identity, VERSION).unwrap();
        self.give(engine, vec![pdu], false).await;
    }

    /// An event at the greatest depth there is.
    async fn speak_deep(&mut self, engine: &Engine) {
        let mut deep = self
            .draft(engine, "m.room.message", None, json!({ "body": "deep" }))
            .await;
        deep.depth = MAX_INTEGER.unsigned_abs();
        let deep = deep.sign(&self.identity, VERSION).unwrap();
        self.give(engine, vec![deep], false).await;
    }

    /// Events of the graph.
    async fn events(&self, world: &World) -> Vec<Pdu> {
        let mut events = Vec::new();
        for line in world.engine(A).graph_events(&self.graph).await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap();
            let id = line["unsigned"]["event_id"].as_str().unwrap();
            events.push(stored(world, id).await);
        }
        events
    }

    /// One hostile thing; returns its name.
    async fn act(&mut self, world: &World) -> &'static str {
        let engine = &world.engine(A);
        let events = self.events(world).await;
        let carriers: Vec<Pdu> = events.iter().filter(|e| is_carrier(e)).cloned().collect();
        let node = engine.node_user();
        match self.dice.below(15) {
            0 => {
                // A carrier of its own, as good as it can make one.
                let like = self.dice.pick(&carriers);
                let mut content = like.content_value();
                if let Some(seq) = content.get("seq").and_then(Value::as_str) {
                    let next = seq.parse::<u64>().unwrap() + u64::from(self.dice.below(2) == 0);
                    content["seq"] = json!(next.to_string());
                }
                self.says(engine, like.event_type(), None, content).await;
                "forged a carrier"
            }
            1 | 2 => {
                let target = self.dice.pick(&carriers).event_id();
                self.says(engine, "m.room.redaction", None, json!({ "redacts": target }))
                    .await;
                "redacted a carrier"
            }
            3 => {
                // Of all carriers, as of new and of old.
                let emptied: Vec<Pdu> = carriers.iter().map(Pdu::redact).collect();
                let past = self.dice.below(2) == 0;
                self.give(engine, emptied, past).await;
                "handed out emptied copies"
            }
            4 => {
                let copy = self.dice.pick(&carriers).redact();
                let complete = GraphCommand::Complete { pdu: copy };
                engine.graph(ctx(), &self.graph, complete).await.unwrap();
                "completed with an emptied copy"
            }
            5 => {
                let hidden = self
                    .draft(engine, "m.room.topic", Some(""), json!({ "topic": "hidden" }))
                    .await;
                let hidden = hidden.sign(&self.identity, VERSION).unwrap();
                let mut child = self
                    .draft(engine, "m.room.name", Some(""), json!({ "name": "child" }))
                    .await;
                child.prev_events = vec![hidden.event_id()];
                let child = child.sign(&self.identity, VERSION).unwrap();
                self.withheld.push(hidden);
                self.give(engine, vec![child], false).await;
                "withheld a parent"
            }
            6 if !self.withheld.is_empty() => {
                let at = self.dice.below(self.withheld.len());
                let hidden = self.withheld.swap_remove(at);
                self.give(engine, vec![hidden], false).await;
                "gave out a parent"
            }
            7 => {
                // Two states at once, on old parents.
                let old = vec![self.dice.pick(&events).event_id()];
                let mut pdus = Vec::new();
                for topic in ["one", "other"] {
                    let mut draft = self
                        .draft(engine, "m.room.topic", Some(""), json!({ "topic": topic }))
                        .await;
                    draft.prev_events.clone_from(&old);
                    pdus.push(draft.sign(&self.identity, VERSION).unwrap());
                }
                self.give(engine, pdus, false).await;
                "contradicted itself"
            }
            8 => {
                let mut levels = json!({ "users": { MALLORY: 100 }, "events": {}, "users_default": 0 });
                levels["events"][HANDSHAKE] = json!(100);
                levels["events"][MESSAGE] = json!(MAX_INTEGER);
                self.says(engine, "m.room.power_levels", Some(""), levels).await;
                "took the power"
            }
            9 => {
                let what = self.dice.pick(&["ban", "leave"]);
                self.says(
                    engine,
                    "m.room.member",
                    Some(&node),
                    json!({ "membership": what }),
                )
                .await;
                "threw the node out"
            }
            10 => {
                let acl = json!({ "allow": ["matrix.example"], "deny": ["*"] });
                self.says(engine, "m.room.server_acl", Some(""), acl).await;
                "denied all servers"
            }
            11 => {
                self.speak_deep(engine).await;
                "spoke from the deep"
            }
            12 => {
                // A state that was never, before an event whose parents are nowhere.
                let mut hash = [0xee; 32];
                hash[0] = u8::try_from(self.dice.below(256)).unwrap();
                let mut pdu = self
                    .draft(engine, "m.room.topic", Some(""), json!({ "topic": "lie" }))
                    .await;
                pdu.prev_events = vec![EventId::from_hash(hash)];
                let pdu = pdu.sign(&self.identity, VERSION).unwrap();
                let some = self.dice.below(events.len());
                let state = events.iter().take(some).filter(|e| e.state_key().is_some());
                let state = state.map(Pdu::event_id).collect();
                let at = GraphCommand::AtState { pdu, state };
                // Where the state is none at all it may be refused.
                let _ = engine.graph(ctx(), &self.graph, at).await;
                "lied about a state"
            }
            13 => {
                self.give(engine, events, true).await;
                "repeated everything"
            }
            _ => {
                let merged = engine.graph(ctx(), &self.graph, GraphCommand::Merge).await;
                drop(merged);
                "let ends pile up"
            }
        }
    }
}

fn is_carrier(pdu: &Pdu) -> bool {
    [HANDSHAKE, MESSAGE].contains(&pdu.event_type()) && pdu.sender() != MALLORY
}

async fn stored(world: &World, id: &str) -> Pdu {
    let octets = world.store(A).get(Space::Event, id.as_bytes()).await.unwrap();
    Pdu::parse_trusted(&octets.unwrap(), VERSION).unwrap()
}

/// Lets the hostile server in, and gives it what a node can give.
async fn witness(world: &World, room: &str, seed: u64) -> Mallory {
    let engine = world.engine(A);
    let graph = engine.graph_of(&uri(room)).await.unwrap().unwrap();
    let own = async |kind: &str, key: &str, content: Value| {
        let key = Some(key.to_owned());
        let sent = engine
            .graph_send(ctx(), &graph, kind.to_owned(), key, content)
            .await;
        sent.unwrap();
    };
    own("m.room.member", MALLORY, json!({ "membership": "invite" })).await;
    let mut levels = json!({
        "users": { MALLORY: 100 }, "users_default": 0, "events_default": 100, "state_default": 100, "invite": 100,
        "kick": 100, "ban": 100, "redact": 100, "events": {},
    });
    for pinned in room_engine::carrier::PINNED {
        levels["events"][pinned] = json!(100);
    }
    own("m.room.power_levels", "", levels).await;
    let mut mallory = Mallory {
        identity: SigningIdentity::from_seed("matrix.example", "ed25519:m", &[6; 32]),
        graph,
        dice: Dice::new(seed),
        withheld: Vec::new(),
        made: 0,
    };
    let join = json!({ "membership": "join" });
    mallory.says(&engine, "m.room.member", Some(MALLORY), join).await;
    let ask = GraphCommand::Ask {
        asker: None,
        question: room_engine::graphs::Question::Heads,
    };
    let GraphReply::Heads(heads) = engine.graph(ctx(), &mallory.graph, ask).await.unwrap() else {
        panic!("no heads")
    };
    assert!(heads.servers.contains("matrix.example"), "it is in");
    mallory
}

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
    let only = variable("CAUSEWAY_SIM_SEED");
    let first = only.or_else(|| variable("CAUSEWAY_SIM_FIRST")).unwrap_or(1);
    let stories = only.map_or_else(|| variable("CAUSEWAY_SIM_STORIES").unwrap_or(STORIES), |_| 1);
    let seeds = first..first + stories;
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
