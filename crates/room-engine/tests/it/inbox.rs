//! What the homeserver pushes.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use room_engine::outbox::OutboxBody;
use room_engine::{Engine, InboundEvent, Sequencer, SignIn, SystemClock, carrier};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Batch, MemoryStore, Scan, Space, Store, StoreError};
use tokio::sync::watch;

use crate::hooked::{Hook, Hooked};
use crate::world::{A, B, World, config, ctx, keys, uri};

fn event(event_id: &str, event_type: &str, room_id: &str, content: serde_json::Value) -> InboundEvent {
    InboundEvent {
        room_id: room_id.to_owned(),
        event_id: event_id.to_owned(),
        sender: "@alice:a.example".to_owned(),
        event_type: event_type.to_owned(),
        state_key: None,
        origin_server_ts: 0,
        content,
    }
}

async fn statuses(world: &Arc<World>, count: usize) -> Vec<serde_json::Value> {
    for _ in 0..1000 {
        let found: Vec<serde_json::Value> = world
            .portal_events
            .lock()
            .unwrap()
            .iter()
            .filter_map(|entry| match &entry.body {
                OutboxBody::PortalSend {
                    event_type, content, ..
                } if event_type == carrier::STATUS => Some(content.clone()),
                _ => None,
            })
            .collect();
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no status came");
}

/// A submission in the portal becomes one message, however often the homeserver pushes it, in whatever transaction.
#[tokio::test]
async fn a_portal_submission_counts_once() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let room = alice.client.create("Portal").await.unwrap();
    world.quiet().await;
    let portal = world.engine(A).portal_room(&uri(&room)).await.unwrap().unwrap();

    let mut engine = alice.client.into_engine();
    let id = engine
        .compose(&room, "through the portal", "text/plain;charset=utf-8")
        .unwrap();
    let (submission, _) = engine.submission(&room, &id).unwrap();
    let content = json!({ "id": submission.id, "message": URL_SAFE_NO_PAD.encode(&submission.message.0) });
    let pushed = event("$one", carrier::MESSAGE, &portal, content.clone());
    let a = world.engine(A);
    a.transaction(ctx(), "t1", vec![pushed.clone()]).await.unwrap();
    a.transaction(ctx(), "t1", vec![pushed.clone()]).await.unwrap();
    a.transaction(
        ctx(),
        "t2",
        vec![
            pushed.clone(),
            event("$bad", carrier::MESSAGE, &portal, json!({"id": 1})),
        ],
    )
    .await
    .unwrap();
    // The same message once more, as another event: a client that repeats itself.
    a.transaction(
        ctx(),
        "t3",
        vec![event("$two", carrier::MESSAGE, &portal, content)],
    )
    .await
    .unwrap();
    let found = statuses(&world, 2).await;
    assert_eq!(found[0]["id"], json!(id));
    assert_eq!(found[0]["state"], "accepted");
    // What is no submission is answered too, by the id of its event where it has none of its own.
    assert_eq!(found[1]["id"], "$bad");
    assert_eq!(found[1]["state"], "refused");
    assert_eq!(found[1]["code"], "malformed");
    world.restart(A).await;
    world.quiet().await;
    assert_eq!(statuses(&world, 2).await.len(), 2);
    let page = world
        .engine(A)
        .feed(&uri(&room), &uri("mimi://a.example/u/alice"), 1, 100, None)
        .await
        .unwrap();
    let messages = page
        .entries
        .iter()
        .filter(|entry| matches!(entry.item, room_engine::FeedItem::Message { .. }))
        .count();
    assert_eq!(messages, 1);
}

