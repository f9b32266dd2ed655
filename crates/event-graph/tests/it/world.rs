//! Rooms made by random programs: forks, joins, bans, demotions, restricted joins, redactions, and events
//! that cite what they should not.

use event_graph::{
    Draft, EventId, Graph, Pdu, RoomVersion, SigningIdentity, auth::auth_keys, graph::StateEntry,
};
use proptest::prelude::*;
use serde_json::{Value, json};

pub const USERS: [&str; 6] = [
    "@ann:a.test",
    "@bob:b.test",
    "@cat:c.test",
    "@dan:a.test",
    "@eve:b.test",
    "@fay:c.test",
];

/// One step of a program. Every number is taken modulo what there is.
#[derive(Debug, Clone)]
pub struct Step {
    pub parents: Vec<prop::sample::Index>,
    pub actor: usize,
    pub target: usize,
    pub action: u8,
    pub value: i64,
    pub clock: i64,
    /// Mostly 0: cite as one should. Otherwise leave one out or take the choice from another point.
    pub twist: u8,
}

pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (
        prop::collection::vec(any::<prop::sample::Index>(), 1..3),
        0..USERS.len(),
        0..USERS.len(),
        0u8..24,
        prop::sample::select(vec![0i64, 10, 25, 50, 75, 99, 100, 101]),
        0i64..6,
        0u8..14,
    );
    let step = step.prop_map(|(parents, actor, target, action, value, clock, twist)| Step {
        parents,
        actor,
        target,
        action,
        value,
        clock,
        twist,
    });
    prop::collection::vec(step, 1..most)
}

pub fn version() -> impl Strategy<Value = RoomVersion> {
    prop::sample::select(RoomVersion::ALL.to_vec())
}

pub struct World {
    pub version: RoomVersion,
    pub graph: Graph,
    pub pdus: Vec<Pdu>,
    identities: Vec<SigningIdentity>,
    room_id: Option<String>,
    clock: i64,
}

impl World {
    /// A room by Ann in which Bob and Cat are joined.
    pub fn new(version: RoomVersion) -> Self {
        let identities = ["a.test", "b.test", "c.test"]
            .iter()
            .zip(1u8..)
            .map(|(name, seed)| SigningIdentity::from_seed(name, "ed25519:t", &[seed; 32]))
            .collect();
        let mut world = Self {
            version,
            graph: Graph::new(version),
            pdus: Vec::new(),
            identities,
            room_id: None,
            clock: 1_000_000,
        };
        let v12 = version == RoomVersion::V12;
        if !v12 {
            world.room_id = Some("!room:a.test".to_owned());
        }
        let mut create = json!({"room_version": version.as_str()});
        if version.rules().creator_in_content {
            create["creator"] = json!(USERS[0]);
        }
        world.state("m.room.create", "", USERS[0], create);
        world.room_id = Some(world.pdus[0].room_id().to_owned());
        world.state("m.room.member", USERS[0], USERS[0], json!({"membership": "join"}));
        let mut users = json!({USERS[1]: 50, USERS[2]: 50});
        if !v12 {
            users[USERS[0]] = json!(100);
        }
        world.state("m.room.power_levels", "", USERS[0], json!({"users": users}));
        world.state("m.room.join_rules", "", USERS[0], json!({"join_rule": "public"}));
        for user in [USERS[1], USERS[2]] {
            world.state("m.room.member", user, user, json!({"membership": "join"}));
        }
        assert!(
            world.graph.current_state().len() >= 6,
            "the room could not be made"
        );
        world
    }

    fn state(&mut self, event_type: &str, key: &str, sender: &str, content: Value) {
        let parents: Vec<EventId> = self.pdus.last().map(Pdu::event_id).into_iter().collect();
        self.event(&parents, event_type, Some(key), sender, content, &[], 1);
    }

    /// Makes an event on top of `parents` and admits it.
    #[allow(clippy::too_many_arguments)]
    pub fn event(
        &mut self,
        parents: &[EventId],
        event_type: &str,
        state_key: Option<&str>,
        sender: &str,
        content: Value,
        auth: &[EventId],
        clock: i64,
    ) -> EventId {
        self.clock += clock;
        let mut auth_events = auth.to_vec();
        if auth.is_empty() && !parents.is_empty() {
            let keys = auth_keys(self.version, event_type, sender, state_key, &content).unwrap();
            let state = self.graph.resolve_after(parents).unwrap().state;
            let entry = |key: &event_graph::StateKey| {
                let found =
                    |e: &&StateEntry<'_>| e.event_type == key.event_type && e.state_key == key.state_key;
                state.iter().find(found).map(|e| e.event_id)
            };
            auth_events = keys.iter().filter_map(entry).collect();
        }
        let depth = parents
            .iter()
            .filter_map(|p| self.pdu(*p))
            .map(Pdu::depth)
            .max()
            .unwrap_or(0)
            + 1;
        let v12_create = self.version == RoomVersion::V12 && event_type == "m.room.create";
        let draft = Draft {
            room_id: self.room_id.clone().filter(|_| !v12_create),
            event_type: event_type.to_owned(),
            sender: sender.to_owned(),
            state_key: state_key.map(str::to_owned),
            content,
            prev_events: parents.to_vec(),
            auth_events,
            depth,
            origin_server_ts: self.clock,
        };
        let server = sender.split_once(':').unwrap().1;
        let identity = self
            .identities
            .iter()
            .find(|i| i.server_name() == server)
            .unwrap();
        let pdu = draft.sign(identity, self.version).unwrap();
        let id = pdu.event_id();
        if self.graph.contains(id) {
            return id;
        }
        self.graph.admit(&pdu);
        assert!(self.graph.contains(id), "{:?}", self.graph.verdict(id));
        self.pdus.push(pdu);
        id
    }

