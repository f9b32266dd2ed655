//! Rooms shared with a real homeserver: joined both ways, cut, healed.

mod asking;

use crate::support::{Place, homeserver_there};
use asking::Asking;
use causeway_tests::client::Client;
use causeway_tests::link::Link;
use causeway_tests::matrix::{User, eventually};
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider};
use causeway_tests::synapse::Synapse;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const WITHIN: Duration = Duration::from_mins(2);

/// Room versions: 12, in the long run 10 and 11 too.
fn versions() -> Vec<String> {
    std::env::var("CAUSEWAY_ROOM_VERSIONS")
        .unwrap_or_else(|_| "12".to_owned())
        .split(',')
        .map(str::to_owned)
        .collect()
}

/// A node and a homeserver that reach each other over TLS, each through a link that can be cut.
struct Two {
    node: Provider,
    synapse: Synapse,
    sam: User,
    /// To the node, and to the homeserver.
    links: [Link; 2],
    place: Place,
}

impl Two {
    async fn start(version: &str) -> Self {
        let place = Place::new();
        let [node_name, node_listen, hs_name, hs_listen, hs_client] = free_addresses().unwrap();
        let links = [
            Link::open(node_name, node_listen).await.unwrap(),
            Link::open(hs_name, hs_listen).await.unwrap(),
        ];
        let dir = place.path("node");
        let mut node = Provider::init_node(
            &dir,
            "a.example",
            Addresses::free().unwrap(),
            &place.path("ca"),
            &format!("localhost:{}", node_name.port()),
            node_listen,
        )
        .await
        .unwrap();
        let name = format!("localhost:{}", hs_name.port());
        let mut synapse = Synapse::configure(&place.path("synapse"), &name, hs_client, &[]).unwrap();
        let (certificate, key) = (dir.join("tls/node.pem"), dir.join("tls/node.key"));
        synapse
            .federate(hs_listen, &certificate, &key, &dir.join("tls/ca.pem"), version)
            .unwrap();
        let (a, b) = tokio::join!(node.start(None), synapse.start());
        a.unwrap();
        b.unwrap();
        let sam = synapse.register("sam", "secret").await.unwrap();
        Self {
            node,
            synapse,
            sam,
            links,
            place,
        }
    }

    fn cut(&self) {
        self.links.iter().for_each(Link::cut);
    }

    fn heal(&self) {
        self.links.iter().for_each(Link::heal);
    }

    async fn room(&self, preset: &str) -> String {
        let body = json!({ "preset": preset, "name": "Shared" });
        let answer = self
            .sam
            .call(reqwest::Method::POST, "/_matrix/client/v3/createRoom", Some(body));
        answer.await.unwrap()["room_id"].as_str().unwrap().to_owned()
    }

    async fn node_state(&self, room: &str) -> BTreeMap<(String, String), String> {
        let state = self.node.graph_json(&["state", room]).await.unwrap();
        let entries = state["state"].as_array().unwrap().iter();
        let text = |e: &Value, name: &str| e[name].as_str().unwrap().to_owned();
        entries
            .map(|e| ((text(e, "type"), text(e, "state_key")), text(e, "event_id")))
            .collect()
    }

