//! What must hold for any octets of another node: for the fuzz target, and for its corpus in the usual tests.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership, Types, Vote};
use crate::wire::{Install, Plain, decode, encode};
use crate::{rpc, sign, snapshot};

/// Reads octets as each message, record and header there is. They are refused, or what they say is the same when it is
/// written and read again.
#[doc(hidden)]
pub fn check(octets: &[u8]) {
    message::<AppendEntriesRequest<Types>>(octets);
    message::<AppendEntriesResponse<Types>>(octets);
    message::<VoteRequest<Types>>(octets);
    message::<VoteResponse<Types>>(octets);
    message::<SnapshotResponse<Types>>(octets);
    message::<TransferLeaderRequest<Types>>(octets);
    message::<TransferLeaderResponse<Types>>(octets);
    message::<Install>(octets);
    message::<Entry>(octets);
    message::<LogId>(octets);
    message::<Vote>(octets);
    message::<SnapshotMeta>(octets);
    message::<StoredMembership>(octets);
    snapshot::check(&mut Bytes::copy_from_slice(octets));
    if let Ok(text) = std::str::from_utf8(octets) {
        rpc::lineage_of(text);
        sign::claim(text);
    }
}

fn message<T: Plain>(octets: &[u8]) {
    let Ok(message) = decode::<T>(octets) else {
        return;
    };
    let written = encode(&message).ok();
    let again = written
        .as_deref()
        .map(|written| decode::<T>(written).and_then(|again| encode(&again)));
    assert!(
        matches!((&written, &again), (Some(written), Some(Ok(again))) if written == again),
        "{} is another one when it is read again",
        std::any::type_name::<T>()
    );
}

#[cfg(test)]
#[path = "../../mimi-wire/tests/it/replay.rs"]
mod replay;

#[cfg(test)]
mod corpus {
    use super::*;
    use crate::types::NodeName;
    use crate::wire::samples::{append, log_id, nodes, vote};
    use event_graph::SigningIdentity;
    use proptest::prelude::*;

    const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

    #[test]
    fn messages_of_nodes() {
        replay::replay(FUZZ, "messages", check);
    }

    proptest! {
        #[test]
        fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            check(&octets);
        }

        /// Numbers of few octets and short texts, as messages have.
        #[test]
        fn octets_of_a_kind(octets in prop::collection::vec(prop_oneof![0_u8..5, b'a'..b'e', Just(0x80)], 0..60)) {
            check(&octets);
        }
    }

    /// Messages of each kind.
    fn messages() -> Vec<(&'static str, Vec<u8>)> {
        let (vote, nodes) = (vote(3), nodes());
        let name = NodeName::from("cw1.a.example");
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(7)),
            last_membership: StoredMembership::new(Some(log_id(2)), nodes),
        };
        let append = append(Some(log_id(3)));
        let install = Install {
            vote: vote.clone(),
            meta,
            parts: 2,
        };
        let identity = SigningIdentity::from_seed("cw1.a.example", "ed25519:1", &[1; 32]);
        let header = sign::sign(&identity, "POST", "/raft/append", &name, b"body");
        vec![
            ("append", encode(&append).unwrap()),
            (
                "appended",
                encode(&AppendEntriesResponse::<Types>::PartialSuccess(Some(log_id(4)))).unwrap(),
            ),
            (
                "vote",
                encode(&VoteRequest::<Types>::new(vote.clone(), Some(log_id(5)))).unwrap(),
            ),
            (
                "voted",
                encode(&VoteResponse::<Types>::new(vote.clone(), Some(log_id(5)), true)).unwrap(),
            ),
            (
                "installed",
                encode(&SnapshotResponse::<Types> { vote: vote.clone() }).unwrap(),
            ),
            (
                "transfer",
                encode(&TransferLeaderRequest::<Types>::new(vote, name, Some(log_id(6)))).unwrap(),
            ),
            ("install", encode(&install).unwrap()),
            ("header", header.into_bytes()),
            ("path", rpc::of_lineage(rpc::APPEND.to_owned(), 7).into_bytes()),
            ("records", snapshot::sample().1),
        ]
    }

    /// Writes the corpus anew when asked to.
    #[test]
    fn update() {
        if replay::updates() {
            for (name, input) in messages() {
                replay::write(FUZZ, "messages", name, &input);
            }
        }
    }
}
