//! Talking in a room from the terminal.

use super::output::{Output, line};
use super::rooms::{again, find};
use super::{CliError, HttpClient};
use crate::state::Entry;
use clap::Args;
use mimi_wire::content::text_type;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// How long a long poll waits.
const WAIT: Duration = Duration::from_secs(20);
/// How long a line waits for its acceptance before the next may be typed; it goes on being sent afterwards.
const SEND_WAIT: Duration = Duration::from_secs(10);
/// How many lines of the past are shown at the start.
const PAST: usize = 20;

/// Talk in a room: prints what comes, sends what you type. `/quit` or end of input leaves.
#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
}

/// What happened first.
enum Turn {
    News(Result<Vec<Entry>, crate::ClientError>),
    Typed(Option<String>),
}

pub(super) async fn chat(client: &mut HttpClient, args: &ChatArgs, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    client.catch_up(&uri).await?;
    let past = client.engine().room(&uri)?.ordered();
    let skip = past.len().saturating_sub(PAST);
    out.entries(past.into_iter().skip(skip).filter(|e| e.pos.is_some()))?;
    if !out.json {
        line("-- type to send, /quit to leave --")?;
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        // A poll that is broken off by a typed line leaves nothing half done: state is saved between requests.
        let turn = tokio::select! {
            typed = lines.next_line() => Turn::Typed(typed.unwrap_or(None)),
            news = client.follow(&uri, WAIT) => Turn::News(news),
        };
        match turn {
            Turn::News(Ok(news)) => out.entries(&news)?,
            Turn::News(Err(error)) => again(error).await?,
            Turn::Typed(None) => return Ok(()),
            Turn::Typed(Some(text)) => match text.trim_end() {
                "" => {}
                "/quit" => return Ok(()),
                text => match client.send(&uri, text, text_type::PLAIN, SEND_WAIT).await {
                    Ok((_, _, news)) => out.entries(&news)?,
                    Err(error) => eprintln!("not sent: {error}"),
                },
            },
        }
    }
}
