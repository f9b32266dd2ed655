//! Who sent what, which MIMI requests carried it, which events hold it.

use crate::stage::Stage;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use causeway_tests::client::{Client, Message};
use causeway_tests::{Context as _, Result};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A portal event that carries a message.
pub(crate) struct Carried {
    pub(crate) event_id: String,
    pub(crate) mls_message: Vec<u8>,
    /// Its submitter's id for it, where it was submitted here.
    submission: Option<String>,
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// The messages in the portal, by SHA-256 of the MLSMessage in hex.
pub(crate) fn carried(portal: &[Value]) -> BTreeMap<String, Carried> {
    let mut out = BTreeMap::new();
    for event in portal
        .iter()
        .filter(|e| text(e, "type") == Some("org.causeway.message"))
    {
        let Some(content) = event.get("content") else {
            continue;
        };
        let submitted = text(content, "message").and_then(|m| URL_SAFE.decode(m).ok());
        let inline = content
            .get("payload")
            .and_then(|p| text(p, "data"))
            .and_then(|m| STANDARD.decode(m).ok());
        let submission = submitted
            .is_some()
            .then(|| text(content, "id").map(ToOwned::to_owned))
            .flatten();
        if let (Some(mls_message), Some(event_id)) = (submitted.or(inline), text(event, "event_id")) {
            let hash = hex::encode(Sha256::digest(&mls_message));
            out.insert(
                hash,
                Carried {
                    event_id: event_id.to_owned(),
                    mls_message,
                    submission,
                },
            );
        }
    }
    out
}

/// The status events of submissions: submission to event id, the newest that accepts it.
fn accepted(portal: &[Value]) -> BTreeMap<String, String> {
    portal
        .iter()
        .filter(|e| text(e, "type") == Some("org.causeway.status"))
        .filter_map(|e| {
            let content = e.get("content")?;
            let taken = text(content, "state")? == "accepted";
            taken.then_some((text(content, "id")?.to_owned(), text(e, "event_id")?.to_owned()))
        })
        .collect()
}

/// Portal event to the request that caused it, from a gateway's log.
fn requests_of_events(log: &[Value]) -> BTreeMap<String, String> {
    log.iter()
        .filter_map(|line| {
            Some((
                text(line, "event_id")?.to_owned(),
                text(line, "request_id")?.to_owned(),
            ))
        })
        .collect()
}

/// MIMI requests that a provider made, by request id.
fn asked(log: &[Value], by: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in log {
        if text(line, "message") == Some("asked a peer")
            && let (Some(id), Some(peer), Some(endpoint)) = (
                text(line, "request_id"),
                text(line, "peer"),
                text(line, "endpoint"),
            )
            && text(line, "status").is_some_and(|status| status.starts_with('2'))
        {
            out.entry(id.to_owned())
                .or_default()
                .insert(format!("{endpoint} {by} -> {peer}"));
        }
    }
    out
}

/// Prints it.
pub(crate) async fn print(
    stage: &Stage,
    alice: &Client,
    carol: &Client,
    bob: &Client,
    room: &str,
    portal: &str,
) -> Result<()> {
    let events = stage.alice_matrix()?.messages(portal, 1000).await?;
    let (carried, accepted) = (carried(&events), accepted(&events));
    let (a, b) = (stage.a()?.log_lines()?, stage.b()?.log_lines()?);
    let causes = requests_of_events(&a);
    let mut asked_by = asked(&a, "a.example");
    for (id, requests) in asked(&b, "b.example") {
        asked_by.entry(id).or_default().extend(requests);
    }
    let mut at_b: BTreeMap<String, Message> = BTreeMap::new();
    for client in [bob, carol] {
        at_b.extend(
            client
                .messages(room)
                .await?
                .into_iter()
                .map(|m| (m.mls_message.clone(), m)),
        );
    }
    for message in alice.messages(room).await? {
        println!("\n   {}: \"{}\"", message.sender, message.text);
        let there = carried
            .get(&message.mls_message)
            .context("a message that is not in the portal")?;
        let answer = match &there.submission {
            Some(id) => accepted.get(id).context("a submission without an answer")?,
            None => &there.event_id,
        };
        let request = causes.get(answer).context("an event that no request caused")?;
        println!("     request {request}");
        for asked in asked_by.get(request).into_iter().flatten() {
            println!("       MIMI {asked}");
        }
        let how = if there.submission.is_some() {
            "submitted as"
        } else {
            "copied to"
        };
        println!("     {how} portal event {}", there.event_id);
        println!(
            "     held by {} in the graph of a.example",
            shown(message.event_id.as_deref())
        );
        let at_b = at_b.get(&message.mls_message).and_then(|m| m.event_id.as_deref());
        println!("     held by {} in the graph of b.example", shown(at_b));
    }
    changes(alice, room).await?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for asked in asked_by.values().flatten() {
        *counts.entry(asked).or_default() += 1;
    }
    println!("\n   all MIMI requests that were answered with success");
    for (asked, times) in counts {
        println!("     {times:>4}  {asked}");
    }
    Ok(())
}

/// The changes of the group as Alice's device took them in.
async fn changes(alice: &Client, room: &str) -> Result<()> {
    let entries = alice.run(&["read", room]).await?;
    println!("\n   changes of the group, each one commit");
    for entry in entries
        .as_array()
        .into_iter()
        .flatten()
        .filter(|e| text(e, "kind") == Some("change"))
    {
        let names = |key: &str| -> Vec<&str> {
            entry
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect()
        };
        let what: Vec<String> = [
            ("added_users", "adds"),
            ("removed_users", "takes out"),
            ("added_clients", "brings in"),
            ("removed_clients", "takes out"),
        ]
        .iter()
        .map(|(key, verb)| (names(key), verb))
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, verb)| format!("{verb} {}", names.join(", ")))
        .collect();
        println!("     {} {}", text(entry, "by").unwrap_or("?"), what.join("; "));
        match text(entry, "event_id") {
            Some(event) => println!("       held by {event} in the graph of a.example"),
            None => println!("       by founding the group"),
        }
    }
    Ok(())
}

fn shown(event: Option<&str>) -> &str {
    event.unwrap_or("no event")
}
