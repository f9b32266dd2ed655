//! Making events: ours, and templates for those who join through us.

use event_graph::auth::{auth_keys, check_state};
use event_graph::ids::server_of_user;
use event_graph::{Draft, EventId, Pdu};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

use super::command::{Change, Fate, GraphReply, Joined, Stripped};
use super::loaded::{LoadedGraph, Work};
use crate::refusal::Refusal;

/// State that one who is invited or knocks may see.
const STRIPPED: [&str; 8] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.encryption",
    "m.room.canonical_alias",
    "org.causeway.room",
];

impl LoadedGraph {
    /// An event on top of the extremities, allowed by the current state. Signed by us, whoever the sender is.
    async fn draft(
        &mut self,
        work: &Work<'_>,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Result<Pdu, Refusal> {
        let version = self.version();
        let keys = auth_keys(version, event_type, sender, state_key, &content)
            .map_err(|e| Refusal::malformed("content", e))?;
        let head = self.graph.head();
        let room_id = work.record.room_id.clone();
        let draft = Draft {
            room_id: Some(room_id),
            event_type: event_type.to_owned(),
            sender: sender.to_owned(),
            state_key: state_key.map(str::to_owned),
            content,
            prev_events: head.prev_events(),
            auth_events: self.graph.auth_events_for(&keys),
            depth: head.next_depth(),
            origin_server_ts: i64::try_from(work.env.clock.now_ms()).unwrap_or(i64::MAX),
        };
        let pdu = draft
            .sign(&work.env.node, version)
            .map_err(|e| Refusal::malformed("event", e))?;
        let mut wanted: Vec<EventId> = pdu.auth_events().to_vec();
        wanted.extend(self.graph.current_event("m.room.create", ""));
        let mut state: HashMap<(String, String), Pdu> = HashMap::new();
        for event in self.events(work.env, &wanted).await? {
            let key = (
                event.event_type().to_owned(),
                event.state_key().unwrap_or_default().to_owned(),
            );
            state.insert(key, event);
        }
        check_state(&pdu, |t, k| state.get(&(t.to_owned(), k.to_owned())).cloned())
            .map_err(|rule| Refusal::forbidden(rule.describe()))?;
        Ok(pdu)
    }

    /// Makes an event of the node user, admits it and sends it to everybody.
    pub(super) async fn own(
        &mut self,
        work: &mut Work<'_>,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Result<GraphReply, Refusal> {
        let sender = work.node_user();
        let pdu = self.draft(work, &sender, event_type, state_key, content).await?;
        self.relay(work, &pdu, None).await?;
        Ok(GraphReply::Own(pdu))
    }

    /// Where extremities have piled up, an event that cites them all.
    pub(super) async fn merge(&mut self, work: &mut Work<'_>) -> Result<GraphReply, Refusal> {
        if self.graph.extremities().len() < 2 || !work.record.joined {
            return Ok(GraphReply::Done);
        }
        self.own(work, "org.causeway.merge", None, json!({})).await
    }

    /// Admits an event and sends it to all servers that were in the room, are in it now, or are concerned.
    pub(super) async fn relay(
        &mut self,
        work: &mut Work<'_>,
        pdu: &Pdu,
        not_to: Option<&str>,
    ) -> Result<Vec<(EventId, Fate)>, Refusal> {
        let mut servers: BTreeSet<String> = work.record.servers.clone();
        let fates = self.admit(work, std::slice::from_ref(pdu), false, true).await?;
        if !fates
            .iter()
            .any(|(id, fate)| *id == pdu.event_id() && *fate == Fate::Accepted)
        {
            return Ok(fates);
        }
        servers.extend(work.record.servers.iter().cloned());
        let invites = pdu.content_value().get("membership").and_then(Value::as_str) == Some("invite");
        if pdu.event_type() == "m.room.member" && !invites {
            // Who is put out must hear of it.
            servers.extend(pdu.state_key().and_then(server_of_user).map(str::to_owned));
        }
        servers.remove(&work.env.config.node_name);
        if let Some(origin) = not_to {
            servers.remove(origin);
        }
        work.queue(pdu, servers)?;
        Ok(fates)
    }

