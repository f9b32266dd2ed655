//! Writing an export.

use std::io::Write;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    EXPORT_FORMAT, Progress, Summary,
    line::{self, End, Header, Line, Size},
};
use crate::{Store, StoreError};

/// Records between two calls of the progress callback.
const PAGE: usize = 128;

/// Writes the whole store as it is now to `out`. The store can be in use meanwhile.
pub async fn export(
    store: &dyn Store,
    out: &mut (impl Write + Send),
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Summary, StoreError> {
    let stats = store.stats().await?;
    let mut snapshot = store.snapshot().await?;
    let counts = snapshot.counts();
    let mut done = Progress {
        records_total: counts.iter().map(|(_, size)| size.records).sum(),
        ..Progress::default()
    };
    let mut out = Out {
        out,
        hash: Sha256::new(),
    };
    let size = |(space, size): (crate::Space, crate::SpaceStats)| {
        (
            space.name().to_owned(),
            Size {
                records: size.records,
                bytes: size.bytes,
            },
        )
    };
    out.line(&Header {
        causeway_export: EXPORT_FORMAT,
        store_format: stats.format,
        commit: stats.commit.to_string(),
        spaces: counts.into_iter().map(size).collect(),
        records: done.records_total,
    })?;
    loop {
        let page = snapshot.next(PAGE).await?;
        if page.is_empty() {
            break;
        }
        done.records += page.len() as u64;
        for record in page {
            out.line(&Line::Record {
                space: record.space.name().to_owned(),
                key: line::encode(&record.key),
                value: line::encode(&record.value),
            })?;
        }
        progress(done);
    }
    if done.records != done.records_total {
        let why = format!(
            "{} records are there, {} were counted",
            done.records, done.records_total
        );
        return Err(StoreError::damaged(why));
    }
    let blobs = snapshot.blobs().await?;
    done.blobs_total = blobs.len() as u64;
    for hash in blobs {
        // The open snapshot keeps the collector away, so a missing blob is damage.
        let bytes = store
            .blob_get(&hash)
            .await?
            .ok_or_else(|| StoreError::damaged(format!("blob {hash} is gone")))?;
        out.line(&Line::Blob {
            blob: hash.to_string(),
            data: line::encode(&bytes),
        })?;
        done.blobs += 1;
        progress(done);
    }
    let sha256: [u8; 32] = out.hash.clone().finalize().into();
    let end = End {
        records: done.records,
        blobs: done.blobs,
        sha256: hex::encode(sha256),
    };
    out.line(&Line::End { end })?;
    out.out
        .flush()
        .map_err(|error| StoreError::io("write", EXPORT, error))?;
    Ok(Summary::of(done, sha256))
}

/// Stands in for the path in errors: the writer is the caller's.
const EXPORT: &str = "the export";

struct Out<'a, W> {
    out: &'a mut W,
    hash: Sha256,
}

impl<W: Write> Out<'_, W> {
    fn line(&mut self, line: &impl Serialize) -> Result<(), StoreError> {
        let mut text =
            serde_json::to_vec(line).map_err(|error| StoreError::io("write", EXPORT, error.into()))?;
        text.push(b'\n');
        self.hash.update(&text);
        self.out
            .write_all(&text)
            .map_err(|error| StoreError::io("write", EXPORT, error))
    }
}
