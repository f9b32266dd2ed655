//! Telling what a file is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Contested, Document, ReadError,
    plain::{Given, Plain},
    room::VerifyKeys,
};

/// What tells the kinds of documents apart.
#[derive(Default, Deserialize)]
struct Peek<'a> {
    format: Option<String>,
    room_version: Option<String>,
    verify_keys: Option<VerifyKeys>,
    #[serde(borrow)]
    forks: Option<&'a RawValue>,
    #[serde(borrow)]
    pdus: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
    #[serde(borrow)]
    sender: Option<&'a RawValue>,
    #[serde(borrow)]
    prev_events: Option<&'a RawValue>,
    #[serde(borrow)]
    pdu: Option<&'a RawValue>,
}

/// Reads a document of any known form. `version` is for PDUs whose create event isn't there to tell it.
pub fn read(bytes: &[u8], version: Option<crate::RoomVersion>) -> Result<Document, ReadError> {
    let text = str::from_utf8(bytes).map_err(|e| ReadError::Form(format!("not UTF-8: {e}")))?;
    let document = match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => read_value(value)?,
        Err(error) => read_lines(text, error)?,
    };
    match document {
        Document::Plain(plain) => Ok(Document::Plain(Box::new(plain.of_version(version)?))),
        other => Ok(other),
    }
}

/// One JSON value.
fn read_value(value: &RawValue) -> Result<Document, ReadError> {
    if value.get().starts_with('[') {
        let pdus: Vec<&RawValue> = serde_json::from_str(value.get())?;
        return plain(pdus, None, None);
    }
    if !value.get().starts_with('{') {
        return Err(ReadError::Form("neither an object nor a list".to_owned()));
    }
    // A PDU that has a key twice is for the PDU's parser to refuse.
    let peek: Peek<'_> = serde_json::from_str(value.get()).unwrap_or_default();
    match peek.format.as_deref() {
        Some("synapse-state-fixture-1") => return Ok(Document::Fixture(serde_json::from_str(value.get())?)),
        Some("synthetic-stateres-1") => return Ok(Document::Synthetic(serde_json::from_str(value.get())?)),
        Some(other) => return Err(ReadError::Form(format!("unknown format {other:?}"))),
        None => {}
    }
    if let (Some(_), Some(version)) = (peek.forks, &peek.room_version) {
        return contested(version, &[]);
    }
    if let Some(pdus) = peek.pdus {
        return plain(pdus, peek.room_version, peek.verify_keys);
    }
    if let Some(events) = peek.events {
        return match serde_json::from_str::<Vec<&RawValue>>(events.get()) {
            Ok(pdus) => plain(pdus, peek.room_version, peek.verify_keys),
            Err(_) => by_id(events, peek.room_version, peek.verify_keys),
        };
    }
    if peek.sender.is_some() || peek.prev_events.is_some() || peek.pdu.is_some() {
        return plain(vec![value], None, None);
    }
    by_id(value, None, None)
}

/// A JSON value a line. `whole` is why the text is not one value.
fn read_lines(text: &str, whole: serde_json::Error) -> Result<Document, ReadError> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let (Some(first), true) = (lines.first(), lines.len() > 1) else {
        return Err(whole.into());
    };
    // A first line that is no JSON: a text of another kind, or one long value that breaks off.
    let Ok(header) = serde_json::from_str::<&RawValue>(first) else {
        return Err(whole.into());
    };
    let peek: Peek<'_> = serde_json::from_str(header.get()).unwrap_or_default();
    if let (Some(_), Some(version)) = (peek.forks, &peek.room_version) {
        return contested(version, lines.get(1..).unwrap_or_default());
    }
    let mut pdus = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        let value: &RawValue =
            serde_json::from_str(line).map_err(|e| ReadError::Form(format!("line {}: {e}", i + 1)))?;
        pdus.push(value);
    }
    plain(pdus, None, None)
}

fn contested(version: &str, lines: &[&str]) -> Result<Document, ReadError> {
    let contested = Contested::read(version.parse()?, lines)?;
    Ok(Document::Contested(Box::new(contested)))
}

fn plain(
    values: Vec<&RawValue>,
    version: Option<String>,
    keys: Option<VerifyKeys>,
) -> Result<Document, ReadError> {
    let given = values.into_iter().map(|value| {
        let peek: Peek<'_> = serde_json::from_str(value.get()).unwrap_or_default();
        match peek.pdu {
            Some(pdu) => Given {
                event_id: claimed(value),
                pdu: pdu.to_owned(),
            },
            None => Given {
                event_id: None,
                pdu: value.to_owned(),
            },
        }
    });
    Ok(Document::Plain(Box::new(Plain::new(
        given.collect(),
        version,
        keys,
    )?)))
}

/// The id beside a PDU.
fn claimed(line: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        event_id: Option<String>,
    }
    serde_json::from_str::<Line>(line.get()).ok()?.event_id
}

/// PDUs by their ids.
fn by_id(value: &RawValue, version: Option<String>, keys: Option<VerifyKeys>) -> Result<Document, ReadError> {
    let unknown = || ReadError::Form("neither PDUs nor a known format".to_owned());
    let map: BTreeMap<String, Box<RawValue>> = serde_json::from_str(value.get()).map_err(|_| unknown())?;
    if map.is_empty() || !map.keys().all(|id| id.starts_with('$')) {
        return Err(unknown());
    }
    let given = map.into_iter().map(|(id, pdu)| Given {
        event_id: Some(id),
        pdu,
    });
    Ok(Document::Plain(Box::new(Plain::new(
        given.collect(),
        version,
        keys,
    )?)))
}
