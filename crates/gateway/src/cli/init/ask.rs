//! The questions of `causeway init` on a terminal.

use super::{InitArgs, Peer};
use crate::failure::{Code, Failure};
use mimi_wire::Domain;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Asks for what the arguments leave open. Off a terminal it changes nothing.
pub(super) fn complete(args: &mut InitArgs) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    if args.domain.is_none() {
        args.domain = Some(until(
            "The provider's domain (beside a homeserver: its server name)",
            None,
            |text| {
                Domain::parse(text)
                    .map(|d| d.to_string())
                    .map_err(|e| e.to_string())
            },
        )?);
    }
    if args.homeserver.is_none() {
        let question =
            "URL of the homeserver's client API, for example http://127.0.0.1:8008 (empty: no homeserver)";
        let url = until(question, Some(""), |text| Ok::<_, String>(text.to_owned()))?;
        args.homeserver = (!url.is_empty()).then_some(url);
    }
    if args.dev_ca.is_none() {
        let question =
            "Folder of a development authority for test certificates (empty: you bring certificates)";
        let folder = until(question, Some(""), |text| Ok::<_, String>(text.to_owned()))?;
        args.dev_ca = (!folder.is_empty()).then(|| folder.into());
    }
    if args.peer.is_empty() {
        let question = "Peers, as DOMAIN or DOMAIN=ADDRESS, separated by spaces (empty: none yet)";
        args.peer = until(question, Some(""), |text| {
            text.split_whitespace().map(str::parse::<Peer>).collect()
        })?;
    }
    Ok(())
}

/// Asks until the answer can be used.
fn until<T>(
    question: &str,
    default: Option<&str>,
    mut read: impl FnMut(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    let lost = |e: std::io::Error| {
        Failure::new(
            Code::Usage,
            "the terminal is gone",
            "give everything as arguments, with --yes",
        )
        .with_source(e)
    };
    loop {
        print!("{question}: ");
        std::io::stdout().flush().map_err(lost)?;
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).map_err(lost)? == 0 {
            return Err(Failure::new(
                Code::Usage,
                "no more input",
                "give everything as arguments, with --yes",
            ));
        }
        let text = line.trim();
        if text.is_empty() && default.is_none() {
            continue;
        }
        match read(text) {
            Ok(value) => return Ok(value),
            Err(why) => println!("  {why}"),
        }
    }
}
