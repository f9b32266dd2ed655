//! What others have: heads are compared while a room is quiet, so that it heals, too.

use async_recursion::async_recursion as boxed;
use event_graph::EventId;
use matrix_wire::ServerName;
use matrix_wire::answers::{Heads, Nearest};
use room_engine::RequestContext;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

use super::{ONE_BY_ONE, Place, engine, lock};
use crate::client::{RequestError, segment};
use crate::federation::{Federation, FederationError};
use crate::sender::background;

/// How often other nodes are asked for their heads.
pub const HEADS_EVERY: Duration = Duration::from_secs(5);
/// Requests for heads in flight, over all servers.
pub(super) const REQUESTS: usize = 32;

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

    /// Compares heads with every server of every shared room, for ever. A server that is slow and a room whose gap stays
    /// open hold up no other.
    #[boxed]
    pub async fn keep_healing(&self, every: Duration) {
        let terms = self.engine().terms();
        let mut tasks = JoinSet::new();
        loop {
            tokio::time::sleep(every).await;
            while tasks.try_join_next().is_some() {}
            if terms.borrow().is_none() {
                // Nothing can be taken in here; the node that orders does it for all.
                continue;
            }
            let graphs = match self.engine().shared_graphs().await {
                Ok(graphs) => graphs,
                Err(error) => {
                    tracing::error!(%error, "the rooms can't be read");
                    continue;
                }
            };
            let mut rooms_of: BTreeMap<ServerName, Vec<String>> = BTreeMap::new();
            for graph in graphs.into_iter().filter(|g| g.joined) {
                for server in graph.servers.iter().filter_map(|s| ServerName::parse(s).ok()) {
                    rooms_of.entry(server).or_default().push(graph.room_id.clone());
                }
                let this = self.clone();
                tasks.spawn(async move { this.heal(&background("heal"), &graph.room_id, None).await });
            }
            for (server, rooms) in rooms_of {
                let this = self.clone();
                tasks.spawn(async move { this.compare_all(&server, &rooms).await });
            }
        }
    }

    /// Compares heads with one server, unless the last time isn't over yet.
    async fn compare_all(&self, server: &ServerName, rooms: &[String]) {
        let healing = &self.inner().healing;
        let Some(_asked) = Place::take(&healing.asked, server) else {
            return;
        };
        let ctx = background("heal");
        for room in rooms {
            let _request = healing.requests.acquire().await;
            if let Err(error) = self.compare_heads(&ctx, room, server).await {
                tracing::debug!(%server, room, %error, "heads can't be compared");
                if matches!(error, FederationError::Request(RequestError::Unreachable { .. })) {
                    break;
                }
            }
        }
    }
}
