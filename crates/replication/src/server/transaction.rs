//! `/send`: transactions.

use axum::extract::{Path, Request, State};
use axum::response::IntoResponse as _;
use event_graph::json::{Raw, canonicalize};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};

use super::{Answer, MatrixError, ServerFace, TRANSACTION};
use crate::federation::{MOST_EDUS, MOST_PDUS};

pub(super) async fn send(State(face): State<ServerFace>, Path(_): Path<String>, request: Request) -> Answer {
    let by = face.authenticate(request, TRANSACTION).await?;
    let text = canonicalize(&by.body)
        .map_err(|e| MatrixError::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", e.to_string()))?;
    let content = Raw::new(&text);
    if !content.is_object() {
        return Err(MatrixError::bad_json("not an object"));
    }
    if content
        .get("origin")
        .and_then(Raw::as_str)
        .is_some_and(|o| o != by.origin.as_str())
    {
        return Err(MatrixError::forbidden("the transaction names another origin"));
    }
    let list = |name: &str, most: usize| -> Result<Vec<Raw<'_>>, MatrixError> {
        let Some(list) = content.get(name) else {
            return Ok(Vec::new());
        };
        let elements = list
            .elements()
            .ok_or_else(|| MatrixError::bad_json(format!("{name} is no list")))?;
        let elements: Vec<Raw<'_>> = elements.take(most + 1).collect();
        if elements.len() > most {
            return Err(MatrixError::invalid(format!("more than {most} {name}")));
        }
        Ok(elements)
    };
    let pdus = list("pdus", MOST_PDUS)?;
    let edus = list("edus", MOST_EDUS)?;
    // Nobody here has presence, receipts, devices or messages of that kind: they are counted and dropped.
    metrics::counter!("causeway_federation_edus_total").increment(edus.len() as u64);
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
