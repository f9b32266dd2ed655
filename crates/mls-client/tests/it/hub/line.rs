//! One device's connection to the double.

use super::{Break, Hub, HubRoom, World, api};
use async_trait::async_trait;
use mimi_wire::MimiUri;
use mimi_wire::codec::{Decode, Encode, Opaque};
use mimi_wire::components::FrankingAgentData;
use mimi_wire::mls::{Credential, ExternalSender, GroupInfo, KeyPackage, MlsMessage};
use mimi_wire::protocol::{
    ClientKeyMaterial, ClientMaterial, GroupInfoRequest, HandshakeBundle, KeyMaterialRequest,
    KeyMaterialResponse, KeyMaterialUserCode,
};
use mls_client::api::{
    ApiErrorCode, B64, BlobRef, ClaimRequest, CreateRoom, Device, FeedEntry, FeedItem, GroupInfoQuery,
    HubAnswer, KeyPackageStock, LogPage, LoginKind, LoginRequest, LoginResponse, ProviderInfo, RefusalCode,
    RoomSummary, SubmissionState, SubmissionStatus, SubmitMessage, UpdateRequest, UploadKeyPackages,
};
use mls_client::transport::{Transport, TransportError};
use openmls_traits::crypto::OpenMlsCrypto as _;
use openmls_traits::types::SignatureScheme;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::time::Duration;

/// One device's connection.
#[derive(Clone)]
pub(crate) struct Line {
    pub(super) hub: Hub,
    pub(super) provider: String,
    pub(crate) user: String,
    pub(crate) client: String,
}

fn lost() -> TransportError {
    TransportError::Unreachable("the line broke".into())
}

impl Line {
    pub(crate) fn info(&self) -> ProviderInfo {
        let world = self.hub.world();
        let sender = ExternalSender {
            signature_key: Opaque(world.hub.public().to_vec()),
            credential: Credential::basic(b"mimi://a.example".to_vec()),
        };
        let agent = FrankingAgentData {
            franking_signature_key: Opaque(world.hub.public().to_vec()),
            credential: Credential::basic(b"mimi://a.example".to_vec()),
        };
        ProviderInfo {
            provider: self.provider.clone(),
            external_sender: sender.to_bytes().into(),
            franking_agent: agent.to_bytes().into(),
            cipher_suites: vec![1],
            login: vec![LoginKind::LocalToken],
            homeserver: None,
            bot: None,
        }
    }

    fn act<T>(&self, f: impl FnOnce(&mut World) -> Result<T, TransportError>) -> Result<T, TransportError> {
        let mut world = self.hub.world();
        if world.broken {
            return Err(lost());
        }
        let how = match &mut world.fuse {
            Some((0, how)) => Some(*how),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        if how.is_some() {
            (world.broken, world.fired, world.fuse) = (true, true, None);
        }
        match how {
            Some(Break::Before) => Err(lost()),
            Some(Break::After) => f(&mut world).and(Err(lost())),
            None => f(&mut world),
        }
    }
}

#[async_trait]
impl Transport for Line {
    async fn provider(&self) -> Result<ProviderInfo, TransportError> {
        Ok(self.info())
    }

    async fn login(&self, _: &LoginRequest) -> Result<LoginResponse, TransportError> {
        Err(api(ApiErrorCode::Unauthorized))
    }

    async fn logout(&self) -> Result<(), TransportError> {
        Ok(())
    }

    async fn devices(&self) -> Result<Vec<Device>, TransportError> {
        Ok(Vec::new())
    }

    async fn upload_key_packages(
        &self,
        upload: &UploadKeyPackages,
    ) -> Result<KeyPackageStock, TransportError> {
        self.act(|world| {
            for octets in &upload.key_packages {
                let package = KeyPackage::from_bytes(&octets.0).unwrap();
                let reference = package.reference().unwrap().as_bytes().to_vec();
                if world.owners.insert(reference, self.user.clone()).is_none() {
                    world.stock.entry(self.client.clone()).or_default().push(package);
                }
            }
            Ok(())
        })?;
        self.key_packages().await
    }

    async fn key_packages(&self) -> Result<KeyPackageStock, TransportError> {
        self.act(|world| {
            let stock = world
                .stock
                .get(&self.client)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let last = stock.iter().filter(|p| p.is_last_resort()).count();
            Ok(KeyPackageStock {
                available: u32::try_from(stock.len() - last).unwrap(),
                last_resort: last > 0,
            })
        })
    }

