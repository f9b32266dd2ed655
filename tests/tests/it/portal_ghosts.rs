//! Many ghosts, against a real Synapse with the rate limits it comes with.

use crate::appservice::Beside;
use crate::support::homeserver_there;
use appservice::{HomeserverTransport, Portals};
use async_trait::async_trait;
use causeway_tests::matrix::eventually;
use mimi_wire::MimiUri;
use room_engine::outbox::{Delivery, Destination, OutboxBody, OutboxEntry, Transport as _};
use room_engine::{PortalMember, PortalWanted, Thresholds, ghost};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many ghosts: `CAUSEWAY_GHOSTS`, else a few.
fn ghosts() -> usize {
    std::env::var("CAUSEWAY_GHOSTS")
        .ok()
        .map_or(40, |text| text.parse().unwrap())
}

/// Rooms with so many participants each.
struct Rooms {
    portals: Mutex<BTreeMap<String, String>>,
    ghosts: AtomicUsize,
    published: AtomicBool,
    /// Goes up with each change.
    revision: AtomicU64,
}

impl Rooms {
    fn of(ghosts: usize) -> Arc<Self> {
        Arc::new(Self {
            portals: Mutex::default(),
            ghosts: AtomicUsize::new(ghosts),
            published: AtomicBool::new(false),
            revision: AtomicU64::new(1),
        })
    }

    /// From now on so many ghosts and listed or not: the entry that says so.
    fn now(&self, room: &str, ghosts: usize, published: bool) -> OutboxEntry {
        self.ghosts.store(ghosts, Ordering::SeqCst);
        self.published.store(published, Ordering::SeqCst);
        let revision = self.revision.fetch_add(1, Ordering::SeqCst) + 1;
        let sync = OutboxBody::PortalSync {
            room: room.to_owned(),
            revision,
            audit: false,
        };
        entry(room, 100 + revision, sync)
    }

    fn wanted_now(&self, room: &str) -> Option<PortalWanted> {
        let portal = self.portals.lock().unwrap().get(room)?.clone();
        let count = self.ghosts.load(Ordering::SeqCst);
        let member = |n: usize| {
            let user = MimiUri::parse(&format!("mimi://b.example/u/user{n}")).unwrap();
            let member = PortalMember {
                user: user.clone(),
                ghost: true,
                banned: false,
                level: 0,
            };
            (ghost::user_id(&user, "a.example"), member)
        };
        Some(PortalWanted {
            room: MimiUri::parse(room).unwrap(),
            portal,
            revision: self.revision.load(Ordering::SeqCst),
            name: Some("Crowd".into()),
            topic: None,
            picture: None,
            info: json!({"room": room, "hub": "a.example", "group_id": "AA", "mode": "opaque"}),
            members: (0..count).map(member).collect(),
            thresholds: Thresholds::default(),
            published: self.published.load(Ordering::SeqCst),
        })
    }
}

#[async_trait]
impl Portals for Rooms {
    async fn portal_of(&self, room: &str) -> Result<Option<String>, String> {
        Ok(self.portals.lock().unwrap().get(room).cloned())
    }
    async fn portal_created(&self, _: &str, room: &str, portal: &str) -> Result<(), String> {
        self.portals
            .lock()
            .unwrap()
            .insert(room.to_owned(), portal.to_owned());
        Ok(())
    }
    async fn wanted(&self, room: &str) -> Result<Option<PortalWanted>, String> {
        Ok(self.wanted_now(room))
    }
    async fn portal_closed(&self, _: &str, room: &str, _: &str) -> Result<(), String> {
        self.portals.lock().unwrap().remove(room);
        Ok(())
    }
}

fn entry(room: &str, seq: u64, body: OutboxBody) -> OutboxEntry {
    OutboxEntry {
        destination: Destination::Homeserver,
        room: room.to_owned(),
        seq,
        request_id: format!("test-{seq}"),
        queued_at: 0,
        body,
        octets: room_engine::carrier::Octets::default(),
    }
}

/// Repeats an entry as the sender does, until it is done; answers with how often it had to.
async fn done(transport: &HomeserverTransport, entry: &OutboxEntry) -> usize {
    for attempt in 0.. {
        match transport.deliver(entry).await {
            Delivery::Done => return attempt,
            Delivery::Retry { after, .. } => {
                tokio::time::sleep(after.unwrap_or(Duration::from_millis(250))).await;
            }
            Delivery::Refused { code, reason } => panic!("{code}: {reason}"),
        }
    }
    unreachable!()
}

async fn made(transport: &HomeserverTransport, room: &str) {
    let create = OutboxBody::PortalCreate {
        name: None,
        invite: Vec::new(),
        info: json!({"room": room, "hub": "a.example", "group_id": "AA", "mode": "opaque"}),
    };
    done(transport, &entry(room, 1, create)).await;
}