    /// The events that count, as the node has them.
    async fn node_events(&self, room: &str) -> BTreeSet<String> {
        let lines = self.node.graph(&["pull", room]).await.unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|e| e["unsigned"]["verdict"] == "accepted")
            .map(|e| e["unsigned"]["event_id"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn hs_events(&self, room: &str) -> BTreeSet<String> {
        let events = self.sam.messages(room, 500).await.unwrap();
        events
            .iter()
            .map(|e| e["event_id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until both have these events and the same state.
    async fn agree(&self, room: &str, events: &[String]) {
        let result = eventually("both have the same room", WITHIN, || async {
            let (ours, theirs) = (self.node_events(room).await, self.hs_events(room).await);
            let both = events.iter().all(|e| ours.contains(e) && theirs.contains(e));
            let same = both && self.node_state(room).await == self.sam.room_state(room).await?;
            Ok(same.then_some(()))
        })
        .await;
        if result.is_err() {
            let (ours, theirs) = (self.node_events(room).await, self.hs_events(room).await);
            let lacking = |have: &BTreeSet<String>| events.iter().filter(|e| !have.contains(*e)).count();
            println!(
                "the node lacks {}, the homeserver {}",
                lacking(&ours),
                lacking(&theirs)
            );
            println!("node: {:#?}", self.node_state(room).await);
            println!("homeserver: {:#?}", self.sam.room_state(room).await);
        }
        result.unwrap();
    }

    /// Both have the same state at these messages, and so at each: before a message and after it are the same.
    async fn agree_at(&self, room: &str, messages: &[String]) {
        let ca = self.node.dir().join("tls/ca.pem");
        let asking = Asking::new(&self.synapse, &self.node_name(), &ca);
        for message in messages {
            let ours = asking.state_before(room, message).await;
            let theirs = self.sam.state_at(room, message).await.unwrap();
            assert_eq!(ours, theirs, "the state at {message}");
        }
    }

    async fn say(&self, room: &str, n: usize) -> String {
        let content = json!({ "msgtype": "m.text", "body": format!("homeserver {n}") });
        self.sam
            .send(room, "m.room.message", &format!("t{n}"), content)
            .await
            .unwrap()
    }

    async fn node_says(&self, room: &str, n: usize) -> String {
        let content = json!({ "msgtype": "m.text", "body": format!("node {n}") }).to_string();
        let sent = self
            .node
            .graph(&["send", room, "m.room.message", &content])
            .await
            .unwrap();
        sent.trim().to_owned()
    }

    async fn end(mut self) {
        self.node.stop().await.unwrap();
        self.synapse.stop().await.unwrap();
        drop(self.place);
    }
}

/// "After a partition a server doesn't catch up until another event comes" (synapse#2528, #6958): a node joins a homeserver's
/// room; messages and state go both ways; a cut with a race of topics on both sides heals to one state, a quiet one too.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_a_homeserver() {
    if !homeserver_there() {
        return;
    }
    for version in versions() {
        let two = Two::start(&version).await;
        let room = two.room("public_chat").await;
        let node_user = format!("@_causeway:{}", two.node_name());
        let mut events = vec![two.say(&room, 0).await];
        two.node
            .graph_json(&["join", &room, "--via", two.synapse.server_name(), "--history"])
            .await
            .unwrap();
        two.agree(&room, &events).await;

        for n in 1..=5 {
            events.push(two.say(&room, n).await);
            events.push(two.node_says(&room, n).await);
        }
        two.agree(&room, &events).await;

        // The node may change the topic, too.
        let mut levels = two.sam.state(&room, "m.room.power_levels", "").await.unwrap();
        levels["users"][&node_user] = json!(50);
        events.push(
            two.sam
                .set_state(&room, "m.room.power_levels", "", levels)
                .await
                .unwrap(),
        );
        two.agree(&room, &events).await;

        two.cut();
        for n in 6..=20 {
            events.push(two.say(&room, n).await);
            events.push(two.node_says(&room, n).await);
        }
        // Of two topics one wins, the same on both sides; both are there.
        let topic = json!({ "topic": "by the homeserver" });
        events.push(two.sam.set_state(&room, "m.room.topic", "", topic).await.unwrap());
        let topic = json!({ "topic": "by the node" }).to_string();
        let sent = two
            .node
            .graph(&["send", &room, "m.room.topic", &topic, "--state-key", ""])
            .await;
        events.push(sent.unwrap().trim().to_owned());
        two.heal();
        events.push(two.say(&room, 21).await);
        events.push(two.node_says(&room, 21).await);
        two.agree(&room, &events).await;

        // Far more than the homeserver is given at once: all of it arrives.
        two.cut();
        let mut many = Vec::new();
        for n in 100..220 {
            many.push(two.node_says(&room, n).await);
        }
        two.heal();
        two.agree(&room, &many).await;
        let (first, last) = (many.first().unwrap().clone(), many.last().unwrap().clone());
        two.agree_at(&room, &[events[1].clone(), events[6].clone(), first, last])
            .await;

        // A quiet room heals, too: nothing is said after the cut.
        two.cut();
        events.push(two.say(&room, 22).await);
        two.heal();
        two.agree(&room, &events).await;

        two.node.graph(&["leave", &room]).await.unwrap();
        eventually("the homeserver sees the node leave", WITHIN, || async {
            let member = two.sam.state(&room, "m.room.member", &node_user).await?;
            Ok((member["membership"] == "leave").then_some(()))
        })
        .await
        .unwrap();
        two.end().await;
    }
}

/// Bans, kicks and power levels on both sides of a cut: both sides come to one state, and what was acknowledged on either
/// side is here.
#[tokio::test(flavor = "multi_thread")]
async fn bans_and_power_levels_on_both_sides_of_a_cut() {
    if !homeserver_there() {
        return;
    }
    for version in versions() {
        let two = Two::start(&version).await;
        let room = two.room("public_chat").await;
        let node_user = format!("@_causeway:{}", two.node_name());
        let tom = two.synapse.register("tom", "secret").await.unwrap();
        let una = two.synapse.register("una", "secret").await.unwrap();
        let vic = two.synapse.register("vic", "secret").await.unwrap();
        let wim = two.synapse.register("wim", "secret").await.unwrap();
        for user in [&tom, &una, &vic, &wim] {
            user.join(&room).await.unwrap();
        }
        let via = ["join", &room, "--via", two.synapse.server_name(), "--history"];
        two.node.graph_json(&via).await.unwrap();
        let levels = async |users: Value| {
            let mut levels = two.sam.state(&room, "m.room.power_levels", "").await.unwrap();
            for (user, level) in users.as_object().unwrap() {
                levels["users"][user] = level.clone();
            }
            levels
        };
        let content = levels(json!({ &node_user: 50 })).await;
        let mut events = vec![
            two.sam
                .set_state(&room, "m.room.power_levels", "", content)
                .await
                .unwrap(),
        ];
        two.agree(&room, &events).await;

        two.cut();
        // The node bans one and kicks the other, who go on talking on their side; there the node gets another level.
        let member = |membership: &str| json!({ "membership": membership, "reason": "cut" }).to_string();
        for (user, membership) in [(&tom.id, "ban"), (&una.id, "leave")] {
            let content = member(membership);
            let args = ["send", &room, "m.room.member", &content, "--state-key", user];
            events.push(two.node.graph(&args).await.unwrap().trim().to_owned());
        }
        let mut theirs = Vec::new();
        for n in 0..3 {
            let content = json!({ "msgtype": "m.text", "body": format!("tom {n}") });
            theirs.push(
                tom.send(&room, "m.room.message", &format!("tom{n}"), content)
                    .await
                    .unwrap(),
            );
        }
        let content = levels(json!({ &node_user: 60, &tom.id: 10 })).await;
        events.push(
            two.sam
                .set_state(&room, "m.room.power_levels", "", content)
                .await
                .unwrap(),
        );
        // The other side bans one and kicks one, too.
        for (user, membership) in [(&vic.id, "ban"), (&wim.id, "leave")] {
            let content = json!({ "membership": membership, "reason": "cut" });
            let sent = two.sam.set_state(&room, "m.room.member", user, content).await;
            events.push(sent.unwrap());
        }
        let topic = json!({ "topic": "before the ban was known" });
        events.push(two.sam.set_state(&room, "m.room.topic", "", topic).await.unwrap());
        two.heal();
        events.push(two.say(&room, 90).await);
        events.push(two.node_says(&room, 91).await);
        two.agree(&room, &events).await;
        // Named exception: what the banned one said meanwhile is soft-failed where the ban was known before. It is held.
        let held = two.node.graph(&["pull", &room]).await.unwrap();
        for event in &theirs {
            assert!(held.contains(event), "{event} is not here");
        }
        let state = two.sam.room_state(&room).await.unwrap();
        assert_eq!(two.node_state(&room).await, state);

        for (user, membership) in [(&tom, "ban"), (&una, "leave"), (&vic, "ban"), (&wim, "leave")] {
            let member = two.sam.state(&room, "m.room.member", &user.id).await.unwrap();
            assert_eq!(member["membership"], membership, "{}", user.id);
        }

        // The node is demoted on the far side of a cut: the room is as the homeserver has it.
        two.cut();
        let content = levels(json!({ &node_user: 0 })).await;
        two.sam
            .set_state(&room, "m.room.power_levels", "", content)
            .await
            .unwrap();
        let topic = json!({ "topic": "by who has no power any more" }).to_string();
        let sent = two
            .node
            .graph(&["send", &room, "m.room.topic", &topic, "--state-key", ""])
            .await
            .unwrap();
        two.heal();
        events.push(two.say(&room, 92).await);
        two.agree(&room, &events).await;
        assert!(
            two.node
                .graph(&["pull", &room])
                .await
                .unwrap()
                .contains(sent.trim())
        );

        // And then it is banned.
        two.cut();
        let banned = json!({ "membership": "ban", "reason": "cut" });
        two.sam
            .set_state(&room, "m.room.member", &node_user, banned)
            .await
            .unwrap();
        let said = two.node_says(&room, 93).await;
        two.heal();
        eventually("the node knows that it is banned", WITHIN, || async {
            Ok((two.node_state(&room).await == two.sam.room_state(&room).await?).then_some(()))
        })
        .await
        .unwrap();
        assert!(two.node.graph(&["pull", &room]).await.unwrap().contains(&said));
        assert!(!two.hs_events(&room).await.contains(&said));
        let refused = two
            .node
            .graph(&["send", &room, "m.room.message", "{\"body\":\"still?\"}"])
            .await;
        assert!(refused.is_err());
        two.end().await;
    }
}

impl Two {
    fn node_name(&self) -> String {
        let config = std::fs::read_to_string(self.node.dir().join("causeway.toml")).unwrap();
        let line = config
            .lines()
            .find_map(|l| l.strip_prefix("node_name = "))
            .unwrap();
        line.trim_matches('"').to_owned()
    }

    /// Has the homeserver take part in the graph of a MIMI room. Gives the graph.
    async fn witness(&self, room: &str) -> String {
        self.node.graph(&["invite", room, &self.sam.id]).await.unwrap();
        let graph = eventually("the invitation arrives", WITHIN, || async {
            Ok(self.sam.invites().await?.into_iter().next())
        })
        .await
        .unwrap();
        self.sam.join_via(&graph, &self.node_name()).await.unwrap();
        graph
    }

    /// Waits until node and homeserver have one state of a MIMI room's graph.
    async fn same_state(&self, room: &str, graph: &str) {
        eventually("both have the same state", WITHIN, || async {
            Ok((self.node_state(room).await == self.sam.room_state(graph).await?).then_some(()))
        })
        .await
        .unwrap();
    }
}

/// A homeserver's user is invited into the graph of a MIMI room; its homeserver stores and serves the carrier events,
/// those of before and those that come.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_of_a_mimi_room() {
    if !homeserver_there() {
        return;
    }
    let two = Two::start("12").await;
    let token = two.node.add_user("alice").await.unwrap();
    let profiles = two.place.path("clients");
    let alice = Client::login_token(&profiles, "Alice", &two.node, ("alice", &token), "one")
        .await
        .unwrap();
    let room = alice.run(&["create", "Watched"]).await.unwrap();
    let room = room["room"].as_str().unwrap().to_owned();
    alice.send(&room, "before", WITHIN).await.unwrap();

    let graph = two.witness(&room).await;
    alice.send(&room, "after", WITHIN).await.unwrap();

    let carriers: BTreeSet<String> = alice
        .messages(&room)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|m| m.event_id)
        .collect();
    assert_eq!(carriers.len(), 2);
    eventually("the witness has the carrier events", WITHIN, || async {
        Ok(carriers.is_subset(&two.hs_events(&graph).await).then_some(()))
    })
    .await
    .unwrap();
    two.same_state(&room, &graph).await;
    // A moderator of its own side takes carriers out and throws the node out: the log of the room is untouched.
    let first = carriers.first().unwrap();
    let redact = format!("/_matrix/client/v3/rooms/{graph}/redact/{first}/r1");
    let redacted = two
        .sam
        .call(reqwest::Method::PUT, &redact, Some(json!({ "reason": "no" })))
        .await;
    let node_user = format!("@_causeway:{}", two.node_name());
    let thrown_out = json!({ "membership": "ban" });
    let banned = two
        .sam
        .set_state(&graph, "m.room.member", &node_user, thrown_out)
        .await;
    assert!(
        redacted.is_err() && banned.is_err(),
        "nobody but nodes has any power in a graph"
    );
    alice.send(&room, "still", WITHIN).await.unwrap();
    assert_eq!(alice.messages(&room).await.unwrap().len(), 3);
    // A witness is no participant, and has no say.
    let forbidden = two
        .sam
        .send(&graph, "org.causeway.message", "t", json!({ "v": 1 }))
        .await;
    assert!(forbidden.is_err());
    two.end().await;
}

/// The provider loses its store. What the witness holds is enough to make the room again on a new one: who was in it
/// goes on, and nothing that was said is lost or told twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_made_again_from_what_a_witness_holds() {
    if !homeserver_there() {
        return;
    }
    let mut two = Two::start("12").await;
    let profiles = two.place.path("clients");
    let sign_in = async |node: &Provider, name: &str, user: &str| {
        let token = node.add_user(user).await.unwrap();
        Client::login_token(&profiles, name, node, (user, &token), "one")
            .await
            .unwrap()
    };
    let alice = sign_in(&two.node, "Alice", "alice").await;
    let amy = sign_in(&two.node, "Amy", "amy").await;
    let room = alice.run(&["create", "Watched"]).await.unwrap();
    let room = room["room"].as_str().unwrap().to_owned();
    alice
        .run(&["add", &room, "mimi://a.example/u/amy"])
        .await
        .unwrap();
    alice.send(&room, "one", WITHIN).await.unwrap();
    let graph = two.witness(&room).await;
    amy.send(&room, "two", WITHIN).await.unwrap();
    let ours = two.node_events(&room).await;
    // Whoever looks back in the room has the witness fetch what was there before it came.
    eventually("the witness has all", WITHIN, || async {
        Ok(ours.is_subset(&two.hs_events(&graph).await).then_some(()))
    })
    .await
    .unwrap();

    two.node.kill().await.unwrap();
    std::fs::remove_dir_all(two.node.dir().join("data")).unwrap();
    two.node.start(None).await.unwrap();
    let via = ["join", &graph, "--via", two.synapse.server_name(), "--history"];
    two.node.graph_json(&via).await.unwrap();
    // Nobody else could say whether the room had come further.
    let refused = two
        .node
        .graph(&["rebuild", &graph])
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("only own users"), "{refused}");
    let rebuilt = two
        .node
        .graph_json(&["rebuild", &graph, "--accept-rollback"])
        .await
        .unwrap();
    assert_eq!(
        (&rebuilt["room"], &rebuilt["log_entries"], &rebuilt["messages"]),
        (&json!(room), &json!(2), &json!(2))
    );
    let alice = sign_in(&two.node, "Alice", "alice").await;
    let amy = sign_in(&two.node, "Amy", "amy").await;
    amy.send(&room, "after the fire", WITHIN).await.unwrap();
    for client in [&alice, &amy] {
        let texts: Vec<String> = client
            .messages(&room)
            .await
            .unwrap()
            .into_iter()
            .map(|m| m.text)
            .collect();
        assert_eq!(texts, ["one", "two", "after the fire"]);
    }
    two.same_state(&room, &graph).await;
    two.end().await;
}
