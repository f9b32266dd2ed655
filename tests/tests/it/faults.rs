//! What goes wrong between a homeserver and a gateway, with a real Synapse and a real `causeway`. After each: nothing is
//! lost, nothing is doubled, and an operator is told. Each test names the complaint of operators that it closes.

mod several_nodes;

use crate::fault_proxy::{Fault, FaultProxy};
use crate::support::{Place, homeserver_there, submission};
use causeway_tests::client::Client;
use causeway_tests::matrix::{User, eventually};
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider, run};
use causeway_tests::synapse::Synapse;
use serde_json::Value;
use std::time::Duration;

/// For what should happen soon, on a machine that does other things too.
const SOON: Duration = Duration::from_mins(2);

/// A homeserver and a gateway with a fault proxy in each direction, and Alice in a room with a portal.
pub(crate) struct Side {
    pub(crate) synapse: Synapse,
    pub(crate) gateway: Provider,
    /// From the homeserver to the gateway.
    inbound: FaultProxy,
    /// From the gateway to the homeserver.
    outbound: FaultProxy,
    pub(crate) alice: Client,
    pub(crate) room: String,
    pub(crate) portal: String,
    matrix: User,
    sent: Vec<String>,
    place: Place,
}

impl Side {
    pub(crate) async fn start() -> Self {
        causeway_tests::install_tls();
        let place = Place::new();
        let [homeserver] = free_addresses().unwrap();
        let addresses = Addresses::free().unwrap();
        let inbound = FaultProxy::start(&format!("http://{}", addresses.appservice)).await;
        let outbound = FaultProxy::start(&format!("http://{homeserver}")).await;
        let mut gateway = Provider::init(
            &place.path("a"),
            "a.example",
            addresses,
            &place.path("ca"),
            &[],
            Some(&outbound.url()),
        )
        .await
        .unwrap();
        gateway
            .configure(|text| {
                text.replace("heartbeat_seconds = 60", "heartbeat_seconds = 1")
                    .replace("heartbeat_late_seconds = 20", "heartbeat_late_seconds = 2")
            })
            .unwrap();
        let direct = format!("http://{}", addresses.appservice);
        let through = inbound.url();
        gateway.register(|text| text.replace(&direct, &through)).unwrap();
        let registrations = [gateway.registration()];
        let mut synapse =
            Synapse::configure(&place.path("synapse"), "a.example", homeserver, &registrations).unwrap();
        synapse.start().await.unwrap();
        gateway.start(None).await.unwrap();
        let matrix = synapse.register("alice", "password").await.unwrap();
        let profiles = place.path("profiles");
        let alice = Client::login_matrix(
            &profiles,
            "Alice",
            &gateway,
            &synapse,
            ("alice", "password"),
            "phone",
        )
        .await
        .unwrap();
        let room = alice.run(&["create", "Faults"]).await.unwrap()["room"]
            .as_str()
            .unwrap()
            .to_owned();
        let mut side = Self {
            synapse,
            gateway,
            inbound,
            outbound,
            alice,
            room,
            portal: String::new(),
            matrix,
            sent: Vec::new(),
            place,
        };
        side.send("before anything went wrong").await;
        side.enter_portal().await;
        side
    }

    /// Alice sends, and waits until her provider has accepted it.
    async fn send(&mut self, text: &str) {
        self.alice.send(&self.room, text, SOON).await.unwrap();
        self.sent.push(text.to_owned());
    }

    /// Alice's client puts a message into the portal: the homeserver has acknowledged it, the gateway may not know of it.
    pub(crate) async fn hand_in(&mut self, text: &str) {
        let (id, content) = submission(&self.alice, &self.room, text);
        self.matrix
            .send(&self.portal, "org.causeway.message", &id, content)
            .await
            .unwrap();
        self.sent.push(text.to_owned());
    }

    /// Everything that Alice sent is in the feed, once, in any order.
    pub(crate) async fn everything_is_there_once(&self) {
        let mut wanted = self.sent.clone();
        wanted.sort();
        let found = eventually("every message", SOON, || async {
            let mut command = self.alice.command(&["sync"]).unwrap();
            self.alice.answer(&mut command).await?;
            let mut texts: Vec<String> = self
                .alice
                .messages(&self.room)
                .await?
                .into_iter()
                .filter(|m| m.pos.is_some())
                .map(|m| m.text)
                .collect();
            texts.sort();
            Ok((texts.len() >= wanted.len()).then_some(texts))
        });
        assert_eq!(found.await.unwrap(), wanted);
    }

