//! Housekeeping: what is too old to matter goes away, a page at a time.
//!
//! The records belong to rooms and users whose workers don't look at them again once they are this old. Each is deleted
//! only if it still is what was read, so that a worker that did write it meanwhile wins.

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use mimi_wire::mls::CipherSuite;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use store::{Batch, BlobHash, Collected, Scan, Space, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Engine, EngineError};
use crate::consent::ConsentRecord;
use crate::homeserver::TransactionRecord;
use crate::records::{KeyPackageRefRecord, OutcomeRecord, parse};
use crate::user::{KeyPackageRecord, LOW_STOCK};

/// How long outcomes of requests and hashes of notify bodies are kept, ms (docs/decisions/0020).
const REMEMBERED: u64 = 14 * DAY;
/// How long a consent request waits for its answer, ms.
const ASKED: u64 = 90 * DAY;
/// How long what is said about a KeyPackage is kept beyond its end, ms.
const AFTER_EXPIRY: u64 = DAY;
/// The longest lifetime of a KeyPackage, ms.
const LIFETIME: u64 = delivery_service::keys::MAX_LIFETIME_SECONDS * 1000;
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Records looked at in one step.
const PAGE: usize = 256;
/// Between two steps, so that others come first.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two rounds.
const EVERY: Duration = Duration::from_hours(1);
/// Before the first.
const FIRST: Duration = Duration::from_mins(1);
/// Between two looks for blobs that nothing refers to: every record is read for it.
const BLOBS_EVERY: Duration = Duration::from_hours(24);
/// How old a blob has to be before it goes: the record that refers to it may still be on its way.
const BLOB_GRACE: Duration = Duration::from_hours(24);

/// How many records a round has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Outcomes of requests.
    pub outcomes: u64,
    /// Hashes of notify bodies.
    pub seen: u64,
    /// The homeserver's transactions.
    pub transactions: u64,
    /// Expired KeyPackages.
    pub key_packages: u64,
    /// What was known about KeyPackages that can't be used any more.
    pub key_package_refs: u64,
    /// Consent requests that nobody answered.
    pub consents: u64,
}

/// Rounds until stopped.
pub(super) async fn run(engine: Engine, mut stop: watch::Receiver<bool>) {
    let mut pause = FIRST;
    let mut blobs_at = Instant::now() + EVERY;
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => return,
        }
        pause = EVERY;
        if blobs_at <= Instant::now() {
            // Each node for itself: blobs are files of its own.
            tokio::select! {
                biased;
                done = engine.collect_blobs(BLOB_GRACE) => match done {
                    Ok(collected) if collected.deferred => {}
                    Ok(collected) => {
                        tracing::info!(?collected, "looked for blobs that nothing refers to");
                        blobs_at = Instant::now() + BLOBS_EVERY;
                    }
                    Err(error) => tracing::warn!(%error, "blobs were not collected; later again"),
                },
                _ = stop.changed() => return,
            }
        }
        if engine.env.sequencer.term().is_err() {
            // The node that orders does it for all.
            continue;
        }
        tokio::select! {
            biased;
            swept = engine.sweep() => match swept {
                Ok(swept) => tracing::debug!(?swept, "swept"),
                Err(error) => tracing::warn!(%error, "housekeeping stopped; it goes on later"),
            },
            _ = stop.changed() => return,
        }
    }
}

impl Engine {
    /// One round. Runs by itself every hour.
    #[boxed]
    pub async fn sweep(&self) -> Result<Swept, EngineError> {
        let now = self.env.clock.now_ms();
        let old = |at: u64, keep: u64| at.saturating_add(keep) <= now;
        let mut swept = Swept {
            outcomes: self
                .sweep_space(Space::Outcome, |key, value| {
                    let outcome: OutcomeRecord = parse(Space::Outcome, key, value)?;
                    Ok(old(outcome.at, REMEMBERED))
                })
                .await?,
            ..Swept::default()
        };
        swept.seen = self
            .sweep_space(Space::NotifySeen, |key, value| {
                Ok(old(parse(Space::NotifySeen, key, value)?, REMEMBERED))
            })
            .await?;
        swept.transactions = self
            .sweep_space(Space::HsTransaction, |key, value| {
                let transaction: TransactionRecord = parse(Space::HsTransaction, key, value)?;
                Ok(old(transaction.at, REMEMBERED))
            })
            .await?;
        let mut stock: HashMap<[u8; 32], BTreeMap<CipherSuite, u32>> = HashMap::new();
        swept.key_packages = self
            .sweep_space(Space::KeyPackage, |key, value| {
                let record: KeyPackageRecord = parse(Space::KeyPackage, key, value)?;
                let (expired, one_time) = record.judge(now);
                if let (Some(device), Some(suite), false) = (key.first_chunk(), one_time, expired) {
                    let count = stock.entry(*device).or_default().entry(suite).or_default();
                    *count = count.saturating_add(1);
                }
                Ok(expired)
            })
            .await?;
        self.count_devices(&stock).await?;
        swept.key_package_refs = self
            .sweep_space(Space::KeyPackageRef, |key, value| {
                // See the functions in `records` that make these keys.
                let until = if key.first() == Some(&2) {
                    parse::<u64>(Space::KeyPackageRef, key, value)?.saturating_add(LIFETIME)
                } else {
                    let known: KeyPackageRefRecord = parse(Space::KeyPackageRef, key, value)?;
                    match known.until {
                        0 => known.at.saturating_add(LIFETIME),
                        until => until,
                    }
                };
                Ok(old(until, AFTER_EXPIRY))
            })
            .await?;
        swept.consents = self
            .sweep_space(Space::Consent, |key, value| {
                let consent: ConsentRecord = parse(Space::Consent, key, value)?;
                Ok(consent.answer.is_none() && consent.asked_at.is_none_or(|at| old(at, ASKED)))
            })
            .await?;
        for (what, count) in [
            ("outcome", swept.outcomes),
            ("seen", swept.seen),
            ("key_package", swept.key_packages),
            ("key_package_ref", swept.key_package_refs),
            ("consent", swept.consents),
        ] {
            metrics::counter!("causeway_swept_total", "what" => what).increment(count);
        }
        Ok(swept)
    }

