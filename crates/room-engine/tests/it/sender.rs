//! Senders: order within a room, no room waits for another, nothing is forgotten.

use async_trait::async_trait;
use room_engine::outbox::{Delivery, OutboxEntry, SenderSettings, Transport};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{A, B, World, uri};

/// Refuses to take one room's entries for a while and fails at random for the others.
#[derive(Default)]
struct Moody {
    stuck: Mutex<Option<String>>,
    taken: Mutex<Vec<(String, u64)>>,
    attempts: Mutex<HashMap<(String, u64), u32>>,
}

#[async_trait]
impl Transport for Moody {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        let place = (entry.room.clone(), entry.seq);
        let attempt = {
            let mut attempts = self.attempts.lock().unwrap();
            let attempt = attempts.entry(place.clone()).or_default();
            *attempt += 1;
            *attempt
        };
        let stuck = self.stuck.lock().unwrap().as_deref() == Some(entry.room.as_str());
        if stuck || (entry.seq.is_multiple_of(3) && attempt == 1) {
            return Delivery::Retry {
                after: None,
                reason: "moody".to_owned(),
            };
        }
        self.taken.lock().unwrap().push(place);
        Delivery::Done
    }
}

#[tokio::test]
async fn a_stuck_room_holds_up_no_other_and_keeps_its_order() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let mut rooms = Vec::new();
    for name in ["one", "two", "three"] {
        let room = alice.client.create(name).await.unwrap();
        alice
            .client
            .add(&room, &[uri("mimi://b.example/u/bob")])
            .await
            .unwrap();
        rooms.push(room);
    }
    world.quiet().await;
    bob.client.sync().await.unwrap();

    // From here on a's entries for b go through another transport.
    world.stop_senders(A).await;
    for index in 0..9 {
        for room in &rooms {
            alice.say(room, &format!("{index}")).await;
        }
    }
    let moody = Arc::new(Moody::default());
    *moody.stuck.lock().unwrap() = Some(rooms[0].clone());
    let settings = SenderSettings {
        first_pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(20),
    };
    let destination = room_engine::outbox::Destination::Provider(B.parse().unwrap());
    let sender = world.engine(A).sender(destination, moody.clone(), settings);
    wait_for(|| moody.taken.lock().unwrap().len() == 18).await;
    assert!(
        moody
            .taken
            .lock()
            .unwrap()
            .iter()
            .all(|(room, _)| *room != rooms[0])
    );
    *moody.stuck.lock().unwrap() = None;
    wait_for(|| moody.taken.lock().unwrap().len() == 27).await;
    sender.stop().await;
    for room in &rooms {
        let order: Vec<u64> = moody
            .taken
            .lock()
            .unwrap()
            .iter()
            .filter(|(of, _)| of == room)
            .map(|(_, seq)| *seq)
            .collect();
        assert_eq!(order.len(), 9);
        assert!(order.is_sorted(), "{order:?}");
    }
}

/// Takes nothing until two rooms' entries are under way at the same time, and notes when a room has two.
#[derive(Default)]
struct Pairs {
    under_way: Mutex<Vec<String>>,
    met: AtomicBool,
    doubled: AtomicBool,
    taken: AtomicUsize,
}

#[async_trait]
impl Transport for Pairs {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        {
            let mut under_way = self.under_way.lock().unwrap();
            if under_way.contains(&entry.room) {
                self.doubled.store(true, Ordering::SeqCst);
            }
            under_way.push(entry.room.clone());
            if under_way.len() > 1 {
                self.met.store(true, Ordering::SeqCst);
            }
        }
        while !self.met.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut under_way = self.under_way.lock().unwrap();
        under_way.retain(|room| *room != entry.room);
        self.taken.fetch_add(1, Ordering::SeqCst);
        Delivery::Done
    }
}

#[tokio::test]
async fn rooms_go_beside_each_other_and_each_has_one_request_in_flight() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut bob, _) = world.user(B, "bob").await;
    let mut rooms = Vec::new();
    for name in ["one", "two"] {
        let room = alice.client.create(name).await.unwrap();
        let to = [uri("mimi://b.example/u/bob")];
        alice.client.add(&room, &to).await.unwrap();
        rooms.push(room);
    }
    world.quiet().await;
    bob.client.sync().await.unwrap();
    world.stop_senders(A).await;
    for index in 0..5 {
        for room in &rooms {
            alice.say(room, &format!("{index}")).await;
        }
    }
    let pairs = Arc::new(Pairs::default());
    let destination = room_engine::outbox::Destination::Provider(B.parse().unwrap());
    let sender = world
        .engine(A)
        .sender(destination, pairs.clone(), SenderSettings::default());
    wait_for(|| pairs.taken.load(Ordering::SeqCst) == 10).await;
    sender.stop().await;
    assert!(!pairs.doubled.load(Ordering::SeqCst));
}

async fn wait_for(done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came");
}
