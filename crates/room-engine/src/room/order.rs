//! As follower: the order of what the hub sends.
//!
//! A hub need not wait for one answer before it sends the next message (protocol-06 section 5.5), so that one may overtake
//! another. What is of an epoch that the room has not reached is turned away with 503 until what comes before it is
//! there; the hub repeats it. A hub need not send a commit back to the provider it came from either: then the own copy
//! takes its place as soon as something shows that the hub has gone on.

use mimi_wire::codec::Decode as _;
use mimi_wire::mls::MlsMessage;

use super::RoomState;
use super::scribe::Scribe;
use crate::engine::Env;
use crate::records::{OwnCommitRecord, own_commit_key, read};
use crate::refusal::Refusal;
use store::Space;

/// How long what is ahead is turned away, ms. What is missing then never comes; clients find back by external commit.
const PATIENCE: u64 = 60_000;

/// A commit of an own client that the hub has accepted.
pub(super) struct OwnCommit {
    pub(super) at: u64,
    pub(super) message: MlsMessage,
}

impl RoomState {
    /// The own commit that ends an epoch, where the hub has accepted one and not sent it back.
    pub(super) async fn own_commit(&self, env: &Env, epoch: u64) -> Result<Option<OwnCommit>, Refusal> {
        let place = own_commit_key(self.id(), epoch);
        let record: Option<OwnCommitRecord> = read(env.store.as_ref(), Space::OwnCommit, &place).await?;
        let Some(record) = record else { return Ok(None) };
        let octets = env.octets(&record.commit).await?;
        Ok(Some(OwnCommit {
            at: record.at,
            message: MlsMessage::from_bytes(&octets).map_err(Refusal::internal)?,
        }))
    }
}

/// Whether something ahead is still to be turned away. The first time starts the clock.
pub(super) fn turned_away(ahead_since: &mut Option<u64>, now: u64) -> bool {
    now < ahead_since.get_or_insert(now).saturating_add(PATIENCE)
}

impl Scribe<'_> {
    /// Whether something between the room and this message is missing. Epoch 0 at a follower: not known yet, a Welcome
    /// hides it.
    pub(super) fn is_ahead(&self, message: &MlsMessage) -> bool {
        let reached = self.head.epoch;
        message
            .epoch()
            .is_some_and(|epoch| reached != 0 && epoch.0 > reached)
    }

    /// The room has come to the epoch of a message that is no commit.
    pub(super) fn reach(&mut self, message: &MlsMessage) {
        let epoch = message.epoch().map_or(0, |epoch| epoch.0);
        self.head.epoch = self.head.epoch.max(epoch);
    }
}
