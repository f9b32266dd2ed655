//! What is carried twice: requests of clients and of the other provider, as whoever stands between repeats them. The second
//! one comes later, maybe at another node, and nobody waits for its answer.

use super::provider::{At, Sim};
use crate::faces::{A, B, Face, Way, ctx, domain, uri};
use async_trait::async_trait;
use lane::NodeName;
use mls_client::api::{
    BlobRef, ClaimRequest, CreateRoom, Device, FeedItem, GroupInfoQuery, HubAnswer, KeyPackageStock, LogPage,
    LoginRequest, LoginResponse, ProviderInfo, RoomSummary, SubmissionStatus, SubmitMessage, UpdateRequest,
    UploadKeyPackages,
};
use mls_client::transport::{Transport, TransportError};
use rand::rngs::SmallRng;
use room_engine::outbox::{OutboxBody, OutboxEntry};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Carries an outbox's entry once more, if it is to be.
pub(super) fn entry_again(sim: &Arc<Sim>, from: &NodeName, rng: &mut SmallRng, entry: &OutboxEntry) {
    let Some((later, mut rng)) = sim.net.again(rng) else {
        return;
    };
    let (sim, from, entry) = (sim.clone(), from.clone(), entry.clone());
    tokio::spawn(async move {
        tokio::time::sleep(later).await;
        let (room, octets) = (uri(&entry.room), entry.octets.0);
        match entry.body {
            OutboxBody::Notify if sim.net.passes(&from, &NodeName::from(B)) => {
                let _ = sim.follower().notify(ctx(), &room, &domain(A), octets).await;
            }
            OutboxBody::Submit { .. } => {
                if let Some(node) = sim.some_node(&mut rng)
                    && sim.net.passes(&from, &node.name)
                    && let Ok(hub) = sim.face(&node, Way::Message).await
                {
                    let _ = hub.submit_message(ctx(), &room, &domain(B), octets).await;
                }
            }
            _ => {}
        }
    });
}

/// The client API, of which requests that change something may come twice.
pub(super) struct Twice {
    face: Face<At>,
    sim: Arc<Sim>,
    rng: Mutex<SmallRng>,
}

impl Twice {
    /// For the client of that name.
    pub(super) fn new(face: Face<At>, sim: &Arc<Sim>, name: &str) -> Self {
        Self {
            face,
            sim: sim.clone(),
            rng: Mutex::new(sim.drawn(&format!("{name} again"))),
        }
    }

    fn again<F>(&self, request: impl FnOnce(Face<At>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let again = self.sim.net.again(&mut self.rng.lock().unwrap());
        if let Some((later, _)) = again {
            let request = request(self.face.clone());
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                request.await;
            });
        }
    }
}

#[async_trait]
impl Transport for Twice {
    async fn upload_key_packages(
        &self,
        upload: &UploadKeyPackages,
    ) -> Result<KeyPackageStock, TransportError> {
        let again = upload.clone();
        self.again(async move |face| drop(face.upload_key_packages(&again).await));
        self.face.upload_key_packages(upload).await
    }

    async fn claim(&self, room: &str, request: &ClaimRequest) -> Result<HubAnswer, TransportError> {
        let again = (room.to_owned(), request.clone());
        self.again(async move |face| drop(face.claim(&again.0, &again.1).await));
        self.face.claim(room, request).await
    }

    async fn update(&self, room: &str, request: &UpdateRequest) -> Result<HubAnswer, TransportError> {
        let again = (room.to_owned(), request.clone());
        self.again(async move |face| drop(face.update(&again.0, &again.1).await));
        self.face.update(room, request).await
    }

    async fn submit(&self, room: &str, message: &SubmitMessage) -> Result<SubmissionStatus, TransportError> {
        let again = (room.to_owned(), message.clone());
        self.again(async move |face| drop(face.submit(&again.0, &again.1).await));
        self.face.submit(room, message).await
    }

    async fn provider(&self) -> Result<ProviderInfo, TransportError> {
        self.face.provider().await
    }

    async fn login(&self, request: &LoginRequest) -> Result<LoginResponse, TransportError> {
        self.face.login(request).await
    }

    async fn logout(&self) -> Result<(), TransportError> {
        self.face.logout().await
    }

    async fn devices(&self) -> Result<Vec<Device>, TransportError> {
        self.face.devices().await
    }

    async fn key_packages(&self) -> Result<KeyPackageStock, TransportError> {
        self.face.key_packages().await
    }

    async fn create_room(&self, room: &CreateRoom) -> Result<RoomSummary, TransportError> {
        self.face.create_room(room).await
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, TransportError> {
        self.face.rooms().await
    }

    async fn group_info(&self, room: &str, request: &GroupInfoQuery) -> Result<HubAnswer, TransportError> {
        self.face.group_info(room, request).await
    }

    async fn log(
        &self,
        room: &str,
        from: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<LogPage, TransportError> {
        let page = self.face.log(room, from, limit, wait).await?;
        for entry in &page.entries {
            if let FeedItem::Welcome { message, .. } = &entry.item {
                self.sim.welcomed(&message.0);
            }
        }
        Ok(page)
    }

    async fn put_blob(&self, octets: &[u8]) -> Result<BlobRef, TransportError> {
        self.face.put_blob(octets).await
    }

    async fn get_blob(&self, sha256: &str) -> Result<Vec<u8>, TransportError> {
        self.face.get_blob(sha256).await
    }
}
