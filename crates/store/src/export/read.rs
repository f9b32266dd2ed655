//! Reading an export into an empty store.

use std::io::{BufRead, Read as _};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    EXPORT_FORMAT, IMPORTING, Progress, Summary,
    line::{self, End, Header, Line},
};
use crate::{Batch, BlobHash, MAX_BLOB, MAX_VALUE, SledStore, Space, Store, StoreError, Verify};

/// Longest line: a blob in base64 and the words around it.
const MAX_LINE: u64 = (MAX_BLOB / 3 * 4 + MAX_VALUE) as u64;
/// Records written in one batch.
const BATCH: usize = 500;
/// Bytes after which a batch is written even with fewer records.
const BATCH_BYTES: usize = 1024 * 1024;

/// Reads an export into an empty store and verifies what is there then.
///
/// Until it is through, the store is marked: one whose import was broken off can't be opened
/// ([`StoreError::HalfImported`]).
pub async fn import(
    store: &dyn Store,
    input: &mut (impl BufRead + Send),
    progress: impl FnMut(Progress) + Send,
) -> Result<Summary, StoreError> {
    import_and(store, input, Batch::new(), progress).await
}

/// The same, with further records written in the step that makes the store usable.
pub async fn import_and(
    store: &dyn Store,
    input: &mut (impl BufRead + Send),
    further: Batch,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Summary, StoreError> {
    let stats = store.stats().await?;
    if stats.records() > 0 || stats.blobs > 0 {
        return Err(StoreError::NotEmpty);
    }
    let mut lines = Lines::new(input);
    let header = lines.header(stats.format)?;
    let mut mark = Batch::restoring();
    mark.put(Space::Meta, IMPORTING, Bytes::new());
    store.commit(mark).await?;

    let mut done = Progress {
        records_total: header.records,
        ..Progress::default()
    };
    let mut batch = Batch::restoring();
    let sha256 = loop {
        match lines.item(&header, &mut done)? {
            Item::Record(space, key, value) => {
                batch.put(space, key, value);
            }
            Item::Blob(hash, data) => {
                if store.blob_put(data).await? != hash {
                    return Err(lines.bad("a blob's bytes do not have its hash"));
                }
                progress(done);
            }
            Item::End(sha256) => break sha256,
        }
        if batch.len() >= BATCH || batch.bytes() >= BATCH_BYTES {
            store
                .commit(std::mem::replace(&mut batch, Batch::restoring()))
                .await?;
            progress(done);
        }
    };
    if !batch.is_empty() {
        store.commit(batch).await?;
        progress(done);
    }
    check_store(store, &header, done).await?;
    let mut unmark = further;
    unmark.restoring = true;
    unmark.delete(Space::Meta, IMPORTING);
    store.commit(unmark).await?;
    Ok(Summary::of(done, sha256))
}

/// Reads an export to its end and says whether it is whole: form, counts, hashes. Needs no store.
pub fn inspect(input: &mut impl BufRead) -> Result<Summary, StoreError> {
    let mut lines = Lines::new(input);
    let header = lines.header(SledStore::FORMAT)?;
    let mut done = Progress::default();
    loop {
        match lines.item(&header, &mut done)? {
            Item::Record(..) => {}
            Item::Blob(hash, data) => {
                if BlobHash::of(&data) != hash {
                    return Err(lines.bad("a blob's bytes do not have its hash"));
                }
            }
            Item::End(sha256) => return Ok(Summary::of(done, sha256)),
        }
    }
}

/// The store holds what the export said, and nothing is damaged.
async fn check_store(store: &dyn Store, header: &Header, done: Progress) -> Result<(), StoreError> {
    let report = store.verify(Verify::Full).await?;
    if let Some(problem) = report.problems.into_iter().next() {
        return Err(StoreError::Corrupt {
            space: problem.space,
            key: problem.key,
            why: problem.why,
        });
    }
    let stats = store.stats().await?;
    for (space, size) in &stats.spaces {
        // The mark of the import is there in addition.
        let mark = if *space == Space::Meta {
            (1, IMPORTING.len() as u64)
        } else {
            (0, 0)
        };
        let told = header
            .spaces
            .get(space.name())
            .map_or((0, 0), |size| (size.records, size.bytes));
        if (size.records, size.bytes) != (told.0 + mark.0, told.1 + mark.1) {
            return Err(StoreError::damaged(format!(
                "the space {space} does not have the size the export tells"
            )));
        }
    }
    if stats.records() != done.records + 1 || stats.blobs != done.blobs {
        return Err(StoreError::damaged("the store does not hold what was imported"));
    }
    Ok(())
}

struct Lines<'a, R> {
    input: &'a mut R,
    hash: Sha256,
    number: u64,
}

