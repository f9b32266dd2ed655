//! Handshakes: commits of a follower's client through the hub, each with a new path, in groups of different sizes.

use crate::case::Report;
use crate::percentile;
use crate::world::World;
use mimi_wire::codec::UnixMillis;
use mimi_wire::directory::Endpoint;
use mimi_wire::protocol::{UpdateOutcome, UpdateResponseCode, UpdateRoomResponse};
use mimi_wire::{Decode as _, Encode as _, MimiUri};
use mls_client::Engine;
use std::time::{Duration, Instant};

/// Users added by one commit.
const STEP: usize = 50;
/// The follower whose client commits.
const COMMITTER: usize = 0;

/// What is measured: groups of so many members, so many of them at the same time, so many commits in each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) members: usize,
    pub(crate) rooms: usize,
    pub(crate) commits: usize,
}

/// Other users of the followers. Their devices only hand out KeyPackages: what comes is read by nobody.
async fn members(world: &World, count: usize, groups: usize) -> Vec<MimiUri> {
    let mut users = Vec::with_capacity(count);
    for number in 0..count {
        let (user, _) = world.device(number, &format!("member{number}"), groups).await;
        users.push(user);
    }
    users
}

/// The commits of a client one after the other, made before anything is measured: each as if the one before it had been
/// accepted.
fn commits(engine: &mut Engine, room: &str, count: usize) -> Vec<Vec<u8>> {
    let accepted = UpdateRoomResponse {
        error_description: String::new(),
        outcome: UpdateOutcome::Success {
            accepted_timestamp: UnixMillis(1),
        },
    }
    .to_bytes();
    let made = (0..count).map(|_| {
        engine.renew_keys(room).unwrap();
        let request = engine.prepare(room).unwrap().unwrap();
        engine.answered(room, &accepted).unwrap();
        request.bundle.0
    });
    made.collect()
}

/// CPU time of this process, in milliseconds: hub, followers, and what posts.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    // User and system time, counted in hundredths of a second.
    (ticks(11) + ticks(12)) * 10.0
}

async fn post(world: &World, room: &str, bundle: Vec<u8>) -> Duration {
    let asked = Instant::now();
    let answer = world.followers[COMMITTER]
        .client
        .post(&world.hub.domain, Endpoint::Update, room, "bench", bundle.into())
        .await
        .unwrap();
    let took = asked.elapsed();
    let answer = UpdateRoomResponse::from_bytes(&answer.body).unwrap();
    assert_eq!(answer.outcome.code(), UpdateResponseCode::Success, "{answer:?}");
    took
}

pub(crate) async fn measure(report: Report, world: &mut World, cases: &[Case]) {
    let most = cases.iter().map(|case| case.members).max().unwrap_or(0);
    let groups = cases.iter().map(|case| case.rooms).sum();
    let users = members(world, most.saturating_sub(2), groups).await;
    for (number, case) in cases.iter().enumerate() {
        one(report, world, *case, number, &users).await;
    }
}

async fn one(report: Report, world: &mut World, case: Case, number: usize, users: &[MimiUri]) {
    let Case {
        members,
        rooms,
        commits: each,
    } = case;
    // The room's creator, the client that commits, and others.
    let (user, mut committer) = world
        .device(COMMITTER, &format!("committer{number}"), rooms)
        .await;
    let mut founded = Vec::with_capacity(rooms);
    for number in 0..rooms {
        let room = world.creator.create(&format!("Group {number}")).await.unwrap();
        let all = [std::slice::from_ref(&user), &users[..members - 2]].concat();
        for some in all.chunks(STEP) {
            world.creator.add(&room, some).await.unwrap();
        }
        founded.push(room);
    }
    world.quiet().await;
    committer.sync().await.unwrap();
    let mut engine = committer.into_engine();
    let bundles: Vec<(String, Vec<Vec<u8>>)> = founded
        .into_iter()
        .map(|room| {
            let made = commits(&mut engine, &room, each);
            (room, made)
        })
        .collect();
    let size = bundles[0].1[0].len() / 1000;

    let (began, before) = (Instant::now(), cpu_ms());
    let sending = bundles.into_iter().map(|(room, bundles)| {
        let world = &*world;
        async move {
            let mut took = Vec::with_capacity(bundles.len());
            for bundle in bundles {
                took.push(post(world, &room, bundle).await);
            }
            took
        }
    });
    let mut took = futures_util::future::join_all(sending).await.concat();
    let all = began.elapsed();
    world.quiet().await;
    let cpu = (cpu_ms() - before) / took.len() as f64;
    took.sort();

    let groups = if rooms == 1 {
        "a group".to_owned()
    } else {
        format!("{rooms} groups at a time")
    };
    let name = format!("{groups} of {members} members, commits of {size} KB");
    report.figure(
        &format!("{name}: accepted"),
        took.len() as f64 / all.as_secs_f64(),
        "1/s",
    );
    for percent in [50, 99] {
        let what = format!("{name}: update to the hub's answer, p{percent}");
        report.figure(&what, percentile(&took, percent), "ms");
    }
    let what = format!("{name}: CPU time of all providers for one");
    report.figure(&what, cpu, "ms");
}
