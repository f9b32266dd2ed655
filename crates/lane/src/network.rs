//! openraft's messages over a [`Link`].

use async_trait::async_trait;
use bytes::Bytes;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::Told;
use super::forced::{Lineage, Statement};
use super::rpc::{self, Answer, Call};
use super::snapshot::Handed;
use super::types::{Member, NodeName, Types, Vote};
use super::wire::{Install, Plain, decode, encode};

/// How long one message of a snapshot may take.
const CHUNK_TIME: Duration = Duration::from_secs(30);

/// Why a node got no answer from another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No answer came.
    #[error("node {node} can't be reached: {why}")]
    Unreachable {
        /// The other node.
        node: NodeName,
        /// Why.
        why: String,
    },
    /// The node answered with an error.
    #[error("node {node} answered {status}: {why}")]
    Refused {
        /// The other node.
        node: NodeName,
        /// HTTP status.
        status: u16,
        /// What it says.
        why: String,
    },
}

/// The way to the other nodes.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Sends a request, and returns the answer whatever its status.
    async fn call(&self, to: &NodeName, member: &Member, call: Call) -> Result<Answer, LinkError>;
}

/// The body of a successful answer.
pub(super) async fn ask(
    link: &dyn Link,
    to: &NodeName,
    member: &Member,
    call: Call,
) -> Result<Bytes, LinkError> {
    let answer = link.call(to, member, call).await?;
    if answer.status == 200 {
        return Ok(answer.body);
    }
    Err(LinkError::Refused {
        node: to.clone(),
        status: answer.status,
        why: String::from_utf8_lossy(&answer.body).into_owned(),
    })
}

/// Makes openraft's connections.
#[derive(Clone)]
pub(super) struct Peers {
    pub(super) link: Arc<dyn Link>,
    pub(super) lineage: Lineage,
    /// Where it is told that others are of a newer one.
    pub(super) told: Told,
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeName, node: &Member) -> Peer {
        Peer {
            link: self.link.clone(),
            lineage: self.lineage.clone(),
            told: self.told.clone(),
            name: target,
            member: node.clone(),
        }
    }
}

/// Another node.
pub(super) struct Peer {
    link: Arc<dyn Link>,
    lineage: Lineage,
    told: Told,
    name: NodeName,
    member: Member,
}

impl Peer {
    async fn ask(&self, mut call: Call) -> Result<Bytes, RPCError<Types>> {
        call.path = rpc::of_lineage(call.path, self.lineage.number());
        let answer = ask(self.link.as_ref(), &self.name, &self.member, call).await;
        if let Err(LinkError::Refused { status: 409, why, .. }) = &answer
            && let Ok(statement) = serde_json::from_str::<Statement>(why)
            && statement.lineage > self.lineage.number()
        {
            self.told.tell(statement);
        }
        answer.map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }

    async fn say<A: Plain>(
        &self,
        path: &str,
        message: &impl Plain,
        timeout: Duration,
    ) -> Result<A, RPCError<Types>> {
        let unreadable = |e: std::io::Error| RPCError::Unreachable(Unreachable::new(&e));
        let body = encode(message).map_err(unreadable)?;
        let answer = self.ask(Call::post(path, body, timeout)).await?;
        decode(&answer).map_err(unreadable)
    }

    async fn send(
        &self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<Types, Handed>,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let lost = |e: std::io::Error| StreamingError::Unreachable(Unreachable::new(&e));
        let mut number = 0_u64;
        loop {
            let octets = snapshot.snapshot.next().await.map_err(lost)?;
            if octets.is_empty() && number > 0 {
                break;
            }
            let path = format!("{}{number}", rpc::STAGE);
            self.ask(Call::post(path, octets, CHUNK_TIME)).await?;
            number = number.saturating_add(1);
        }
        let message = Install {
            vote,
            meta: snapshot.meta,
            parts: number,
        };
        let message = encode(&message).map_err(lost)?;
        loop {
            let call = Call::post(rpc::INSTALL, message.clone(), CHUNK_TIME);
            let answer = self.ask(call).await?;
            // Empty while the other node is at it.
            if !answer.is_empty() {
                return decode(&answer).map_err(lost);
            }
        }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Handed;

    async fn append_entries(
        &mut self,
        message: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.say(rpc::APPEND, &message, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        message: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.say(rpc::VOTE, &message, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        message: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.say(rpc::PRE_VOTE, &message, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<Types, Handed>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send(vote, snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        message: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.say(rpc::TRANSFER, &message, option.hard_ttl()).await
    }
}
