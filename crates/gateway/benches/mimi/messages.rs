//! Application messages: from a follower's submitMessage to the feed of another follower, which shows what is durable
//! there and so what is answered with 201.

use crate::case::Report;
use crate::percentile;
use crate::world::{Room, World};
use bytes::Bytes;
use futures_util::StreamExt as _;
use mimi_wire::components::SafeAad;
use mimi_wire::directory::Endpoint;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{SubmitMessageRequest, SubmitMessageResponse};
use mimi_wire::{Decode as _, Encode as _, MimiUri, Opaque};
use room_engine::FeedItem;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Requests under way at the same time.
const TOGETHER: usize = 64;

/// A message that only its receivers could tell from a real one.
fn message(room: &Room, number: usize) -> Vec<u8> {
    let mut octets = vec![0, 1, 0, 2];
    Opaque::from(room.group_id.clone()).encode(&mut octets);
    octets.extend(room.epoch.to_be_bytes());
    octets.push(1);
    Opaque::from(SafeAad::new().to_bytes()).encode(&mut octets);
    Opaque::from(vec![0; 28]).encode(&mut octets);
    let mut ciphertext = vec![0; 600];
    getrandom::fill(&mut ciphertext).unwrap();
    ciphertext[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Opaque::from(ciphertext).encode(&mut octets);
    octets
}

fn request(message: &[u8], user: &MimiUri) -> Bytes {
    let message = MlsMessage::from_bytes(message).unwrap();
    SubmitMessageRequest::new(message, user.clone())
        .unwrap()
        .to_bytes()
        .into()
}

/// Watches a room at a follower from here on, until so many messages are there; notes when each was.
async fn watch(world: &World, room: &Room, follower: usize, count: usize) -> HashMap<Vec<u8>, Instant> {
    let (engine, user) = (
        world.followers[follower].service.engine(),
        &world.followers[follower].user,
    );
    let mut next = engine.room(&room.uri).await.unwrap().unwrap().feed_next;
    let mut seen = HashMap::with_capacity(count);
    while seen.len() < count {
        let page = engine
            .feed(&room.uri, user, next, 500, Some(Duration::from_secs(30)))
            .await
            .unwrap();
        let now = Instant::now();
        for entry in page.entries {
            if let FeedItem::Message { message, .. } = entry.item {
                seen.insert(message, now);
            }
        }
        next = page.next;
    }
    seen
}

pub(crate) async fn measure(report: Report, world: &World, rooms: usize, total: usize) {
    let rooms = &world.rooms[..rooms];
    let each = (total / rooms.len()).max(1);
    let total = each * rooms.len();
    // The first follower watches, the others send.
    let senders = world.followers.len() - 1;
    let work: Vec<_> = (0..total)
        .map(|number| {
            let room = &rooms[number % rooms.len()];
            let sender = &world.followers[1 + number % senders];
            let message = message(room, number);
            let body = request(&message, &sender.user);
            (room, sender, message, body)
        })
        .collect();
    let submitted: Mutex<HashMap<Vec<u8>, (Instant, Instant)>> = Mutex::default();
    let watching = futures_util::future::join_all(rooms.iter().map(|room| watch(world, room, 0, each)));
    let sending = async {
        let began = Instant::now();
        futures_util::stream::iter(work)
            .for_each_concurrent(TOGETHER, |(room, sender, message, body)| {
                let submitted = &submitted;
                async move {
                    let asked = Instant::now();
                    let answer = sender
                        .client
                        .post(
                            &world.hub.domain,
                            Endpoint::SubmitMessage,
                            room.uri.as_str(),
                            "bench",
                            body,
                        )
                        .await
                        .unwrap();
                    let response = SubmitMessageResponse::from_bytes(&answer.body).unwrap();
                    assert!(
                        matches!(response, SubmitMessageResponse::Accepted { .. }),
                        "{response:?}"
                    );
                    submitted.lock().unwrap().insert(message, (asked, Instant::now()));
                }
            })
            .await;
        began.elapsed()
    };
    let began = Instant::now();
    let (took, seen) = tokio::join!(sending, watching);
    world.quiet().await;
    let drained = began.elapsed();
    let submitted = submitted.into_inner().unwrap();
    let mut answered: Vec<Duration> = submitted.values().map(|(asked, told)| *told - *asked).collect();
    let mut arrived: Vec<Duration> = seen
        .iter()
        .flatten()
        .map(|(message, at)| at.saturating_duration_since(submitted[message].0))
        .collect();
    answered.sort();
    arrived.sort();
    let name = format!("{} rooms, {TOGETHER} messages at a time", rooms.len());
    let case = |what: &str| format!("{name}: {what}");
    report.figure(&case("accepted"), total as f64 / took.as_secs_f64(), "1/s");
    for percent in [50, 99] {
        let what = case(&format!("submit to the hub's answer, p{percent}"));
        report.figure(&what, percentile(&answered, percent), "ms");
        let what = case(&format!("submit to a follower's 201, p{percent}"));
        report.figure(&what, percentile(&arrived, percent), "ms");
    }
    report.figure(&case("until every follower had all"), drained.as_secs_f64(), "s");
    // And one at a time: what a single message takes when nothing else goes on.
    if rooms.len() == 1 {
        one_by_one(report, world, &rooms[0], 100).await;
    }
}

async fn one_by_one(report: Report, world: &World, room: &Room, count: usize) {
    let sender = &world.followers[1];
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        let message = message(room, number);
        let body = request(&message, &sender.user);
        let asked = Instant::now();
        let posting = sender.client.post(
            &world.hub.domain,
            Endpoint::SubmitMessage,
            room.uri.as_str(),
            "bench",
            body,
        );
        let (answer, seen) = tokio::join!(posting, watch(world, room, 0, 1));
        assert!(answer.unwrap().status.is_success());
        took.extend(seen.values().map(|at| at.saturating_duration_since(asked)));
        world.quiet().await;
    }
    took.sort();
    for percent in [50, 99] {
        let what = format!("one message at a time: submit to a follower's 201, p{percent}");
        report.figure(&what, percentile(&took, percent), "ms");
    }
}