    pub(super) async fn template(
        &mut self,
        work: &mut Work<'_>,
        origin: &str,
        user: &str,
        change: Change,
        versions: &[String],
    ) -> Result<GraphReply, Refusal> {
        self.may_take_part(work, origin, user).await?;
        if !work.record.joined {
            return Err(Refusal::Unknown { what: "room" });
        }
        let version = self.version();
        if change != Change::Leave && !versions.iter().any(|v| v == version.as_str()) {
            return Ok(GraphReply::IncompatibleVersion(version));
        }
        let content = json!({ "membership": change.as_str() });
        let pdu = self
            .draft(work, user, "m.room.member", Some(user), content)
            .await?;
        let mut event = pdu.raw().to_value();
        if let Some(event) = event.as_object_mut() {
            event.remove("signatures");
            event.remove("hashes");
            // Old servers read it from the template.
            event.insert("origin".to_owned(), json!(origin));
        }
        Ok(GraphReply::Template { event, version })
    }

    /// The asking server speaks for its own users only, and the ACL has to let it in.
    async fn may_take_part(&mut self, work: &Work<'_>, origin: &str, user: &str) -> Result<(), Refusal> {
        if server_of_user(user) != Some(origin) {
            return Err(Refusal::forbidden("a server asks for its own users only"));
        }
        if !self.acl_allows(work.env, origin).await? {
            return Err(Refusal::forbidden("denied by the room's server ACL"));
        }
        Ok(())
    }

    pub(super) async fn receive(
        &mut self,
        work: &mut Work<'_>,
        origin: &str,
        pdu: &Pdu,
        change: Change,
    ) -> Result<GraphReply, Refusal> {
        self.may_take_part(work, origin, pdu.sender()).await?;
        let content = pdu.content_value();
        let fits = pdu.event_type() == "m.room.member"
            && pdu.state_key() == Some(pdu.sender())
            && content.get("membership").and_then(Value::as_str) == Some(change.as_str());
        if !fits {
            return Err(Refusal::malformed(
                "event",
                format!(
                    "not a membership event by which its sender's membership becomes {}",
                    change.as_str()
                ),
            ));
        }
        let unknown = |id: &EventId| !self.graph.has_state(*id);
        if pdu.prev_events().iter().any(unknown) {
            return Err(Refusal::malformed(
                "event",
                "its parents are none of this server's",
            ));
        }
        let fates = self.relay(work, pdu, Some(origin)).await?;
        let fate = fates
            .into_iter()
            .find(|(id, _)| *id == pdu.event_id())
            .map_or(Fate::Known, |(_, fate)| fate);
        let mut joined = Joined {
            pdu: pdu.clone(),
            fate,
            state: Vec::new(),
            auth_chain: Vec::new(),
            servers: work.record.servers.clone(),
        };
        joined.servers.insert(work.env.config.node_name.clone());
        if !joined.fate.is_accepted() {
            return Ok(GraphReply::Joined(Box::new(joined)));
        }
        match change {
            Change::Join => {
                let before = self.graph.state_before(pdu.event_id()).unwrap_or_default();
                let state: Vec<EventId> = before.iter().map(|entry| entry.event_id).collect();
                let mut cited = state.clone();
                cited.push(pdu.event_id());
                let chain = self.graph.auth_chain(&cited);
                joined.state = self.events(work.env, &state).await?;
                joined.auth_chain = self.events(work.env, &chain).await?;
            }
            Change::Knock => joined.state = self.stripped(work).await?,
            Change::Leave => {}
        }
        Ok(GraphReply::Joined(Box::new(joined)))
    }

    pub(super) async fn invite(&mut self, work: &mut Work<'_>, user: &str) -> Result<GraphReply, Refusal> {
        let sender = work.node_user();
        let content = json!({ "membership": "invite" });
        let pdu = self
            .draft(work, &sender, "m.room.member", Some(user), content)
            .await?;
        let state = self.stripped(work).await?;
        Ok(GraphReply::Stripped(Box::new(Stripped { pdu, state })))
    }

    /// The create event whole, as room version 12 demands (MSC4311); the others whole as well, which holds all that
    /// stripped state has.
    async fn stripped(&mut self, work: &Work<'_>) -> Result<Vec<Pdu>, Refusal> {
        let ids: Vec<EventId> = STRIPPED
            .iter()
            .filter_map(|event_type| self.graph.current_event(event_type, ""))
            .collect();
        self.events(work.env, &ids).await
    }
}
