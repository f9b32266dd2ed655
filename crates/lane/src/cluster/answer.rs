//! Answers to the other nodes. Who asks has been authenticated.

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use std::future::Future;
use std::io;
use store::{BlobHash, StoreError};
use tokio::time::Instant;

use super::{Cluster, lock};
use crate::rpc::{self, Answer};
use crate::types::{NodeName, Types};
use crate::wire::{Plain, decode, encode};

/// Who takes part: names and how to reach them, as JSON.
pub(super) const MEMBERS: &str = "/members";
/// Blobs named in one answer.
const NAMED: usize = 1000;

/// Where a blob is.
pub(super) fn blob(hash: &BlobHash) -> String {
    format!("{}{hash}", rpc::BLOB)
}

impl Cluster {
    /// Answers a request of another node; none where the path is none of the lane's.
    #[boxed]
    pub async fn answer(&self, from: &NodeName, method: &str, path: &str, body: Bytes) -> Option<Answer> {
        match (method, path) {
            ("GET", rpc::POSITION | rpc::STATEMENT) => return Some(self.told(path).await),
            ("POST", rpc::EVIDENCE) => return Some(self.take_evidence(&body).await),
            _ => {}
        }
        let (path, lineage) = rpc::lineage_of(path)?;
        let Ok(raft) = self.lane() else {
            return Some(Answer::error(503, "the replicated log stands still at this node"));
        };
        if path.starts_with(rpc::RAFT)
            && let Some(refused) = self.other_lineage(from, lineage, &raft).await
        {
            return Some(refused);
        }
        if path == rpc::APPEND || path == rpc::INSTALL || path.starts_with(rpc::STAGE) {
            *lock(&self.0.heard) = Instant::now();
        }
        Some(match (method, path) {
            ("POST", rpc::APPEND) => {
                said(&body, |m: AppendEntriesRequest<Types>| raft.append_entries(m)).await
            }
            ("POST", rpc::VOTE) => said(&body, |m: VoteRequest<Types>| raft.vote(m)).await,
            ("POST", rpc::PRE_VOTE) => said(&body, |m: VoteRequest<Types>| raft.pre_vote(m)).await,
            ("POST", rpc::TRANSFER) => {
                said(&body, |m: TransferLeaderRequest<Types>| {
                    raft.handle_transfer_leader(m)
                })
                .await
            }
            ("POST", rpc::INSTALL) => self.install(from, &raft, body).await,
            ("GET", MEMBERS) => {
                let mut members = self.others();
                members.insert(self.0.settings.name.clone(), self.0.settings.member.clone());
                serde_json::to_vec(&members).map_or_else(|e| Answer::error(500, e), Answer::ok)
            }
            ("POST", path) if path.starts_with(rpc::STAGE) => self.stage(from, path, &body).await,
            ("GET", path) if path.starts_with(rpc::BLOBS) => self.blobs(path).await,
            ("GET", path) if path.starts_with(rpc::BLOB) => self.blob(path).await,
            ("PUT", path) if path.starts_with(rpc::BLOB) => self.take_blob(path, body).await,
            _ => return None,
        })
    }

    async fn blob(&self, path: &str) -> Answer {
        let Some(hash) = hash(path) else {
            return Answer::error(400, "no SHA-256");
        };
        match self.0.local.blob_get(&hash).await {
            Ok(Some(bytes)) => Answer::ok(bytes),
            Ok(None) => Answer::error(404, "no such blob here"),
            Err(error) => Answer::error(503, error),
        }
    }

    async fn take_blob(&self, path: &str, body: Bytes) -> Answer {
        if hash(path) != Some(BlobHash::of(&body)) {
            return Answer::error(400, "the octets have another SHA-256");
        }
        match self.0.local.blob_put(body).await {
            Ok(_) => Answer::ok(Bytes::new()),
            Err(error) => Answer::error(503, error),
        }
    }

    /// A page of the blobs that are here, in order.
    async fn blobs(&self, path: &str) -> Answer {
        let after = path.strip_prefix(rpc::BLOBS).unwrap_or_default();
        let named = async {
            let blobs = self.0.local.snapshot().await?.blobs().await?;
            let names = blobs
                .iter()
                .map(ToString::to_string)
                .filter(|name| name.as_str() > after);
            Ok::<Vec<String>, StoreError>(names.take(NAMED).collect())
        };
        match named.await {
            Ok(names) => serde_json::to_vec(&names).map_or_else(|e| Answer::error(500, e), Answer::ok),
            Err(error) => Answer::error(503, error),
        }
    }
}

fn hash(path: &str) -> Option<BlobHash> {
    path.strip_prefix(rpc::BLOB)?.parse().ok()
}

async fn said<M, A, E, F>(body: &[u8], act: impl FnOnce(M) -> F) -> Answer
where
    M: Plain,
    A: Plain,
    E: std::fmt::Display,
    F: Future<Output = Result<A, E>>,
{
    match decode(body) {
        Ok(message) => answered(act(message)).await,
        Err(error) => Answer::error(400, error),
    }
}

pub(super) async fn answered<A: Plain, E: std::fmt::Display>(
    done: impl Future<Output = Result<A, E>>,
) -> Answer {
    match done.await {
        Ok(answer) => encode(&answer).map_or_else(|e: io::Error| Answer::error(500, e), Answer::ok),
        Err(error) => Answer::error(503, error),
    }
}
