//! `/send`: transactions.

use axum::extract::{Path, Request, State};
use axum::response::IntoResponse as _;
use matrix_wire::requests::{Parts, Transaction};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};

use super::{Answer, ServerFace, TRANSACTION};

pub(super) async fn send(State(face): State<ServerFace>, Path(_): Path<String>, request: Request) -> Answer {
    let by = face.authenticate(request, TRANSACTION).await?;
    let transaction = Transaction::new(&by.body)?;
    let Parts { pdus, edus } = transaction.parts(&by.origin)?;
    // Nobody here has presence, receipts, devices or messages of that kind: they are counted and dropped.
    metrics::counter!("causeway_federation_edus_total").increment(edus as u64);
    let turn = {
        let mut turns = face.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() > 10_000 {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        turns.entry(by.origin.clone()).or_default().clone()
    };
    let _turn = turn.lock().await;
    let results = face.federation().transaction(&by.ctx, &by.origin, &pdus).await?;
    metrics::counter!("causeway_federation_pdus_total").increment(pdus.len() as u64);
    let results: serde_json::Map<String, Value> = results
        .into_iter()
        .map(|(id, error)| {
            (
                id,
                error.map_or_else(|| json!({}), |error| json!({ "error": error })),
            )
        })
        .collect();
    Ok(axum::Json(json!({ "pdus": results })).into_response())
}