    /// Another user of the same homeserver.
    pub(crate) async fn another_user(&self, name: &str) -> Client {
        self.synapse.register(name, "password").await.unwrap();
        let place = self.place.path("profiles");
        let login = (name, "password");
        let client = Client::login_matrix(&place, name, &self.gateway, &self.synapse, login, "laptop");
        let client = client.await.unwrap();
        client.run(&["register-keys"]).await.unwrap();
        client
    }

    /// Waits for a word in what `/readyz` warns of; an empty one: until it warns of nothing.
    async fn told(&self, word: &str) -> String {
        eventually(&format!("told: {word:?}"), SOON, || async {
            let answer = self.gateway.readiness().await?;
            let warnings = answer["warnings"].to_string();
            let there = if word.is_empty() {
                warnings == "[]"
            } else {
                warnings.contains(word)
            };
            Ok(there.then_some(warnings))
        })
        .await
        .unwrap()
    }

    async fn metric(&self, name: &str) -> f64 {
        let all = self.gateway.metrics().await.unwrap();
        all.iter()
            .filter(|(key, _)| key.split('{').next() == Some(name))
            .map(|(_, value)| *value)
            .sum()
    }

    async fn doctor(&self) -> Value {
        let output = self
            .gateway
            .command()
            .unwrap()
            .args(["doctor", "--json"])
            .output()
            .await
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The Matrix room of the portal, once it is there and Alice in it.
    async fn enter_portal(&mut self) {
        let portal = eventually("the portal", SOON, || async {
            let text = run(self
                .gateway
                .command()?
                .args(["room", "show", &self.room, "--json"]))
            .await?;
            let room: Value = serde_json::from_str(&text).unwrap();
            Ok(room["portal"].as_str().map(ToOwned::to_owned))
        });
        self.portal = portal.await.unwrap();
        self.matrix.join(&self.portal).await.unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.gateway.stop().await.unwrap();
        run(self.gateway.command().unwrap().args(["store", "verify"]))
            .await
            .unwrap();
        self.synapse.stop().await.unwrap();
    }
}

fn finding<'a>(report: &'a Value, probe: &str) -> &'a Value {
    report["lines"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["probe"] == probe)
        .unwrap_or_else(|| panic!("no {probe} in {report}"))
}

/// "The stream position of an appservice is stuck, silently" (synapse#1834, #11629), "events in flight are lost when the
/// homeserver restarts" (synapse#11637), "nobody noticed the outage" (appservice-irc#1693, mautrix/signal#532).
#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_stops_pushing_is_told_and_its_events_are_taken_from_the_timeline() {
    if !homeserver_there() {
        return;
    }
    let mut side = Side::start().await;
    side.told("").await;
    side.inbound.set(Fault::Vanish);
    for n in 1..=3 {
        side.hand_in(&format!("never pushed {n}")).await;
    }
    side.told("doesn't push in time").await;
    assert!(side.metric("causeway_homeserver_heartbeat_late").await > 0.0);
    // Without one push the messages arrive.
    side.everything_is_there_once().await;
    assert!(side.metric("causeway_homeserver_missed_total").await >= 3.0);
    side.inbound.set(Fault::None);
    side.told("").await;
    side.send("pushed again").await;
    side.everything_is_there_once().await;
    side.stop().await;
}

/// "Duplicate or reordered transactions after database trouble" (synapse#2509, #11620, appservice-discord#864), "an answer
/// that was lost".
#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_twice_and_out_of_order_changes_nothing() {
    if !homeserver_there() {
        return;
    }
    let mut side = Side::start().await;
    side.inbound.set(Fault::TwiceOutOfOrder);
    for n in 1..=5 {
        side.hand_in(&format!("shuffled {n}")).await;
    }
    side.inbound.set(Fault::LoseAnswer);
    side.inbound.release().await;
    side.hand_in("answered into the void").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    side.inbound.set(Fault::None);
    side.everything_is_there_once().await;
    assert!(side.metric("causeway_homeserver_repeated_total").await > 0.0);
    side.stop().await;
}

