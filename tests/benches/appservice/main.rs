//! What the way through a homeserver costs: `scripts/bench appservice`.
//!
//! A real Synapse, two gateways, and beside ours an application service that does nothing but look at the clock when an
//! event reaches it. What that one sees is Synapse's own share; the rest is ours. Latency is from a client's call to
//! when the other side has it: Alice's message in the feed of Bob's provider, Bob's message in Alice's Matrix sync. Before
//! each load the homeserver takes the same load alone, in a room that is no portal.
//!
//! `--quick`: fewer of everything. `--all`: more, among it an outage with 10,000 events waiting. `--json`: a line of JSON
//! for each case. `--keep`: the logs stay, and are named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs
)]

mod loads;
mod outage;
mod report;
mod stage;
mod watchers;

use loads::{alone, back, there};
use outage::{catch_up, outage};
use report::{case, flag, resident};
use stage::stage;
use std::time::Duration;

/// Messages a second of the loaded run.
const RATE: u32 = 50;

#[tokio::main]
async fn main() {
    causeway_tests::install_tls();
    // cargo bench passes --bench; without a homeserver there is nothing to measure.
    assert!(
        causeway_tests::synapse::python().is_some(),
        "the homeserver isn't installed; scripts/bench does that"
    );
    let (idle, loaded, waiting, burst) = match (flag("--quick"), flag("--all")) {
        (true, _) => (20, 100, 200, 1000),
        (_, true) => (200, 1000, 10_000, 10_000),
        _ => (60, 500, 1000, 4000),
    };
    let say = |what: &str| {
        if !flag("--json") {
            println!("{what}");
        }
    };
    let place = tempfile::tempdir().unwrap();
    let mut stage = stage(place.path()).await;
    case(
        "gateway's resident memory at rest",
        resident(stage.a.id().unwrap()),
        "MiB",
    );
    for (load, messages, gap) in [
        ("idle", idle, Duration::from_millis(250)),
        ("loaded", loaded, Duration::from_secs(1) / RATE),
    ] {
        say(&format!(
            "{load}: {} messages a second",
            Duration::from_secs(1).div_duration_f64(gap)
        ));
        alone(&stage, load, messages, gap).await;
        there(&stage, load, messages, gap).await;
        back(&stage, load, messages, gap).await;
    }
    say("after an outage");
    outage(&mut stage, waiting).await;
    catch_up(&stage, burst).await;
    for (who, pid) in [("the peer", stage.b.id()), ("Synapse", stage.synapse.id())] {
        case(
            &format!("resident memory of {who}"),
            resident(pid.unwrap()),
            "MiB",
        );
    }
    if flag("--keep") {
        println!("logs are kept in {}", place.keep().display());
    }
    stage.a.stop().await.unwrap();
    stage.b.stop().await.unwrap();
    stage.synapse.stop().await.unwrap();
    if report::missed() {
        std::process::exit(1);
    }
}
