//! After a loss: asks the peers of rooms how far those had come.

use crate::mimi_client::MimiClient;
use crate::web::{RequestId, Stop};
use http::StatusCode;
use mimi_wire::directory::Endpoint;
use mimi_wire::{Domain, MimiUri};
use room_engine::{Engine, FencedRoom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Pauses between two rounds.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What a peer answers to `roomHead`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RoomHead {
    /// The newest epoch it knows, decimal.
    pub(crate) epoch: String,
}

/// Runs until no room is fenced, in each term anew: a node that joins learns later than it starts that its provider was
/// restored. Until told to stop.
pub(crate) async fn compare(engine: Engine, client: MimiClient, mut stop: Stop) {
    let mut terms = engine.terms();
    let all = async {
        loop {
            rounds(&engine, &client).await;
            if terms.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = all => {}
        () = stop.wait() => {}
    }
}

/// Rounds over the fenced rooms, until there is none.
async fn rounds(engine: &Engine, client: &MimiClient) {
    let mut pause = FIRST_PAUSE;
    loop {
        match engine.fenced_rooms().await {
            Ok(rooms) if rooms.is_empty() => return,
            Ok(rooms) => {
                for room in &rooms {
                    one(engine, client, room).await;
                }
            }
            Err(error) => tracing::error!(%error, "fenced rooms can't be listed"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn one(engine: &Engine, client: &MimiClient, fenced: &FencedRoom) {
    let request_id = RequestId::random();
    let newest = match newest(client, &fenced.room, &fenced.peers, &request_id).await {
        Ok(Some(newest)) => newest,
        Ok(None) => return,
        Err(Silent { peer, reason }) => {
            tracing::info!(room = %fenced.room, %peer, reason, "a fenced room's head can't be compared yet");
            return;
        }
    };
    if let Err(error) = engine
        .compare_head((&request_id).into(), &fenced.room, newest)
        .await
    {
        tracing::error!(room = %fenced.room, %error, "a fenced room could not be told its peers' heads");
    }
}

/// A provider that can't tell how far a room had come.
#[derive(Debug)]
pub(crate) struct Silent {
    /// Which.
    pub(crate) peer: Domain,
    /// Why.
    pub(crate) reason: String,
}

/// The newest epoch that any of these knows of a room; nothing if there are none. All have to answer: one who is silent
/// may be the one who knows more.
pub(crate) async fn newest(
    client: &MimiClient,
    room: &MimiUri,
    peers: &BTreeSet<Domain>,
    request_id: &RequestId,
) -> Result<Option<u64>, Silent> {
    let mut newest = None;
    for peer in peers {
        let epoch = ask(client, peer, room, request_id)
            .await
            .map_err(|reason| Silent {
                peer: peer.clone(),
                reason,
            })?;
        newest = newest.max(Some(epoch));
    }
    Ok(newest)
}

async fn ask(
    client: &MimiClient,
    peer: &Domain,
    room: &MimiUri,
    request_id: &RequestId,
) -> Result<u64, String> {
    let answer = client
        .post(
            peer,
            Endpoint::RoomHead,
            room.as_str(),
            &request_id.0,
            bytes::Bytes::new(),
        )
        .await
        .map_err(|e| e.to_string())?;
    match answer.status {
        StatusCode::OK => {
            let head: RoomHead = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
            head.epoch
                .parse()
                .map_err(|_| "its answer is no epoch".to_owned())
        }
        // A follower that has never heard of the room knows nothing newer. A hub that denies it has put us out.
        StatusCode::NOT_FOUND if room.domain() != *peer => Ok(0),
        status => Err(format!("HTTP status {status}")),
    }
}
