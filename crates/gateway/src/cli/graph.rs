//! `causeway graph`: look into event graphs, replay recorded rooms, measure resolution, which needs no configuration;
//! and, for testers, take part in rooms of other Matrix servers.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Config;
use crate::failure::{Code, Failure};
use clap::{Args, Subcommand};
use event_graph::RoomVersion;
use event_graph::replay::{self, Document, LoadedRoom, Report, VerifyKeys};
use serde_json::json;

mod online;

use online::OnlineCommand;

/// Event graphs from files: check them, resolve them, show them, explain verdicts.
#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    #[command(subcommand)]
    command: GraphCommand,
}

#[derive(Debug, Subcommand)]
enum GraphCommand {
    /// Verifies ids, hashes and signatures and replays every recorded resolution and view.
    Check {
        /// Fixtures, contested sets, or PDUs as JSON or a line each.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Prints a JSON list of reports.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        plain: PlainArgs,
    },
    /// Resolves a contested set, or the forward extremities of a room.
    Resolve {
        /// A contested set, a fixture, or PDUs.
        file: PathBuf,
        /// Prints JSON, the resolved state included.
        #[arg(long)]
        json: bool,
        /// How often resolution is measured.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
        runs: u16,
        #[command(flatten)]
        plain: PlainArgs,
    },
    /// Prints a readable timeline, or the graph for a picture.
    Show {
        /// A fixture, a contested set, or PDUs.
        file: PathBuf,
        /// Prints the graph for Graphviz.
        #[arg(long, conflicts_with = "svg")]
        dot: bool,
        /// Prints a picture.
        #[arg(long)]
        svg: bool,
        /// Prints JSON: events, forward extremities, current state.
        #[arg(long, conflicts_with_all = ["dot", "svg"])]
        json: bool,
        /// Which room of a file with several.
        #[arg(long, default_value_t = 0)]
        room: usize,
        #[command(flatten)]
        plain: PlainArgs,
    },
    /// Tells which rule allowed or rejected an event, and with which auth events.
    Explain {
        /// A fixture, a contested set, or PDUs.
        file: PathBuf,
        /// The event's id, or its beginning.
        event: String,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
        /// Which room of a file with several.
        #[arg(long, default_value_t = 0)]
        room: usize,
        #[command(flatten)]
        plain: PlainArgs,
    },
    #[command(flatten)]
    Online(OnlineCommand),
}

/// What files of plain PDUs may lack.
#[derive(Debug, Args)]
struct PlainArgs {
    /// The room version of PDUs whose create event isn't in the file: 6 to 12.
    #[arg(long, value_name = "VERSION")]
    room_version: Option<RoomVersion>,
    /// Public keys to verify the signatures of plain PDUs with: a JSON file {server: {key id: base64}}.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// Something was not as recorded, or not there.
const DIFFERENT: u8 = 1;

impl GraphArgs {
    /// Whether the command needs neither configuration nor service.
    pub(super) fn works_on_files(&self) -> bool {
        !matches!(self.command, GraphCommand::Online(_))
    }
}

/// Runs the commands that work on the running service.
pub(super) fn run_online(args: GraphArgs, config: &Config) -> Result<(), Failure> {
    match args.command {
        GraphCommand::Online(command) => online::run(command, config),
        _ => Ok(()),
    }
}

/// Runs the commands that work on files. Exits with 1 on any difference and 2 on unreadable input.
pub(super) fn run(args: GraphArgs) -> ExitCode {
    let result = match args.command {
        GraphCommand::Check { files, json, plain } => check(&files, json, &plain),
        GraphCommand::Resolve {
            file,
            json,
            runs,
            plain,
        } => resolve(&file, json, runs.into(), &plain),
        GraphCommand::Show {
            file,
            dot,
            svg,
            json,
            room,
            plain,
        } => load(&file, room, &plain).map(|mut room| {
            let text = match (dot, svg, json) {
                (true, ..) => replay::dot(&room),
                (_, true, _) => replay::svg(&room),
                (_, _, true) => format!("{}\n", json!(replay::overview(&mut room))),
                _ => replay::timeline(&mut room),
            };
            print(&text);
            0
        }),
        GraphCommand::Explain {
            file,
            event,
            json,
            room,
            plain,
        } => load(&file, room, &plain).map(|room| {
            let Some(explanation) = replay::explain(&room, &event) else {
                eprintln!(
                    "{event}: no such event in {}, or several begin like this",
                    file.display()
                );
                return DIFFERENT;
            };
            if json {
                print(&format!("{}\n", json!(explanation)));
            } else {
                print(&explanation.to_string());
            }
            0
        }),
        // Runs on the service.
        GraphCommand::Online(_) => Ok(0),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            let remedy = "give a recorded room, a contested set, or PDUs as JSON; docs/errors/graph-file.md has the forms";
            eprintln!("{}", Failure::new(Code::GraphFile, message, remedy).report());
            ExitCode::from(Code::GraphFile.exit())
        }
    }
}