    async fn create_room(&self, request: &CreateRoom) -> Result<RoomSummary, TransportError> {
        self.act(|world| {
            let info = GroupInfo::from_bytes(&request.group_info.0).unwrap();
            world
                .rooms
                .entry(request.room.clone())
                .or_insert_with(|| HubRoom {
                    epoch: 0,
                    log: Vec::new(),
                    users: BTreeSet::from([self.user.clone()]),
                    group_id: info.group_id().as_bytes().to_vec(),
                    group_info: request.group_info.0.clone(),
                    tree: request.ratchet_tree.0.clone(),
                    pending: Vec::new(),
                });
            Ok(())
        })?;
        let rooms = self.rooms().await?;
        rooms
            .into_iter()
            .find(|r| r.room == request.room)
            .ok_or_else(|| api(ApiErrorCode::Internal))
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, TransportError> {
        self.act(|world| {
            let mine = world
                .rooms
                .iter()
                .filter(|(_, room)| room.users.contains(&self.user));
            Ok(mine
                .map(|(uri, room)| RoomSummary {
                    room: uri.clone(),
                    hub: "a.example".into(),
                    name: None,
                    group_id: B64(room.group_id.clone()),
                    epoch: room.epoch,
                    portal: None,
                    first: 1,
                    next: room.log.len() as u64 + 1,
                    joined: true,
                })
                .collect())
        })
    }

    async fn claim(&self, uri: &str, request: &ClaimRequest) -> Result<HubAnswer, TransportError> {
        self.act(|world| {
            let request = KeyMaterialRequest::from_bytes(&request.request.0).unwrap();
            assert_eq!(request.room_id.as_ref().unwrap().as_str(), uri);
            world
                .crypto
                .verify_signature(
                    SignatureScheme::ED25519,
                    &request.sign_content(),
                    &request.requester_signature_key,
                    &request.key_material_request_signature,
                )
                .unwrap();
            let clients = world
                .stock
                .iter_mut()
                .filter(|(client, _)| {
                    MimiUri::parse(client).unwrap().client_user().as_ref() == Some(&request.target_user)
                })
                .map(|(client, stock)| ClientKeyMaterial {
                    client_uri: MimiUri::parse(client).unwrap(),
                    material: match stock.first() {
                        None => ClientMaterial::KeyMaterialExhausted,
                        Some(p) if p.is_last_resort() => ClientMaterial::Success(Box::new(p.clone())),
                        Some(_) => ClientMaterial::Success(Box::new(stock.remove(0))),
                    },
                })
                .collect::<Vec<_>>();
            let user_status = if clients.is_empty() {
                KeyMaterialUserCode::UserUnknown
            } else {
                KeyMaterialUserCode::Success
            };
            let response = KeyMaterialResponse {
                user_status,
                user_uri: request.target_user,
                clients,
            };
            Ok(HubAnswer {
                response: response.to_bytes().into(),
            })
        })
    }

    async fn update(&self, uri: &str, request: &UpdateRequest) -> Result<HubAnswer, TransportError> {
        self.act(|world| {
            let key = (uri.to_owned(), Sha256::digest(&request.bundle.0).to_vec());
            if let Some(first) = world.outcomes.get(&key) {
                return Ok(HubAnswer {
                    response: first.clone().into(),
                });
            }
            let bundle = HandshakeBundle::from_bytes(&request.bundle.0).unwrap();
            let response = world.decide(uri, &bundle)?.to_bytes();
            world.outcomes.insert(key, response.clone());
            Ok(HubAnswer {
                response: response.into(),
            })
        })
    }

    async fn group_info(&self, uri: &str, query: &GroupInfoQuery) -> Result<HubAnswer, TransportError> {
        self.act(|world| {
            let request = GroupInfoRequest::from_bytes(&query.request.0).unwrap();
            Ok(HubAnswer {
                response: world.sealed_group_info(uri, &request)?.into(),
            })
        })
    }

    async fn submit(&self, uri: &str, message: &SubmitMessage) -> Result<SubmissionStatus, TransportError> {
        self.act(|world| {
            let key = (uri.to_owned(), Sha256::digest(&message.message.0).to_vec());
            if let Some(first) = world.statuses.get(&key) {
                return Ok(first.clone());
            }
            let epoch = MlsMessage::from_bytes(&message.message.0)
                .unwrap()
                .epoch()
                .unwrap()
                .0;
            let at = world.now();
            let current = world.room(uri)?.epoch;
            assert!(epoch <= current, "a message of an epoch to come");
            let state = if epoch < current {
                SubmissionState::Refused {
                    code: RefusalCode::EpochTooOld,
                    reason: "too old".into(),
                    current_epoch: Some(current),
                }
            } else {
                let frank = Some(B64(world.frank(&self.user, uri, at)));
                let item = FeedItem::Message {
                    message: message.message.clone(),
                    frank: frank.clone(),
                };
                world.push(uri, at, item, None);
                SubmissionState::Accepted { at, frank }
            };
            let status = SubmissionStatus {
                id: message.id.clone(),
                state,
            };
            world.statuses.insert(key, status.clone());
            Ok(status)
        })
    }

    async fn log(&self, uri: &str, from: u64, limit: u32, _: Duration) -> Result<LogPage, TransportError> {
        self.act(|world| {
            let room = world.room(uri)?;
            let visible =
                |only: &Option<BTreeSet<String>>| only.as_ref().is_none_or(|o| o.contains(&self.user));
            let entries: Vec<FeedEntry> = room
                .log
                .iter()
                .filter(|(e, only)| e.pos >= from && visible(only))
                .take(limit as usize)
                .map(|(e, _)| e.clone())
                .collect();
            let full = entries.len() == limit as usize;
            let end = room.log.len() as u64 + 1;
            let next = if full {
                entries.last().map_or(end, |e| e.pos + 1)
            } else {
                end
            };
            Ok(LogPage { entries, next })
        })
    }

    async fn put_blob(&self, _: &[u8]) -> Result<BlobRef, TransportError> {
        Err(api(ApiErrorCode::NotFound))
    }

    async fn get_blob(&self, _: &str) -> Result<Vec<u8>, TransportError> {
        Err(api(ApiErrorCode::NotFound))
    }
}
