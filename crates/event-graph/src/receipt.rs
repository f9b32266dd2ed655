//! The seven checks on receipt of a PDU as one pipeline (server-server API, "Checks performed on receipt of a
//! PDU").
//!
//! | check | who | failure |
//! |---|---|---|
//! | 1 format | [`Pdu::parse`] | dropped |
//! | 2 signatures | [`UnverifiedPdu::verify`](crate::UnverifiedPdu::verify) | dropped |
//! | 3 content hash | the same | goes on as the redacted copy |
//! | 4 rules against the auth events | [`Graph::admit_as`] | rejected |
//! | 5 rules against the state before | the same | rejected |
//! | 6 rules against the current state | the same | soft-failed |
//! | 7 the policy server's signature | [`signed_by_policy_server`] | soft-failed |

use smallvec::SmallVec;

use crate::{
    EventId, Graph, KeyLookup, Outcome, ParseError, Pdu, VerifyError, VerifyKey, graph::Arrival, json::Raw,
    keys::decode_signature,
};

/// Where stored events are read from; all that this crate needs of a store.
pub trait EventSource {
    /// A stored event.
    fn event(&self, id: EventId) -> Option<Pdu>;
}

/// What became of octets that claim to be an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// Dropped by check 1.
    Malformed(ParseError),
    /// Dropped by check 2.
    Unverified(VerifyError),
    /// Judged by the others.
    Judged {
        /// The event, redacted if check 3 failed: what is to be stored, unless it was dropped.
        pdu: Pdu,
        /// Its own outcome, then those of events that had waited for it.
        outcomes: SmallVec<[Outcome; 1]>,
    },
}

/// Takes octets through all seven checks.
pub fn receive(
    graph: &mut Graph,
    octets: &[u8],
    keys: &impl KeyLookup,
    store: &impl EventSource,
) -> Received {
    let parsed = match Pdu::parse(octets, graph.room_version()) {
        Ok(parsed) => parsed,
        Err(error) => return Received::Malformed(error),
    };
    let pdu = match parsed.verify(keys) {
        Ok(pdu) => pdu,
        Err(error) => return Received::Unverified(error),
    };
    let arrival = arrival_of(graph, &pdu, store);
    let outcomes = graph.admit_as(&pdu, arrival);
    Received::Judged { pdu, outcomes }
}

/// How a new event is to be admitted: check 7.
pub fn arrival_of(graph: &mut Graph, event: &Pdu, store: &impl EventSource) -> Arrival {
    let policy = graph
        .current_event("m.room.policy", "")
        .and_then(|id| store.event(id));
    let signed = policy
        .is_none_or(|policy| signed_by_policy_server(event, &policy, |server| graph.has_member_of(server)));
    if signed { Arrival::New } else { Arrival::Refused }
}

/// Check 7: true if the policy server that `policy` (the `m.room.policy` state event) names has signed the event,
/// or if none is in force: it names no server and key, or its server has nobody in the room. The policy event
/// itself needs no such signature.
pub fn signed_by_policy_server(event: &Pdu, policy: &Pdu, has_member: impl FnOnce(&str) -> bool) -> bool {
    if event.event_type() == "m.room.policy" && event.state_key() == Some("") {
        return true;
    }
    let content = policy.content();
    let via = content.get("via").and_then(Raw::as_str);
    let key = content
        .get("public_keys")
        .and_then(|k| k.get("ed25519"))
        .and_then(Raw::as_str);
    let (Some(via), Some(key)) = (via, key) else {
        return true;
    };
    if !crate::ids::is_server_name(&via) || !has_member(&via) {
        return true;
    }
    let Ok(key) = VerifyKey::from_base64(&key) else {
        return false;
    };
    let signature = event
        .raw()
        .get("signatures")
        .and_then(|s| s.get(&via)?.get("ed25519:policy_server"));
    let signature = signature.and_then(|s| decode_signature(s.as_escaped_str()?));
    let Ok(parsed) = Pdu::parse(event.as_bytes(), event.room_version()) else {
        return false;
    };
    signature.is_some_and(|s| key.verifies(parsed.message().as_bytes(), &s))
}
