//! What a handshake costs the hub, beside what openmls alone takes for it; and how long a room takes to open.
//!
//! `scripts/bench mimi`, or `cargo bench --profile ci -p delivery-service --bench judge -- [MEMBERS...] [--log ENTRIES]`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unnecessary_wraps,
    dead_code,
    unreachable_pub,
    missing_docs
)]

#[path = "../tests/it/client.rs"]
mod client;
#[path = "../tests/it/room.rs"]
mod room;
#[path = "../tests/it/setup.rs"]
mod setup;

use client::{Plan, TestClient};
use delivery_service::Group;
use mimi_wire::protocol::HandshakeBundle;
use openmls::group::{ProposalStore, PublicGroup};
use openmls::prelude::{tls_codec::Deserialize as _, *};
use openmls_rust_crypto::OpenMlsRustCrypto;
use room::{NOW, add, hub};
use std::process::ExitCode;

/// Commits of each kind that are measured; the median is shown.
const RUNS: usize = 15;

/// CPU time of this thread in milliseconds. The kernel brings the figure up to date when a thread yields.
fn cpu_ms() -> f64 {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

fn timed<T>(into: &mut Vec<f64>, what: impl FnOnce() -> T) -> T {
    let before = cpu_ms();
    let done = what();
    into.push(cpu_ms() - before);
    done
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Times what openmls takes that judging may take.
const JUDGE_GOAL: f64 = 1.3;
/// Milliseconds in which a room is to be open.
const OPEN_GOAL: f64 = 100.0;

/// How figures, all in milliseconds of CPU time, are printed.
#[derive(Clone, Copy)]
struct Report {
    json: bool,
}

impl Report {
    fn figure(self, case: &str, ours: f64) {
        if self.json {
            println!(r#"{{"area":"mimi","case":"{case}","ours":{ours:.4},"unit":"ms"}}"#);
        } else {
            println!("{case:<60} {ours:>9.3} ms");
        }
    }

    fn goal(self, case: &str, ours: f64, goal: f64) -> bool {
        let holds = ours <= goal;
        if self.json {
            println!(
                r#"{{"area":"mimi","case":"{case}","ours":{ours:.4},"unit":"ms","goal":{goal},"holds":{holds}}}"#
            );
        } else {
            println!("{case:<60} {ours:>9.3} ms (goal {goal}){}", missed(holds));
        }
        holds
    }

    /// Beside openmls' own processing of the same octets.
    fn beside(self, case: &str, ours: f64, openmls: f64) -> bool {
        let ratio = ours / openmls;
        let holds = ratio <= JUDGE_GOAL;
        if self.json {
            println!(
                r#"{{"area":"mimi","case":"{case}","ours":{ours:.4},"peer":{openmls:.4},"unit":"ms","peer_name":"openmls","ratio":{ratio:.3},"goal":{JUDGE_GOAL},"holds":{holds}}}"#
            );
        } else {
            println!(
                "{case:<60} {ours:>9.3} ms, openmls {openmls:.3} ms, {ratio:.2} times (goal {JUDGE_GOAL}){}",
                missed(holds)
            );
        }
        holds
    }
}

fn missed(holds: bool) -> &'static str {
    if holds { "" } else { "  MISSED" }
}

/// What openmls has of the same group, as an observer without any of our code.
struct Observer {
    provider: OpenMlsRustCrypto,
    group: PublicGroup,
}

impl Observer {
    fn of(client: &TestClient) -> Self {
        let provider = OpenMlsRustCrypto::default();
        let info = client
            .group()
            .export_group_info(client.provider.crypto(), &client.signer, false)
            .unwrap();
        let MlsMessageBodyIn::GroupInfo(info) = MlsMessageIn::from(info).extract() else {
            panic!("no GroupInfo")
        };
        let tree = RatchetTreeIn::tls_deserialize_exact(client.tree()).unwrap();
        let (group, _) = PublicGroup::from_external(
            provider.crypto(),
            provider.storage(),
            tree,
            info,
            ProposalStore::new(),
        )
        .unwrap();
        Self { provider, group }
    }

    fn process(&self, bundle: &HandshakeBundle) -> ProcessedMessage {
        let message = MlsMessageIn::tls_deserialize_exact(bundle.proposal_or_commit().as_bytes()).unwrap();
        let message = message.try_into_protocol_message().unwrap();
        self.group
            .process_message(self.provider.crypto(), message)
            .unwrap()
    }

    fn merge(&mut self, processed: ProcessedMessage) {
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            panic!("no plain commit")
        };
        self.group.merge_commit(self.provider.storage(), *staged).unwrap();
    }
}

/// A room of so many members, one device each, added in steps as a client does.
fn grown(members: usize) -> (TestClient, Group) {
    let hub = hub();
    let mut alice = TestClient::new("mimi://a.example/d/alice/phone");
    let mut group = alice.found(&hub, &client::uri("mimi://a.example/r/club"));
    let mut next = 1;
    while next < members {
        let step = (members - next).min(50);
        let newcomers: Vec<TestClient> = (next..next + step)
            .map(|number| TestClient::new(&format!("mimi://b{}.example/d/user{number}/phone", number % 10)))
            .collect();
        let users: Vec<_> = newcomers.iter().map(TestClient::user).collect();
        let plan = Plan {
            adds: newcomers.iter().map(TestClient::key_package).collect(),
            list: add(&users.iter().collect::<Vec<_>>()),
            ..Plan::default()
        };
        let bundle = alice.commit(plan);
        let judged = group.judge(&hub, &alice.domain(), &bundle, NOW).unwrap();
        group.apply(judged).unwrap();
        alice.merge();
        next += step;
    }
    (alice, group)
}

fn commits(report: Report, members: usize) -> bool {
    let hub = hub();
    let (mut alice, mut group) = grown(members);
    let (mut alone, mut judge, mut apply, mut snapshot) = (vec![], vec![], vec![], vec![]);
    let mut size = 0;
    for _ in 0..RUNS {
        let mut observer = Observer::of(&alice);
        let bundle = alice.commit(Plan::default());
        size = bundle.proposal_or_commit().as_bytes().len();
        let processed = timed(&mut alone, || observer.process(&bundle));
        observer.merge(processed);
        let judged = timed(&mut judge, || {
            group.judge(&hub, &alice.domain(), &bundle, NOW).unwrap()
        });
        timed(&mut apply, || group.apply(judged).unwrap());
        timed(&mut snapshot, || group.snapshot().unwrap());
        alice.merge();
    }
    let (mut add_alone, mut add_judge, mut add_all) = (vec![], vec![], vec![]);
    for number in 0..RUNS {
        let observer = Observer::of(&alice);
        let newcomer = TestClient::new(&format!("mimi://c.example/d/new{number}/phone"));
        let plan = Plan {
            adds: vec![newcomer.key_package()],
            list: add(&[&newcomer.user()]),
            ..Plan::default()
        };
        let bundle = alice.commit(plan);
        timed(&mut add_alone, || observer.process(&bundle));
        let before = cpu_ms();
        let judged = timed(&mut add_judge, || {
            group.judge(&hub, &alice.domain(), &bundle, NOW).unwrap()
        });
        group.apply(judged).unwrap();
        group.snapshot().unwrap();
        add_all.push(cpu_ms() - before);
        alice.merge();
    }
    let octets = group.snapshot().unwrap();
    let mut restore = vec![];
    for _ in 0..RUNS {
        timed(&mut restore, || Group::restore(&octets).unwrap());
    }
    let (alone, judge) = (median(&mut alone), median(&mut judge));
    let add_alone = median(&mut add_alone);
    let case = |what: &str| format!("{members} members: {what}");
    let mut holds = report.beside(&case(&format!("a commit of {size} octets, judged")), judge, alone);
    report.figure(&case("the same, applied"), median(&mut apply));
    report.figure(
        &case(&format!("snapshot of {} KB taken", octets.len() / 1000)),
        median(&mut snapshot),
    );
    holds &= report.beside(&case("an add, judged"), median(&mut add_judge), add_alone);
    report.figure(
        &case("the same, judged, applied, snapshot taken"),
        median(&mut add_all),
    );
    report.figure(&case("opened from its snapshot"), median(&mut restore));
    holds
}

fn long_log(report: Report, entries: usize) -> bool {
    let hub = hub();
    let (mut alice, mut group) = grown(3);
    for _ in 0..entries {
        let bundle = alice.commit(Plan::default());
        let judged = group.judge(&hub, &alice.domain(), &bundle, NOW).unwrap();
        group.apply(judged).unwrap();
        alice.merge();
    }
    let octets = group.snapshot().unwrap();
    let mut restore = vec![];
    for _ in 0..RUNS {
        timed(&mut restore, || Group::restore(&octets).unwrap());
    }
    report.goal(
        &format!("a room after {entries} handshakes, opened"),
        median(&mut restore),
        OPEN_GOAL,
    )
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut report = Report { json: false };
    let (mut sizes, mut log) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => report.json = true,
            "--quick" => (sizes, log) = (vec![10, 100], Some(500)),
            "--all" => {}
            "--log" => log = Some(arguments.next().unwrap().parse().unwrap()),
            members => sizes.push(members.parse().unwrap()),
        }
    }
    if sizes.is_empty() && log.is_none() {
        (sizes, log) = (vec![10, 100, 1000], Some(10_000));
    }
    let mut holds = true;
    for members in sizes {
        holds &= commits(report, members);
    }
    if let Some(entries) = log {
        holds &= long_log(report, entries);
    }
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
