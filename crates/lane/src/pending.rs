//! Hands what this node accepted while it was cut off to the node that orders.

use room_engine::{Engine, PendingMessage, Sequencer as _};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

use super::cluster::Cluster;
use super::rpc::{Answer, Call};

/// Where the node that orders takes a message in.
const PATH: &str = "/lane/message";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Longest wait for the other node's answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What waits at this node. A clone is the same.
#[derive(Clone)]
pub struct Pending {
    cluster: Cluster,
    engine: Engine,
    /// One hands over at a time, so that what waits goes in order.
    one: Arc<Mutex<()>>,
}

impl Pending {
    /// What waits in the engine's own store.
    pub fn new(cluster: Cluster, engine: Engine) -> Self {
        Self {
            cluster,
            engine,
            one: Arc::default(),
        }
    }

    /// Looks until stopped.
    pub async fn run(self, stopped: impl Future<Output = ()>) {
        let mut stopped = std::pin::pin!(stopped);
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep(LOOK) => {}
                () = &mut stopped => return,
            }
            self.hand_over().await;
        }
    }

    /// Answers another node that hands over; none where the path is another one.
    pub async fn answer(engine: &Engine, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
        if (method, path) != ("POST", PATH) {
            return None;
        }
        Some(match engine.take_in(body).await {
            Ok(()) => Answer::ok(bytes::Bytes::new()),
            Err(refusal) => Answer::error(503, refusal),
        })
    }

    /// Hands over all that waits, as far as that is possible now; returns whether nothing waits any more. Called before
    /// a further message goes to the node that orders: it must not overtake one that was accepted here before it.
    pub async fn hand_over(&self) -> bool {
        if !self.engine.has_pending() {
            return true;
        }
        let _one = self.one.lock().await;
        loop {
            let pending = match self.engine.pending().await {
                Ok(pending) => pending,
                Err(error) => {
                    tracing::error!(%error, "messages that were accepted while cut off can't be read");
                    return false;
                }
            };
            if pending.is_empty() {
                return true;
            }
            // What one room refuses holds up no other.
            let mut stuck = BTreeSet::new();
            for message in &pending {
                if stuck.contains(&message.room) {
                    continue;
                }
                if let Err(error) = self.hand_over_one(message).await {
                    tracing::warn!(
                        error, room = %message.room.as_str(),
                        "a message that was accepted while cut off waits to be distributed"
                    );
                    stuck.insert(message.room.clone());
                }
            }
            if !stuck.is_empty() {
                return false;
            }
        }
    }

    async fn hand_over_one(&self, message: &PendingMessage) -> Result<(), String> {
        if self.cluster.term().is_ok() {
            let taken = self.engine.take_in(&message.record).await;
            taken.map_err(|e| e.to_string())?;
        } else {
            let (leader, member) = self.cluster.leader().ok_or("no node is known to order")?;
            let call = Call::post(PATH, message.record.clone(), TIMEOUT);
            let answer = self.cluster.call(&leader, &member, call).await;
            let answer = answer.map_err(|e| e.to_string())?;
            if answer.status != 200 {
                return Err(String::from_utf8_lossy(&answer.body).into_owned());
            }
        }
        self.engine
            .forget_pending(message)
            .await
            .map_err(|e| e.to_string())
    }
}
