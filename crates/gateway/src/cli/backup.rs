//! `causeway backup`

use super::admin_link::Link;
use super::output;
use super::runtime;
use crate::config::Config;
use crate::failure::{Code, Failure};
use clap::Args;
use manifest::{Manifest, Source};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

pub(super) mod folder;
pub(super) mod manifest;

/// Save store, blobs, keys and configuration into one folder, while the service runs.
#[derive(Debug, Args)]
#[command(after_help = "\
The folder holds the keys of this provider and who talks to whom: guard it like the machine itself.
Messages are in it as ciphertext only.

Examples:
  causeway backup /backup/causeway-$(date +%F)
  causeway backup b && tar c b | age -r age1... > b.tar.age && rm -r b
  causeway restore --check /backup/causeway-2026-11-25")]
pub(super) struct BackupArgs {
    /// A new folder.
    folder: PathBuf,
    /// Print what was saved as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &BackupArgs, config: &Config, config_file: &Path) -> Result<(), Failure> {
    let target = &args.folder;
    if target.exists() {
        return Err(folder::exists(target));
    }
    // Under its final name there is never half a backup.
    let partial = folder::partial(target);
    let made = runtime()?.block_on(make(&partial, config, config_file));
    let manifest = made.and_then(|manifest| {
        folder::publish(&partial, target)?;
        Ok(manifest)
    });
    let manifest = manifest.inspect_err(|_| drop(std::fs::remove_dir_all(&partial)))?;
    if args.json {
        return output::json(&manifest);
    }
    eprintln!(
        "saved {} records, {} blobs and {} files into {}",
        manifest.store.records,
        manifest.store.blobs,
        manifest.files.len(),
        target.display()
    );
    Ok(())
}

async fn make(partial: &Path, config: &Config, config_file: &Path) -> Result<Manifest, Failure> {
    folder::create(partial)?;
    let mut manifest = Manifest::new(config)?;
    let link = Link::open(config).await?;
    let saved = save_store(&link, partial).await;
    link.close().await;
    manifest.store = saved?;
    manifest
        .files
        .push(folder::describe(partial, folder::STORE, Source::Store)?);
    // Keys after the store: rings of keys only grow, so those that the store's records need are among them.
    let text = folder::read(config_file)?;
    manifest.files.push(folder::add(
        partial,
        folder::CONFIG,
        &text,
        Source::Config,
        0o600,
    )?);
    for (number, named) in manifest::files_of(config)?.into_iter().enumerate() {
        let octets = folder::read(&named.path)?;
        let mode = folder::mode(&named.path)?;
        let name = format!("files/{number}");
        manifest
            .files
            .push(folder::add(partial, &name, &octets, named.source, mode)?);
    }
    let text = manifest.to_json()?;
    folder::write(&partial.join(folder::MANIFEST), &text, 0o600)?;
    let sums = manifest.sums(&text);
    folder::write(&partial.join(folder::SUMS), sums.as_bytes(), 0o600)?;
    Ok(manifest)
}

/// Writes the store's export and reads it again: what the disk can't give back is no backup.
async fn save_store(link: &Link, partial: &Path) -> Result<manifest::Store, Failure> {
    let file = partial.join(folder::STORE);
    let mut out = BufWriter::new(folder::create_file(&file, 0o600)?);
    link.export(&mut out).await?;
    out.flush().map_err(|e| folder::failed(&file, e))?;
    let written = out
        .into_inner()
        .map_err(|e| folder::failed(&file, e.into_error()))?;
    written.sync_all().map_err(|e| folder::failed(&file, e))?;
    let mut input = BufReader::new(folder::open(&file)?);
    let summary = ::store::export::inspect(&mut input).map_err(|e| {
        Failure::new(
            Code::Admin,
            "the service's export is not whole",
            "look at the service's log, and try again",
        )
        .with_source(e)
    })?;
    Ok(manifest::Store {
        records: summary.records,
        blobs: summary.blobs,
        sha256: hex::encode(summary.sha256),
    })
}
