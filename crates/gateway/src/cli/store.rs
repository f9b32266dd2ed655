//! `causeway store`

use super::{open_store, output, runtime, store_failure};
use crate::config::Config;
use crate::failure::{Code, Failure};
use ::store::{Store as _, Verify, export};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Export, import and verify the store. The service must not run meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway store export backup.jsonl       writes everything into one file
  causeway store export - | zstd > b.zst   the same, compressed
  causeway store import backup.jsonl       into an empty store
  causeway store verify --json             reads every record and blob")]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Write the whole store into a file. It holds everything but keys and configuration; guard it like the store.
    Export {
        /// A new file, or - for standard output.
        file: PathBuf,
        /// Print the outcome as JSON (to standard error if the export itself goes to standard output).
        #[arg(long)]
        json: bool,
    },
    /// Fill an empty store from an export.
    Import {
        /// An export, or - for standard input.
        file: PathBuf,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look for damage.
    Verify {
        /// Only what is also done at every start.
        #[arg(long)]
        quick: bool,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: StoreArgs, config: &Config) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match args.command {
            StoreCommand::Export { file, json } => export_to(config, &file, json).await,
            StoreCommand::Import { file, json } => import_from(config, &file, json).await,
            StoreCommand::Verify { quick, json } => verify(config, quick, json).await,
        }
    })
}

/// What was moved.
#[derive(Serialize)]
struct Moved {
    records: u64,
    blobs: u64,
    sha256: String,
}

impl Moved {
    fn new(summary: &export::Summary) -> Self {
        Self {
            records: summary.records,
            blobs: summary.blobs,
            sha256: hex::encode(summary.sha256),
        }
    }

    fn text(&self) -> String {
        format!(
            "{} records, {} blobs, SHA-256 {}",
            self.records, self.blobs, self.sha256
        )
    }
}

pub(super) fn progress(what: &'static str) -> impl FnMut(export::Progress) + Send {
    let mut last = std::time::Instant::now();
    move |p| {
        if last.elapsed().as_secs() >= 2 {
            last = std::time::Instant::now();
            eprintln!(
                "{what}: {} of {} records, {} blobs",
                p.records, p.records_total, p.blobs
            );
        }
    }
}

fn file_failure(path: &Path, error: std::io::Error) -> Failure {
    let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
    Failure::new(
        if exists { Code::Exists } else { Code::Usage },
        format!("{} can't be opened or written", path.display()),
        if exists {
            "name a new file; nothing is overwritten"
        } else {
            "check the path and the disk"
        },
    )
    .with_source(error)
}

async fn export_to(config: &Config, file: &Path, json: bool) -> Result<(), Failure> {
    let store = open_store(config, false).await?;
    let to_stdout = file.as_os_str() == "-";
    let summary = if to_stdout {
        let mut out = BufWriter::new(std::io::stdout());
        let summary = export::export(&store, &mut out, progress("export"))
            .await
            .map_err(store_failure)?;
        out.flush().map_err(|e| file_failure(file, e))?;
        summary
    } else {
        // Sessions are in it as hashes only, but so is who talks to whom.
        let target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)
            .map_err(|e| file_failure(file, e))?;
        let mut out = BufWriter::new(target);
        let summary = export::export(&store, &mut out, progress("export"))
            .await
            .map_err(store_failure)?;
        let target = out.into_inner().map_err(|e| file_failure(file, e.into_error()))?;
        target.sync_all().map_err(|e| file_failure(file, e))?;
        summary
    };
    let moved = Moved::new(&summary);
    match (json, to_stdout) {
        (true, false) => output::json(&moved)?,
        (true, true) => eprintln!("{}", serde_json::to_string(&moved).unwrap_or_default()),
        (false, _) => eprintln!("exported {}", moved.text()),
    }
    Ok(())
}

async fn import_from(config: &Config, file: &Path, json: bool) -> Result<(), Failure> {
    let store = open_store(config, true).await?;
    let summary = if file.as_os_str() == "-" {
        let mut input = BufReader::new(std::io::stdin());
        export::import(&store, &mut input, progress("import")).await
    } else {
        let mut input = BufReader::new(File::open(file).map_err(|e| file_failure(file, e))?);
        export::import(&store, &mut input, progress("import")).await
    };
    let moved = Moved::new(&summary.map_err(store_failure)?);
    if json {
        output::json(&moved)
    } else {
        eprintln!("imported {}", moved.text());
        Ok(())
    }
}

/// What a verification found.
#[derive(Serialize)]
struct Verified {
    records: u64,
    blobs: u64,
    format: u32,
    problems: Vec<String>,
}

async fn verify(config: &Config, quick: bool, json: bool) -> Result<(), Failure> {
    let store = open_store(config, false).await?;
    let depth = if quick { Verify::Quick } else { Verify::Full };
    let report = store.verify(depth).await.map_err(store_failure)?;
    let stats = store.stats().await.map_err(store_failure)?;
    let problems: Vec<String> = report
        .problems
        .iter()
        .map(|p| {
            let space = p.space.map_or_else(|| "database".to_owned(), |s| s.to_string());
            format!("{space}/{}: {}", hex::encode(&p.key), p.why)
        })
        .collect();
    let verified = Verified {
        records: report.records,
        blobs: report.blobs,
        format: stats.format,
        problems,
    };
    if json {
        output::json(&verified)?;
    } else {
        println!(
            "format {}, {} records and {} blobs read",
            verified.format, verified.records, verified.blobs
        );
        for problem in &verified.problems {
            println!("damaged: {problem}");
        }
    }
    if verified.problems.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Code::StoreDamaged,
        format!("{} problems found", verified.problems.len()),
        "keep the files and restore the last backup or export; then look at the disk",
    ))
}
