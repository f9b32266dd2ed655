//! Looks for damage.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    shared::{OpenSnapshot, PAGE, Shared},
    system::System,
    table::{self, Met, Undo},
};
use crate::{Scan, Space, SpaceStats, StoreError, Verify, VerifyReport, key};

/// Records looked at by the quick check, at either end of each space.
const SAMPLE: usize = 32;
/// Pieces looked at under one hold of the lock.
const PIECES: usize = 512;

pub(super) fn verify(shared: &Arc<Shared>, depth: Verify) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport::new(depth);
    head(shared, &mut report)?;
    match depth {
        Verify::Quick => sample(shared, &mut report),
        Verify::Full => {
            records(shared, &mut report)?;
            pieces(shared, &mut report)?;
            blobs(shared, &mut report)?;
        }
    }
    let files = shared.table.unsynced_files();
    if files > 0 {
        report.add(
            None,
            &[],
            format!("sled holds {files} values in files that it never syncs"),
        );
    }
    Ok(report)
}

fn head(shared: &Shared, report: &mut VerifyReport) -> Result<(), StoreError> {
    // In this order: the writer advances the head first.
    let durable = shared.visible().system().commit;
    let (head, half) = shared.layout.read_head()?;
    if half {
        report.add(None, &[], "one of the two copies in HEAD is unreadable");
    }
    if head < durable && shared.read_only().is_none() {
        report.add(
            None,
            &[],
            format!("HEAD is at batch {head}, the database at {durable}"),
        );
    }
    Ok(())
}

/// The ends of each space: what a cut-off or damaged log hits first.
fn sample(shared: &Shared, report: &mut VerifyReport) {
    for space in Space::ALL {
        for scan in [Scan::all(*space), Scan::all(*space).reverse()] {
            let Some(range) = key::range(&scan) else { continue };
            let visible = shared.visible();
            for met in shared
                .table
                .walk(visible.pending(), range, scan.reverse)
                .take(SAMPLE)
            {
                look_at(report, met);
            }
        }
    }
}

fn look_at(report: &mut VerifyReport, (raw, value): Met) {
    report.records += 1;
    let (space, key) = key::split(&raw);
    match value {
        Ok(_) if space.is_none() => report.add(None, key, "a record of a space nobody knows"),
        Ok(_) => {}
        Err(StoreError::Corrupt { why, .. }) => report.add(space, key, why),
        Err(error) => report.add(space, key, error.to_string()),
    }
}

/// Every record, and whether there are as many as were counted.
fn records(shared: &Arc<Shared>, report: &mut VerifyReport) -> Result<(), StoreError> {
    let snapshot = OpenSnapshot::new(shared);
    let mut found = System::default();
    let mut rest = key::everything();
    loop {
        let page = snapshot.page(rest, false, PAGE)?;
        let Some(last) = page.last().map(|(raw, _)| raw.clone()) else {
            break;
        };
        for (raw, value) in page {
            if let Ok(value) = &value {
                found.count(&raw, None, Some(value.len()));
            }
            look_at(report, (raw, value));
        }
        if last.is_empty() {
            // Sled itself gave up; that is in the report.
            break;
        }
        rest = key::behind(key::everything(), last, false);
    }
    let counted: BTreeMap<Space, SpaceStats> = snapshot.system().spaces().into_iter().collect();
    let found: BTreeMap<Space, SpaceStats> = found.spaces().into_iter().collect();
    for space in Space::ALL {
        let (counted, found) = (counted.get(space), found.get(space));
        if counted != found {
            let (counted, found) = (
                counted.copied().unwrap_or_default(),
                found.copied().unwrap_or_default(),
            );
            let why = format!(
                "{} records of {} bytes are there, {} of {} were written",
                found.records, found.bytes, counted.records, counted.bytes
            );
            report.add(Some(*space), &[], why);
        }
    }
    Ok(())
}

/// Whether each piece belongs to a record. (That each record has its pieces is seen when it is read.)
fn pieces(shared: &Shared, report: &mut VerifyReport) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let visible = shared.visible();
        let mut strays: Vec<(Vec<u8>, usize)> = Vec::new();
        let mut lengths: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        after = table::shield(|| {
            shared.table.pieces_after(after.take(), PIECES, |raw, index| {
                let of_group: &Undo = visible.pending();
                let pieces = *lengths.entry(raw.to_vec()).or_insert_with(|| {
                    // A damaged record is in the report already.
                    shared.table.read(raw).map_or(usize::MAX, |value| {
                        value.map_or(0, |value| table::pieces(value.len()))
                    })
                });
                if index >= pieces && !of_group.contains_key(raw) {
                    strays.push((raw.to_vec(), index));
                }
            })
        })?;
        for (raw, index) in strays {
            let (space, key) = key::split(&raw);
            report.add(space, key, format!("piece {index} belongs to no record"));
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

fn blobs(shared: &Shared, report: &mut VerifyReport) -> Result<(), StoreError> {
    let (blobs, strange) = shared.blobs.list()?;
    for hash in blobs {
        report.blobs += 1;
        match shared.blobs.get(&hash) {
            Ok(_) => {}
            Err(StoreError::Corrupt { why, .. }) => report.add(None, hash.as_bytes(), why),
            Err(error) => report.add(None, hash.as_bytes(), error.to_string()),
        }
    }
    for file in strange {
        report.add(None, &[], format!("{} is no blob", file.display()));
    }
    Ok(())
}
