//! Senders: order within a room, no room waits for another, nothing is forgotten.

use async_trait::async_trait;
use bytes::Bytes;
use room_engine::outbox::{Delivery, Destination, OutboxEntry, SenderSettings, Transport};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Batch, Scan, Space};

use crate::mallory::witness;
use crate::world::{A, B, Person, World, uri};

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
        ..SenderSettings::default()
    };
    let destination = Destination::Provider(B.parse().unwrap());
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

/// The room whose queue for b is looked at first.
async fn first_in_outbox(world: &World) -> String {
    let rows = world
        .store(A)
        .scan(Scan::all(Space::Outbox).limit(500))
        .await
        .unwrap();
    let mut entries = rows
        .iter()
        .map(|(_, value)| serde_json::from_slice::<Value>(value).unwrap());
    let first = entries.find(|entry| entry["destination"] == json!({ "provider": B }));
    first.unwrap()["room"].as_str().unwrap().to_owned()
}

/// Alice at A and Bob at B in two rooms, all of it delivered, and nothing carried from now on.
async fn two_rooms() -> (Arc<World>, Person, Vec<String>) {
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
    (world, alice, rooms)
}

/// A room that is stuck is no reason to leave alone a destination that takes the others, whichever is looked at first.
#[tokio::test]
async fn a_stuck_room_holds_up_none_that_has_something_to_say_later() {
    let (world, mut alice, rooms) = two_rooms().await;
    for room in &rooms {
        alice.say(room, "first").await;
    }
    let stuck = first_in_outbox(&world).await;
    let other = rooms.iter().find(|room| **room != stuck).unwrap();
    let moody = Arc::new(Moody::default());
    let settings = SenderSettings {
        first_pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(20),
        ..SenderSettings::default()
    };
    let destination = Destination::Provider(B.parse().unwrap());
    let sender = world.engine(A).sender(destination, moody.clone(), settings);
    wait_for(|| moody.taken.lock().unwrap().len() == 2).await;
    *moody.stuck.lock().unwrap() = Some(stuck.clone());
    moody.attempts.lock().unwrap().clear();
    alice.say(&stuck, "second").await;
    let attempts = || moody.attempts.lock().unwrap().values().sum::<u32>();
    wait_for(|| attempts() > 4).await;
    alice.say(other, "second").await;
    wait_for(|| moody.taken.lock().unwrap().len() == 3).await;
    sender.stop().await;
    assert_eq!(moody.taken.lock().unwrap()[2].0, *other);
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
    let (world, mut alice, rooms) = two_rooms().await;
    for index in 0..5 {
        for room in &rooms {
            alice.say(room, &format!("{index}")).await;
        }
    }
    let pairs = Arc::new(Pairs::default());
    let destination = Destination::Provider(B.parse().unwrap());
    let sender = world
        .engine(A)
        .sender(destination, pairs.clone(), SenderSettings::default());
    wait_for(|| pairs.taken.load(Ordering::SeqCst) == 10).await;
    sender.stop().await;
    assert!(!pairs.doubled.load(Ordering::SeqCst));
}

/// Limits our rate and breaks in turns, for six hours; then takes everything.
struct Weather {
    since: tokio::time::Instant,
    refused: AtomicUsize,
    taken: Mutex<Vec<(String, u64)>>,
}

const BAD: Duration = Duration::from_hours(6);
const WISH: Duration = Duration::from_secs(30);

#[async_trait]
impl Transport for Weather {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        if self.since.elapsed() < BAD {
            let limited = self.refused.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            return Delivery::Retry {
                after: limited.then_some(WISH),
                reason: if limited { "429" } else { "503" }.to_owned(),
            };
        }
        self.taken.lock().unwrap().push((entry.room.clone(), entry.seq));
        Delivery::Done
    }
}

/// "rate limits not honoured", "floods" (synapse#8138, appservice-irc#1174): hours of 429 and 5xx on a clock that jumps.
#[tokio::test]
async fn hours_of_429_and_5xx_lose_double_and_flood_nothing() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    world.stop_senders(A).await;
    for name in ["one", "two"] {
        let room = alice.client.create(name).await.unwrap();
        for index in 0..40 {
            alice.say(&room, &format!("{index}")).await;
        }
    }
    let destination = Destination::Homeserver;
    let waiting = async || {
        let queues = world.engine(A).queues().await.unwrap();
        let queue = queues.into_iter().find(|queue| queue.destination == destination);
        queue.map_or(0, |queue| queue.waiting)
    };
    let before = waiting().await;
    assert!(before >= 80, "{before}");

    tokio::time::pause();
    let weather = Arc::new(Weather {
        since: tokio::time::Instant::now(),
        refused: AtomicUsize::default(),
        taken: Mutex::default(),
    });
    let sender = world
        .engine(A)
        .sender(destination.clone(), weather.clone(), SenderSettings::default());
    tokio::time::sleep(BAD * 9 / 10).await;
    assert_eq!(waiting().await, before);
    tokio::time::sleep(BAD / 10 + Duration::from_mins(5)).await;
    sender.stop().await;
    assert_eq!(waiting().await, 0);
    let mut taken = weather.taken.lock().unwrap().clone();
    for room in taken
        .iter()
        .map(|(room, _)| room)
        .collect::<std::collections::BTreeSet<_>>()
    {
        let order: Vec<u64> = taken
            .iter()
            .filter(|(of, _)| of == room)
            .map(|(_, seq)| *seq)
            .collect();
        assert!(order.is_sorted(), "{room}: {order:?}");
    }
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), weather.taken.lock().unwrap().len());
    // Each queue was tried about as often as the wishes and the longest pause let it, and never given up.
    let tries = BAD.div_duration_f64(WISH / 2);
    let refused = f64::from(u32::try_from(weather.refused.load(Ordering::SeqCst)).unwrap());
    assert!((100.0..4.0 * tries).contains(&refused), "{refused} attempts");
}

