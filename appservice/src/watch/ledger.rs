//! What the watch asks of the engine.

use async_trait::async_trait;
use matrix_wire::push::RoomEvent;
use room_engine::{Engine, RequestContext};

/// Which portals there are, and how far each has been compared with its timeline.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Matrix room ids of all portals.
    async fn portals(&self) -> Result<Vec<String>, String>;
    /// The event up to which a portal has been compared.
    async fn compared_up_to(&self, portal: &str) -> Result<Option<String>, String>;
    /// These events, oldest first, are the portal's timeline up to and with `up_to`. What was never pushed is taken in
    /// and counted, durably.
    async fn compared(&self, portal: &str, up_to: &str, events: Vec<RoomEvent>) -> Result<usize, String>;
    /// Has a portal's members and state compared with the room.
    async fn audit(&self, portal: &str) -> Result<(), String>;
}

#[async_trait]
impl Ledger for Engine {
    async fn portals(&self) -> Result<Vec<String>, String> {
        let rooms = self.rooms().await.map_err(|e| e.to_string())?;
        Ok(rooms.into_iter().filter_map(|view| view.portal).collect())
    }

    async fn compared_up_to(&self, portal: &str) -> Result<Option<String>, String> {
        Self::compared_up_to(self, portal)
            .await
            .map_err(|e| e.to_string())
    }

    async fn compared(&self, portal: &str, up_to: &str, events: Vec<RoomEvent>) -> Result<usize, String> {
        let ctx = RequestContext {
            request_id: format!("compared-{up_to}"),
        };
        let events = events.into_iter().map(crate::engine::inbound).collect();
        Self::compared(self, ctx, portal, up_to, events)
            .await
            .map_err(|e| e.to_string())
    }

    async fn audit(&self, portal: &str) -> Result<(), String> {
        let ctx = RequestContext {
            request_id: format!("audit-{portal}"),
        };
        self.audit_portal(ctx, portal).await.map_err(|e| e.to_string())
    }
}
