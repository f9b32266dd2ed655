//! What a node that does not order reads while batches land: whatever it is, it is of one time.

use async_trait::async_trait;
use bytes::Bytes;
use room_engine::FeedItem;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{MemoryStore, Scan, Space, Store, StoreError};

use crate::hooked::{Hook, Hooked};
use crate::world::{A, B, Person, World, uri};

const AMY: &str = "mimi://a.example/u/amy";
const BOB: &str = "mimi://b.example/u/bob";

type Happens = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A store from which, before a certain space is read for the first time, something else happens.
#[derive(Default)]
struct Late {
    before: Mutex<Option<(Space, Happens)>>,
    /// A record that the next two who read it find as it was before.
    former: Mutex<Option<(Space, Bytes, u32)>>,
}

impl Late {
    fn before(&self, space: Space, happens: impl Future<Output = ()> + Send + 'static) {
        *self.before.lock().unwrap() = Some((space, Box::pin(happens)));
    }

    fn happened(&self) -> bool {
        self.before.lock().unwrap().is_none()
    }

    async fn reads(&self, space: Space) {
        let due = self.before.lock().unwrap().take_if(|(of, _)| *of == space);
        if let Some((_, happens)) = due {
            happens.await;
        }
    }
}

#[async_trait]
impl Hook for Late {
    async fn get(&self, store: &MemoryStore, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.reads(space).await;
        if let Some((_, former, times)) = self.former.lock().unwrap().as_mut().filter(|f| f.0 == space)
            && *times > 0
        {
            *times -= 1;
            return Ok(Some(former.clone()));
        }
        store.get(space, key).await
    }
    async fn scan(&self, store: &MemoryStore, scan: Scan) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.reads(scan.space).await;
        store.scan(scan).await
    }
}

/// A club of Alice and Amy, whose provider's store this is.
async fn club() -> (Arc<World>, Arc<Hooked<Late>>, String, Person, Person) {
    let late = Arc::<Hooked<Late>>::default();
    let world = World::on(vec![(A, late.clone()), (B, Arc::new(MemoryStore::new()))]).await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut amy, _) = world.user(A, "amy").await;
    world.user(B, "bob").await;
    let room = alice.client.create("club").await.unwrap();
    alice.client.add(&room, &[uri(AMY)]).await.unwrap();
    alice.say(&room, "hello").await;
    amy.client.sync().await.unwrap();
    (world, late, room, alice, amy)
}

/// Amy has to go, and Alice speaks of her.
async fn without_amy(mut alice: Person, room: String) {
    alice.client.remove(&room, &[uri(AMY)]).await.unwrap();
    alice.say(&room, "at last").await;
}

#[tokio::test]
async fn a_room_is_seen_as_it_was_at_one_time() {
    for space in [Space::Room, Space::RoomHead, Space::Participant] {
        let (world, late, room, alice, _) = club().await;
        late.before(space, without_amy(alice, room.clone()));
        let seen = world.engine(A).room(&uri(&room)).await.unwrap();
        assert!(late.happened());
        assert_eq!(
            seen,
            world.engine(A).room(&uri(&room)).await.unwrap(),
            "{space:?}"
        );
    }
}

#[tokio::test]
async fn a_user_s_place_in_a_room_is_of_the_same_time_as_the_room() {
    for space in [Space::FeedAccess, Space::Room, Space::Participant] {
        let (world, late, room, alice, _) = club().await;
        late.before(space, without_amy(alice, room.clone()));
        let seen = world.engine(A).rooms_of(&uri(AMY)).await.unwrap();
        assert!(late.happened());
        let now = world.engine(A).rooms_of(&uri(AMY)).await.unwrap();
        let told = |rooms: &[room_engine::UserRoom]| -> Vec<_> {
            let told = rooms
                .iter()
                .map(|room| (room.joined, room.next, room.view.clone()));
            told.collect()
        };
        assert_eq!(told(&seen), told(&now), "{space:?}");
    }
}

/// Who is removed while it reads gets nothing of what came after.
#[tokio::test]
async fn a_page_ends_where_the_user_had_to_go() {
    let (world, late, room, alice, _) = club().await;
    late.before(Space::Feed, without_amy(alice, room.clone()));
    let engine = world.engine(A);
    let page = engine.feed(&uri(&room), &uri(AMY), 1, 500, None).await.unwrap();
    assert!(late.happened());
    let now = engine.feed(&uri(&room), &uri(AMY), 1, 500, None).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (now.entries.len(), now.next));
    let messages = page
        .entries
        .iter()
        .filter(|e| matches!(e.item, FeedItem::Message { .. }));
    assert_eq!(messages.count(), 1);
}

/// A message that is accepted aside is judged in an epoch after the handshakes that led to it, not after others.
#[tokio::test]
async fn a_message_aside_is_judged_by_a_room_of_one_time() {
    let (world, late, room, mut alice, mut amy) = club().await;
    let heads = late.scan(Scan::all(Space::RoomHead)).await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    amy.client.sync().await.unwrap();
    world.orders(A, false);
    *late.former.lock().unwrap() = Some((Space::RoomHead, heads[0].1.clone(), 2));
    for text in ["one", "two"] {
        let wait = Duration::ZERO;
        let sent = amy.client.send(&room, text, "text/plain", wait).await.unwrap();
        assert!(
            matches!(sent.1, mls_client::engine::Sent::Accepted(_)),
            "{:?}",
            sent.1
        );
    }
    let pending = world.engine(A).pending().await.unwrap();
    let verdicts: Vec<_> = pending
        .iter()
        .map(|message| {
            let record: serde_json::Value = serde_json::from_slice(&message.record).unwrap();
            let verdict = &record["verdict"];
            (verdict["epoch"].clone(), verdict["after"].clone())
        })
        .collect();
    assert_eq!(verdicts.len(), 2);
    assert_eq!(verdicts[0], verdicts[1]);
}
