//! The face towards clients.

use async_trait::async_trait;
use delivery_service::CIPHER_SUITES;
use mimi_wire::codec::{Decode as _, Encode as _};
use mimi_wire::mls::CipherSuite;
use mimi_wire::protocol::{KeyMaterialRequest, UpdateOutcome};
use mimi_wire::uri::MimiUri;
use mls_client::api::{
    ApiError, ApiErrorCode, B64, BlobRef, ClaimRequest, CreateRoom, Device, FeedEntry, FeedItem,
    GroupInfoQuery, HubAnswer, HubKeys, KeyPackageStock, LogPage, LoginKind, LoginRequest, LoginResponse,
    ProviderInfo, RefusalCode, RoomSummary, SubmissionState, SubmissionStatus, SubmitMessage, SuiteStock,
    UpdateRequest, UploadKeyPackages,
};
use mls_client::client::{Credentials, sign_in};
use mls_client::transport::{Transport, TransportError};
use mls_client::{Client, Options};
use room_engine::carrier::{self, SubmissionRefusal};
use room_engine::{Actor, ClaimRoute, ClientActor, Engine, Hub, Refusal, Submission};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zeroize::Zeroizing;

use super::{Home, Way, ctx, domain, uri};

/// Signs a user's client in; its profile is an empty one.
pub(crate) async fn sign_in_at<H: Home>(
    home: &Arc<H>,
    provider: &str,
    (user, secret): (&str, &str),
    device: &str,
    mut engine: mls_client::Engine,
    options: Options,
) -> Client<Face<H>> {
    let face = Face {
        home: home.clone(),
        provider: provider.to_owned(),
        token: Arc::default(),
    };
    let credentials = Credentials::Token { user, token: secret };
    let (info, session) = sign_in(&face, credentials, device).await.unwrap();
    *face.token.lock().unwrap() = Some(session.token.clone());
    engine.signed_in("in-process", None, info, session, None).unwrap();
    Client::new(engine, face, None, options)
}

/// The client API, called instead of served.
pub(crate) struct Face<H> {
    home: Arc<H>,
    provider: String,
    token: Arc<Mutex<Option<String>>>,
}

impl<H> Clone for Face<H> {
    fn clone(&self) -> Self {
        Self {
            home: self.home.clone(),
            provider: self.provider.clone(),
            token: self.token.clone(),
        }
    }
}

impl<H> std::fmt::Debug for Face<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Face({})", self.provider)
    }
}

#[allow(clippy::needless_pass_by_value)] // stands behind map_err everywhere
fn refused(refusal: Refusal) -> TransportError {
    let code = match &refusal {
        Refusal::Unknown { .. } => ApiErrorCode::NotFound,
        Refusal::Forbidden { .. } => ApiErrorCode::Forbidden,
        Refusal::Unauthorized => ApiErrorCode::Unauthorized,
        Refusal::Malformed { .. } => ApiErrorCode::Malformed,
        Refusal::TooLarge { .. } => ApiErrorCode::TooLarge,
        Refusal::Conflict { .. } => ApiErrorCode::Conflict,
        Refusal::Unavailable { .. } | Refusal::Store(_) => ApiErrorCode::Unavailable,
        _ => ApiErrorCode::Internal,
    };
    TransportError::Api(ApiError {
        code,
        error: refusal.to_string(),
        retry_after_ms: Some(1),
    })
}

fn answer(response: &impl mimi_wire::codec::Encode) -> HubAnswer {
    HubAnswer {
        response: response.to_bytes().into(),
    }
}

