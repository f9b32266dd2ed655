//! What can't be had for less: a sync of the disk, a round trip over TLS.

use crate::case::Report;
use crate::percentile;
use crate::world::{World, open_store};
use bytes::Bytes;
use futures_util::future::join_all;
use mimi_wire::directory::Endpoint;
use std::time::{Duration, Instant};
use store::{Batch, Space, Store as _};

const RUNS: usize = 300;
/// Batches that are written at the same time.
const TOGETHER: usize = 64;

pub(crate) async fn measure(report: Report, world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = world.hub.config.clone();
    config.store.path = folder.path().join("floor");
    let store = open_store(&config).await;
    let batch = |number: usize| {
        let mut batch = Batch::new();
        batch.put(Space::Event, number.to_be_bytes(), vec![7; 1024]);
        batch
    };
    let mut alone = Vec::with_capacity(RUNS);
    for number in 0..RUNS {
        let began = Instant::now();
        store.commit(batch(number)).await.unwrap();
        alone.push(began.elapsed());
    }
    let began = Instant::now();
    for round in 0..RUNS / 10 {
        let writes = (0..TOGETHER).map(|number| store.commit(batch(round * TOGETHER + number)));
        for done in join_all(writes).await {
            done.unwrap();
        }
    }
    let many = (RUNS / 10 * TOGETHER) as f64 / began.elapsed().as_secs_f64();
    show(report, "a batch of 1 KiB, synced, alone", &mut alone);
    report.figure(
        &format!("batches of 1 KiB, synced, {TOGETHER} at a time"),
        many,
        "1/s",
    );

    let room = "mimi://hub.example/r/nothing";
    let peer = &world.followers[0].client;
    let mut trips = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let began = Instant::now();
        // Asks after a room that isn't there: authenticated, and nothing written.
        let _ = peer
            .post(
                &world.hub.domain,
                Endpoint::SubmitMessage,
                room,
                "bench",
                Bytes::new(),
            )
            .await
            .unwrap();
        trips.push(began.elapsed());
    }
    // A refusal makes the client look at the directory again: that is a second trip each time.
    for trip in &mut trips {
        *trip /= 2;
    }
    show(report, "a round trip over mutual TLS", &mut trips);
}

fn show(report: Report, what: &str, figures: &mut [Duration]) {
    figures.sort();
    for percent in [50, 99] {
        report.figure(&format!("{what}, p{percent}"), percentile(figures, percent), "ms");
    }
}
