//! What was found out, in figures.

use serde_json::json;
use std::time::{Duration, Instant};

pub(crate) fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

/// One figure.
pub(crate) fn case(case: &str, ours: f64, unit: &str) {
    if flag("--json") {
        println!(
            "{}",
            json!({"area": "appservice", "case": case, "ours": ours, "unit": unit})
        );
    } else {
        println!("  {case:<78} {ours:>9.1} {unit}");
    }
}

pub(crate) fn quantile(all: &mut [Duration], q: f64) -> f64 {
    if all.is_empty() {
        return f64::NAN;
    }
    all.sort();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let place = ((all.len() - 1) as f64 * q).round() as usize;
    all[place].as_secs_f64() * 1000.0
}

pub(crate) fn show(what: &str, mut all: Vec<Duration>, of: usize) {
    let n = all.len();
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        case(
            &format!("{what}, {name} of {n}/{of}"),
            quantile(&mut all, q),
            "ms",
        );
    }
}

pub(crate) async fn all_there(what: &str, count: usize, within: Duration, mut have: impl FnMut() -> usize) {
    let end = Instant::now() + within;
    while have() < count {
        if Instant::now() > end {
            println!(
                "  {what}: only {} of {count} within {} s",
                have(),
                within.as_secs()
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Resident memory of a process, MiB.
pub(crate) fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib: f64 = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or_default();
    kib / 1024.0
}

pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
