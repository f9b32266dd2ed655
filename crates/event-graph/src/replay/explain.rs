//! Why an event was allowed or not.

use std::fmt::Write as _;

use super::room::LoadedRoom;
use crate::{
    AuthRule, EventId, Verdict,
    auth::{Cited, auth_keys, check_auth_events, check_state},
};

/// Tells how an event fared, by which rule, and with which auth events. None if the room doesn't have it.
/// `event` may be the beginning of an id.
pub fn explain(room: &mut LoadedRoom, event: &str) -> Option<String> {
    let id = find(room, event)?;
    let pdu = room.pdus.get(&id)?.clone();
    let version = pdu.room_version();
    let mut out = String::new();
    let _ = writeln!(out, "{id}");
    let key = pdu.state_key().map_or_else(String::new, |k| format!(" [{k}]"));
    let _ = writeln!(
        out,
        "  {}{key} by {}, room version {version}",
        pdu.event_type(),
        pdu.sender()
    );
    let _ = writeln!(out, "  content {}", pdu.content().text());
    let verdict = room.graph.verdict(id);
    let _ = writeln!(
        out,
        "verdict: {}",
        verdict
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), ToString::to_string)
    );
    if let Some(Verdict::SoftFailed { rule } | Verdict::Rejected { rule, .. }) = verdict {
        let _ = writeln!(out, "  {}", say(rule, version.as_str(), rule.number(version)));
    }

    let _ = writeln!(out, "auth events:");
    for cited in pdu.auth_events() {
        let what = room.pdus.get(cited).map_or_else(
            || "not in the file".to_owned(),
            |p| {
                format!(
                    "{} [{}] by {}",
                    p.event_type(),
                    p.state_key().unwrap_or_default(),
                    p.sender()
                )
            },
        );
        let fared = room.graph.verdict(*cited).filter(|v| !v.is_accepted());
        let fared = fared.map_or_else(String::new, |v| format!("  ** {v}"));
        let _ = writeln!(out, "  {cited} {what}{fared}");
    }
    let fetch = |id: EventId| match (room.pdus.get(&id), room.graph.verdict(id)) {
        (Some(_), Some(Verdict::Rejected { .. })) => Cited::Rejected,
        (Some(pdu), Some(_)) => Cited::Accepted(pdu.clone()),
        _ => Cited::Unknown,
    };
    let tell = |result: Result<(), AuthRule>| match result {
        Ok(()) => "allowed".to_owned(),
        Err(rule) => say(rule, version.as_str(), rule.number(version)),
    };
    let _ = writeln!(
        out,
        "check 4, against its auth events: {}",
        tell(check_auth_events(&pdu, fetch))
    );
    if !room.graph.has_state(id) {
        let _ = writeln!(
            out,
            "its parents are not all there, so it has no state to be checked against"
        );
        return Some(out);
    }
    let before = |t: &str, k: &str| {
        let found = room.graph.event_before(id, t, k)?;
        room.pdus.get(&found).cloned()
    };
    let _ = writeln!(
        out,
        "check 5, against the state before it: {}",
        tell(check_state(&pdu, before))
    );
    let keys = auth_keys(
        version,
        pdu.event_type(),
        pdu.sender(),
        pdu.state_key(),
        &pdu.content_value(),
    );
    for key in keys.unwrap_or_default() {
        let there = room.graph.event_before(id, &key.event_type, &key.state_key);
        let cited = there.is_some_and(|t| pdu.auth_events().contains(&t));
        let note = if there.is_some() && !cited {
            "  (not the one it cites)"
        } else {
            ""
        };
        let there = there.map_or_else(|| "nothing".to_owned(), |t| t.to_string());
        let _ = writeln!(out, "  {} [{}]: {there}{note}", key.event_type, key.state_key);
    }
    Some(out)
}

fn say(rule: AuthRule, version: &str, number: &str) -> String {
    format!(
        "forbidden by rule {number} of room version {version}: {}",
        rule.describe()
    )
}

fn find(room: &LoadedRoom, event: &str) -> Option<EventId> {
    if let Ok(id) = event.parse::<EventId>() {
        return room.pdus.contains_key(&id).then_some(id);
    }
    let mut found = room.pdus.keys().filter(|id| id.to_string().starts_with(event));
    let first = found.next().copied();
    first.filter(|_| event.len() > 1 && found.next().is_none())
}
