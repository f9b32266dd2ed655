//! Takes a snapshot of another node in: first its parts, then it is put in place.
//!
//! That may take longer than anybody waits for an answer, and a node whose machine is lost meanwhile answers nothing. So
//! it goes on by itself, and who handed the snapshot in asks again until it hears how it ended. A node that was
//! restarted on the way knows nothing of it, and says so.

use bytes::Bytes;
use openraft::Snapshot;
use std::time::Duration;
use tokio::sync::watch;

use super::answer::answered;
use super::{Cluster, Lane, lock};
use crate::rpc::{self, Answer};
use crate::snapshot::{self, Handed};
use crate::types::NodeName;
use crate::wire::{Install, decode};

/// After this long the answer is an empty one: it goes on.
const ANSWER: Duration = Duration::from_secs(10);

/// What a node holds of a snapshot that comes in.
#[derive(Default)]
pub(super) enum Intake {
    #[default]
    Nothing,
    /// So many parts of this node's.
    Staged(NodeName, u64),
    Installing(Installing),
}

/// A snapshot that is, or was last, put in place.
pub(super) struct Installing {
    from: NodeName,
    /// What asked for it.
    request: Bytes,
    ended: watch::Receiver<Option<Answer>>,
}

impl Intake {
    fn busy(&self) -> bool {
        matches!(self, Self::Installing(one) if one.ended.borrow().is_none() && one.ended.has_changed().is_ok())
    }
}

impl Cluster {
    /// Keeps a part. The first one begins a new snapshot.
    pub(super) async fn stage(&self, from: &NodeName, path: &str, body: &Bytes) -> Answer {
        let Some(number) = path.strip_prefix(rpc::STAGE).and_then(|n| n.parse::<u64>().ok()) else {
            return Answer::error(400, "no number of a part");
        };
        let mut intake = self.0.intake.lock().await;
        if intake.busy() {
            return Answer::error(503, "another snapshot is being put in place");
        }
        let next = match std::mem::take(&mut *intake) {
            Intake::Staged(sender, next) if sender == *from => next,
            _ => 0,
        };
        if number != 0 && number != next {
            return Answer::error(409, "another snapshot came in between, begin again");
        }
        match snapshot::stage(self.0.local.as_ref(), &self.0.turnover, number, body).await {
            Ok(()) => {
                *intake = Intake::Staged(from.clone(), number.saturating_add(1));
                Answer::ok(Bytes::new())
            }
            Err(error) => Answer::error(503, error),
        }
    }

    /// Puts what was staged in place; empty while it goes on. Asking again is asking for the same.
    pub(super) async fn install(&self, from: &NodeName, raft: &Lane, request: Bytes) -> Answer {
        let mut ended = match self.begin_install(from, raft, request).await {
            Ok(ended) => ended,
            Err(refused) => return refused,
        };
        let answer = tokio::time::timeout(ANSWER, ended.wait_for(Option::is_some)).await;
        match answer {
            Err(_) => Answer::ok(Bytes::new()),
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Answer::ok(Bytes::new())),
            Ok(Err(_)) => Answer::error(503, "the snapshot was given up"),
        }
    }

    async fn begin_install(
        &self,
        from: &NodeName,
        raft: &Lane,
        request: Bytes,
    ) -> Result<watch::Receiver<Option<Answer>>, Answer> {
        let mut intake = self.0.intake.lock().await;
        if let Intake::Installing(one) = &*intake
            && (&one.from, &one.request) == (from, &request)
        {
            return Ok(one.ended.clone());
        }
        let Install { vote, meta, parts } = decode(&request).map_err(|e| Answer::error(400, e))?;
        if !matches!(&*intake, Intake::Staged(sender, staged) if (sender, *staged) == (from, parts)) {
            return Err(Answer::error(
                409,
                "parts of the snapshot are missing, begin again",
            ));
        }
        let (end, ended) = watch::channel(None);
        *intake = Intake::Installing(Installing {
            from: from.clone(),
            request,
            ended: ended.clone(),
        });
        let handed = Snapshot {
            meta,
            snapshot: Handed::default(),
        };
        let (cluster, raft) = (self.clone(), raft.clone());
        tokio::spawn(async move {
            let answer = answered(raft.install_full_snapshot(vote, handed)).await;
            lock(&cluster.0.learned).clear();
            end.send_replace(Some(answer));
            cluster.fetch_missing().await;
        });
        Ok(ended)
    }

    /// Fetches the blobs of a snapshot, once somebody is known to lead.
    pub(super) async fn fetch_missing(self) {
        let mut stop = self.0.stop.subscribe();
        while self.leader().is_none() {
            if *stop.borrow() || self.0.terms.borrow().is_some() {
                return;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(self.0.settings.election) => {}
                _ = stop.changed() => return,
            }
        }
        match self.fetch_blobs().await {
            Ok(fetched) => tracing::info!(fetched, "blobs of the snapshot are here"),
            Err(error) => tracing::warn!(%error, "blobs of the snapshot are fetched when they are read"),
        }
    }
}
