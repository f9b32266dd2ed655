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
use mimi_wire::components::ParticipantListData;
use mimi_wire::protocol::HandshakeBundle;
use openmls::group::{ProposalStore, PublicGroup, StagedCommit};
use openmls::prelude::{tls_codec::Deserialize as _, *};
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::signatures::Signer as _;
use room::{NOW, add, hub};
use std::process::ExitCode;

/// Commits of each kind that are measured; the median is shown.
const RUNS: usize = 41;

/// CPU time of all threads in milliseconds: openmls hashes trees in several. The kernel brings the figure up to date when
/// a thread yields or sleeps.
fn cpu_ms() -> f64 {
    std::thread::yield_now();
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let of_each = threads.map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap()
    });
    of_each.sum::<f64>() / 1e6
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

/// Times what openmls takes that judging may take, in groups of at least so many members: below, the signature on the
/// GroupInfo, which openmls doesn't look at, weighs more than the group.
const JUDGE_GOAL: f64 = 1.3;
const JUDGE_FROM: usize = 100;
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
    fn beside(self, members: usize, case: &str, ours: f64, openmls: f64) -> bool {
        let ratio = ours / openmls;
        let case = format!("{members} members: {case}");
        if members < JUDGE_FROM {
            if self.json {
                println!(
                    r#"{{"area":"mimi","case":"{case}","ours":{ours:.4},"peer":{openmls:.4},"unit":"ms","peer_name":"openmls","ratio":{ratio:.3}}}"#
                );
            } else {
                println!("{case:<60} {ours:>9.3} ms, openmls {openmls:.3} ms, {ratio:.2} times");
            }
            return true;
        }
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

    /// Validates a commit. What an update of the participant list comes to is the application's to say.
    fn stage(&self, bundle: &HandshakeBundle, list: &ParticipantListData) -> StagedCommit {
        let message = MlsMessageIn::tls_deserialize_exact(bundle.proposal_or_commit().as_bytes()).unwrap();
        let message = message.try_into_protocol_message().unwrap();
        let crypto = self.provider.crypto();
        match self
            .group
            .process_message(crypto, message)
            .unwrap()
            .into_content()
        {
            ProcessedMessageContent::StagedCommitMessage(staged) => *staged,
            ProcessedMessageContent::UnresolvedAppDataCommit(unresolved) => {
                let updates: Vec<_> = unresolved.app_data_update_proposals().cloned().collect();
                let mut updater = self.group.app_data_dictionary_updater();
                for data in client::new_data(list, &updates) {
                    updater.set(data);
                }
                self.group
                    .stage_app_data_commit(crypto, *unresolved, updater.changes())
                    .unwrap()
            }
            _ => panic!("no commit"),
        }
    }

    /// Makes it true and writes it into openmls' own storage in memory.
    fn merge(&mut self, staged: StagedCommit) {
        self.group.merge_commit(self.provider.storage(), staged).unwrap();
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

/// What handshakes of one kind took.
#[derive(Default)]
struct Taken {
    /// openmls: validated; and merged and stored besides.
    alone: Vec<f64>,
    alone_stored: Vec<f64>,
    /// Ours: judged; and applied and snapshot taken besides.
    judge: Vec<f64>,
    /// Of it, checking the GroupInfo's signature, which openmls doesn't.
    signature: Vec<f64>,
    apply: Vec<f64>,
    snapshot: Vec<f64>,
    all: Vec<f64>,
    size: usize,
}

impl Taken {
    fn measure(&mut self, alice: &mut TestClient, group: &mut Group, plan: Plan) {
        let hub = hub();
        let mut observer = Observer::of(alice);
        let list = alice.participants();
        let bundle = alice.commit(plan);
        self.size = bundle.proposal_or_commit().as_bytes().len();
        // Once before, so that neither group has just been made while the other one has left the processor's caches.
        drop(observer.stage(&bundle, &list));
        let before = cpu_ms();
        let staged = timed(&mut self.alone, || observer.stage(&bundle, &list));
        observer.merge(staged);
        self.alone_stored.push(cpu_ms() - before);
        drop(group.judge(&hub, &alice.domain(), &bundle, NOW).unwrap());
        let before = cpu_ms();
        let judged = timed(&mut self.judge, || {
            group.judge(&hub, &alice.domain(), &bundle, NOW).unwrap()
        });
        timed(&mut self.apply, || group.apply(judged).unwrap());
        timed(&mut self.snapshot, || group.snapshot().unwrap());
        self.all.push(cpu_ms() - before);
        let signed = group.group_info();
        let signature = alice.signer.sign(signed).unwrap();
        timed(&mut self.signature, || {
            let (crypto, key) = (observer.provider.crypto(), alice.signer.public());
            let scheme = alice.signer.signature_scheme();
            crypto.verify_signature(scheme, signed, key, &signature).unwrap();
        });
        alice.merge();
    }

    fn show(mut self, report: Report, members: usize, kind: &str) -> bool {
        let case = |what: &str| format!("{members} members: {what}");
        let what = format!("{kind} of {} octets, judged", self.size);
        let mut holds = report.beside(members, &what, median(&mut self.judge), median(&mut self.alone));
        report.figure(
            &case("of it the GroupInfo's signature"),
            median(&mut self.signature),
        );
        report.figure(&case("the same, applied"), median(&mut self.apply));
        report.figure(&case("the same, snapshot taken"), median(&mut self.snapshot));
        holds &= report.beside(
            members,
            "all of that, beside openmls with its storage in memory",
            median(&mut self.all),
            median(&mut self.alone_stored),
        );
        holds
    }
}

fn commits(report: Report, members: usize) -> bool {
    let (mut alice, mut group) = grown(members);
    let mut plain = Taken::default();
    for _ in 0..RUNS {
        plain.measure(&mut alice, &mut group, Plan::default());
    }
    let mut adds = Taken::default();
    for number in 0..RUNS {
        let newcomer = TestClient::new(&format!("mimi://c.example/d/new{number}/phone"));
        let plan = Plan {
            adds: vec![newcomer.key_package()],
            list: add(&[&newcomer.user()]),
            ..Plan::default()
        };
        adds.measure(&mut alice, &mut group, plan);
    }
    let octets = group.snapshot().unwrap();
    let mut restore = vec![];
    for _ in 0..RUNS {
        timed(&mut restore, || Group::restore(&octets).unwrap());
    }
    let mut holds = plain.show(report, members, "a commit");
    holds &= adds.show(report, members, "an add");
    let case = format!(
        "{members} members: opened from its snapshot of {} KB",
        octets.len() / 1000
    );
    report.figure(&case, median(&mut restore));
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
