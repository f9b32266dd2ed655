//! `/healthz`, `/readyz`, `/metrics`

use super::AdminFace;
use super::api::{Readiness, destination};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use room_engine::RoomLag;
use store::Stats;

/// Below this many free octets the store refuses writes ([`store::SledOptions::reserve_bytes`]).
const RESERVE: u64 = 128 * 1024 * 1024;

/// The process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The process does its work: what is acknowledged can be made durable.
pub(super) async fn readyz(State(face): State<AdminFace>) -> Response {
    let mut reasons = Vec::new();
    match face.0.store.stats().await {
        Ok(stats) => {
            if let Some(why) = &stats.read_only {
                reasons.push(format!("the store takes no writes: {why}"));
            }
            if stats.free_bytes.is_some_and(|free| free < RESERVE) {
                reasons.push("the disk is full: the store takes no writes until space is free".to_owned());
            }
            if stats.unsynced_files > 0 {
                reasons.push(format!(
                    "{} files of the store are not synced",
                    stats.unsynced_files
                ));
            }
        }
        Err(error) => reasons.push(format!("the store can't be read: {error}")),
    }
    if let Err(error) = face.0.engine.destinations().await {
        reasons.push(format!("the engine can't read: {error}"));
    }
    if let Some(cluster) = &face.0.cluster {
        let view = cluster.view();
        if view.frozen {
            reasons.push(
                "the order is frozen: nodes hold two entries for one place of it (`causeway node ls`)"
                    .to_owned(),
            );
        }
        if let Some(statement) = &view.given_up {
            reasons.push(format!(
                "this node was given up when node {} took over: delete its store and join it anew",
                statement.node
            ));
        } else if view.leader.is_none() {
            reasons.push("no node orders: the majority of the provider's nodes can't be reached".to_owned());
        }
    }
    let fenced = match face.0.engine.fenced_rooms().await {
        Ok(fenced) => fenced.len(),
        Err(error) => {
            reasons.push(format!("the engine can't read: {error}"));
            0
        }
    };
    let ready = reasons.is_empty();
    // What others have to mend is no reason to send requests elsewhere: everything that comes is still taken.
    let mut warnings = face
        .0
        .watch
        .as_ref()
        .map_or_else(Vec::new, |w| w.watched().warnings());
    if fenced > 0 {
        warnings.push(format!(
            "{fenced} rooms are fenced: restored from a backup, they take no handshakes until their peers' heads were compared"
        ));
    }
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(Readiness {
            ready,
            reasons,
            warnings,
        }),
    )
        .into_response()
}

/// Prometheus' text format.
pub(super) async fn metrics(State(face): State<AdminFace>) -> Response {
    let Some(handle) = &face.0.metrics else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let Ok(stats) = face.0.store.stats().await {
        gauges(&stats);
    }
    if let Ok(queues) = face.0.engine.queues().await {
        for queue in queues {
            let gauge =
                metrics::gauge!("causeway_outbox_waiting", "destination" => destination(&queue.destination));
            gauge.set(float(u64::try_from(queue.waiting).unwrap_or(u64::MAX)));
        }
    }
    if let Ok(fenced) = face.0.engine.fenced_rooms().await {
        metrics::gauge!("causeway_fenced_rooms").set(float(u64::try_from(fenced.len()).unwrap_or(u64::MAX)));
    }
    metrics::gauge!("causeway_workers")
        .set(float(u64::try_from(face.0.engine.workers()).unwrap_or(u64::MAX)));
    handle.run_upkeep();
    let mut text = handle.render();
    if let Ok(lags) = face.0.engine.lags().await {
        text.push_str(&lag_lines(&lags));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Rooms shown at most: those that lag most.
const LAGGING: usize = 50;

/// How long the oldest entry of each room has been waiting, by direction. Written by hand: a room that has caught up is
/// no longer there, and ten thousand quiet rooms are no time series.
fn lag_lines(lags: &[RoomLag]) -> String {
    use std::fmt::Write as _;
    let mut out =
        "# HELP causeway_room_lag_seconds Age of the oldest entry that waits, by room and direction.\n\
         # TYPE causeway_room_lag_seconds gauge\n"
            .to_owned();
    let mut worst: Vec<&RoomLag> = lags.iter().collect();
    worst.sort_by_key(|lag| std::cmp::Reverse(lag.waiting_ms));
    for lag in worst.into_iter().take(LAGGING) {
        let room = lag
            .room
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let seconds = std::time::Duration::from_millis(lag.waiting_ms).as_secs_f64();
        let _ = writeln!(
            out,
            "causeway_room_lag_seconds{{room=\"{room}\",direction=\"{}\"}} {seconds}",
            lag.direction
        );
    }
    out
}

fn gauges(stats: &Stats) {
    metrics::gauge!("causeway_store_records").set(float(stats.records()));
    metrics::gauge!("causeway_store_blobs").set(float(stats.blobs));
    metrics::gauge!("causeway_store_disk_bytes").set(float(stats.disk_bytes));
    if let Some(free) = stats.free_bytes {
        metrics::gauge!("causeway_store_free_bytes").set(float(free));
    }
    metrics::gauge!("causeway_store_read_only").set(if stats.read_only.is_some() { 1.0 } else { 0.0 });
    metrics::counter!("causeway_store_groups_total").absolute(stats.groups);
    metrics::counter!("causeway_store_batches_total").absolute(stats.batches);
    metrics::counter!("causeway_store_refused_total").absolute(stats.refused);
}

/// Gauges are floats; above 2^53 the last digits don't matter.
#[allow(clippy::cast_precision_loss)]
fn float(n: u64) -> f64 {
    n as f64
}