fn status_of(state: carrier::SubmissionState) -> SubmissionState {
    match state {
        carrier::SubmissionState::Queued => SubmissionState::Queued,
        carrier::SubmissionState::Accepted { at, frank } => SubmissionState::Accepted {
            at: at.0,
            frank: frank.map(|f| f.0.into()),
        },
        carrier::SubmissionState::Refused {
            code,
            reason,
            current_epoch,
        } => SubmissionState::Refused {
            code: match code {
                SubmissionRefusal::EpochTooOld => RefusalCode::EpochTooOld,
                SubmissionRefusal::NotAllowed => RefusalCode::NotAllowed,
                SubmissionRefusal::Malformed => RefusalCode::Malformed,
                SubmissionRefusal::UnknownRoom => RefusalCode::UnknownRoom,
            },
            reason,
            current_epoch: current_epoch.map(|e| e.0),
        },
    }
}

fn item_of(item: room_engine::FeedItem) -> FeedItem {
    let b64s = |list: Vec<Vec<u8>>| list.into_iter().map(B64).collect();
    match item {
        room_engine::FeedItem::Welcome {
            message,
            ratchet_tree,
        } => FeedItem::Welcome {
            message: message.into(),
            ratchet_tree: ratchet_tree.into(),
        },
        room_engine::FeedItem::Commit {
            message,
            external_proposals,
        } => FeedItem::Commit {
            message: message.into(),
            external_proposals: b64s(external_proposals),
        },
        room_engine::FeedItem::Proposals { messages } => FeedItem::Proposals {
            messages: b64s(messages),
        },
        room_engine::FeedItem::Message { message, frank } => FeedItem::Message {
            message: message.into(),
            frank: frank.map(B64),
        },
        room_engine::FeedItem::Status { id, state } => FeedItem::Status(SubmissionStatus {
            id,
            state: status_of(state),
        }),
        room_engine::FeedItem::Wish { wish } => FeedItem::Wish(mls_client::api::Wish {
            id: wish.id,
            at: wish.at,
            room: wish.room,
            asked_in: wish.asked_in,
            want: wish.want,
        }),
    }
}

fn summary(room: room_engine::UserRoom) -> RoomSummary {
    RoomSummary {
        room: room.view.room.to_string(),
        hub: room.view.hub.to_string(),
        name: room.view.name,
        group_id: room.view.group_id.unwrap_or_default().into(),
        epoch: room.view.epoch,
        portal: room.view.portal,
        first: room.first,
        next: room.next,
        joined: room.joined,
    }
}

fn stock(stock: room_engine::KeyPackageStock) -> KeyPackageStock {
    KeyPackageStock {
        available: stock.available,
        last_resort: stock.last_resort,
        last_resort_used: stock.last_resort_used,
        low: stock.low,
        suites: stock
            .suites
            .into_iter()
            .map(|of| SuiteStock {
                suite: of.suite,
                available: of.available,
                last_resort: of.last_resort,
                last_resort_used: of.last_resort_used,
            })
            .collect(),
    }
}

/// The engine that answered, and who asked.
struct Asking {
    engine: Engine,
    who: ClientActor,
}

impl<H: Home> Face<H> {
    async fn engine(&self, way: Way) -> Result<Engine, TransportError> {
        let engine = self.home.reach(&self.provider, &self.provider, way).await;
        engine.map_err(TransportError::Unreachable)
    }

    /// The own provider, signed in.
    async fn ask(&self, way: Way) -> Result<Asking, TransportError> {
        let engine = self.engine(way).await?;
        let token = self.token.lock().unwrap().clone().unwrap_or_default();
        let found = engine.session(&token).await;
        let found = found.map_err(|error| refused(error.into()))?;
        let who = found.ok_or_else(|| refused(Refusal::Unauthorized))?;
        Ok(Asking { engine, who })
    }

    /// The room's hub, and as whom we ask it.
    async fn hub(&self, room: &MimiUri) -> Result<(Engine, Actor), TransportError> {
        let asking = self.ask(Way::Ordering).await?;
        Ok(match asking.engine.hub_of(room) {
            Hub::Own => (asking.engine, Actor::Client(asking.who)),
            Hub::Peer(hub) => {
                let hub = self.home.reach(&self.provider, hub.as_str(), Way::Ordering).await;
                let hub = hub.map_err(TransportError::Unreachable)?;
                (hub, Actor::Peer(domain(&self.provider)))
            }
        })
    }