/// "Catch-up after downtime takes up to 512 seconds" (synapse#14240, #1601), "one event per transaction" (synapse#8704,
/// #8082), "the appservice stays down after either side restarts".
#[tokio::test(flavor = "multi_thread")]
async fn either_side_may_restart_and_the_back_off_ends_with_a_ping() {
    if !homeserver_there() {
        return;
    }
    let mut side = Side::start().await;
    // The gateway is away while Alice goes on: the homeserver backs off.
    side.gateway.stop().await.unwrap();
    for n in 1..=4 {
        side.hand_in(&format!("while the gateway was away {n}")).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    side.gateway.start(None).await.unwrap();
    side.everything_is_there_once().await;
    // And the homeserver.
    side.synapse.stop().await.unwrap();
    side.told("can't be used").await;
    let report = side.doctor().await;
    assert_eq!(finding(&report, "homeserver.versions")["level"], "error");
    side.synapse.start().await.unwrap();
    side.told("").await;
    side.send("after the homeserver was away").await;
    side.everything_is_there_once().await;
    side.stop().await;
}

/// "Floods and lost messages when the homeserver limits our rate" (synapse#8138), "5xx from a proxy".
#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_and_errors_for_twenty_seconds_lose_and_double_nothing() {
    if !homeserver_there() {
        return;
    }
    let mut side = Side::start().await;
    let before = portal_statuses(&side).await;
    for (fault, text) in [(429, "limited"), (503, "unavailable"), (500, "broken")] {
        side.outbound.set(Fault::Status(fault));
        side.hand_in(text).await;
        let (requests, seconds) = (side.outbound.requests(), 7);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        // No flood either: the pauses grow, and the homeserver's wish is kept to.
        let asked = side.outbound.requests() - requests;
        assert!(asked < 100, "{asked} requests in {seconds} s of {fault}");
    }
    side.told("can't be used").await;
    side.outbound.set(Fault::None);
    side.told("").await;
    side.everything_is_there_once().await;
    // The answers in the portal, one for each.
    eventually("three answers", SOON, || async {
        Ok((portal_statuses(&side).await == before + 3).then_some(()))
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(portal_statuses(&side).await, before + 3);
    side.stop().await;
}

/// How many messages the bot answered as accepted in the portal, as the homeserver has them.
async fn portal_statuses(side: &Side) -> usize {
    let events = side.matrix.messages(&side.portal, 100).await.unwrap();
    let accepted = events
        .iter()
        .filter(|e| e["type"] == "org.causeway.status" && e["content"]["state"] == "accepted");
    accepted.count()
}

/// "Token mistakes", "registration needs a restart" (synapse#1354, mautrix/telegram#319), "rotation needs downtime".
#[tokio::test(flavor = "multi_thread")]
async fn tokens_rotate_without_downtime_and_a_wrong_one_is_named() {
    if !homeserver_there() {
        return;
    }
    let mut side = Side::start().await;
    let appservice = async |side: &Side, args: &[&str]| {
        let mut command = side.gateway.command().unwrap();
        run(command.arg("appservice").args(args)).await
    };
    appservice(&side, &["registration", "--diff"]).await.unwrap();
    let before = std::fs::read_to_string(side.gateway.registration()).unwrap();
    appservice(&side, &["rotate"]).await.unwrap();
    assert!(appservice(&side, &["rotate"]).await.is_err(), "one at a time");
    // The homeserver still has the tokens of before.
    side.send("with the old tokens").await;
    assert_eq!(
        finding(&side.doctor().await, "homeserver.rotation")["level"],
        "warning"
    );
    side.synapse.stop().await.unwrap();
    side.synapse.start().await.unwrap();
    side.send("with the new tokens").await;
    side.told("").await;
    appservice(&side, &["rotate", "--finish"]).await.unwrap();
    side.send("when the rotation is over").await;
    appservice(&side, &["registration", "--diff"]).await.unwrap();

    // The homeserver loads an old registration: both directions are refused, which is told with the remedy. The old one
    // is a file of its own, since the gateway reads its own again when a token turns out to be unknown.
    let now = std::fs::read_to_string(side.gateway.registration()).unwrap();
    assert_ne!(before, now);
    let settings = side.synapse.dir().join("homeserver.yaml");
    let right = std::fs::read_to_string(&settings).unwrap();
    let old = side.synapse.dir().join("old-registration.yaml");
    std::fs::write(&old, &before).unwrap();
    let path = |file: &std::path::Path| file.to_str().unwrap().to_owned();
    let wrong = right.replace(&path(&side.gateway.registration()), &path(&old));
    assert_ne!(right, wrong);
    side.synapse.stop().await.unwrap();
    std::fs::write(&settings, &wrong).unwrap();
    side.synapse.start().await.unwrap();
    side.hand_in("with tokens that nobody knows").await;
    side.told("M_UNKNOWN_TOKEN").await;
    let report = side.doctor().await;
    assert_eq!(finding(&report, "homeserver.as-token")["level"], "error");
    assert!(appservice(&side, &["registration", "--diff"]).await.is_err());
    side.synapse.stop().await.unwrap();
    std::fs::write(&settings, &right).unwrap();
    side.synapse.start().await.unwrap();
    side.told("").await;
    side.everything_is_there_once().await;
    side.stop().await;
}

/// "Duplicate or lost transactions after the homeserver's database was restored" (synapse#2509, appservice-discord#695).
#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_restored_from_a_backup_loses_nothing_that_was_accepted_and_is_told() {
    if !homeserver_there() {
        return;
    }
    if causeway_tests::synapse::on_postgres().is_some() {
        println!("SKIPPED: a backup of SQLite is a copy of its file; that of PostgreSQL is its own affair");
        return;
    }
    let mut side = Side::start().await;
    side.synapse.stop().await.unwrap();
    let (database, backup) = (
        side.synapse.dir().join("homeserver.db"),
        side.synapse.dir().join("backup.db"),
    );
    std::fs::copy(&database, &backup).unwrap();
    side.synapse.start().await.unwrap();
    for n in 1..=3 {
        side.send(&format!("after the backup {n}")).await;
    }
    // The first that comes may have been sent before the backup; what the homeserver forgets has to be known here.
    let heartbeats = "causeway_homeserver_heartbeat_seconds_count";
    let before = side.metric(heartbeats).await;
    eventually("heartbeats after the backup", SOON, || async {
        Ok((side.metric(heartbeats).await >= before + 2.0).then_some(()))
    })
    .await
    .unwrap();
    side.synapse.stop().await.unwrap();
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(side.synapse.dir().join(format!("homeserver.db{end}")));
    }
    std::fs::copy(&backup, &database).unwrap();
    side.synapse.start().await.unwrap();
    for n in 1..=3 {
        side.send(&format!("after the restore {n}")).await;
    }
    side.told("back in time").await;
    assert!(side.metric("causeway_homeserver_rewound_total").await > 0.0);
    side.everything_is_there_once().await;
    side.stop().await;
}

