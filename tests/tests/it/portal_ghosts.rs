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
use std::sync::atomic::{AtomicUsize, Ordering};
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
}

impl Rooms {
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
            revision: u64::try_from(count).unwrap() + 1,
            name: Some("Crowd".into()),
            topic: None,
            info: json!({"room": room, "hub": "a.example", "group_id": "AA", "mode": "opaque"}),
            members: (0..count).map(member).collect(),
            thresholds: Thresholds::default(),
            published: false,
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
    let rooms = Arc::new(Rooms {
        portals: Mutex::default(),
        ghosts: AtomicUsize::new(count),
    });
    let transport = HomeserverTransport::new(beside.homeserver.clone(), rooms.clone());
    let (crowd, quiet) = ("mimi://a.example/r/crowd", "mimi://a.example/r/quiet");
    for (n, room) in [crowd, quiet].into_iter().enumerate() {
        let create = OutboxBody::PortalCreate {
            name: None,
            invite: Vec::new(),
            info: json!({"room": room, "hub": "a.example", "group_id": "AA", "mode": "opaque"}),
        };
        done(&transport, &entry(room, u64::try_from(n).unwrap() + 1, create)).await;
    }
    let portal = rooms.portals.lock().unwrap()[crowd].clone();

    let sync = OutboxBody::PortalSync {
        room: crowd.to_owned(),
        revision: 1,
    };
    let started = Instant::now();
    let coming = {
        let (transport, entry) = (transport.clone(), entry(crowd, 3, sync));
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
        appservice::portal::sync(&beside.homeserver, &wanted)
            .await
            .unwrap(),
        0
    );

    // Half of them go; then the portal is given up, interrupted once.
    rooms.ghosts.store(count / 2, Ordering::SeqCst);
    let sync = OutboxBody::PortalSync {
        room: crowd.to_owned(),
        revision: 1,
    };
    done(&again, &entry(crowd, 5, sync)).await;
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
