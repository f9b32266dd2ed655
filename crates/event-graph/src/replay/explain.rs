//! Why an event was allowed or not.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::room::LoadedRoom;
use crate::{
    AuthRule, EventId, Pdu, RoomVersion, Verdict,
    auth::{Cited, auth_keys, check_auth_events, check_state},
};

/// A rule that an event broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenRule {
    /// The rule's name.
    pub rule: &'static str,
    /// Its number in the room version's specification.
    pub number: &'static str,
    /// What it says is wrong.
    pub text: &'static str,
}

/// An event that another one cites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CitedEvent {
    /// The event.
    pub event_id: EventId,
    /// What it is; none if the file doesn't have it.
    pub what: Option<String>,
    /// How it fared, if it is there.
    pub verdict: Option<String>,
}

/// An entry of the state before an event that its rules look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LookedAt {
    /// The event type.
    pub event_type: String,
    /// The state key.
    pub state_key: String,
    /// The event there, if there is one.
    pub event_id: Option<EventId>,
    /// The event cites it.
    pub cited: bool,
}

/// How an event fared, by which rule, and with which auth events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The event.
    pub event_id: EventId,
    /// Its type.
    pub event_type: String,
    /// Its state key.
    pub state_key: Option<String>,
    /// Who sent it.
    pub sender: String,
    /// The room version.
    pub room_version: String,
    /// Its content.
    pub content: serde_json::Value,
    /// How it fared.
    pub verdict: String,
    /// The rule it broke, if it broke one.
    pub broken: Option<BrokenRule>,
    /// The servers where it was soft-failed, as their order of arrival has it, and by which rule.
    pub soft_failed_at: BTreeMap<String, BrokenRule>,
    /// What it cites.
    pub auth_events: Vec<CitedEvent>,
    /// Check 4, the rules against its auth events: what it broke.
    pub check_4: Option<BrokenRule>,
    /// The parents are there, so that there is a state before it.
    pub has_state: bool,
    /// Check 5, the rules against the state before it: what it broke.
    pub check_5: Option<BrokenRule>,
    /// The entries of that state which the rules look at.
    pub state_before: Vec<LookedAt>,
}

/// Explains an event; none if the room doesn't have it. `event` may be the beginning of an id.
pub fn explain(room: &LoadedRoom, event: &str) -> Option<Explanation> {
    let id = find(room, event)?;
    let pdu = room.pdus.get(&id)?;
    let version = pdu.room_version();
    let verdict = room.verdict(id);
    let broken = match verdict {
        Some(Verdict::SoftFailed { rule } | Verdict::Rejected { rule, .. }) => Some(told(rule, version)),
        _ => None,
    };
    let soft = room.soft_failed.get(&id).into_iter().flatten();
    let fetch = |id: EventId| match (room.pdus.get(&id), room.graph.verdict(id)) {
        (Some(_), Some(Verdict::Rejected { .. })) => Cited::Rejected,
        (Some(pdu), Some(_)) => Cited::Accepted(pdu.clone()),
        _ => Cited::Unknown,
    };
    let has_state = room.graph.has_state(id);
    let before = |t: &str, k: &str| {
        let found = room.graph.event_before(id, t, k)?;
        room.pdus.get(&found).cloned()
    };
    let state = if has_state {
        check_state(pdu, before)
    } else {
        Ok(())
    };
    Some(Explanation {
        event_id: id,
        event_type: pdu.event_type().to_owned(),
        state_key: pdu.state_key().map(str::to_owned),
        sender: pdu.sender().to_owned(),
        room_version: version.to_string(),
        content: pdu.content_value(),
        verdict: verdict.map_or_else(|| "not placed".to_owned(), |v| v.to_string()),
        broken,
        soft_failed_at: soft
            .map(|(server, rule)| (server.clone(), told(*rule, version)))
            .collect(),
        auth_events: pdu
            .auth_events()
            .iter()
            .map(|cited| describe(room, *cited))
            .collect(),
        check_4: check_auth_events(pdu, fetch)
            .err()
            .map(|rule| told(rule, version)),
        has_state,
        check_5: state.err().map(|rule| told(rule, version)),
        state_before: if has_state {
            looked_at(room, pdu)
        } else {
            Vec::new()
        },
    })
}