/// Prints text; a reader that has seen enough is no error.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn read(file: &PathBuf, plain: &PlainArgs) -> Result<Document, String> {
    let because = |file: &PathBuf, why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|e| because(file, &e))?;
    let mut document = replay::read(&bytes, plain.room_version).map_err(|e| because(file, &e))?;
    if let (Document::Plain(pdus), Some(keys)) = (&mut document, &plain.keys) {
        let bytes = std::fs::read(keys).map_err(|e| because(keys, &e))?;
        let given: VerifyKeys = serde_json::from_slice(&bytes).map_err(|e| because(keys, &e))?;
        pdus.add_keys(&given).map_err(|e| because(keys, &e))?;
    }
    Ok(document)
}

fn load(file: &PathBuf, room: usize, plain: &PlainArgs) -> Result<LoadedRoom, String> {
    LoadedRoom::of(&read(file, plain)?, room).map_err(|e| format!("{}: {e}", file.display()))
}

fn check(files: &[PathBuf], json: bool, plain: &PlainArgs) -> Result<u8, String> {
    let mut reports: Vec<serde_json::Value> = Vec::new();
    let mut code = 0;
    let mut unreadable = Vec::new();
    for file in files {
        let name = file
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let report = match read(file, plain) {
            Ok(document) => replay::check(&document, &name),
            Err(message) => {
                reports.push(json!({"name": name, "passed": false, "error": message}));
                unreadable.push(message);
                continue;
            }
        };
        if !report.passed() {
            code = DIFFERENT;
        }
        if !json {
            print(&line(&report));
        }
        reports.push(as_json(&report));
    }
    if json {
        print(&format!("{}\n", json!(reports)));
    }
    if unreadable.is_empty() {
        Ok(code)
    } else {
        Err(unreadable.join("\n"))
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    let mut value = json!(report);
    if let Some(object) = value.as_object_mut() {
        object.insert("passed".to_owned(), json!(report.passed()));
    }
    value
}

fn line(report: &Report) -> String {
    let verdict = if report.passed() { "PASS" } else { "FAIL" };
    let (agreed, recorded) = report.soft_failures;
    let mut lines = vec![format!(
        "{verdict} {}: {} resolutions, {} views",
        report.name, report.resolutions, report.views
    )];
    lines.extend(report.differences.first().cloned());
    if recorded > 0 {
        lines.push(format!(
            "note: {agreed} of {recorded} soft failures come out in the recorded order of arrival"
        ));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n     ") + "\n"
}

fn resolve(file: &PathBuf, json: bool, runs: usize, plain: &PlainArgs) -> Result<u8, String> {
    let document = read(file, plain)?;
    let measured =
        replay::measure(&document, runs, cpu_ms).map_err(|e| format!("{}: {e}", file.display()))?;
    if json {
        print(&format!("{}\n", json!(measured)));
        return Ok(0);
    }
    for (event_type, state_key, id) in &measured.state {
        print(&format!("{event_type} [{state_key}] {id}\n"));
    }
    print(&format!(
        "{} events loaded in {:.1} ms ({:.2} us each, index {:.0} bytes each); {} contested, {} in the full \
         conflicted set, resolved in {:.3} ms (median {:.3})\n",
        measured.events,
        measured.load_ms,
        measured.load_us_per_event,
        measured.index_bytes_per_event,
        measured.contested,
        measured.full_conflicted,
        measured.resolve_ms,
        measured.resolve_ms_median
    ));
    Ok(0)
}

/// CPU time of this thread in milliseconds. The kernel brings the figure up to date when a thread yields.
fn cpu_ms() -> f64 {
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|ns| ns.parse::<f64>().ok())
        .map_or(0.0, |ns| ns / 1e6)
}
