//! `GET /export`: the whole store, as it goes over the wire.

use super::AdminFace;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use std::io::{Error, Write};
use std::sync::mpsc;

/// Octets to a part.
const PART: usize = 64 * 1024;
/// Parts that may wait for a slow reader.
const WAITING: usize = 16;

/// Hands what is written to it to a body. Blocks where the reader is slow.
struct Parts {
    buffer: Vec<u8>,
    to: mpsc::SyncSender<Result<Bytes, Error>>,
}

impl Parts {
    fn pass_on(&mut self) -> std::io::Result<()> {
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(PART));
        self.to
            .send(Ok(part.into()))
            .map_err(|_| Error::other("nobody reads the export any more"))
    }
}

impl Write for Parts {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= PART {
            self.pass_on()?;
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.pass_on()
    }
}

/// An export that fails ends the connection in the middle, and has no last line.
pub(super) async fn export(State(face): State<AdminFace>) -> Response {
    // Not tokio's: the export runs on a runtime of its thread, where that one must not block.
    let (to, from) = mpsc::sync_channel(WAITING);
    let engine = face.0.engine.clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut out = Parts {
            buffer: Vec::with_capacity(PART),
            to: to.clone(),
        };
        match runtime.block_on(engine.export(&mut out, |_| {})) {
            Ok(summary) => tracing::info!(records = summary.records, blobs = summary.blobs, "exported"),
            Err(error) => {
                tracing::error!(%error, "the export failed");
                let _ = to.send(Err(Error::other("the export failed")));
            }
        }
    });
    let parts = futures_util::stream::unfold(from, |from| async {
        let next = tokio::task::spawn_blocking(move || (from.recv(), from));
        let (part, from) = next.await.ok()?;
        part.ok().map(|part| (part, from))
    });
    (
        [(header::CONTENT_TYPE, "application/jsonl")],
        Body::from_stream(parts),
    )
        .into_response()
}
