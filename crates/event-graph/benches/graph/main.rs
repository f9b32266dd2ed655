//! Contested sets and ingest against ruma-state-res and single signature verification, as ratios of CPU time.
//!
//! `scripts/bench graph`. Peers do the same work in the same process: auth difference and conflicted subgraph
//! included, from state maps and events that are parsed already. The result digests have to be the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    unreachable_pub,
    dead_code
)]

mod contested;
mod ingest;
mod report;
mod resolution;
#[path = "../../tests/it/theirs.rs"]
mod theirs;

use std::process::ExitCode;

use report::Report;

/// CPU time of this thread in milliseconds.
fn cpu_ms() -> f64 {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// CPU time of the fastest of some runs: at least so many, and more while they take less than a fifth of a second
/// together, since a short run is easily disturbed.
fn best(runs: usize, mut work: impl FnMut()) -> f64 {
    let (mut best, mut all, mut done) = (f64::INFINITY, 0.0, 0);
    while done < runs || (all < 200.0 && done < 2_000) {
        let start = cpu_ms();
        work();
        let took = cpu_ms() - start;
        best = best.min(took);
        all += took;
        done += 1;
    }
    best
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The smallest sizes.
    Quick,
    /// The sizes that goals are set for.
    Usual,
    /// Every combination.
    All,
}

fn main() -> ExitCode {
    let given = |option: &str| std::env::args().any(|a| a == option);
    let extent = match (given("--quick"), given("--all")) {
        (true, _) => Extent::Quick,
        (_, true) => Extent::All,
        _ => Extent::Usual,
    };
    let mut report = Report::new(given("--json"));
    resolution::run(extent, &mut report);
    ingest::run(
        if extent == Extent::Quick { 20_000 } else { 100_000 },
        &mut report,
    );
    report.finish()
}
