//! openraft's messages and records as octets (postcard): each is turned into a plain type of ours and back.
//!
//! The types below are what nodes of different versions agree on; openraft's own may change between releases.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::vote::leader_id_std::{CommittedLeaderId, LeaderId};
use openraft::{EntryPayload, Membership};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::types::{Entry, LogId, Member, NodeName, Proposal, SnapshotMeta, StoredMembership, Types, Vote};

/// What has a plain form.
pub(super) trait Plain: Sized {
    type Form: Serialize + DeserializeOwned;

    fn form(&self) -> Self::Form;

    fn read(form: Self::Form) -> io::Result<Self>;
}

/// As octets.
pub(super) fn encode<T: Plain>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(&value.form()).map_err(io::Error::other)
}

/// From octets.
pub(super) fn decode<T: Plain>(octets: &[u8]) -> io::Result<T> {
    T::read(postcard::from_bytes(octets).map_err(invalid)?)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<T: Plain> Plain for Option<T> {
    type Form = Option<T::Form>;

    fn form(&self) -> Self::Form {
        self.as_ref().map(Plain::form)
    }

    fn read(form: Self::Form) -> io::Result<Self> {
        form.map(T::read).transpose()
    }
}

impl Plain for LogId {
    /// Term and index.
    type Form = (u64, u64);

    fn form(&self) -> Self::Form {
        (self.leader_id.term, self.index)
    }

    fn read((term, index): Self::Form) -> io::Result<Self> {
        Ok(Self::new(CommittedLeaderId::new(term), index))
    }
}

impl Plain for Vote {
    /// Term, node, whether the majority has granted it.
    type Form = (u64, String, bool);

    fn form(&self) -> Self::Form {
        (
            self.leader_id.term,
            self.leader_id.voted_for.0.clone(),
            self.committed,
        )
    }

    fn read((term, node, committed): Self::Form) -> io::Result<Self> {
        Ok(Self {
            leader_id: LeaderId {
                term,
                voted_for: NodeName(node),
            },
            committed,
        })
    }
}

/// Sets of voters, and all nodes.
type Nodes = (Vec<BTreeSet<String>>, BTreeMap<String, Member>);

impl Plain for Membership<NodeName, Member> {
    type Form = Nodes;

    fn form(&self) -> Nodes {
        let names = |set: &BTreeSet<NodeName>| set.iter().map(|name| name.0.clone()).collect();
        (
            self.get_joint_config().iter().map(names).collect(),
            self.nodes()
                .map(|(name, member)| (name.0.clone(), member.clone()))
                .collect(),
        )
    }

    fn read((configs, nodes): Nodes) -> io::Result<Self> {
        let names = |set: BTreeSet<String>| set.into_iter().map(NodeName).collect();
        let nodes: BTreeMap<NodeName, Member> = nodes
            .into_iter()
            .map(|(name, member)| (NodeName(name), member))
            .collect();
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Self::default());
        }
        Self::new(configs.into_iter().map(names).collect(), nodes).map_err(|e| invalid(e.to_string()))
    }
}

impl Plain for StoredMembership {
    type Form = (Option<(u64, u64)>, Nodes);

    fn form(&self) -> Self::Form {
        (self.log_id().as_ref().map(Plain::form), self.membership().form())
    }

    fn read((log_id, nodes): Self::Form) -> io::Result<Self> {
        Ok(Self::new(Option::read(log_id)?, Membership::read(nodes)?))
    }
}

impl Plain for SnapshotMeta {
    type Form = (Option<(u64, u64)>, (Option<(u64, u64)>, Nodes));

    fn form(&self) -> Self::Form {
        (self.last_log_id.form(), self.last_membership.form())
    }

    fn read((log_id, membership): Self::Form) -> io::Result<Self> {
        Ok(Self {
            last_log_id: Option::read(log_id)?,
            last_membership: StoredMembership::read(membership)?,
        })
    }
}

/// What an entry holds.
#[derive(Serialize, Deserialize)]
pub(super) enum Holds {
    Blank,
    Batch(Proposal),
    Nodes(Nodes),
}

impl Plain for Entry {
    type Form = ((u64, u64), Holds);

