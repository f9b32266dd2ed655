//! Event graphs with many writers: what other Matrix servers send is judged here, and ours goes on top of it.
//!
//! A graph belongs to a MIMI room of this provider (its owner is the room) or is a room that another server made and
//! this node joined (its owner is the graph itself). Both go through [`loaded::LoadedGraph`]; what differs is where
//! the record is kept.
//!
//! The graph's index is in memory while its owner's worker runs, built from the stored timeline in the order of
//! admission. Verdicts that depend on what had arrived before are stored and never judged again.

mod acl;
mod admit;
mod answer;
mod command;
mod compose;
mod foreign;
mod loaded;
mod records;

pub use acl::Acl;
pub use command::{
    Admitted, Change, Fate, GraphCommand, GraphReply, GraphSummary, Heads, InviteView, Joined, Question,
    Stripped,
};
pub(crate) use foreign::ForeignState;
pub(crate) use loaded::{LoadedGraph, Work, queue_event};
pub(crate) use records::{ForeignRecord, InviteRecord, graph_index_key, invite_key, place};
