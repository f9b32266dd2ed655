//! A hub under load: real services on sled over mutual TLS on loopback, everything in this process.
//!
//! `scripts/bench mimi`; sizes with `cargo bench --profile ci -p causeway --bench mimi -- --followers N --rooms N,N
//! --messages N --groups N,N --idle N`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss
)]

mod case;
mod floors;
mod handshakes;
mod idle;
mod messages;
mod world;

use case::Report;
use handshakes::Case;
use std::process::ExitCode;
use std::time::Duration;

/// What is asked for on the command line.
struct Wanted {
    followers: usize,
    rooms: Vec<usize>,
    messages: usize,
    /// Members of the groups in which handshakes are measured.
    groups: Vec<usize>,
    idle: usize,
    report: Report,
}

impl Wanted {
    fn read() -> Self {
        let mut wanted = Self {
            followers: 10,
            rooms: vec![1, 10, 100],
            messages: 2000,
            groups: vec![10, 100],
            idle: 10_000,
            report: Report { json: false },
        };
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--json" => {
                    wanted.report.json = true;
                    continue;
                }
                "--quick" => {
                    (wanted.followers, wanted.rooms) = (3, vec![1, 10]);
                    (wanted.messages, wanted.idle) = (500, 500);
                    wanted.groups = vec![10];
                    continue;
                }
                "--all" => {
                    wanted.groups = vec![10, 100, 1000];
                    continue;
                }
                _ => {}
            }
            let value = arguments.next().expect("a value");
            let number = || value.parse().expect("a number");
            let numbers = || value.split(',').map(|n| n.parse().expect("a number")).collect();
            match name.as_str() {
                "--followers" => wanted.followers = number(),
                "--messages" => wanted.messages = number(),
                "--idle" => wanted.idle = number(),
                "--rooms" => wanted.rooms = numbers(),
                "--groups" => wanted.groups = numbers(),
                other => panic!("{other}: unknown"),
            }
        }
        wanted
    }

    /// One group of each size; of the smallest also several at a time.
    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = self
            .groups
            .iter()
            .map(|members| Case {
                members: *members,
                rooms: 1,
                commits: if *members > 500 { 30 } else { 200 },
            })
            .collect();
        cases.extend(self.groups.first().map(|members| Case {
            members: *members,
            rooms: 10,
            commits: 50,
        }));
        cases
    }
}

/// The value below which so many of a hundred are.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
}

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os("CAUSEWAY_BENCH_IDLE") {
        idle::child(folder.as_ref());
        return ExitCode::SUCCESS;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let wanted = Wanted::read();
    let report = wanted.report;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    report.note(&format!(
        "one hub and {} followers with {cores} cores between them, each on a store that syncs",
        wanted.followers
    ));
    let holds = runtime.block_on(async {
        let most = wanted.rooms.iter().copied().max().unwrap_or(0);
        if most > 0 {
            let mut world = world::World::new(report, wanted.followers, most).await;
            floors::measure(report, &world).await;
            for rooms in &wanted.rooms {
                messages::measure(report, &world, *rooms, wanted.messages).await;
            }
            handshakes::measure(report, &mut world, &wanted.cases()).await;
            world.stop().await;
        }
        wanted.idle == 0 || idle::measure(report, wanted.idle).await
    });
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
