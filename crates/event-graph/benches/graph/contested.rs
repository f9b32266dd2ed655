//! Forked rooms as `contested_sets.py` makes them: the same three mixes, two forks, one event a fork and key.

use std::collections::HashMap;

use event_graph::{Draft, EventId, Graph, Pdu, RoomVersion, SigningIdentity};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mix {
    /// Joins and profile changes against leaves, two power level events a fork.
    Member,
    /// Kicks and bans, power levels, join rules that flip.
    Power,
    /// Long chains of power levels.
    PlChain,
}

pub struct Set {
    pub version: RoomVersion,
    pub graph: Graph,
    pub pdus: Vec<Pdu>,
    /// The newest event of each fork.
    pub tips: Vec<EventId>,
}

#[derive(Clone)]
struct Fork {
    state: HashMap<(&'static str, String), EventId>,
    tip: Option<EventId>,
    depth: u64,
}

struct Maker {
    set: Set,
    identity: SigningIdentity,
    ts: i64,
    random: u64,
}

impl Maker {
    fn random(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn add(&mut self, fork: &mut Fork, event_type: &'static str, sender: &str, key: &str, content: Value) {
        self.ts += 1 + (self.random() % 2_000) as i64;
        let mut keys = Vec::new();
        if event_type != "m.room.create" {
            if self.set.version != RoomVersion::V12 {
                keys.push(("m.room.create", String::new()));
            }
            keys.push(("m.room.power_levels", String::new()));
            keys.push(("m.room.member", sender.to_owned()));
            if event_type == "m.room.member" {
                if key != sender {
                    keys.push(("m.room.member", key.to_owned()));
                }
                if matches!(content["membership"].as_str(), Some("join" | "invite")) {
                    keys.push(("m.room.join_rules", String::new()));
                }
            }
        }
        let room_id = self.set.graph.room_id().map(str::to_owned);
        let draft = Draft {
            room_id: room_id
                .or_else(|| (self.set.version != RoomVersion::V12).then(|| "!s:s0.example".into())),
            event_type: event_type.into(),
            sender: sender.into(),
            state_key: Some(key.into()),
            content,
            prev_events: fork.tip.into_iter().collect(),
            auth_events: keys.iter().filter_map(|k| fork.state.get(k).copied()).collect(),
            depth: fork.depth,
            origin_server_ts: self.ts,
        };
        let pdu = draft.sign(&self.identity, self.set.version).unwrap();
        let verdict = self
            .set
            .graph
            .admit_as(&pdu, event_graph::Arrival::Recorded(None))[0]
            .verdict
            .clone();
        assert!(verdict.is_accepted(), "{verdict}");
        fork.state.insert((event_type, key.to_owned()), pdu.event_id());
        fork.tip = Some(pdu.event_id());
        fork.depth += 1;
        self.set.pdus.push(pdu);
    }
}

pub fn make(version: RoomVersion, members: usize, contested: usize, mix: Mix) -> Set {
    let set = Set {
        version,
        graph: Graph::new(version),
        pdus: Vec::new(),
        tips: Vec::new(),
    };
    let identity = SigningIdentity::from_seed("s0.example", "ed25519:s", &[5; 32]);
    let mut m = Maker {
        set,
        identity,
        ts: 1_700_000_000_000,
        random: 1,
    };
    let creator = "@creator:s0.example".to_owned();
    let admins: Vec<String> = (0..10).map(|i| format!("@admin{i}:s0.example")).collect();
    let mods: Vec<String> = (0..40).map(|i| format!("@mod{i}:s{}.example", i % 4)).collect();
    let users: Vec<String> = (0..members)
        .map(|i| format!("@u{i:06}:s{}.example", i % 4))
        .collect();
    let mut base = Fork {
        state: HashMap::new(),
        tip: None,
        depth: 1,
    };
    let mut content = json!({"room_version": version.as_str()});
    if version.rules().creator_in_content {
        content["creator"] = json!(creator);
    }
    m.add(&mut base, "m.room.create", &creator, "", content);
    m.add(
        &mut base,
        "m.room.member",
        &creator,
        &creator,
        json!({"membership": "join"}),
    );
    let v12 = version == RoomVersion::V12;
    let mut levels = json!({"ban": 50, "kick": 50, "invite": 0, "redact": 50, "state_default": 50,
        "events_default": 0, "users_default": 0, "events": {"org.example.slot": 0}, "users": {}});
    for user in &admins {
        levels["users"][user] = json!(if v12 { 100 } else { 99 });
    }
    for user in &mods {
        levels["users"][user] = json!(50);
    }
    if !v12 {
        levels["users"][&creator] = json!(100);
    }
    m.add(&mut base, "m.room.power_levels", &creator, "", levels.clone());
    m.add(
        &mut base,
        "m.room.join_rules",
        &creator,
        "",
        json!({"join_rule": "public"}),
    );
    for user in admins.iter().chain(&mods).chain(&users) {
        m.add(
            &mut base,
            "m.room.member",
            user,
            user,
            json!({"membership": "join", "displayname": &user[1..8]}),
        );
    }

    let keys = (contested / 2).max(1);
    let power_levels = match mix {
        Mix::Member => 2,
        Mix::Power => (contested / 100).max(2),
        Mix::PlChain => (contested / 10).max(4),
    };
    let mut victims = users.clone();
    for i in (1..victims.len()).rev() {
        let j = m.random() as usize % (i + 1);
        victims.swap(i, j);
    }
    victims.truncate(keys);
    for fork in 0..2usize {
        let mut f = base.clone();
        let mut now = levels.clone();
        let mut rule = "public";
        let mut made = 0;
        for i in 0..keys {
            while made < power_levels && made * keys <= i * power_levels {
                let user = &mods[(i + made) % mods.len()];
                now["events"]["org.example.lvl"] = json!((fork * 7 + i + made) % 50);
                now["users"][user] = json!(50 + (now["users"][user].as_i64().unwrap() - 49) % 5);
                m.add(
                    &mut f,
                    "m.room.power_levels",
                    &admins[(i + fork) % 10],
                    "",
                    now.clone(),
                );
                made += 1;
            }
            if mix != Mix::Member && i % 50 == 25 {
                rule = if rule == "public" { "invite" } else { "public" };
                m.add(
                    &mut f,
                    "m.room.join_rules",
                    &admins[(i + 3) % 10],
                    "",
                    json!({"join_rule": rule}),
                );
            }
            let Some(user) = victims.get(i).cloned() else {
                m.add(
                    &mut f,
                    "org.example.slot",
                    &mods[i % mods.len()],
                    &i.to_string(),
                    json!({"v": fork}),
                );
                continue;
            };
            let h = i * 2_654_435_761 % 100;
            if mix != Mix::Member && h < 40 && fork == h % 2 {
                let membership = if h % 3 == 0 { "leave" } else { "ban" };
                let by = &mods[(i + fork) % mods.len()];
                m.add(
                    &mut f,
                    "m.room.member",
                    by,
                    &user,
                    json!({"membership": membership, "reason": "x"}),
                );
            } else if fork == 1 && h >= 70 {
                m.add(
                    &mut f,
                    "m.room.member",
                    &user,
                    &user,
                    json!({"membership": "leave"}),
                );
            } else {
                let name = format!("{}-f{fork}", &user[1..8]);
                m.add(
                    &mut f,
                    "m.room.member",
                    &user,
                    &user,
                    json!({"membership": "join", "displayname": name}),
                );
            }
        }
        m.set.tips.extend(f.tip);
    }
    m.set
}
