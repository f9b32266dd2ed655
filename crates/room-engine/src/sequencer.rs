//! Who may decide.
//!
//! A decision becomes final in [`Store::commit`](store::Store::commit). With one node that is the node's own store.
//! With several the store that the engine is given makes each batch final at the majority first, and only one node at
//! a time, the one that leads, may decide at all: its workers judge on what the others' decisions have left.

use async_trait::async_trait;
use store::StoreError;
use tokio::sync::watch;

/// Says whether this node orders, and under which term.
///
/// 1. Terms only grow, and no two nodes ever order under the same one.
/// 2. What was loaded after [`confirm`](Sequencer::confirm) of a term stays what the store holds as long as
///    [`term`](Sequencer::term) returns that term, but for this node's own writes.
/// 3. A write under a term that has ended is refused by the store: owners are acquired anew in each term, which fences
///    whoever held them before.
#[async_trait]
pub trait Sequencer: Send + Sync + 'static {
    /// The term under which this node orders now. [`StoreError::Unavailable`] where another node does, or nobody can.
    fn term(&self) -> Result<u64, StoreError>;

    /// Returns once the store shows all that was final when this was called, if this node still orders under `term`.
    async fn confirm(&self, term: u64) -> Result<(), StoreError>;

    /// Whether messages may be accepted here while another node orders: whatever this node accepts will be distributed.
    fn accepts_aside(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The term under which this node orders, as it changes; none while it doesn't.
    fn terms(&self) -> watch::Receiver<Option<u64>>;
}

/// One node alone: it always orders.
#[derive(Debug)]
pub struct LocalSequencer(watch::Sender<Option<u64>>);

impl LocalSequencer {
    /// The one term there is.
    pub const TERM: u64 = 1;

    /// Orders from now on.
    pub fn new() -> Self {
        Self(watch::channel(Some(Self::TERM)).0)
    }
}

impl Default for LocalSequencer {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Sequencer for LocalSequencer {
    fn term(&self) -> Result<u64, StoreError> {
        Ok(Self::TERM)
    }

    async fn confirm(&self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn terms(&self) -> watch::Receiver<Option<u64>> {
        self.0.subscribe()
    }
}