    fn form(&self) -> Self::Form {
        let holds = match &self.payload {
            EntryPayload::Blank => Holds::Blank,
            EntryPayload::Normal(proposal) => Holds::Batch(proposal.clone()),
            EntryPayload::Membership(membership) => Holds::Nodes(membership.form()),
        };
        (self.log_id.form(), holds)
    }

    fn read((log_id, holds): Self::Form) -> io::Result<Self> {
        let payload = match holds {
            Holds::Blank => EntryPayload::Blank,
            Holds::Batch(proposal) => EntryPayload::Normal(proposal),
            Holds::Nodes(nodes) => EntryPayload::Membership(Membership::read(nodes)?),
        };
        Ok(Self {
            log_id: LogId::read(log_id)?,
            payload,
        })
    }
}

impl Plain for AppendEntriesRequest<Types> {
    type Form = (
        <Vote as Plain>::Form,
        Option<(u64, u64)>,
        Vec<<Entry as Plain>::Form>,
        Option<(u64, u64)>,
    );

    fn form(&self) -> Self::Form {
        (
            self.vote.form(),
            self.prev_log_id.form(),
            self.entries.iter().map(Plain::form).collect(),
            self.leader_commit.form(),
        )
    }

    fn read((vote, prev, entries, commit): Self::Form) -> io::Result<Self> {
        Ok(Self {
            vote: Vote::read(vote)?,
            prev_log_id: Option::read(prev)?,
            entries: entries.into_iter().map(Entry::read).collect::<io::Result<_>>()?,
            leader_commit: Option::read(commit)?,
        })
    }
}

/// How far a node follows.
#[derive(Serialize, Deserialize)]
pub(super) enum Followed {
    All,
    Part(Option<(u64, u64)>),
    Conflict,
    Higher(<Vote as Plain>::Form),
}

impl Plain for AppendEntriesResponse<Types> {
    type Form = Followed;

    fn form(&self) -> Followed {
        match self {
            Self::Success => Followed::All,
            Self::PartialSuccess(upto) => Followed::Part(upto.form()),
            Self::Conflict => Followed::Conflict,
            Self::HigherVote(vote) => Followed::Higher(vote.form()),
        }
    }

    fn read(form: Followed) -> io::Result<Self> {
        Ok(match form {
            Followed::All => Self::Success,
            Followed::Part(upto) => Self::PartialSuccess(Option::read(upto)?),
            Followed::Conflict => Self::Conflict,
            Followed::Higher(vote) => Self::HigherVote(Vote::read(vote)?),
        })
    }
}

impl Plain for VoteRequest<Types> {
    type Form = (<Vote as Plain>::Form, Option<(u64, u64)>, bool);

    fn form(&self) -> Self::Form {
        (
            self.vote.form(),
            self.last_log_id.form(),
            self.leadership_transfer,
        )
    }

    fn read((vote, last, transfer): Self::Form) -> io::Result<Self> {
        let mut request = Self::new(Vote::read(vote)?, Option::read(last)?);
        request.leadership_transfer = transfer;
        Ok(request)
    }
}

impl Plain for VoteResponse<Types> {
    type Form = (<Vote as Plain>::Form, bool, Option<(u64, u64)>);

    fn form(&self) -> Self::Form {
        (self.vote.form(), self.vote_granted, self.last_log_id.form())
    }

    fn read((vote, granted, last): Self::Form) -> io::Result<Self> {
        Ok(Self::new(Vote::read(vote)?, Option::read(last)?, granted))
    }
}

impl Plain for SnapshotResponse<Types> {
    type Form = <Vote as Plain>::Form;

    fn form(&self) -> Self::Form {
        self.vote.form()
    }

    fn read(vote: Self::Form) -> io::Result<Self> {
        Ok(Self::new(Vote::read(vote)?))
    }
}

impl Plain for TransferLeaderRequest<Types> {
    type Form = (<Vote as Plain>::Form, String, Option<(u64, u64)>);

    fn form(&self) -> Self::Form {
        (
            self.from_leader().form(),
            self.to_node_id().0.clone(),
            self.last_log_id().map(Plain::form),
        )
    }

