//! The proof that nothing on the way can read: what would have to be found if it could is searched for everywhere, by
//! a search that first shows that it finds.

use crate::stage::{Stage, say};
use crate::transcript::carried;
use crate::until;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_tests::audit::{Audit, Finding};
use causeway_tests::client::Client;
use causeway_tests::{Context as _, Failure, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is sent unencrypted where otherwise ciphertext is: it has to be found.
const CONTROL: &str = "CONTROL sent in the clear: marmalade zeppelin xylophone";
/// Its submitter's id.
const CONTROL_ID: &str = "control";

/// Searches, with a control.
pub(crate) async fn prove(
    stage: &mut Stage,
    clients: &[&Client],
    texts: &[&str],
    room: &str,
    portal: &str,
) -> Result<()> {
    send_control(stage, clients, room, portal).await?;
    let mut audit = Audit::new();
    for text in texts {
        audit.look_for(format!("the message {text:?}"), text.as_bytes())?;
    }
    let mut keys = 0_usize;
    for client in clients {
        let secrets = client.secrets().await?;
        if secrets.is_empty() {
            return Err(Failure(format!("{} has no secrets, which can't be", client.name)));
        }
        for (label, octets) in secrets {
            audit.look_for(format!("{} of {}", label, client.name), &octets)?;
            keys += 1;
        }
    }
    let mut control = Audit::new();
    control.look_for("the control", CONTROL.as_bytes())?;

    let exports = stage.stop_and_export().await?;
    let mut places = vec![
        stage.synapse()?.dir().to_owned(),
        stage.a()?.dir().to_owned(),
        stage.b()?.dir().to_owned(),
    ];
    places.extend(exports);
    let searching = places.clone();
    let (found, secrets, searched) = tokio::task::spawn_blocking(move || {
        let (found, _) = control.search(&searching)?;
        let (secrets, searched) = audit.search(&searching)?;
        Ok::<_, Failure>((found, secrets, searched))
    })
    .await
    .context("searching")??;

    say(&format!(
        "searched {} files, {:.1} MB as they are, {:.1} MB out of base64, hex and decimal lists",
        searched.files,
        megabytes(searched.octets),
        megabytes(searched.decoded)
    ));
    for place in &places {
        let there: Vec<&Finding> = found.iter().filter(|f| f.file.starts_with(place)).collect();
        let Some(first) = there.first() else {
            return Err(Failure(format!(
                "the control is not found in {}: the search proves nothing",
                place.display()
            )));
        };
        say(&format!(
            "the control is found: {} ({} places{})",
            shown(stage.place(), &first.file),
            there.len(),
            through(first)
        ));
    }
    in_database(&found)?;
    if secrets.is_empty() {
        say(&format!(
            "none of the {} messages is found anywhere, and none of the {keys} private keys and secrets",
            texts.len()
        ));
        return Ok(());
    }
    let list: Vec<String> = secrets
        .iter()
        .map(|f| format!("  {} in {}{}", f.label, shown(stage.place(), &f.file), through(f)))
        .collect();
    Err(Failure(format!(
        "found what must not be there:\n{}",
        list.join("\n")
    )))
}

/// The homeserver's logs alone would not do.
fn in_database(found: &BTreeSet<Finding>) -> Result<()> {
    let name = |f: &Finding| {
        f.file
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    if found.iter().any(|f| name(f).starts_with("homeserver.db")) {
        return Ok(());
    }
    Err(Failure::new(
        "the control is not found in the homeserver's database: the search proves nothing",
    ))
}

/// Takes a real message of the room, puts the control where its ciphertext was, and submits it like any other: through
/// the portal. The hub can't tell the difference, which is the point.
async fn send_control(stage: &Stage, clients: &[&Client], room: &str, portal: &str) -> Result<()> {
    let alice = stage.alice_matrix()?;
    let newest = {
        let first = clients.first().context("a client")?;
        first
            .messages(room)
            .await?
            .pop()
            .context("a message")?
            .mls_message
    };
    let events = alice.messages(portal, 1000).await?;
    let carried = carried(&events);
    let template = &carried
        .get(&newest)
        .context("the newest message in the portal")?
        .mls_message;
    let message = in_the_clear(template, CONTROL.as_bytes())?;
    let content = json!({"id": CONTROL_ID, "message": URL_SAFE_NO_PAD.encode(message)});
    alice
        .send(portal, "org.causeway.message", CONTROL_ID, content)
        .await?;
    until("the control's acceptance", || async {
        let events = alice.messages(portal, 50).await?;
        let state = events.iter().rev().find_map(|e| {
            let content = e.get("content")?;
            let about = content.get("id").and_then(Value::as_str) == Some(CONTROL_ID);
            let state = content.get("state").and_then(Value::as_str)?;
            about.then(|| state.to_owned())
        });
        match state.as_deref() {
            Some("refused") => Err(Failure::new("the hub refused the control")),
            Some("accepted") => Ok(Some(())),
            _ => Ok(None),
        }
    })
    .await?;
    // Carol's provider has it when her client stumbles over it.
    let carol = clients.last().context("a client")?;
    until("the control at the other provider", || async {
        let entries = carol.run(&["read", room]).await?;
        let problem = |e: &Value| e.get("kind").and_then(Value::as_str) == Some("problem");
        Ok(entries
            .as_array()
            .is_some_and(|all| all.iter().any(problem))
            .then_some(()))
    })
    .await?;
    say("a control text went the same way unencrypted; clients can't open it, providers can't tell");
    Ok(())
}

/// An MLSMessage with a PrivateMessage (RFC 9420 section 6.3), its ciphertext replaced.
fn in_the_clear(message: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let doing = "reading a message";
    // Version, wire format.
    let mut at = 4;
    at += opaque(message, at).context(doing)?; // group id
    at += 9; // epoch, content type
    at += opaque(message, at).context(doing)?; // authenticated data
    at += opaque(message, at).context(doing)?; // sender data
    let mut out = message.get(..at).context(doing)?.to_vec();
    match u8::try_from(text.len()).context(doing)? {
        // One octet up to 63, two from there on: no other encoding is valid.
        short @ 0..64 => out.push(short),
        long => out.extend([0x40, long]),
    }
    out.extend(text);
    Ok(out)
}

/// Octets of a vector with its length (RFC 9420 section 2.1.2).
fn opaque(message: &[u8], at: usize) -> Option<usize> {
    let first = *message.get(at)?;
    let (size, length) = match first >> 6 {
        0 => (1, usize::from(first)),
        1 => (
            2,
            usize::from(u16::from_be_bytes([first & 0x3f, *message.get(at + 1)?])),
        ),
        2 => {
            let rest = message.get(at + 1..at + 4)?;
            (
                4,
                rest.iter()
                    .fold(usize::from(first & 0x3f), |n, b| (n << 8) | usize::from(*b)),
            )
        }
        _ => return None,
    };
    Some(size + length)
}

#[allow(clippy::cast_precision_loss)] // for people
fn megabytes(octets: u64) -> f64 {
    octets as f64 / 1e6
}

fn shown(base: &Path, file: &Path) -> String {
    file.strip_prefix(base)
        .map_or_else(|_| file.to_owned(), PathBuf::from)
        .display()
        .to_string()
}

fn through(finding: &Finding) -> String {
    if finding.through.is_empty() {
        String::new()
    } else {
        format!(", through {}", finding.through)
    }
}