    /// An answer on its way back to the client.
    async fn back<T>(&self, answer: T) -> Result<T, TransportError> {
        let back = self.home.back(&self.provider, &self.provider).await;
        back.map(|()| answer).map_err(TransportError::Unreachable)
    }
}

#[async_trait]
impl<H: Home> Transport for Face<H> {
    async fn provider(&self) -> Result<ProviderInfo, TransportError> {
        let hub = self.engine(Way::Any).await?.hub();
        let keys = |suite| HubKeys {
            external_sender: hub.external_sender(suite).unwrap().into(),
            franking_agent: hub.franking_agent(suite).unwrap().to_bytes().into(),
        };
        let ed25519 = keys(CipherSuite::X25519_AES128);
        self.back(ProviderInfo {
            provider: self.provider.clone(),
            external_sender: ed25519.external_sender,
            franking_agent: ed25519.franking_agent,
            p256: Some(keys(CipherSuite::P256_AES128)),
            cipher_suites: CIPHER_SUITES.map(|suite| suite.0).to_vec(),
            login: vec![LoginKind::LocalToken],
            homeserver: None,
            bot: None,
        })
        .await
    }

    async fn login(&self, request: &LoginRequest) -> Result<LoginResponse, TransportError> {
        let LoginRequest::LocalToken { user, token, device } = request else {
            panic!("local only")
        };
        let secret = Zeroizing::new(token.clone());
        let session = self
            .engine(Way::Ordering)
            .await?
            .sign_in_local(ctx(), user, secret, device)
            .await
            .map_err(refused)?;
        self.back(LoginResponse::Session(mls_client::api::Session {
            token: session.token,
            user: session.who.user.to_string(),
            client: session.who.client.to_string(),
        }))
        .await
    }

    async fn logout(&self) -> Result<(), TransportError> {
        Ok(())
    }

    async fn devices(&self) -> Result<Vec<Device>, TransportError> {
        let asking = self.ask(Way::Ordering).await?;
        let devices = asking.engine.devices(ctx(), &asking.who.user).await;
        Ok(devices
            .map_err(refused)?
            .into_iter()
            .map(|d| Device {
                client: d.client.to_string(),
                key_packages: d.stock.available,
                last_resort: d.stock.last_resort,
                created_at: d.created_at,
            })
            .collect())
    }

    async fn upload_key_packages(
        &self,
        upload: &UploadKeyPackages,
    ) -> Result<KeyPackageStock, TransportError> {
        let packages = upload.key_packages.iter().map(|p| p.0.clone()).collect();
        let Asking { engine, who } = self.ask(Way::Ordering).await?;
        let uploaded = engine.upload_key_packages(ctx(), &who, packages).await;
        self.back(stock(uploaded.map_err(refused)?)).await
    }

    async fn key_packages(&self) -> Result<KeyPackageStock, TransportError> {
        let Asking { engine, who } = self.ask(Way::Ordering).await?;
        let there = engine.key_package_stock(ctx(), &who).await;
        self.back(stock(there.map_err(refused)?)).await
    }

