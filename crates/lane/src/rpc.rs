//! What nodes say to each other.

use bytes::Bytes;
use std::time::Duration;

/// Where the node API begins.
pub const PREFIX: &str = "/_causeway/node/v1";

/// A request to another node. Octets of openraft's messages are postcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `GET`, `PUT` or `POST`.
    pub method: &'static str,
    /// Below [`PREFIX`].
    pub path: String,
    /// The body.
    pub body: Bytes,
    /// After this long nobody waits for the answer any more.
    pub timeout: Duration,
}

impl Call {
    /// `POST`
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>, timeout: Duration) -> Self {
        Self {
            method: "POST",
            path: path.into(),
            body: body.into(),
            timeout,
        }
    }
}

/// The answer of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body: octets, or with an error status a text for people.
    pub body: Bytes,
}

impl Answer {
    /// 200
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            body: body.into(),
        }
    }

    /// An error, and why.
    pub fn error(status: u16, why: impl std::fmt::Display) -> Self {
        Self {
            status,
            body: why.to_string().into(),
        }
    }
}

/// What is of the log.
pub(super) const RAFT: &str = "/raft/";
pub(super) const APPEND: &str = "/raft/append";
pub(super) const VOTE: &str = "/raft/vote";
pub(super) const PRE_VOTE: &str = "/raft/pre_vote";
pub(super) const TRANSFER: &str = "/raft/transfer";
pub(super) const STAGE: &str = "/raft/snapshot/";
pub(super) const INSTALL: &str = "/raft/install";
/// How far a node's log goes.
pub(super) const POSITION: &str = "/position";
/// By what the log was begun anew.
pub(super) const STATEMENT: &str = "/statement";
/// What a node holds behind a take-over.
pub(super) const EVIDENCE: &str = "/evidence";
pub(super) const BLOB: &str = "/blob/";
pub(super) const BLOBS: &str = "/blobs/";

/// A path with the number of the log's lineage; the first one is not named.
pub(super) fn of_lineage(path: String, number: u64) -> String {
    if number == 0 {
        path
    } else {
        format!("{path}@{number}")
    }
}

/// The two apart.
pub(super) fn lineage_of(path: &str) -> Option<(&str, u64)> {
    match path.split_once('@') {
        None => Some((path, 0)),
        Some((path, number)) => Some((path, number.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_lineage() {
        for number in [0, 1, u64::MAX] {
            let path = of_lineage(format!("{STAGE}7"), number);
            assert_eq!(lineage_of(&path), Some(("/raft/snapshot/7", number)));
        }
        assert_eq!(lineage_of("/raft/append@"), None);
        assert_eq!(lineage_of("/raft/append@1@2"), None);
    }
}
