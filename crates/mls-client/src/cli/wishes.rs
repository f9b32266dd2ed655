//! Wishes made on the Matrix side.

use super::output::{Output, plain};
use super::{CliError, HttpClient};
use crate::api::Wish;
use clap::Args;
use serde_json::json;

/// Do what was asked for on the Matrix side. Look at `wishes` first: whoever controls a homeserver can make one up.
#[derive(Debug, Args)]
pub(super) struct FulfilArgs {
    /// The wishes: their ids or the beginnings of them.
    #[arg(required_unless_present = "all")]
    wishes: Vec<String>,
    /// All that wait.
    #[arg(long, conflicts_with = "wishes")]
    all: bool,
}

/// Decline what was asked for on the Matrix side.
#[derive(Debug, Args)]
pub(super) struct DeclineArgs {
    /// The wish: its id or the beginning of it.
    wish: String,
    /// Told to whoever wished.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Have this client woken over the homeserver, by to-device events of type org.causeway.wake.
#[derive(Debug, Args)]
pub(super) struct WakeArgs {
    /// The Matrix device of yours that is to get them.
    #[arg(required_unless_present = "off")]
    matrix_device: Option<String>,
    /// No more.
    #[arg(long, conflicts_with = "matrix_device")]
    off: bool,
}

pub(super) async fn wake(client: &HttpClient, args: &WakeArgs, out: Output) -> Result<(), CliError> {
    client.set_wake(args.matrix_device.clone()).await?;
    out.show(&json!({"matrix_device": args.matrix_device}), || {
        match &args.matrix_device {
            Some(device) => format!("events go to device {device}"),
            None => "no more events".to_owned(),
        }
    })
}

pub(super) async fn list(client: &HttpClient, out: Output) -> Result<(), CliError> {
    let wishes = client.wishes().await?;
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for wish in &wishes {
        rows.push([
            wish.id.clone(),
            plain(&wish.want.words()),
            wish.room.clone().unwrap_or_else(|| "(new)".into()),
        ]);
        values.push(json!(wish));
    }
    out.table(["WISH", "ASKS YOU TO", "ROOM"], &rows, values)
}

pub(super) async fn fulfil(client: &mut HttpClient, args: &FulfilArgs, out: Output) -> Result<(), CliError> {
    let open = client.wishes().await?;
    let mut chosen: Vec<&Wish> = Vec::new();
    for text in &args.wishes {
        chosen.push(find(&open, text)?);
    }
    if args.all {
        chosen = open.iter().collect();
    }
    for wish in chosen {
        let room = client.fulfil(wish).await?;
        let value = json!({"wish": wish.id, "room": room, "done": wish.want.words()});
        out.show(&value, || format!("done: {} ({room})", plain(&wish.want.words())))?;
    }
    Ok(())
}

pub(super) async fn decline(client: &HttpClient, args: &DeclineArgs, out: Output) -> Result<(), CliError> {
    let open = client.wishes().await?;
    let wish = find(&open, &args.wish)?;
    client.decline(wish, &args.reason).await?;
    out.show(&json!({"wish": wish.id}), || {
        format!("declined: {}", plain(&wish.want.words()))
    })
}

fn find<'a>(open: &'a [Wish], text: &str) -> Result<&'a Wish, CliError> {
    let mut found = open.iter().filter(|wish| wish.id.starts_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(CliError::usage(
            format!("no wish {text}"),
            "see `causeway client wishes`",
        )),
        _ => Err(CliError::usage(
            format!("several wishes begin with {text}"),
            "write more of the id",
        )),
    }
}
