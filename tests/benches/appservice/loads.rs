//! Messages at a rate, there and back.

use crate::report::{all_there, show};
use crate::stage::{Stage, compose, transport};
use crate::watchers::{follow, follow_sync};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_tests::matrix::User;
use mls_client::transport::Transport as _;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What was sent: when it began, when it was answered, the event's id where there is one, its octets and its id.
pub(crate) struct Sent {
    pub(crate) began: Instant,
    pub(crate) done: Instant,
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) octets: Vec<u8>,
}

/// Hands each message to `send` at its time, whether those before it are answered or not; answers with all of them.
pub(crate) async fn offer<F, S>(messages: Vec<(String, Vec<u8>)>, gap: Duration, send: S) -> Vec<Sent>
where
    F: Future<Output = String> + Send + 'static,
    S: Fn(String, Vec<u8>) -> F,
{
    let mut tick = tokio::time::interval(gap);
    let mut sending = Vec::new();
    for (id, octets) in messages {
        tick.tick().await;
        let answer = send(id.clone(), octets.clone());
        let began = Instant::now();
        sending.push(tokio::spawn(async move {
            let event = answer.await;
            let done = Instant::now();
            Sent {
                began,
                done,
                event,
                id,
                octets,
            }
        }));
    }
    let mut sent = Vec::new();
    for one in sending {
        sent.push(one.await.unwrap());
    }
    sent
}

/// Puts a message into a room as a Matrix client does.
pub(crate) async fn put(user: User, room: String, id: String, octets: Vec<u8>) -> String {
    let content = json!({"id": id, "message": URL_SAFE_NO_PAD.encode(&octets)});
    user.send(&room, "org.causeway.message", &id, content)
        .await
        .unwrap()
}

/// How long each took until `there` says so.
pub(crate) fn since<'a>(sent: &'a [Sent], there: impl Fn(&'a Sent) -> Option<Instant>) -> Vec<Duration> {
    sent.iter()
        .filter_map(|one| Some(there(one)?.saturating_duration_since(one.began)))
        .collect()
}

/// The homeserver alone: a room that is no portal, with nobody in it but two of its users and the empty appservice.
pub(crate) async fn alone(stage: &Stage, load: &str, messages: usize, gap: Duration) {
    let carol = &stage.carol;
    let at_alice = follow_sync(&stage.matrix, &stage.ordinary).await;
    let composed = compose(stage.alice.profile(), &stage.room, messages);
    let sent = offer(composed, gap, |id, octets| {
        put(
            carol.clone(),
            stage.ordinary.clone(),
            format!("alone-{load}-{id}"),
            octets,
        )
    })
    .await;
    let within = Duration::from_mins(1);
    all_there("at the empty appservice", messages, within, || {
        let empty = stage.empty.lock().unwrap();
        sent.iter().filter(|one| empty.contains_key(&one.event)).count()
    })
    .await;
    all_there("in Alice's sync", messages, within, || {
        let there = at_alice.lock().unwrap();
        sent.iter()
            .filter(|one| there.contains_key(one.event.as_bytes()))
            .count()
    })
    .await;
    let (empty, alice) = (stage.empty.lock().unwrap(), at_alice.lock().unwrap());
    let what = |what: &str| format!("{load}: Synapse alone: {what}");
    show(&what("answer"), since(&sent, |one| Some(one.done)), messages);
    show(
        &what("send to the empty appservice"),
        since(&sent, |one| empty.get(&one.event).copied()),
        messages,
    );
    show(
        &what("send to another's sync"),
        since(&sent, |one| alice.get(one.event.as_bytes()).copied()),
        messages,
    );
}

/// Alice to Bob, and what Synapse takes of it.
pub(crate) async fn there(stage: &Stage, load: &str, messages: usize, gap: Duration) {
    let composed = compose(stage.alice.profile(), &stage.room, messages);
    let at_bob = follow(transport(stage.bob.profile()), stage.room.clone()).await;
    let in_feed = follow(transport(stage.alice.profile()), stage.room.clone()).await;
    let at_alice = follow_sync(&stage.matrix, &stage.portal).await;
    let sent = offer(composed, gap, |id, octets| {
        put(stage.matrix.clone(), stage.portal.clone(), id, octets)
    })
    .await;
    let within = Duration::from_mins(1);
    all_there("at Bob's provider", messages, within, || {
        let there = at_bob.lock().unwrap();
        sent.iter().filter(|one| there.contains_key(&one.octets)).count()
    })
    .await;
    all_there("statuses in the portal", messages, within, || {
        let there = at_alice.lock().unwrap();
        sent.iter()
            .filter(|one| there.contains_key(one.id.as_bytes()))
            .count()
    })
    .await;
    let (bob, empty) = (at_bob.lock().unwrap(), stage.empty.lock().unwrap());
    let (feed, status) = (in_feed.lock().unwrap(), at_alice.lock().unwrap());
    let ours = |seen: &HashMap<Vec<u8>, Instant>| {
        let after = |one: &Sent| {
            let pushed = empty.get(&one.event)?;
            Some(seen.get(&one.octets)?.saturating_duration_since(*pushed))
        };
        sent.iter().filter_map(after).collect()
    };
    let what = |what: &str| format!("{load}: Alice's send to {what}");
    show(
        &what("Synapse's answer"),
        since(&sent, |one| Some(one.done)),
        messages,
    );
    show(
        &what("the empty appservice (Synapse's share)"),
        since(&sent, |one| empty.get(&one.event).copied()),
        messages,
    );
    show(
        &what("Bob's feed (all of it)"),
        since(&sent, |one| bob.get(&one.octets).copied()),
        messages,
    );
    show(
        &format!("{load}: empty appservice to Alice's feed (ours: accepted, durable)"),
        ours(&feed),
        messages,
    );
    show(
        &format!("{load}: empty appservice to Bob's feed (ours, both gateways)"),
        ours(&bob),
        messages,
    );
    show(
        &what("the status in her sync"),
        since(&sent, |one| status.get(one.id.as_bytes()).copied()),
        messages,
    );
}

/// Bob to Alice's portal.
pub(crate) async fn back(stage: &Stage, load: &str, messages: usize, gap: Duration) {
    let composed = compose(stage.bob.profile(), &stage.room, messages);
    let at_alice = follow_sync(&stage.matrix, &stage.portal).await;
    let in_feed = follow(transport(stage.alice.profile()), stage.room.clone()).await;
    let http = Arc::new(transport(stage.bob.profile()));
    let sent = offer(composed, gap, |id, octets| {
        let (http, room) = (http.clone(), stage.room.clone());
        async move {
            let message = mls_client::api::SubmitMessage {
                id,
                message: mls_client::api::B64(octets),
            };
            http.submit(&room, &message).await.unwrap();
            String::new()
        }
    })
    .await;
    all_there("in Alice's portal", messages, Duration::from_mins(1), || {
        let there = at_alice.lock().unwrap();
        sent.iter().filter(|one| there.contains_key(&one.octets)).count()
    })
    .await;
    let (portal, feed) = (at_alice.lock().unwrap(), in_feed.lock().unwrap());
    let what = |what: &str| format!("{load}: Bob's submit to {what}");
    show(
        &what("his provider's answer"),
        since(&sent, |one| Some(one.done)),
        messages,
    );
    show(
        &what("Alice's feed"),
        since(&sent, |one| feed.get(&one.octets).copied()),
        messages,
    );
    show(
        &what("Alice's sync (portal copy)"),
        since(&sent, |one| portal.get(&one.octets).copied()),
        messages,
    );
}