/// "One bad event stops the bridge", "no way to debug delivery" (synapse#13142, appservice-irc#1785), "authenticated media
/// broke attachments" (appservice-discord#929): what `causeway doctor` says when all is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_event_is_set_aside_for_operators_and_the_doctor_finds_everything_in_order() {
    if !homeserver_there() {
        return;
    }
    let mut side = Side::start().await;
    let mallory = side.synapse.register("mallory", "password").await.unwrap();
    let dm = mallory.create_room(&["@_mimi:a.example"]).await.unwrap();
    eventually("the bot in the room", SOON, || async {
        let member = mallory.state(&dm, "m.room.member", "@_mimi:a.example").await?;
        Ok((member["membership"] == "join").then_some(()))
    })
    .await
    .unwrap();
    for n in 0..99 {
        if n == 42 {
            side.hand_in("among poison").await;
        }
        let poison = serde_json::json!({"nonce": [n]});
        mallory
            .send(&dm, "org.causeway.login", &n.to_string(), poison)
            .await
            .unwrap();
    }
    side.everything_is_there_once().await;
    let aside = eventually("99 events set aside", SOON, || async {
        let text = run(side
            .gateway
            .command()?
            .args(["appservice", "set-aside", "--json"]))
        .await?;
        let all: Vec<Value> = serde_json::from_str(&text).unwrap();
        Ok((all.len() == 99).then_some(all))
    })
    .await
    .unwrap();
    assert_eq!(aside[0]["room_id"], dm.as_str());
    assert!(!aside[0]["reason"].as_str().unwrap().is_empty());
    // And the other way round.
    for n in 0..99 {
        if n == 57 {
            let poison = serde_json::json!({"nonce": {"deep": [n]}});
            mallory
                .send(&dm, "org.causeway.login", "the last", poison)
                .await
                .unwrap();
        }
        side.hand_in(&format!("good {n}")).await;
    }
    side.everything_is_there_once().await;

    let report = side.doctor().await;
    for line in report["lines"].as_array().unwrap() {
        assert_ne!(line["level"], "error", "{line}");
    }
    for probe in [
        "service.ready",
        "homeserver.versions",
        "homeserver.as-token",
        "homeserver.ping",
        "homeserver.users",
        "homeserver.aliases",
        "homeserver.device",
        "homeserver.media",
        "homeserver.openid",
        "mimi.tls",
        "mimi.well-known",
    ] {
        assert_eq!(
            finding(&report, probe)["level"],
            "ok",
            "{}",
            finding(&report, probe)
        );
    }
    side.stop().await;
}
