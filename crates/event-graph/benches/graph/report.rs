//! What the bench prints: a line a case, for people or for programs.

use std::process::ExitCode;

use serde_json::json;

/// One measured case.
pub struct Case<'a> {
    pub name: String,
    pub ours: f64,
    /// What the peer needs for the same, or what it is measured by.
    pub peer: f64,
    pub unit: &'a str,
    pub peer_name: &'a str,
    /// The goal in words, and whether it is met.
    pub goal: &'a str,
    pub holds: bool,
}

pub struct Report {
    json: bool,
    missed: usize,
}

impl Report {
    pub fn new(json: bool) -> Self {
        if !json {
            println!(
                "{:<52} {:>10} {:>10}    {:>7}  {:<24} goal",
                "case", "ours", "peer", "ratio", "peer is"
            );
        }
        Self { json, missed: 0 }
    }

    pub fn add(&mut self, case: &Case<'_>) {
        self.missed += usize::from(!case.holds);
        let ratio = case.peer / case.ours;
        if self.json {
            let line = json!({"area": "graph", "case": case.name, "ours": case.ours, "peer": case.peer,
                "unit": case.unit, "peer_name": case.peer_name, "ratio": ratio, "goal": case.goal,
                "holds": case.holds});
            println!("{line}");
        } else {
            println!(
                "{:<52} {:>10.3} {:>10.3} {:<2} {ratio:>7.2}  {:<24} {}{}",
                case.name,
                case.ours,
                case.peer,
                case.unit,
                case.peer_name,
                case.goal,
                if case.holds { "" } else { "  MISSED" }
            );
        }
    }

    pub fn finish(self) -> ExitCode {
        if self.missed > 0 {
            eprintln!("{} cases miss their goal", self.missed);
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}
