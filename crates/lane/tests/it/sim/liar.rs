//! A provider that takes part in nothing, and repeats what it has caught of the others, as it was or altered.

use super::provider::Sim;
use crate::faces::{A, Home as _, Way, ctx, domain, uri};
use mimi_wire::protocol::{SubmitMessageResponse, UpdateOutcome};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use room_engine::Actor;
use std::sync::Arc;
use std::time::Duration;

/// Its name.
const C: &str = "c.example";

/// Changes one octet, now and then.
fn altered(rng: &mut SmallRng, mut octets: Vec<u8>) -> Vec<u8> {
    if rng.random_range(0..4) == 0 && !octets.is_empty() {
        let at = rng.random_range(0..octets.len());
        octets[at] ^= rng.random_range(1..=255_u8);
    }
    octets
}

/// Repeats what it has caught as its own, and to the follower also in the hub's name (then as it was: whoever has that name
/// may say anything), until it is stopped.
pub(super) async fn lie(sim: Arc<Sim>, mut rng: SmallRng) {
    let liar = sim.outside(C);
    let mut alters = sim.more.then(|| sim.drawn("what is altered"));
    let mut alter = |octets: Vec<u8>| match &mut alters {
        Some(rng) => altered(rng, octets),
        None => octets,
    };
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..3000))).await;
        let mut pick = |all: &[(String, Vec<u8>)]| match all.len() {
            0 => None,
            many => {
                let (room, octets) = &all[rng.random_range(0..many)];
                Some((uri(room), octets.clone()))
            }
        };
        let (bundle, message, body) = {
            let history = sim.history();
            (
                pick(&history.bundles),
                pick(&history.submitted),
                pick(&history.notified),
            )
        };
        let follower = sim.follower();
        if let Some((room, body)) = body {
            let forged = follower
                .notify(ctx(), &room, &domain(C), alter(body.clone()))
                .await;
            assert!(
                forged.is_err(),
                "a notification of somebody else than the hub was taken"
            );
            let _ = follower.notify(ctx(), &room, &domain(A), body).await;
        }
        if let (Some((room, bundle)), Ok(hub)) = (bundle, liar.reach(C, A, Way::Ordering).await) {
            let answer = hub
                .update(ctx(), &room, Actor::Peer(domain(C)), alter(bundle))
                .await;
            if let Ok(answer) = answer {
                let taken = matches!(answer.outcome, UpdateOutcome::Success { .. });
                assert!(!taken, "an update of a provider outside of the room was taken");
            }
        }
        if let (Some((room, message)), Ok(hub)) = (message, liar.reach(C, A, Way::Message).await) {
            let answer = hub.submit_message(ctx(), &room, &domain(C), alter(message)).await;
            let taken = matches!(answer, Ok(SubmitMessageResponse::Accepted { .. }));
            assert!(!taken, "a message of a provider outside of the room was taken");
        }
    }
}
