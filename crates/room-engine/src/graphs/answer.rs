//! Answers to other servers: what the asking server may see, and no more.

use event_graph::{EventId, Pdu};
use serde_json::Value;
use std::collections::HashMap;

use super::command::{GraphReply, GraphSummary, Heads, Question};
use super::loaded::{LoadedGraph, Work, is_carrier};
use crate::engine::Env;
use crate::refusal::Refusal;

impl LoadedGraph {
    pub(super) async fn answer(
        &mut self,
        work: &mut Work<'_>,
        asker: Option<&str>,
        question: &Question,
    ) -> Result<GraphReply, Refusal> {
        if let Some(asker) = asker {
            if !work.record.servers.contains(asker) {
                return Err(Refusal::forbidden("the asking server is not in the room"));
            }
            if !self.acl_allows(work.env, asker).await? {
                return Err(Refusal::forbidden("denied by the room's server ACL"));
            }
        }
        let env = work.env;
        match question {
            Question::Event(id) => {
                self.shown(*id)?;
                self.served(env, asker, &[*id]).await.map(GraphReply::Events)
            }
            Question::AuthChain(id) => {
                self.shown(*id)?;
                let chain = self.graph.auth_chain(&[*id]);
                Ok(GraphReply::Events(self.events(env, &chain).await?))
            }
            Question::StateBefore(id) => {
                self.shown(*id)?;
                let before = self
                    .graph
                    .state_before(*id)
                    .ok_or(Refusal::Unknown { what: "event" })?;
                let state: Vec<EventId> = before.iter().map(|entry| entry.event_id).collect();
                let auth_chain = self.graph.auth_chain(&state);
                Ok(GraphReply::State { state, auth_chain })
            }
            Question::Missing {
                earliest,
                latest,
                limit,
                min_depth,
            } => {
                let ids = self.graph.missing_events(latest, earliest, *limit, *min_depth);
                self.served(env, asker, &ids).await.map(GraphReply::Events)
            }
            Question::Backfill { from, limit } => {
                let ids = self.graph.backfill(from, *limit);
                self.served(env, asker, &ids).await.map(GraphReply::Events)
            }
            Question::Nearest { ts, forwards } => {
                let id = self
                    .graph
                    .nearest(*ts, *forwards)
                    .ok_or(Refusal::Unknown { what: "event" })?;
                Ok(GraphReply::Events(vec![self.event(env, id).await?]))
            }
            Question::Heads => Ok(GraphReply::Heads(Heads {
                heads: self.graph.extremities(),
                servers: work.record.servers.clone(),
                missing: self.graph.missing(),
                held: self.held.keys().copied().collect(),
                incomplete: self.incomplete.iter().copied().collect(),
                events: self.graph.len(),
                joined: work.record.joined,
            })),
            Question::CurrentState => {
                let entries = self.graph.current_state();
                let owned = entries
                    .iter()
                    .map(|e| (e.event_type.to_owned(), e.state_key.to_owned(), e.event_id));
                Ok(GraphReply::Entries(owned.collect()))
            }
            Question::Summary => self.summary(work).await.map(GraphReply::Summary),
        }
    }

    /// Outliers and rejected events are not for others. A soft-failed one is served to who asks for it by id.
    fn shown(&self, id: EventId) -> Result<(), Refusal> {
        use event_graph::Verdict;
        match self.graph.verdict(id) {
            Some(Verdict::Accepted | Verdict::SoftFailed { .. }) => Ok(()),
            _ => Err(Refusal::Unknown { what: "event" }),
        }
    }

    /// Events as the asking server may see them: redacted where the room's history was not for it.
    async fn served(&self, env: &Env, asker: Option<&str>, ids: &[EventId]) -> Result<Vec<Pdu>, Refusal> {
        let mut pdus = self.events(env, ids).await?;
        let Some(asker) = asker else { return Ok(pdus) };
        let mut open: HashMap<EventId, bool> = HashMap::new();
        for pdu in &mut pdus {
            // State is served whole: the asking server needs it to judge what it may see.
            if pdu.state_key().is_some() {
                continue;
            }
            let visibility = self
                .graph
                .event_before(pdu.event_id(), "m.room.history_visibility", "");
            let is_open = match visibility {
                None => true,
                Some(id) => {
                    if let Some(known) = open.get(&id) {
                        *known
                    } else {
                        let content = self.event(env, id).await?.content_value();
                        let value = content.get("history_visibility").and_then(Value::as_str);
                        let is_open = !matches!(value, Some("joined" | "invited"));
                        open.insert(id, is_open);
                        is_open
                    }
                }
            };
            if !is_open && !self.had_member_of(asker, pdu.event_id()) {
                *pdu = pdu.redact();
            }
        }
        // A carrier that is here without content is of no use to others: they take it from who has it.
        pdus.retain(|pdu| !(is_carrier(pdu) && self.incomplete.contains(&pdu.event_id())));
        Ok(pdus)
    }

    /// Whether a user of the server was in the room before the event.
    fn had_member_of(&self, server: &str, event: EventId) -> bool {
        let servers = self.graph.joined_servers_before(event);
        servers.is_some_and(|servers| servers.contains(server))
    }

    async fn joined_users(&mut self, env: &Env) -> Result<usize, Refusal> {
        let state = self.graph.current_state();
        let members = state.iter().filter(|entry| entry.event_type == "m.room.member");
        let ids: Vec<EventId> = members.map(|entry| entry.event_id).collect();
        let joined =
            |pdu: &Pdu| pdu.content_value().get("membership").and_then(Value::as_str) == Some("join");
        Ok(self
            .events(env, &ids)
            .await?
            .iter()
            .filter(|pdu| joined(pdu))
            .count())
    }

    async fn summary(&mut self, work: &Work<'_>) -> Result<GraphSummary, Refusal> {
        let mut text = HashMap::new();
        for (event_type, field) in [
            ("m.room.name", "name"),
            ("m.room.topic", "topic"),
            ("m.room.join_rules", "join_rule"),
        ] {
            if let Some(id) = self.graph.current_event(event_type, "") {
                let content = self.event(work.env, id).await?.content_value();
                let value = content.get(field).and_then(Value::as_str).map(str::to_owned);
                text.insert(field, value);
            }
        }
        let mut take = |field| text.remove(field).flatten();
        Ok(GraphSummary {
            room_id: work.record.room_id.clone(),
            room_version: work.record.room_version.clone(),
            name: take("name"),
            topic: take("topic"),
            join_rule: take("join_rule"),
            joined: self.joined_users(work.env).await?,
        })
    }
}