/// What a line says.
enum Item {
    Record(Space, Vec<u8>, Vec<u8>),
    Blob(BlobHash, Bytes),
    /// The hash of everything before the end.
    End([u8; 32]),
}

impl<'a, R: BufRead> Lines<'a, R> {
    fn new(input: &'a mut R) -> Self {
        Self {
            input,
            hash: Sha256::new(),
            number: 0,
        }
    }

    /// The next line behind the header, checked and counted.
    fn item(&mut self, header: &Header, done: &mut Progress) -> Result<Item, StoreError> {
        let (line, before) = self.line()?;
        match line {
            Line::Record { space, key, value } => {
                if done.blobs > 0 {
                    return Err(self.bad("a record behind a blob"));
                }
                let (space, key, value) = self.record(&space, &key, &value)?;
                done.records += 1;
                Ok(Item::Record(space, key, value))
            }
            Line::Blob { blob, data } => {
                let (hash, data) = self.blob(&blob, &data)?;
                done.blobs += 1;
                Ok(Item::Blob(hash, data))
            }
            Line::End { end } => {
                self.check_end(&end, header, *done, before)?;
                Ok(Item::End(before))
            }
        }
    }

    fn bad(&self, why: impl Into<String>) -> StoreError {
        StoreError::BadExport {
            line: self.number,
            why: why.into(),
        }
    }

    /// The next line without its end.
    fn text(&mut self) -> Result<Vec<u8>, StoreError> {
        self.number += 1;
        let mut text = Vec::new();
        let mut limited = self.input.take(MAX_LINE);
        limited
            .read_until(b'\n', &mut text)
            .map_err(|error| StoreError::io("read", "the export", error))?;
        self.hash.update(&text);
        match text.pop() {
            Some(b'\n') => Ok(text),
            Some(_) if text.len() as u64 + 1 >= MAX_LINE => Err(self.bad("it is too long")),
            _ => Err(self.bad("it is cut off: the export is not complete")),
        }
    }

    fn header(&mut self, supported_store: u32) -> Result<Header, StoreError> {
        let text = self.text()?;
        let header: Header =
            serde_json::from_slice(&text).map_err(|_| self.bad("it is not the header of an export"))?;
        let formats = [
            (header.causeway_export, EXPORT_FORMAT),
            (header.store_format, supported_store),
        ];
        for (found, supported) in formats {
            if found > supported {
                return Err(StoreError::NewerFormat { found, supported });
            }
        }
        Ok(header)
    }

    /// The next line, and the hash of all lines before it.
    fn line(&mut self) -> Result<(Line, [u8; 32]), StoreError> {
        let before = self.hash.clone().finalize().into();
        let text = self.text()?;
        let line = serde_json::from_slice(&text).map_err(|_| self.bad("it is no record, blob or end"))?;
        Ok((line, before))
    }

    fn record(&self, space: &str, key: &str, value: &str) -> Result<(Space, Vec<u8>, Vec<u8>), StoreError> {
        let space = Space::from_name(space).ok_or_else(|| self.bad("a space this program does not know"))?;
        let key = line::decode(key).ok_or_else(|| self.bad("its key is not base64"))?;
        let value = line::decode(value).ok_or_else(|| self.bad("its value is not base64"))?;
        if space == Space::Meta && key == IMPORTING {
            return Err(self.bad("it is from a store whose import was broken off"));
        }
        Ok((space, key, value))
    }

    fn blob(&self, hash: &str, data: &str) -> Result<(BlobHash, Bytes), StoreError> {
        let hash = hash.parse().map_err(|_| self.bad("a blob without a hash"))?;
        let data = line::decode(data).ok_or_else(|| self.bad("the blob's data is not base64"))?;
        Ok((hash, data.into()))
    }

    fn check_end(
        &mut self,
        end: &End,
        header: &Header,
        done: Progress,
        sha256: [u8; 32],
    ) -> Result<(), StoreError> {
        if end.records != done.records || end.records != header.records || end.blobs != done.blobs {
            return Err(self.bad("the counts do not agree"));
        }
        if end.sha256 != hex::encode(sha256) {
            return Err(self.bad("the hash does not agree: the export was altered"));
        }
        match self.input.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(self.bad("there is more behind the end")),
            Err(error) => Err(StoreError::io("read", "the export", error)),
        }
    }
}
