//! What others have: heads are compared while a room is quiet, so that it heals, too.

use async_recursion::async_recursion as boxed;
use event_graph::EventId;
use matrix_wire::ServerName;
use matrix_wire::answers::{Heads, Nearest};
use room_engine::RequestContext;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{ONE_BY_ONE, engine, lock};
use crate::client::{RequestError, segment};
use crate::federation::{Federation, FederationError};
use crate::sender::background;

/// How often other nodes are asked for their heads.
pub const HEADS_EVERY: Duration = Duration::from_secs(5);

impl Federation {
    /// Looks at what other servers have: nodes every few seconds, homeservers when they come back.
    #[boxed]
    pub async fn compare_heads(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        server: &ServerName,
    ) -> Result<(), FederationError> {
        let Some(version) = self.engine().graph_version(room_id).await? else {
            return Ok(());
        };
        let theirs = self.heads_of(room_id, server).await?;
        let mut unknown = Vec::new();
        for id in theirs.into_iter().take(ONE_BY_ONE) {
            if self.engine().event(id, version).await.map_err(engine)?.is_none() {
                unknown.push(id);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let pdus = self.fetch_events(version, room_id, server, &unknown).await;
        if pdus.is_empty() {
            return Ok(());
        }
        let admitted = self.admit(ctx, room_id, None, pdus, false).await?;
        self.heal_after(ctx, room_id, server, &admitted);
        Ok(())
    }

    /// A node's heads; of a homeserver the event it has nearest to now.
    async fn heads_of(&self, room_id: &str, server: &ServerName) -> Result<Vec<EventId>, FederationError> {
        let known = lock(&self.inner().healing.no_heads).get(server).copied();
        if known.is_none_or(|until| until < Instant::now()) {
            let target = format!("{}/heads/{}", crate::server::UNSTABLE, segment(room_id));
            match self.client().get::<Heads>(server, &target, 1 << 20).await {
                Ok(answer) => return Ok(answer.heads),
                Err(RequestError::Refused { status, .. }) if status.as_u16() == 404 => {
                    let until = Instant::now() + Duration::from_hours(1);
                    lock(&self.inner().healing.no_heads).insert(server.clone(), until);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let target = format!(
            "/_matrix/federation/v1/timestamp_to_event/{}?ts={}&dir=b",
            segment(room_id),
            self.engine().now_ms()
        );
        let nearest: Nearest = self.client().get(server, &target, 64 * 1024).await?;
        Ok(vec![nearest.event_id])
    }

    /// Compares heads with every server of every shared room, for ever.
    #[boxed]
    pub async fn keep_healing(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let ctx = background("heal");
            let graphs = match self.engine().shared_graphs().await {
                Ok(graphs) => graphs,
                Err(error) => {
                    tracing::error!(%error, "the rooms can't be read");
                    continue;
                }
            };
            let mut away: HashSet<String> = HashSet::new();
            for graph in graphs.into_iter().filter(|g| g.joined) {
                for name in graph.servers {
                    let Ok(server) = ServerName::parse(&name) else {
                        continue;
                    };
                    if away.contains(&name) {
                        continue;
                    }
                    if let Err(error) = self.compare_heads(&ctx, &graph.room_id, &server).await {
                        tracing::debug!(%server, room = graph.room_id, %error, "heads can't be compared");
                        if matches!(error, FederationError::Request(RequestError::Unreachable { .. })) {
                            away.insert(name);
                        }
                    }
                }
                self.heal(&ctx, &graph.room_id, None).await;
            }
        }
    }
}