/// A record that can't be read holds up what is behind it in its room, and nothing else. What was delivered before it is
/// delivered once.
#[tokio::test]
async fn what_stands_before_a_damaged_entry_is_sent_once() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    world.stop_senders(A).await;
    for name in ["one", "two"] {
        let room = alice.client.create(name).await.unwrap();
        for index in 0..4 {
            alice.say(&room, &format!("{index}")).await;
        }
    }
    let store = world.store(A);
    let rows = store.scan(Scan::all(Space::Outbox).limit(500)).await.unwrap();
    let place = |(key, value): &(Bytes, Bytes)| {
        let entry: Value = serde_json::from_slice(value).unwrap();
        let room = entry["room"].as_str().unwrap().to_owned();
        (key.clone(), room, entry["seq"].as_u64().unwrap())
    };
    let places: Vec<_> = rows.iter().map(place).collect();
    let (_, damaged, first) = places[0].clone();
    let (broken, _, reached) = places
        .iter()
        .filter(|(_, room, _)| *room == damaged)
        .nth(2)
        .cloned()
        .unwrap();
    let mut batch = Batch::new();
    batch.put(Space::Outbox, broken, "{}");
    store.commit(batch).await.unwrap();

    tokio::time::pause();
    let taker = Arc::new(Away::default());
    taker.there.store(true, Ordering::SeqCst);
    let destination = Destination::Homeserver;
    let sender = world
        .engine(A)
        .sender(destination, taker.clone(), SenderSettings::default());
    tokio::time::sleep(Duration::from_mins(1)).await;
    sender.stop().await;
    let mut taken = taker.taken.lock().unwrap().clone();
    taken.sort();
    let mut wanted: Vec<_> = places.into_iter().map(|(_, room, seq)| (room, seq)).collect();
    wanted.retain(|(room, seq)| *room != damaged || (first..reached).contains(seq));
    wanted.sort();
    assert_eq!(taken, wanted);
}

/// Is away until it is there.
#[derive(Default)]
struct Away {
    there: AtomicBool,
    refused: AtomicUsize,
    taken: Mutex<Vec<(String, u64)>>,
}

#[async_trait]
impl Transport for Away {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        if self.there.load(Ordering::SeqCst) {
            self.taken.lock().unwrap().push((entry.room.clone(), entry.seq));
            return Delivery::Done;
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Delivery::Retry {
            after: None,
            reason: "away".to_owned(),
        }
    }
}

/// A server that was away for long and speaks gets at once what waits for it: its rooms' pauses are over, and its own.
#[tokio::test]
async fn who_speaks_after_a_long_absence_is_sent_everything_at_once() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    for name in ["one", "two", "three", "four"] {
        let room = alice.client.create(name).await.unwrap();
        witness(&world, &room, 1).await;
        alice.say(&room, "hello").await;
    }
    let engine = world.engine(A);
    let destination = Destination::Server("matrix.example".to_owned());
    let waiting = async || {
        let queues = engine.queues().await.unwrap();
        let queue = queues.into_iter().find(|queue| queue.destination == destination);
        queue.map_or(0, |queue| queue.waiting)
    };
    let all = waiting().await;
    assert!(all >= 4, "{all}");

    tokio::time::pause();
    let away = Arc::new(Away::default());
    let settings = SenderSettings {
        first_pause: Duration::from_hours(10),
        longest_pause: Duration::from_hours(10),
        ..SenderSettings::default()
    };
    let sender = engine.sender(destination.clone(), away.clone(), settings);
    tokio::time::sleep(Duration::from_mins(1)).await;
    // After three rooms the server itself is taken to be away.
    assert_eq!(away.refused.load(Ordering::SeqCst), 3);
    away.there.store(true, Ordering::SeqCst);
    // Somebody else speaks, then nobody for an hour, then the server.
    engine.server_spoke("other.example");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(waiting().await, all);
    engine.server_spoke("matrix.example");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(waiting().await, 0);
    sender.stop().await;
    assert_eq!(away.refused.load(Ordering::SeqCst), 3);
    assert_eq!(away.taken.lock().unwrap().len(), all);
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
