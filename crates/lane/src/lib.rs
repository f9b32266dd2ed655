//! The sequenced lane: what every node of a provider decides, in one order, final at the majority.
//!
//! A decision of a worker is one atomic [`store::Batch`]. Here the whole batch is the entry of a replicated log
//! (openraft): once the majority has it on disk, every node writes it into its own store, in one batch together with
//! the log's position. All nodes so hold the same records, outbox, key packages and outcomes, and any of them goes on
//! where another one died.
//!
//! * [`ReplicatedStore`] is a [`store::Store`] whose commits take that way, so that nothing that writes can forget to.
//! * [`Cluster`] runs the node's part: elections, membership, hand-over, blobs, and answers to the other nodes.
//! * [`Pending`] hands what a node accepted while it was cut off to the one that orders.
//! * [`Link`] carries requests between nodes; the gateway does it over HTTP, the simulation over a simulated network.

mod cluster;
mod forced;
mod log;
mod machine;
mod network;
mod octets;
mod pending;
mod replicated;
mod rpc;
mod runtime;
mod sign;
mod snapshot;
mod types;
mod wire;

pub use cluster::{Cluster, ClusterError, ClusterSettings, ClusterView, NodeView};
pub use forced::{Evidence, Position, Shown, Statement};
pub use network::{Link, LinkError};
#[doc(hidden)]
pub use octets::check as check_octets;
pub use pending::Pending;
pub use replicated::ReplicatedStore;
pub use rpc::{Answer, Call, PREFIX};
pub use runtime::seed_elections;
pub use sign::{Claim, claim, sign};
pub use types::{Member, NodeName};
