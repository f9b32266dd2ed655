//! A hub's judgement for one room: MLS group tracking, policy, key packages, Welcome routing. Pure.
//!
//! [`Group`] is a room's MLS group as its hub sees it. It is told what arrived and says what that comes to:
//!
//! ```text
//! judge(bundle) -> Judged | UpdateRefusal      nothing changes
//! apply(Judged)                                the group changes
//! snapshot() / restore()                       what was judged once is never judged again
//! ```
//!
//! Two views are kept ([`View`]). The committed one is what the last commit left; MLS goes by it. The effective one
//! also counts accepted proposals: who leaves or is removed is out at once, and admission goes by that.
//!
//! The crate does no I/O and has no clock. Two exceptions are openmls's: it checks the lifetimes of key packages
//! that are added or uploaded against the system's clock, once, when they are judged; and sealing to a public key
//! draws from its generator. What openmls can't do, and what is done here instead, is in
//! `docs/decisions/0003-openmls-limits.md`.

pub mod abuse;
mod crypto;
pub mod franking;
pub mod group;
mod hub;
mod identity;
pub mod keys;
mod refusal;
mod roster;
mod signing;

pub use group::{
    AddedClient, ApplyError, Group, Judged, JudgedCommit, JudgedProposals, MessageSettings,
    ParticipantChange, PendingProposal, SnapshotError, View,
};
pub use hub::{HubIdentity, HubSeeds};
pub use identity::{Client, IdentityError};
pub use mimi_wire::components::RoleIndex;
pub use refusal::{
    FoundRefusal, GroupInfoFault, MessageRefusal, NotAllowed, ProposalFault, RemovalRefusal, UpdateRefusal,
};
pub use roster::{LeavesError, ListError};
pub use signing::{CIPHER_SUITES, PublicKeys, Scheme, public_keys};
