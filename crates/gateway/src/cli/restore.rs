//! `causeway restore`

use super::backup::folder;
use super::backup::manifest::{Manifest, SavedFile, Source};
use super::{open_store, output, runtime, store_failure};
use crate::config::{Config, Environment, load};
use crate::failure::{Code, Failure};
use clap::Args;
use serde::Serialize;
use std::io::BufReader;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Make a provider from a backup. It starts fenced, until it is known what happened since.
#[derive(Debug, Args)]
#[command(after_help = "\
Where --config names no file, the backup's own is put there, and everything else beside it. Where it names one, keys and
store go where that file says. Nothing is overwritten.

What peers did since the backup was made is not in it. A restored room takes no handshakes until its peers' heads were
compared with its own, or until somebody says that what is missing may be lost (--accept-rollback, or later
`causeway room unfence`). See docs/operating.md, \"Backup\".

Examples:
  causeway restore --check /backup/causeway-2026-11-25
  causeway --config /etc/causeway/causeway.toml restore /backup/causeway-2026-11-25")]
pub(super) struct RestoreArgs {
    /// A folder that `causeway backup` made.
    backup: PathBuf,
    /// Only check that the backup is whole.
    #[arg(long)]
    check: bool,
    /// Take handshakes at once, also where peers have gone on: their members will have to join again.
    #[arg(long, conflicts_with = "check")]
    accept_rollback: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Restored {
    provider: String,
    made_at: u64,
    records: u64,
    blobs: u64,
    files: Vec<PathBuf>,
    fenced: bool,
}

pub(super) fn run(args: &RestoreArgs, config_file: &Path) -> Result<(), Failure> {
    let backup = &args.backup;
    let manifest = Manifest::verified(backup)?;
    inspect(backup, &manifest)?;
    let files = if args.check {
        Vec::new()
    } else {
        restore(args, &manifest, config_file)?
    };
    let outcome = Restored {
        provider: manifest.provider.clone(),
        made_at: manifest.made_at,
        records: manifest.store.records,
        blobs: manifest.store.blobs,
        files,
        fenced: !args.check && !args.accept_rollback,
    };
    if args.json {
        return output::json(&outcome);
    }
    eprintln!(
        "{}: {} of {}, {} records, {} blobs, {} files",
        if args.check {
            "the backup is whole"
        } else {
            "restored"
        },
        outcome.provider,
        output::date(outcome.made_at),
        outcome.records,
        outcome.blobs,
        manifest.files.len(),
    );
    if outcome.fenced {
        eprintln!(
            "rooms take no handshakes until their peers' heads were compared; `causeway room ls` shows which wait"
        );
    }
    Ok(())
}

/// The store's part is whole, and is what the manifest says.
fn inspect(backup: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let mut input = BufReader::new(folder::open(&backup.join(folder::STORE))?);
    let summary = ::store::export::inspect(&mut input).map_err(store_failure)?;
    let told = &manifest.store;
    if (summary.records, summary.blobs, hex::encode(summary.sha256))
        == (told.records, told.blobs, told.sha256.clone())
    {
        return Ok(());
    }
    Err(Failure::new(
        Code::BackupDamaged,
        "the store's part is another one than the manifest describes",
        "use another backup, or another copy of this one",
    ))
}

fn restore(args: &RestoreArgs, manifest: &Manifest, config_file: &Path) -> Result<Vec<PathBuf>, Failure> {
    let backup = &args.backup;
    let mut written = Vec::new();
    if !config_file.exists() {
        make_parent(config_file)?;
        let text = folder::read(&backup.join(folder::CONFIG))?;
        folder::write(config_file, &text, 0o600)?;
        written.push(config_file.to_owned());
    }
    let config = load(config_file, &Environment::process())?;
    let here = (
        config.provider.domain.to_string(),
        config.provider.node_name.clone(),
    );
    if here != (manifest.provider.clone(), manifest.node.clone()) {
        return Err(Failure::new(
            Code::Usage,
            format!(
                "the backup is of {} (node {}), the configuration is {} (node {})",
                manifest.provider, manifest.node, here.0, here.1
            ),
            "name the right backup, or a configuration file that isn't there yet",
        ));
    }
    let store = config.path(&config.store.path);
    if store.exists() {
        return Err(folder::exists(&store));
    }
    let targets = targets(backup, manifest, &config)?;
    for (file, target) in &targets {
        make_parent(target)?;
        let octets = folder::read(&backup.join(&file.name))?;
        folder::write(target, &octets, file.mode & 0o777)?;
        written.push(target.clone());
    }
    runtime()?.block_on(import(args, manifest, &config))?;
    Ok(written)
}

fn make_parent(path: &Path) -> Result<(), Failure> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent);
    made.map_err(|e| folder::failed(parent, e))
}

/// Where each saved file goes: where the configuration here says. Files that are there already, the same, stay.
fn targets<'a>(
    backup: &Path,
    manifest: &'a Manifest,
    config: &Config,
) -> Result<Vec<(&'a SavedFile, PathBuf)>, Failure> {
    let settings = serde_json::to_value(config).map_err(|e| {
        Failure::new(Code::Internal, "the configuration can't be walked", "report this").with_source(e)
    })?;
    let mut targets: Vec<(&SavedFile, PathBuf)> = Vec::new();
    for file in &manifest.files {
        let Source::Setting { setting, inside, .. } = &file.source else {
            continue;
        };
        let Some(named) = settings.pointer(setting).and_then(|value| value.as_str()) else {
            eprintln!("note: {setting} is not set here; its file stays in the backup");
            continue;
        };
        let mut target = config.path(Path::new(named));
        if let Some(inside) = inside {
            let plain = inside.to_str().and_then(folder::plain).ok_or_else(|| {
                Failure::new(
                    Code::BackupDamaged,
                    format!("{}: a strange name", inside.display()),
                    "use another backup",
                )
            })?;
            target = target.join(plain);
        }
        if targets.iter().any(|(_, other)| *other == target) {
            continue;
        }
        if !target.exists() {
            targets.push((file, target));
        } else if folder::read(&target)? != folder::read(&backup.join(&file.name))? {
            return Err(folder::exists(&target));
        }
    }
    Ok(targets)
}

async fn import(args: &RestoreArgs, manifest: &Manifest, config: &Config) -> Result<(), Failure> {
    let store = open_store(config, true).await?;
    let mut input = BufReader::new(folder::open(&args.backup.join(folder::STORE))?);
    let now = room_engine::Clock::now_ms(&room_engine::SystemClock);
    let fence = room_engine::raise_fence(manifest.made_at, now, args.accept_rollback);
    let done =
        ::store::export::import_and(&store, &mut input, fence, super::store::progress("restore")).await;
    store.close().await;
    done.map(drop).map_err(store_failure)
}
