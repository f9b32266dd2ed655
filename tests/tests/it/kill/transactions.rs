//! Death while the homeserver pushes: "transactions are lost or doubled when the bridge crashes".

use super::{PATIENCE, kills, random};
use crate::faults::Side;
use crate::support::homeserver_there;
use std::time::{Duration, Instant};

/// Where a transaction passes, in order.
const POINTS: [&str; 5] = [
    "engine.before-commit",
    "store.before-sync",
    "store.after-sync",
    "engine.after-commit",
    "any instant",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_during_transactions_loses_and_doubles_none_of_their_events() {
    if !homeserver_there() {
        return;
    }
    let mut side = Side::start().await;
    // Ten in CI; twice what the long run asks of the other test, since these are cheaper.
    let deaths = if kills() > 10 { kills() * 2 } else { kills() };
    for n in 0..deaths {
        side.gateway.stop().await.unwrap();
        // The homeserver has something to push as soon as the gateway is there.
        side.hand_in(&format!("before death {n}")).await;
        let point = POINTS[n % POINTS.len()];
        let armed = format!("{point}:{}", 1 + random(4));
        let instant = point == "any instant";
        // It may die before it is ready.
        let started = side.gateway.start((!instant).then_some(armed.as_str())).await;
        if started.is_ok() {
            side.hand_in(&format!("while dying {n}")).await;
        }
        if instant {
            tokio::time::sleep(Duration::from_millis(u64::from(random(300)))).await;
        } else {
            let end = Instant::now() + PATIENCE;
            while !side.gateway.died().unwrap() && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        side.gateway.kill().await.unwrap();
        side.gateway.start(None).await.unwrap();
    }
    side.everything_is_there_once().await;
    side.stop().await;
}