    fn read((from, to, last): Self::Form) -> io::Result<Self> {
        Ok(Self::new(Vote::read(from)?, NodeName(to), Option::read(last)?))
    }
}

/// How a node takes being told to lead.
#[derive(Serialize, Deserialize)]
pub(super) enum Transferred {
    Taken,
    Vote(<Vote as Plain>::Form, <Vote as Plain>::Form),
    Log(Option<(u64, u64)>, Option<(u64, u64)>),
}

impl Plain for TransferLeaderResponse<Types> {
    type Form = Transferred;

    fn form(&self) -> Transferred {
        match self {
            Ok(()) => Transferred::Taken,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Transferred::Vote(expected.form(), actual.form())
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                Transferred::Log(expected.form(), actual.form())
            }
        }
    }

    fn read(form: Transferred) -> io::Result<Self> {
        Ok(match form {
            Transferred::Taken => Ok(()),
            Transferred::Vote(expected, actual) => Err(TransferLeaderError::VoteChanged {
                expected: Vote::read(expected)?,
                actual: Vote::read(actual)?,
            }),
            Transferred::Log(expected, actual) => Err(TransferLeaderError::LogNotFlushed {
                expected: Option::read(expected)?,
                actual: Option::read(actual)?,
            }),
        })
    }
}

/// What comes behind the parts of a snapshot.
pub(super) struct Install {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    /// How many parts there were.
    pub(super) parts: u64,
}

impl Plain for Install {
    type Form = (<Vote as Plain>::Form, <SnapshotMeta as Plain>::Form, u64);

    fn form(&self) -> Self::Form {
        (self.vote.form(), self.meta.form(), self.parts)
    }

    fn read((vote, meta, parts): Self::Form) -> io::Result<Self> {
        Ok(Self {
            vote: Vote::read(vote)?,
            meta: SnapshotMeta::read(meta)?,
            parts,
        })
    }
}

/// What the tests say to each other.
#[cfg(test)]
pub(super) mod samples {
    use super::*;
    use bytes::Bytes;

    pub(crate) fn vote(term: u64) -> Vote {
        Vote::read((term, "cw1.a.example".to_owned(), true)).unwrap()
    }

    pub(crate) fn log_id(index: u64) -> LogId {
        LogId::read((3, index)).unwrap()
    }

    /// An entry that does nothing.
    pub(crate) fn entry(index: u64) -> Entry {
        Entry {
            log_id: log_id(index),
            payload: EntryPayload::Blank,
        }
    }

    /// One node.
    pub(crate) fn nodes() -> Membership<NodeName, Member> {
        let member = Member {
            address: "127.0.0.1:1".to_owned(),
            key: "ed25519:1 x".to_owned(),
        };
        let name = NodeName::from("cw1.a.example");
        Membership::new(
            vec![BTreeSet::from([name.clone()])],
            BTreeMap::from([(name, member)]),
        )
        .unwrap()
    }

    /// An entry of each kind, behind this one.
    pub(crate) fn append(previous: Option<LogId>) -> AppendEntriesRequest<Types> {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"batch"))),
            EntryPayload::Membership(nodes()),
        ];
        AppendEntriesRequest {
            vote: vote(3),
            prev_log_id: previous,
            entries: (4..)
                .zip(payloads)
                .map(|(index, payload)| Entry {
                    log_id: log_id(index),
                    payload,
                })
                .collect(),
            leader_commit: Some(log_id(3)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{append, log_id, vote};
    use super::*;

    #[test]
    fn messages_come_back_and_cut_ones_are_refused() {
        let request = append(None);
        let octets = encode(&request).unwrap();
        let back: AppendEntriesRequest<Types> = decode(&octets).unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
        assert_eq!(encode(&back).unwrap(), octets);
        for cut in 0..octets.len() {
            assert!(decode::<AppendEntriesRequest<Types>>(&octets[..cut]).is_err());
        }
        for response in [
            AppendEntriesResponse::<Types>::Success,
            AppendEntriesResponse::PartialSuccess(Some(log_id(1))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(vote(9)),
        ] {
            let back: AppendEntriesResponse<Types> = decode(&encode(&response).unwrap()).unwrap();
            assert_eq!(back, response);
        }
    }
}