/// "Joining takes hours, or floods" (synapse#8138, #9663, appservice-irc#199): a homeserver that limits joins (429) gets each
/// when it allows it. And a room that can be searched for is in its directory for as long as it can.
#[tokio::test(flavor = "multi_thread")]
async fn joins_wait_for_the_homeservers_limits_and_a_published_room_is_in_its_directory() {
    if !homeserver_there() {
        return;
    }
    let mut beside = Beside::start_limited(|config| {
        config.insert(
            "rc_joins_per_room".into(),
            json!({"per_second": 0.3, "burst_count": 2}),
        );
        // Without statistics a Synapse has an empty directory.
        config.insert("stats".into(), json!({"enabled": true}));
        config.insert("room_list_publication_rules".into(), json!([{"action": "allow"}]));
    })
    .await;
    let alice = beside.synapse.register("alice", "password").await.unwrap();
    let listed = async |portal: &str| {
        let list = alice
            .call(reqwest::Method::GET, "/_matrix/client/v3/publicRooms", None)
            .await
            .unwrap();
        let rooms = list["chunk"].as_array().unwrap();
        rooms.iter().any(|room| room["room_id"] == portal)
    };
    let rooms = Rooms::of(0);
    let transport = HomeserverTransport::new(beside.homeserver.clone(), rooms.clone());
    let room = "mimi://a.example/r/limited";
    made(&transport, room).await;
    let portal = rooms.portals.lock().unwrap()[room].clone();
    let told_to_wait = done(&transport, &rooms.now(room, 6, true)).await;
    assert!(told_to_wait > 0, "Synapse limited nothing");
    let state = beside.homeserver.full_state(&portal).await.unwrap();
    let joined = state.iter().filter(|event| {
        event.state_key.starts_with("@_mimi_") && event.content["membership"] == json!("join")
    });
    assert_eq!(joined.count(), 6);

    // Synapse counts rooms in the background, and answers from a cache.
    let becomes = async |wanted: bool| {
        eventually("the directory to follow", Duration::from_mins(2), || async {
            Ok((listed(&portal).await == wanted).then_some(()))
        })
        .await
        .unwrap();
    };
    becomes(true).await;
    done(&transport, &rooms.now(room, 6, false)).await;
    becomes(false).await;
    done(&transport, &rooms.now(room, 6, true)).await;
    becomes(true).await;
    // Given up, it is in no directory any more.
    let close = OutboxBody::PortalClose {
        portal: portal.clone(),
    };
    done(&transport, &entry(room, 200, close)).await;
    becomes(false).await;
    beside.synapse.stop().await.unwrap();
}

/// "rate_limited: false not honoured on joins and invites; joining takes hours" (synapse#8138, #9663), "membership
/// floods" (appservice-irc#1174), "ghosts left behind after unbridging" (appservice-discord#719): a crowd comes in and
/// goes again, and another room's message doesn't wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_ghosts_neither_floods_the_homeserver_nor_holds_up_other_rooms() {
    if !homeserver_there() {
        return;
    }
    let mut beside = Beside::start_with(|config| {
        config.retain(|name, _| !name.starts_with("rc_"));
    })
    .await;
    let count = ghosts();
    let rooms = Rooms::of(count);
    let transport = HomeserverTransport::new(beside.homeserver.clone(), rooms.clone());
    let (crowd, quiet) = ("mimi://a.example/r/crowd", "mimi://a.example/r/quiet");
    for room in [crowd, quiet] {
        made(&transport, room).await;
    }
    let portal = rooms.portals.lock().unwrap()[crowd].clone();

    let started = Instant::now();
    let coming = {
        let (transport, entry) = (transport.clone(), rooms.now(crowd, count, false));
        tokio::spawn(async move { done(&transport, &entry).await })
    };
    let homeserver = beside.homeserver.clone();
    let joined = async || {
        let state = homeserver.full_state(&portal).await.unwrap();
        let joined = state.iter().filter(|event| {
            event.state_key.starts_with("@_mimi_") && event.content["membership"] == json!("join")
        });
        joined.count()
    };
    eventually("the first ghost", Duration::from_mins(2), || async {
        Ok((joined().await > 0).then_some(()))
    })
    .await
    .unwrap();
    let message = OutboxBody::PortalSend {
        txn_id: "quiet-1".into(),
        event_type: "org.causeway.message".into(),
        content: json!({"v": 1}),
        at: None,
    };
    done(&transport, &entry(quiet, 4, message)).await;
    let on_the_way = joined().await;
    let repeats = coming.await.unwrap();
    let took = started.elapsed();
    assert_eq!(joined().await, count);
    assert!(on_the_way < count, "the message waited for the crowd");
    println!(
        "{count} ghosts in {:.1} s ({:.1} a second), {repeats} times told to wait",
        took.as_secs_f64(),
        f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
    );

    // Nothing left to do is nothing done, also after a restart of ours.
    let again = HomeserverTransport::new(beside.homeserver.clone(), rooms.clone());
    let wanted = rooms.wanted_now(crowd).unwrap();
    assert_eq!(
        appservice::portal::sync(&beside.homeserver, &appservice::Gallery::default(), &wanted)
            .await
            .unwrap(),
        0
    );

    // Half of them go; then the portal is given up, interrupted once.
    done(&again, &rooms.now(crowd, count / 2, false)).await;
    assert_eq!(joined().await, count / 2);
    let close = entry(
        crowd,
        6,
        OutboxBody::PortalClose {
            portal: portal.clone(),
        },
    );
    let _ = tokio::time::timeout(Duration::from_millis(300), again.deliver(&close)).await;
    done(&again, &close).await;
    assert!(rooms.portals.lock().unwrap().get(crowd).is_none());
    let ghost = "@_mimi_user0=40b.example:a.example";
    assert!(beside.homeserver.rooms_of(ghost).await.unwrap().is_empty());
    let bot = beside.homeserver.bot().to_owned();
    let left = beside.homeserver.rooms_of(&bot).await.unwrap();
    assert!(!left.contains(&portal), "{left:?}");
    done(&again, &close).await;
    beside.synapse.stop().await.unwrap();
}