fn told(rule: AuthRule, version: RoomVersion) -> BrokenRule {
    BrokenRule {
        rule: rule.name(),
        number: rule.number(version),
        text: rule.describe(),
    }
}

fn describe(room: &LoadedRoom, id: EventId) -> CitedEvent {
    let what = |p: &Pdu| {
        let key = p.state_key().unwrap_or_default();
        format!("{} [{key}] by {}", p.event_type(), p.sender())
    };
    CitedEvent {
        event_id: id,
        what: room.pdus.get(&id).map(what),
        verdict: room.verdict(id).map(|v| v.to_string()),
    }
}

fn looked_at(room: &LoadedRoom, pdu: &Pdu) -> Vec<LookedAt> {
    let keys = auth_keys(
        pdu.room_version(),
        pdu.event_type(),
        pdu.sender(),
        pdu.state_key(),
        &pdu.content_value(),
    );
    let look = |key: crate::StateKey| {
        let event_id = room
            .graph
            .event_before(pdu.event_id(), &key.event_type, &key.state_key);
        LookedAt {
            event_type: key.event_type,
            state_key: key.state_key,
            event_id,
            cited: event_id.is_some_and(|id| pdu.auth_events().contains(&id)),
        }
    };
    keys.unwrap_or_default().into_iter().map(look).collect()
}

fn find(room: &LoadedRoom, event: &str) -> Option<EventId> {
    if let Ok(id) = event.parse::<EventId>() {
        return room.pdus.contains_key(&id).then_some(id);
    }
    let mut found = room.pdus.keys().filter(|id| id.to_string().starts_with(event));
    let first = found.next().copied();
    first.filter(|_| event.len() > 1 && found.next().is_none())
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forbidden by rule {}: {}", self.number, self.text)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = |broken: &Option<BrokenRule>| {
            let told = broken.as_ref().map(ToString::to_string);
            told.unwrap_or_else(|| "allowed".to_owned())
        };
        writeln!(f, "{}", self.event_id)?;
        let key = self
            .state_key
            .as_ref()
            .map_or_else(String::new, |k| format!(" [{k}]"));
        let (event_type, sender) = (&self.event_type, &self.sender);
        writeln!(
            f,
            "  {event_type}{key} by {sender}, room version {}",
            self.room_version
        )?;
        writeln!(f, "  content {}", self.content)?;
        writeln!(f, "verdict: {}", self.verdict)?;
        if let Some(broken) = &self.broken {
            writeln!(f, "  {broken}")?;
        }
        for (server, broken) in &self.soft_failed_at {
            writeln!(f, "  soft-failed on arrival at {server}: {broken}")?;
        }
        writeln!(f, "auth events:")?;
        for cited in &self.auth_events {
            let what = cited.what.as_deref().unwrap_or("not in the file");
            let fared = cited.verdict.as_deref().filter(|v| *v != "accepted");
            let fared = fared.map_or_else(String::new, |v| format!("  ** {v}"));
            writeln!(f, "  {} {what}{fared}", cited.event_id)?;
        }
        writeln!(f, "check 4, against its auth events: {}", allowed(&self.check_4))?;
        if !self.has_state {
            return writeln!(
                f,
                "its parents are not all there, so it has no state to be checked against"
            );
        }
        writeln!(
            f,
            "check 5, against the state before it: {}",
            allowed(&self.check_5)
        )?;
        for entry in &self.state_before {
            let there = entry
                .event_id
                .map_or_else(|| "nothing".to_owned(), |id| id.to_string());
            let note = if entry.event_id.is_some() && !entry.cited {
                "  (not the one it cites)"
            } else {
                ""
            };
            writeln!(f, "  {} [{}]: {there}{note}", entry.event_type, entry.state_key)?;
        }
        Ok(())
    }
}