/// A new device of a Matrix user signs in only after its nonce came through the homeserver.
#[tokio::test]
async fn a_nonce_opens_the_session() {
    let world = World::new().await;
    let a = world.engine(A);
    let SignIn::Challenge { nonce } = a.sign_in_matrix(ctx(), "alice", "phone").await.unwrap() else {
        panic!("a session without a nonce")
    };
    let login = |id: &str, nonce: &str| event(id, carrier::LOGIN, "!dm:a.example", json!({ "nonce": nonce }));
    a.transaction(ctx(), "t1", vec![login("$wrong", "guessed")])
        .await
        .unwrap();
    let mut other = login("$other", &nonce);
    other.sender = "@mallory:a.example".to_owned();
    a.transaction(ctx(), "t2", vec![other]).await.unwrap();
    let still = a.sign_in_matrix(ctx(), "alice", "phone").await.unwrap();
    assert!(matches!(still, SignIn::Challenge { nonce: again } if again == nonce));
    a.transaction(ctx(), "t3", vec![login("$right", &nonce)])
        .await
        .unwrap();
    for _ in 0..1000 {
        if let SignIn::Session(session) = a.sign_in_matrix(ctx(), "alice", "phone").await.unwrap() {
            let who = a.session(&session.token).await.unwrap().unwrap();
            assert_eq!(who.client.as_str(), "mimi://a.example/d/alice/phone");
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the nonce was not taken");
}

/// "Duplicate transactions after database trouble": a homeserver that was restarted or restored from a backup counts its
/// transactions from an earlier number again. What is inside counts, not the number.
#[tokio::test]
async fn a_transaction_number_that_comes_again_with_other_events_loses_nothing() {
    let world = World::new().await;
    let a = world.engine(A);
    let login = |id: &str, nonce: &str| event(id, carrier::LOGIN, "!dm:a.example", json!({ "nonce": nonce }));
    let take = async |txn: &str, events| {
        a.take(ctx(), room_engine::InboundTransaction::of(txn, events))
            .await
            .unwrap()
    };
    let first = take("7", vec![login("$1", "x")]).await;
    assert_eq!((first.events, first.renumbered), (1, false));
    let again = take("7", vec![login("$1", "x")]).await;
    assert_eq!((again.events, again.renumbered), (0, false));
    let other = take("7", vec![login("$1", "x"), login("$2", "y")]).await;
    assert_eq!((other.events, other.renumbered), (1, true));
    let next = take("8", vec![login("$2", "y"), login("$2", "y")]).await;
    assert_eq!((next.events, next.renumbered), (0, false));
}

/// What nothing can be done with is kept with its reason, for operators, and holds nobody up.
#[tokio::test]
async fn poisonous_events_are_set_aside_with_their_reasons_and_missed_ones_are_taken_from_the_timeline() {
    let world = World::new().await;
    let (alice, _) = world.user(A, "alice").await;
    let mut client = alice.client;
    let room = client.create("Portal").await.unwrap();
    world.quiet().await;
    let a = world.engine(A);
    let portal = a.portal_room(&uri(&room)).await.unwrap().unwrap();
    let mut transaction = room_engine::InboundTransaction::of(
        "t1",
        vec![event("$bad", carrier::LOGIN, &portal, json!({"id": 1}))],
    );
    transaction.set_aside.push(room_engine::SetAside {
        at: 0,
        event_id: Some("$worse".into()),
        room_id: None,
        code: "malformed".into(),
        reason: "not an event".into(),
        event: "x".repeat(100_000),
    });
    a.take(ctx(), transaction).await.unwrap();
    let aside = loop {
        let aside = a.set_aside().await.unwrap();
        if aside.len() == 2 {
            break aside;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let found = |id: &str| {
        aside
            .iter()
            .find(|one| one.event_id.as_deref() == Some(id))
            .unwrap()
    };
    assert!(found("$worse").event.len() < 20_000 && found("$worse").at > 0);
    assert!(!found("$bad").reason.is_empty());

    // The timeline shows what was pushed, and one event more.
    let mut engine = client.into_engine();
    let id = engine
        .compose(&room, "never pushed", "text/plain;charset=utf-8")
        .unwrap();
    let (submission, _) = engine.submission(&room, &id).unwrap();
    let content = json!({ "id": submission.id, "message": URL_SAFE_NO_PAD.encode(&submission.message.0) });
    let timeline = vec![
        event("$bad", carrier::LOGIN, &portal, json!({"id": 1})),
        event("$missed", carrier::MESSAGE, &portal, content),
    ];
    assert_eq!(a.compared_up_to(&portal).await.unwrap(), None);
    for missed in [1, 0] {
        let found = a
            .compared(ctx(), &portal, "$missed", timeline.clone())
            .await
            .unwrap();
        assert_eq!(found, missed);
    }
    assert_eq!(statuses(&world, 1).await[0]["id"], json!(id));
    world.restart(A).await;
    let a = world.engine(A);
    assert_eq!(
        a.compared_up_to(&portal).await.unwrap().as_deref(),
        Some("$missed")
    );
    assert_eq!(a.set_aside().await.unwrap().len(), 2);
}

/// A store that can't say for a while which portals there are.
#[derive(Default)]
struct Shut(AtomicBool);

#[async_trait]
impl Hook for Shut {
    async fn get(&self, store: &MemoryStore, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if space == Space::Portal && self.0.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                retry_after: Duration::ZERO,
                why: "injected".into(),
            });
        }
        store.get(space, key).await
    }
}

/// A node that orders, and whose store does not show all yet that was final before.
struct Behind {
    terms: watch::Sender<Option<u64>>,
    store: Arc<dyn Store>,
    late: Mutex<Option<Batch>>,
}

#[async_trait]
impl Sequencer for Behind {
    fn term(&self) -> Result<u64, StoreError> {
        Ok(1)
    }

    async fn confirm(&self, _: u64) -> Result<(), StoreError> {
        let late = self.late.lock().unwrap().take();
        if let Some(late) = late {
            self.store.commit(late).await?;
        }
        Ok(())
    }

    fn terms(&self) -> watch::Receiver<Option<u64>> {
        self.terms.subscribe()
    }
}

/// Who has just begun to order hands on once it knows all that its predecessor decided.
#[tokio::test]
async fn nothing_is_handed_on_by_what_was_known_before() {
    let store = Arc::<Hooked<Shut>>::default();
    let world = World::on(vec![(A, store.clone()), (B, Arc::new(MemoryStore::new()))]).await;
    let (mut alice, _) = world.user(A, "alice").await;
    let room = alice.client.create("Portal").await.unwrap();
    world.quiet().await;
    let portal = world.engine(A).portal_room(&uri(&room)).await.unwrap().unwrap();
    let mut engine = alice.client.into_engine();
    let id = engine
        .compose(&room, "in time", "text/plain;charset=utf-8")
        .unwrap();
    let (submission, _) = engine.submission(&room, &id).unwrap();
    let content = json!({ "id": submission.id, "message": URL_SAFE_NO_PAD.encode(&submission.message.0) });
    store.0.store(true, Ordering::SeqCst);
    let pushed = vec![event("$one", carrier::MESSAGE, &portal, content)];
    world.engine(A).transaction(ctx(), "t1", pushed).await.unwrap();
    world.stop(A).await;
    store.0.store(false, Ordering::SeqCst);

    // The portal itself is among what isn't applied yet.
    let known = store
        .get(Space::Portal, portal.as_bytes())
        .await
        .unwrap()
        .unwrap();
    let (mut behind, mut late) = (Batch::new(), Batch::new());
    behind.delete(Space::Portal, portal.as_bytes());
    store.commit(behind).await.unwrap();
    late.put(Space::Portal, portal.as_bytes(), known);
    let order = Arc::new(Behind {
        terms: watch::channel(Some(1)).0,
        store: store.clone(),
        late: Mutex::new(Some(late)),
    });
    let clock = Arc::new(SystemClock);
    let opened = Engine::open_with(config(A), keys(A), store.clone(), clock, order, store.clone()).await;
    let engine = opened.unwrap();
    while !store.scan(Scan::all(Space::HsInbox)).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let alice = uri("mimi://a.example/u/alice");
    let page = engine.feed(&uri(&room), &alice, 1, 100, None).await.unwrap();
    let is_message =
        |entry: &&room_engine::FeedEntry| matches!(entry.item, room_engine::FeedItem::Message { .. });
    assert_eq!(page.entries.iter().filter(is_message).count(), 1);
    engine.close().await;
}