    /// Deletes blobs of this node that no record refers to and that were last put longer than `grace` ago. Runs by itself
    /// every day.
    ///
    /// A record refers to a blob by naming its hash in hex, wherever that stands: so no kind of record can be forgotten
    /// here, and what merely looks like a reference costs space, never data.
    #[boxed]
    pub async fn collect_blobs(&self, grace: Duration) -> Result<Collected, EngineError> {
        let store = self.env.local.as_ref();
        let mut referenced = HashSet::new();
        // One moment's view: a reference that moves from one record to another is in one of them.
        let mut snapshot = store.snapshot().await?;
        // One run over everything: a replicated log has its entries in pieces, which may end within a hash.
        let mut hashes = Hashes::default();
        loop {
            let page = snapshot.next(PAGE).await?;
            if page.is_empty() {
                break;
            }
            for record in &page {
                hashes.read(&record.value, &mut referenced);
            }
            tokio::time::sleep(PAUSE).await;
        }
        drop(snapshot);
        let collected = store.collect_blobs(referenced, grace).await?;
        metrics::counter!("causeway_swept_total", "what" => "blob").increment(collected.removed);
        Ok(collected)
    }

    /// Devices by how much they have in stock, of the suite of which they have least.
    async fn count_devices(
        &self,
        stock: &HashMap<[u8; 32], BTreeMap<CipherSuite, u32>>,
    ) -> Result<(), StoreError> {
        let (mut stocked, mut low, mut empty) = (0_u32, 0_u32, 0_u32);
        self.each(Space::Device, b"", |key, _| {
            let of_device = key.first_chunk().and_then(|device| stock.get(device));
            let state = match of_device.and_then(|suites| suites.values().min()) {
                None => &mut empty,
                Some(count) if *count < LOW_STOCK => &mut low,
                Some(_) => &mut stocked,
            };
            *state = state.saturating_add(1);
            Ok(())
        })
        .await?;
        for (state, count) in [("stocked", stocked), ("low", low), ("empty", empty)] {
            metrics::gauge!("causeway_key_package_devices", "state" => state).set(f64::from(count));
        }
        Ok(())
    }

    /// Deletes what is old of a space.
    async fn sweep_space(
        &self,
        space: Space,
        mut is_old: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<u64, StoreError> {
        let store = self.env.store.as_ref();
        let mut deleted = 0_u64;
        let mut after: Option<Bytes> = None;
        loop {
            let mut scan = Scan::all(space).limit(PAGE);
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let rows = store.scan(scan).await?;
            let mut batch = Batch::new();
            for (key, value) in &rows {
                if is_old(key, value)? {
                    batch.expect_value(space, key, value);
                    batch.delete(space, key);
                }
            }
            let count = batch.len() as u64;
            if !batch.is_empty() {
                match store.commit(batch).await {
                    Ok(_) => deleted = deleted.saturating_add(count),
                    // Somebody wrote one of them: the next round looks again.
                    Err(StoreError::ExpectationFailed { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(deleted),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Finds hashes in hex: 64 digits, lower case, and any 64 of more than that.
#[derive(Default)]
struct Hashes {
    /// The digits at the end of what was read, at most 63.
    digits: Vec<u8>,
}

impl Hashes {
    fn read(&mut self, octets: &[u8], into: &mut HashSet<BlobHash>) {
        for octet in octets {
            if !matches!(octet, b'0'..=b'9' | b'a'..=b'f') {
                self.digits.clear();
                continue;
            }
            self.digits.push(*octet);
            if self.digits.len() == 64 {
                let hash = std::str::from_utf8(&self.digits).ok();
                into.extend(hash.and_then(|text| text.parse::<BlobHash>().ok()));
                self.digits.remove(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BlobHash, Hashes};
    use std::collections::HashSet;

    #[test]
    fn hashes_are_found_wherever_they_stand() {
        let one = BlobHash::of(b"one");
        let two = BlobHash::of(b"two");
        let text = format!(
            r#"{{"sha256":"{one}","x":["{two}"],"short":"abc","upper":"{}"}}"#,
            one.to_string().to_uppercase()
        );
        let mut found = HashSet::new();
        Hashes::default().read(text.as_bytes(), &mut found);
        assert_eq!(found, HashSet::from([one, two]));
        // In two pieces, and with a digit before it.
        for cut in 0..text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            let mut found = HashSet::new();
            let mut hashes = Hashes::default();
            hashes.read(head, &mut found);
            hashes.read(tail, &mut found);
            assert_eq!(found, HashSet::from([one, two]), "{cut}");
        }
        let mut found = HashSet::new();
        Hashes::default().read(format!("7{one}e").as_bytes(), &mut found);
        assert!(found.contains(&one));
    }
}
