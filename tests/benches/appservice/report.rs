//! What was found out, in figures.

use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

/// Whether a goal was missed.
static MISSED: AtomicBool = AtomicBool::new(false);

/// Whether a goal was missed.
pub(crate) fn missed() -> bool {
    MISSED.load(Ordering::Relaxed)
}

/// One figure.
pub(crate) fn case(case: &str, ours: f64, unit: &str) {
    print(case, ours, unit, None);
}

/// One figure that has to stay below a goal.
fn goal(case: &str, ours: f64, unit: &str, goal: f64) {
    if ours.is_nan() || ours > goal {
        MISSED.store(true, Ordering::Relaxed);
    }
    print(case, ours, unit, Some(goal));
}

fn print(case: &str, ours: f64, unit: &str, goal: Option<f64>) {
    let holds = goal.map(|goal| ours <= goal);
    if flag("--json") {
        println!(
            "{}",
            json!({"area": "appservice", "case": case, "ours": ours, "unit": unit, "goal": goal, "holds": holds})
        );
        return;
    }
    let verdict = match (goal, holds) {
        (Some(goal), Some(true)) => format!("  (goal {goal}: holds)"),
        (Some(goal), _) => format!("  (goal {goal}: MISSED)"),
        (None, _) => String::new(),
    };
    println!("  {case:<78} {ours:>9.1} {unit}{verdict}");
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

/// The same, and the 99th of a hundred has to take no longer than so many milliseconds.
pub(crate) fn show_within(what: &str, mut all: Vec<Duration>, of: usize, most: f64) {
    let n = all.len();
    let half = quantile(&mut all, 0.5);
    case(&format!("{what}, p50 of {n}/{of}"), half, "ms");
    let most_of_them = quantile(&mut all, 0.99);
    goal(&format!("{what}, p99 of {n}/{of}"), most_of_them, "ms", most);
}

pub(crate) async fn all_there(what: &str, count: usize, within: Duration, mut have: impl FnMut() -> usize) {
    let end = Instant::now() + within;
    while have() < count {
        if Instant::now() > end {
            eprintln!(
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
