//! A room of version 12 as one server makes it: events in a row, each signed, with the auth events that it needs.

use event_graph::auth::auth_keys;
use event_graph::{Draft, EventId, Pdu, RoomVersion, SigningIdentity};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const VERSION: RoomVersion = RoomVersion::V12;

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// What a server holds of a room.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) id: String,
    pub(crate) events: Vec<Pdu>,
    pub(crate) state: BTreeMap<(String, String), Pdu>,
}

impl Room {
    /// A public room of `@eve` at this server.
    pub(crate) fn new(identity: &SigningIdentity) -> Self {
        let eve = user(identity, "eve");
        let create = Draft {
            room_id: None,
            event_type: "m.room.create".to_owned(),
            sender: eve.clone(),
            state_key: Some(String::new()),
            content: json!({ "room_version": VERSION.as_str() }),
            prev_events: Vec::new(),
            auth_events: Vec::new(),
            depth: 1,
            origin_server_ts: now(),
        };
        let create = create.sign(identity, VERSION).unwrap();
        let mut room = Self {
            id: create.room_id().to_owned(),
            events: Vec::new(),
            state: BTreeMap::new(),
        };
        room.take(create);
        room.put(identity, "m.room.member", &eve, json!({ "membership": "join" }));
        room.put(identity, "m.room.power_levels", "", json!({ "users_default": 0 }));
        room.put(
            identity,
            "m.room.join_rules",
            "",
            json!({ "join_rule": "public" }),
        );
        room
    }

    /// Takes an event as the newest one.
    pub(crate) fn take(&mut self, pdu: Pdu) {
        if let Some(key) = pdu.state_key() {
            self.state
                .insert((pdu.event_type().to_owned(), key.to_owned()), pdu.clone());
        }
        self.events.push(pdu);
    }

    pub(crate) fn newest(&self) -> &Pdu {
        self.events.last().unwrap()
    }

    pub(crate) fn get(&self, event_type: &str, state_key: &str) -> &Pdu {
        &self.state[&(event_type.to_owned(), state_key.to_owned())]
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Pdu> {
        self.events.iter().find(|e| e.event_id().to_string() == id)
    }

    /// The events that authorise one like this, as the room is now.
    pub(crate) fn auth(
        &self,
        event_type: &str,
        sender: &str,
        state_key: Option<&str>,
        content: &Value,
    ) -> Vec<EventId> {
        let keys = auth_keys(VERSION, event_type, sender, state_key, content).unwrap();
        keys.iter()
            .filter_map(|key| self.state.get(&(key.event_type.clone(), key.state_key.clone())))
            .map(Pdu::event_id)
            .collect()
    }

    /// An event on top of the newest one that isn't taken.
    pub(crate) fn draft(
        &self,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Draft {
        Draft {
            room_id: Some(self.id.clone()),
            event_type: event_type.to_owned(),
            sender: sender.to_owned(),
            state_key: state_key.map(str::to_owned),
            auth_events: self.auth(event_type, sender, state_key, &content),
            content,
            prev_events: vec![self.newest().event_id()],
            depth: self.newest().depth() + 1,
            origin_server_ts: now(),
        }
    }

    /// A message of `@eve`, taken.
    pub(crate) fn say(&mut self, identity: &SigningIdentity, text: &str) -> Pdu {
        let pdu = self.message(identity, text).sign(identity, VERSION).unwrap();
        self.take(pdu.clone());
        pdu
    }

    /// A message of `@eve`, not taken.
    pub(crate) fn message(&self, identity: &SigningIdentity, text: &str) -> Draft {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.draft(&user(identity, "eve"), "m.room.message", None, content)
    }

    /// A state event of `@eve`, taken.
    pub(crate) fn put(
        &mut self,
        identity: &SigningIdentity,
        event_type: &str,
        key: &str,
        content: Value,
    ) -> Pdu {
        let sender = user(identity, "eve");
        let draft = self.draft(&sender, event_type, Some(key), content);
        let pdu = draft.sign(identity, VERSION).unwrap();
        self.take(pdu.clone());
        pdu
    }

    /// The whole state, and what it cites, as `send_join` gives them.
    pub(crate) fn lists(&self) -> (Vec<Value>, Vec<Value>) {
        let state = self.state.values().map(|e| e.raw().to_value()).collect();
        let chain = self.events.iter().filter(|e| e.state_key().is_some());
        (state, chain.map(|e| e.raw().to_value()).collect())
    }
}

pub(crate) fn user(identity: &SigningIdentity, name: &str) -> String {
    format!("@{name}:{}", identity.server_name())
}

/// The same event with another field, and with right hash and signature again if `by` signs.
pub(crate) fn altered(pdu: &Pdu, pointer: &str, value: Value) -> Value {
    let mut event = pdu.raw().to_value();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap()[name] = value;
    event
}