    pub fn pdu(&self, id: EventId) -> Option<&Pdu> {
        self.pdus.iter().find(|p| p.event_id() == id)
    }

    /// Runs one step of a program.
    pub fn step(&mut self, step: &Step) {
        let base = 4.min(self.pdus.len() - 1);
        let mut parents: Vec<EventId> = step
            .parents
            .iter()
            .map(|i| self.pdus[base + i.index(self.pdus.len() - base)].event_id())
            .collect();
        parents.sort_unstable();
        parents.dedup();
        let (actor, target) = (USERS[step.actor], USERS[step.target]);
        let member = |membership: &str| {
            (
                "m.room.member",
                Some(target.to_owned()),
                json!({"membership": membership, "n": step.value}),
            )
        };
        let own = |content: Value| ("m.room.member", Some(actor.to_owned()), content);
        let (event_type, key, content) = match step.action {
            0..=3 => own(json!({"membership": "join", "displayname": step.value.to_string()})),
            4 => own(json!({"membership": "join", "join_authorised_via_users_server": target})),
            5 => own(json!({"membership": "leave"})),
            6 => own(json!({"membership": "knock"})),
            7 | 8 => member("invite"),
            9 | 10 => member("leave"),
            11 | 12 => member("ban"),
            13..=15 => (
                "m.room.power_levels",
                Some(String::new()),
                self.levels(&parents, step),
            ),
            16 | 17 => {
                let rules = ["public", "invite", "knock", "restricted", "knock_restricted"];
                let rule = rules[usize::try_from(step.value).unwrap() % rules.len()];
                (
                    "m.room.join_rules",
                    Some(String::new()),
                    json!({"join_rule": rule}),
                )
            }
            18 => ("m.room.topic", Some(String::new()), json!({"topic": step.value})),
            19 => ("org.test", Some(target.to_owned()), json!({"v": step.value})),
            20 => {
                let target = self.pdus[step.target % self.pdus.len()].event_id().to_string();
                ("m.room.redaction", None, json!({"redacts": target}))
            }
            _ => ("m.room.message", None, json!({"body": step.value})),
        };
        let mut auth = Vec::new();
        if step.twist >= 12 {
            // Cite what another point's state would have one cite.
            // From where the join rules stand: without any, ruma refuses what Synapse and we read as "invite".
            let other = self.pdus[3 + step.target * 7 % (self.pdus.len() - 3)].event_id();
            let keys = auth_keys(self.version, event_type, actor, key.as_deref(), &content).unwrap();
            let state = self.graph.resolve_after(&[other]).unwrap().state;
            let found = |k: &event_graph::StateKey| {
                state
                    .iter()
                    .find(|e| e.event_type == k.event_type && e.state_key == k.state_key)
                    .map(|e| e.event_id)
            };
            auth = keys.iter().filter_map(found).collect();
            let left_out = step.actor % auth.len().max(1);
            let rules = |id: &EventId| {
                self.pdu(*id)
                    .is_some_and(|p| p.event_type() == "m.room.join_rules")
            };
            if step.twist == 13 && auth.len() > 1 && !rules(&auth[left_out]) {
                auth.remove(left_out);
            }
        }
        self.event(
            &parents,
            event_type,
            key.as_deref(),
            actor,
            content,
            &auth,
            step.clock,
        );
    }

    /// The power levels at some point with one thing changed.
    fn levels(&mut self, parents: &[EventId], step: &Step) -> Value {
        let state = self.graph.resolve_after(parents).unwrap().state;
        let levels = state
            .iter()
            .find(|e| e.event_type == "m.room.power_levels")
            .map(|e| e.event_id);
        let mut content = levels
            .and_then(|id| self.pdu(id))
            .map_or_else(|| json!({}), Pdu::content_value);
        match step.target % 4 {
            0 => content["users"][USERS[(step.actor + 1) % USERS.len()]] = json!(step.value),
            1 => content["users"][USERS[step.target]] = json!(step.value),
            2 => {
                let fields = [
                    "ban",
                    "kick",
                    "invite",
                    "state_default",
                    "users_default",
                    "events_default",
                    "redact",
                ];
                content[fields[step.actor]] = json!(step.value);
            }
            _ => content["events"] = json!({"m.room.topic": step.value}),
        }
        if !content.get("users").is_some_and(Value::is_object) {
            content["users"] = json!({});
        }
        content
    }
}
