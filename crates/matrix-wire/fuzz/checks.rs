//! What must hold for any input. Used by the fuzz targets and, on the corpus, by the crate's own tests.

use event_graph::json::canonicalize;
use event_graph::{Draft, Pdu, RoomVersion, SigningIdentity, VerifyKey};
use matrix_wire::answers::{
    Events, Heads, Nearest, Octets, SendJoin, Signed, State, StateIds, Template, octets, state_ids,
};
use matrix_wire::keys::{MOST_KEYS, ServerRecord, read_answer};
use matrix_wire::push::{Incoming, MAX_EVENTS, RoomEvent, event};
use matrix_wire::requests::{
    InviteRequest, MOST_EDUS, MOST_PDUS, MissingRequest, Transaction, room_of, values,
};
use matrix_wire::server_name::Host;
use matrix_wire::{ServerName, auth, discovery};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

pub(crate) const NAME: &str = "a.example";
pub(crate) const NOW: i64 = 1_700_000_000_000;
const WEEK: i64 = 7 * 24 * 3600 * 1000;

pub(crate) static IDENTITY: LazyLock<Arc<SigningIdentity>> =
    LazyLock::new(|| Arc::new(SigningIdentity::from_seed(NAME, "ed25519:1", &[1; 32])));

/// A header is refused, or says the same in another spelling; a name is one part of a URL; a query has few values.
pub(crate) fn header(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    name(text);
    assert!(values(Some(text), "v").len() <= 100);
    let Ok(claim) = auth::parse(text) else { return };
    assert!(auth::is_key_id(&claim.key_id));
    name(claim.origin.as_str());
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let destination = claim.destination.as_deref();
    let destination = destination.map_or(String::new(), |to| format!(",destination=\"{}\"", quoted(to)));
    let spelt = format!(
        "x-matrix sig=\"{}\" , KEY={}{destination},origin={}",
        base64(&claim.signature),
        claim.key_id,
        claim.origin,
    );
    if spelt.len() <= 2048 {
        assert_eq!(auth::parse(&spelt).as_ref(), Ok(&claim));
    }
    let _ = auth::check_names(&claim, NAME);
    let to = claim.destination.as_deref().unwrap_or(NAME);
    let message = auth::message("PUT", text, claim.origin.as_str(), to, Some("{}"));
    assert_eq!(canonicalize(message.as_bytes()).as_deref(), Ok(&*message));
    let _ = auth::verify(&claim, &IDENTITY.verify_key(), NAME, "PUT", "/x", data);
}

fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in octets.chunks(3) {
        let group = chunk
            .iter()
            .fold(0_u32, |sum, octet| sum << 8 | u32::from(*octet));
        let group = group << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            out.push(char::from(DIGITS[(group >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    out
}

fn name(text: &str) {
    let Ok(name) = ServerName::parse(text) else { return };
    assert_eq!(name.as_str(), text);
    assert!(!text.contains(['/', '@', '?', '#', '\\', '%']) && text.is_ascii());
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    assert_eq!(name.port().is_some(), port.is_some());
    match name.host() {
        Host::Name(name) => assert_eq!(name, host),
        Host::Address(address) => assert_eq!(Ok(*address), host.trim_matches(['[', ']']).parse()),
    }
}

/// Events of each version that is read here: parsed or refused.
fn pdus<'a>(events: impl IntoIterator<Item = &'a [u8]>) -> Vec<Pdu> {
    let mut good = Vec::new();
    for octets in events {
        for version in RoomVersion::ALL {
            if let Ok(pdu) = Pdu::parse(octets, version) {
                let _ = pdu.required_signers();
            }
        }
        good.extend(Pdu::parse_trusted(octets, RoomVersion::V12));
    }
    good
}

/// The body of `/send`: within its bounds, and each event has a room or is passed over.
pub(crate) fn transaction(data: &[u8]) {
    let Ok(transaction) = Transaction::new(data) else {
        return;
    };
    let origin = ServerName::parse(NAME).unwrap();
    let Ok(parts) = transaction.parts(&origin) else {
        return;
    };
    assert!(parts.pdus.len() <= MOST_PDUS && parts.edus <= MOST_EDUS);
    for pdu in &parts.pdus {
        if room_of(*pdu).is_some() {
            pdus([pdu.text().as_bytes()]);
        }
    }
}

/// The first octet picks what was asked; the rest is the answer, or another server's question.
pub(crate) fn answers(data: &[u8]) {
    fn read<T: serde::de::DeserializeOwned>(json: &[u8]) -> Option<T> {
        serde_json::from_slice(json).ok()
    }
    fn state(events: &[Octets]) {
        let state = pdus(octets(events));
        if let Ok(ids) = state_ids(&state) {
            assert_eq!(ids.len(), state.len());
        }
    }
    let Some((&first, json)) = data.split_first() else {
        return;
    };
    match first % 10 {
        0 => template(read(json)),
        1 => {
            if let Some(sent) = read::<SendJoin>(json) {
                state(&sent.state);
                pdus(octets(&sent.auth_chain));
                pdus(sent.event.iter().map(|event| event.get().as_bytes()));
            }
        }
        2 => drop(read::<Events>(json).map(|answer| pdus(octets(&answer.events)))),
        3 => drop(read::<StateIds>(json)),
        4 => {
            if let Some(answer) = read::<State>(json) {
                state(&answer.pdus);
                pdus(octets(&answer.auth_chain));
            }
        }
        5 => drop(read::<Heads>(json)),
        6 => drop(read::<Nearest>(json)),
        7 => drop(read::<MissingRequest>(json)),
        8 => drop(read::<InviteRequest>(json).map(|asked| pdus([asked.event.get().as_bytes()]))),
        _ => drop(read::<Signed>(json).map(|answer| pdus([answer.event.get().as_bytes()]))),
    }
}

/// What a template becomes: an event of ours that we would read ourselves, or nothing.
fn template(template: Option<Template>) {
    let Some(Template { event, .. }) = template else {
        return;
    };
    let user = format!("@u:{NAME}");
    let draft = Draft {
        room_id: Some(format!("!{}", "A".repeat(43))),
        event_type: "m.room.member".to_owned(),
        sender: user.clone(),
        state_key: Some(user),
        content: json!({
            "membership": "join",
            "join_authorised_via_users_server": event.content.join_authorised_via_users_server,
        }),
        prev_events: event.prev_events,
        auth_events: event.auth_events,
        depth: event.depth.min((1 << 53) - 1),
        origin_server_ts: NOW,
    };
    if let Ok(pdu) = draft.sign(&IDENTITY, RoomVersion::V12) {
        assert!(Pdu::parse(pdu.as_bytes(), RoomVersion::V12).is_ok());
    }
}

/// The keys of a server, as they come and, so that all of it is reached, signed: bounded, and none that lasts too long.
pub(crate) fn keys(data: &[u8]) {
    record(data);
    let Ok(Value::Object(mut document)) = serde_json::from_slice(data) else {
        return;
    };
    document.remove("signatures");
    document.insert("server_name".to_owned(), json!(NAME));
    let listed = document.entry("verify_keys").or_insert_with(|| json!({}));
    if let Some(listed) = listed.as_object_mut() {
        let own = json!({ "key": IDENTITY.verify_key().to_base64() });
        listed.insert(IDENTITY.key_id().to_owned(), own);
    }
    let mut document = Value::Object(document);
    let Ok(signature) = IDENTITY.sign_json(&document) else {
        return;
    };
    document["signatures"] = json!({ NAME: { IDENTITY.key_id(): signature } });
    record(document.to_string().as_bytes());
}

fn record(octets: &[u8]) {
    let Ok(record) = read_answer(octets, NAME, NOW) else {
        return;
    };
    assert!(!record.keys.is_empty() && record.keys.len() <= MOST_KEYS);
    for (id, key) in &record.keys {
        assert!(auth::is_key_id(id) && VerifyKey::from_base64(&key.key).is_ok());
        assert!(key.until <= NOW + WEEK && (key.current || key.until <= NOW));
        assert_eq!(
            record.key(id, key.until.saturating_add(1)).is_some(),
            key.until == i64::MAX
        );
    }
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<ServerRecord>(&text).unwrap(), record);
    let mut merged = record.clone();
    merged.merge(record.clone());
    assert_eq!(merged, record);
}

/// What a domain or its name servers say where a server is: a name that is none of another kind.
pub(crate) fn discovery(data: &[u8]) {
    if let Some(server) = discovery::delegated(data) {
        name(server.as_str());
    }
    if let Some((host, port)) = discovery::best_srv(data) {
        let server = ServerName::parse(&host).unwrap();
        assert!(port != 0 && server.port().is_none() && matches!(server.host(), Host::Name(_)));
    }
}

/// A homeserver's transaction: refused, or every event of it is usable or set aside, and a repeat is known again.
pub(crate) fn push(data: &[u8]) {
    let Ok(incoming) = Incoming::parse("1", data) else {
        return;
    };
    let Incoming {
        events, to_device, ..
    } = &incoming;
    assert!(events.len() <= MAX_EVENTS && to_device.len() <= MAX_EVENTS);
    assert!(incoming.ephemeral.values().sum::<usize>() <= MAX_EVENTS);
    for RoomEvent {
        room_id,
        event_id,
        sender,
        state_key,
        content,
        ..
    } in events
    {
        assert!(room_id.starts_with('!') && event_id.starts_with('$') && sender.starts_with('@'));
        assert!(
            [room_id, event_id, sender]
                .iter()
                .all(|id| id.len() <= event::MAX_ID)
        );
        assert!(state_key.as_ref().is_none_or(|key| key.len() <= event::MAX_ID) && content.is_object());
    }
    for event in events {
        let _ = (event.membership_of(&event.sender), event.sender_server());
    }
    assert_eq!(
        Incoming::parse("2", data).unwrap().fingerprint(),
        incoming.fingerprint()
    );
}
