//! `causeway content`: MIMI content messages from files, for people and scripts. Needs no configuration.

use std::fs::File;
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mimi_wire::MimiUri;
use mimi_wire::content::{MessageId, MessageStatusReport, MimiContent, Value, json};

use super::output;
use crate::failure::{Code, Failure};

/// MIMI content (draft-ietf-mimi-content): read, write and name messages. Needs no configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway content decode message.cbor > message.json
  causeway content encode message.json > message.cbor    deterministic: the same JSON gives the same octets
  causeway content decode --hex - <<< 87501818...
  causeway content id --sender mimi://a.example/u/alice --room mimi://a.example/r/club message.cbor

A list of delivery states (application/mimi-message-status) is told from a message by its form.")]
pub(super) struct ContentArgs {
    #[command(subcommand)]
    command: ContentCommand,
}

#[derive(Debug, Subcommand)]
enum ContentCommand {
    /// Print a message as JSON.
    Decode {
        /// CBOR, or - for standard input.
        file: PathBuf,
        /// The input is hexadecimal text.
        #[arg(long)]
        hex: bool,
    },
    /// Write the CBOR of a message given as JSON, deterministically, to standard output.
    Encode {
        /// JSON as `decode` prints it, or - for standard input.
        file: PathBuf,
        /// Write hexadecimal text.
        #[arg(long)]
        hex: bool,
    },
    /// Print the message id in hexadecimal. It is over the octets as sent, so it is taken of CBOR, never of JSON.
    Id {
        /// URI of the sender, as MLS authenticates it.
        #[arg(long, value_name = "URI")]
        sender: MimiUri,
        /// URI of the room.
        #[arg(long, value_name = "URI")]
        room: MimiUri,
        /// CBOR, or - for standard input.
        file: PathBuf,
        /// The input is hexadecimal text.
        #[arg(long)]
        hex: bool,
    },
}

/// Longest input: far above what fits into a message, far below what a machine has.
const LIMIT: u64 = 64 * 1024 * 1024;

pub(super) fn run(args: ContentArgs) -> Result<(), Failure> {
    match args.command {
        ContentCommand::Decode { file, hex } => output::json(&decode(&cbor(&file, hex)?)?),
        ContentCommand::Encode { file, hex } => {
            let text = read(&file)?;
            let value = serde_json::from_slice(&text).map_err(|e| malformed("it is no JSON", e))?;
            write(&encode(&value)?, hex)
        }
        ContentCommand::Id {
            sender,
            room,
            file,
            hex,
        } => {
            let octets = cbor(&file, hex)?;
            let content = message(&octets)?;
            // The id is over what MLS says, but clients discard a message that says something else of itself.
            let said = [
                ("sender", content.sender(), &sender),
                ("room", content.room(), &room),
            ];
            for (what, inside, given) in said {
                match inside {
                    Some(Ok(inside)) if inside == *given => {}
                    Some(Ok(inside)) => eprintln!("note: the message names {inside} as its {what}"),
                    Some(Err(_)) | None => eprintln!("note: the message does not name its {what}"),
                }
            }
            let id = MessageId::derive(&sender, &room, &octets, &content.salt);
            let _ = writeln!(std::io::stdout(), "{id}");
            Ok(())
        }
    }
}

fn message(octets: &[u8]) -> Result<MimiContent, Failure> {
    MimiContent::decode(octets).map_err(|e| malformed("it is no MIMI content", e))
}

fn decode(octets: &[u8]) -> Result<serde_json::Value, Failure> {
    // A message is a list that begins with its salt, a report a list of lists.
    let is_report = match Value::decode(octets) {
        Ok(Value::Array(items)) => items.iter().all(|item| matches!(item, Value::Array(_))),
        _ => false,
    };
    if is_report {
        let report = MessageStatusReport::decode(octets)
            .map_err(|e| malformed("it is no message status report", e))?;
        return serde_json::to_value(report).map_err(|e| malformed("it can't be written as JSON", e));
    }
    message(octets).map(|content| json::to_json(&content))
}

fn encode(value: &serde_json::Value) -> Result<Vec<u8>, Failure> {
    if value.is_array() {
        let report: MessageStatusReport = serde::Deserialize::deserialize(value)
            .map_err(|e| malformed("it is no message status report", e))?;
        return Ok(report.encode());
    }
    json::from_json(value)
        .and_then(|content| content.encode())
        .map_err(|e| malformed("it is no MIMI content", e))
}

fn malformed(cause: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::new(
        Code::Content,
        cause,
        "compare with `causeway content decode` of a message that works; --hex is for hexadecimal input",
    )
    .with_source(error)
}

fn cbor(file: &Path, hex: bool) -> Result<Vec<u8>, Failure> {
    let octets = read(file)?;
    if !hex {
        return Ok(octets);
    }
    let digits: Vec<u8> = octets.into_iter().filter(|b| !b.is_ascii_whitespace()).collect();
    hex::decode(digits).map_err(|e| malformed("it is not hexadecimal", e))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| {
        Failure::new(
            Code::Usage,
            format!("{} can't be read", file.display()),
            "name a file, or - for standard input",
        )
        .with_source(error)
    };
    let input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(file).map_err(failed)?)
    };
    let mut octets = Vec::new();
    input.take(LIMIT + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > LIMIT {
        let what = format!("{} is larger than {} MiB", file.display(), LIMIT >> 20);
        return Err(Failure::new(Code::Usage, what, "that is no message"));
    }
    Ok(octets)
}

fn write(octets: &[u8], hex: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let written = if hex {
        writeln!(out, "{}", hex::encode(octets))
    } else if out.is_terminal() {
        return Err(Failure::new(
            Code::Usage,
            "CBOR would garble the terminal",
            "send it to a file or a pipe, or add --hex",
        ));
    } else {
        out.write_all(octets).and_then(|()| out.flush())
    };
    written.map_err(|e| {
        Failure::new(
            Code::Usage,
            "standard output can't be written",
            "check where it goes",
        )
        .with_source(e)
    })
}
