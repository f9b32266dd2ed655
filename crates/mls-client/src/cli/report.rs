//! `causeway client report`

use super::output::Output;
use super::rooms::find;
use super::{CliError, HttpClient};
use clap::Args;
use serde_json::json;

/// Report messages to the room's hub as abuse. The hub gets to see what they say, and proves by its frank who sent them.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
    /// Message ids as `read` prints them, or their beginnings (6 digits at least); all of one sender.
    #[arg(required = true)]
    messages: Vec<String>,
    /// What the hub's operator should know.
    #[arg(long, default_value = "")]
    note: String,
    /// Do not tell the hub who you are.
    #[arg(long)]
    anonymous: bool,
}

pub(super) async fn report(client: &mut HttpClient, args: &ReportArgs, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    client.catch_up(&uri).await?;
    client
        .report(&uri, &args.messages, &args.note, args.anonymous)
        .await?;
    let hub = client.engine().room(&uri)?.hub.clone();
    let value = json!({"room": uri, "hub": hub, "messages": args.messages, "reported": true});
    out.show(&value, || format!("reported to {hub}"))
}