    async fn create_room(&self, room: &CreateRoom) -> Result<RoomSummary, TransportError> {
        let Asking { engine, who } = self.ask(Way::Ordering).await?;
        let (group_info, tree) = (room.group_info.0.clone(), room.ratchet_tree.0.clone());
        let created = engine
            .create_room(ctx(), &who, uri(&room.room), group_info, tree)
            .await
            .map_err(refused)?;
        let room = engine.room_of(&who.user, &created.room).await;
        let room = room.ok().flatten();
        self.back(summary(
            room.ok_or_else(|| refused(Refusal::Unknown { what: "room" }))?,
        ))
        .await
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, TransportError> {
        let Asking { engine, who } = self.ask(Way::Ordering).await?;
        let rooms = engine.rooms_of(&who.user).await;
        let rooms = rooms.map_err(|e| refused(e.into()))?;
        self.back(rooms.into_iter().map(summary).collect()).await
    }

    async fn claim(&self, room: &str, request: &ClaimRequest) -> Result<HubAnswer, TransportError> {
        let room = uri(room);
        let (hub, actor) = self.hub(&room).await?;
        let parsed = KeyMaterialRequest::from_bytes(&request.request.0).unwrap();
        let route = hub
            .claim_route(ctx(), &room, &actor, &parsed)
            .await
            .map_err(refused)?;
        let serve = async |target: Engine| {
            let peer = room.domain();
            target
                .serve_key_material(ctx(), &peer, request.request.0.clone())
                .await
                .map_err(refused)
        };
        let response = match route {
            ClaimRoute::Local => serve(hub.clone()).await?,
            ClaimRoute::Provider(provider) => {
                let target = self
                    .home
                    .reach(&self.provider, provider.as_str(), Way::Ordering)
                    .await;
                serve(target.map_err(TransportError::Unreachable)?).await?
            }
            ClaimRoute::Granted(response) => *response,
        };
        self.home.claimed(&request.request.0, &response);
        hub.record_claim(ctx(), &room, &response).await.map_err(refused)?;
        self.back(answer(&response)).await
    }

    async fn update(&self, room: &str, request: &UpdateRequest) -> Result<HubAnswer, TransportError> {
        let (room, bundle) = (uri(room), request.bundle.0.clone());
        self.home.updating(&room, &bundle);
        let (hub, actor) = self.hub(&room).await?;
        let response = hub
            .update(ctx(), &room, actor.clone(), bundle.clone())
            .await
            .map_err(refused)?;
        self.home.updated(&room, &bundle, &response);
        if let (Actor::Peer(hub), UpdateOutcome::Success { accepted_timestamp }) = (&actor, &response.outcome)
        {
            let back = self.home.back(&self.provider, hub.as_str()).await;
            back.map_err(TransportError::Unreachable)?;
            let Asking { engine, who } = self.ask(Way::Ordering).await?;
            engine
                .follower_updated(ctx(), &room, &who, bundle, accepted_timestamp.0)
                .await
                .map_err(refused)?;
        }
        self.back(answer(&response)).await
    }

    async fn group_info(&self, room: &str, request: &GroupInfoQuery) -> Result<HubAnswer, TransportError> {
        let room = uri(room);
        let (hub, actor) = self.hub(&room).await?;
        let response = hub
            .group_info(ctx(), &room, actor, request.request.0.clone())
            .await
            .map_err(refused)?;
        self.back(answer(&response)).await
    }

    async fn submit(&self, room: &str, message: &SubmitMessage) -> Result<SubmissionStatus, TransportError> {
        let submission = Submission {
            id: message.id.clone(),
            message: message.message.0.clone(),
            from_portal: None,
        };
        let Asking { engine, who } = self.ask(Way::Message).await?;
        let state = engine.submit(ctx(), &uri(room), &who.user, submission).await;
        self.back(SubmissionStatus {
            id: message.id.clone(),
            state: status_of(state.map_err(refused)?),
        })
        .await
    }

    async fn log(
        &self,
        room: &str,
        from: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<LogPage, TransportError> {
        let Asking { engine, who } = self.ask(Way::Any).await?;
        let limit = usize::try_from(limit).unwrap();
        let page = engine
            .feed(&uri(room), &who.user, from, limit, Some(wait))
            .await
            .map_err(refused)?;
        let entries = page
            .entries
            .into_iter()
            .map(|e| FeedEntry {
                pos: e.pos,
                at: e.at,
                event_id: e.event_id,
                item: item_of(e.item),
            })
            .collect();
        self.back(LogPage {
            entries,
            next: page.next,
        })
        .await
    }

    async fn put_blob(&self, _: &[u8]) -> Result<BlobRef, TransportError> {
        panic!("no blobs here")
    }

    async fn get_blob(&self, _: &str) -> Result<Vec<u8>, TransportError> {
        panic!("no blobs here")
    }
}
