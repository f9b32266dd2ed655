//! Assets of own users: what a client has encrypted and its provider keeps for whoever has the address.

use mimi_wire::uri::MimiUri;
use sha2::{Digest as _, Sha256};
use store::{BlobHash, Space, StoreError};

use super::{Engine, EngineError};
use crate::command::{RequestContext, UserCommand};
use crate::records::{AssetRecord, read};
use crate::refusal::Refusal;
use crate::views::AssetView;

/// The id is half of what the address is worth: the store keeps its hash only.
fn key(id: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(id).into()
}

impl Engine {
    /// Keeps an asset whose pieces are in the store already. `id` is random and becomes part of its address.
    pub async fn add_asset(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        id: [u8; 32],
        pieces: Vec<BlobHash>,
        size: u64,
    ) -> Result<(), Refusal> {
        let record = AssetRecord {
            v: 1,
            user: user.clone(),
            at: self.env.clock.now_ms(),
            size,
            pieces: pieces.iter().map(ToString::to_string).collect(),
        };
        let command = UserCommand::AddAsset {
            key: key(&id),
            record,
        };
        self.user_command(ctx, user, command).await.map(drop)
    }

    /// An asset, by the id in its address.
    pub async fn asset(&self, id: [u8; 32]) -> Result<Option<AssetView>, EngineError> {
        let key = key(&id);
        let record: Option<AssetRecord> = read(self.env.store.as_ref(), Space::Asset, &key).await?;
        let Some(record) = record else { return Ok(None) };
        let piece = |text: &String| {
            text.parse::<BlobHash>().map_err(|e| StoreError::Corrupt {
                space: Some(Space::Asset),
                key: key.to_vec(),
                why: e.to_string(),
            })
        };
        Ok(Some(AssetView {
            pieces: record.pieces.iter().map(piece).collect::<Result<_, _>>()?,
            size: record.size,
        }))
    }
}
