//! One device's connection to the double.

use super::{Break, Hub, HubRoom, World, api, domain};
use async_trait::async_trait;
use delivery_service::Group;
use delivery_service::keys::{Selection, select};
use mimi_wire::MimiUri;
use mimi_wire::codec::{Decode, Encode};
use mimi_wire::mls::{CipherSuite, KeyPackage};
use mimi_wire::protocol::{
    ClientKeyMaterial, ClientMaterial, GroupInfoRequest, HandshakeBundle, KeyMaterialRequest,
    KeyMaterialResponse, KeyMaterialUserCode,
};
use mls_client::api::{
    ApiErrorCode, B64, BlobRef, ClaimRequest, CreateRoom, Device, FeedEntry, GroupInfoQuery, HubAnswer,
    HubKeys, KeyPackageStock, LogPage, LoginKind, LoginRequest, LoginResponse, ProviderInfo, RoomSummary,
    SubmissionStatus, SubmitMessage, SuiteStock, UpdateRequest, UploadKeyPackages,
};
use mls_client::transport::{Transport, TransportError};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

/// The time by which openmls makes KeyPackages.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

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
        let keys = |suite| HubKeys {
            external_sender: world.hub.external_sender(suite).unwrap().into(),
            franking_agent: world.hub.franking_agent(suite).unwrap().to_bytes().into(),
        };
        let ed25519 = keys(CipherSuite::X25519_AES128);
        ProviderInfo {
            provider: self.provider.clone(),
            external_sender: ed25519.external_sender,
            franking_agent: ed25519.franking_agent,
            p256: Some(keys(CipherSuite::P256_AES128)),
            cipher_suites: world.suites.iter().map(|suite| suite.0).collect(),
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
            let of = |suite: &CipherSuite| {
                let of_suite = stock.iter().filter(|p| p.cipher_suite() == *suite);
                let (last, once): (Vec<_>, Vec<_>) = of_suite.partition(|p| p.is_last_resort());
                SuiteStock {
                    suite: suite.0,
                    available: u32::try_from(once.len()).unwrap(),
                    last_resort: !last.is_empty(),
                    last_resort_used: false,
                }
            };
            let suites: Vec<_> = world.suites.iter().map(of).collect();
            Ok(KeyPackageStock {
                available: suites.iter().map(|of| of.available).sum(),
                last_resort: suites.iter().all(|of| of.last_resort),
                suites,
                ..KeyPackageStock::default()
            })
        })
    }

    async fn create_room(&self, request: &CreateRoom) -> Result<RoomSummary, TransportError> {
        self.act(|world| {
            if !world.rooms.contains_key(&request.room) {
                let (room, user) = (uri(&request.room), uri(&self.user));
                let tree = &request.ratchet_tree.0;
                let group = Group::found(&world.hub, &room, &user, &request.group_info.0, tree).unwrap();
                let users = BTreeSet::from([self.user.clone()]);
                world.rooms.insert(
                    request.room.clone(),
                    HubRoom {
                        group,
                        log: Vec::new(),
                        users,
                    },
                );
            }
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
                    group_id: B64(room.group.group_id().as_bytes().to_vec()),
                    epoch: room.epoch(),
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
            let key = (uri.to_owned(), Sha256::digest(&request.request.0).to_vec());
            if let Some(first) = world.outcomes.get(&key) {
                return Ok(HubAnswer {
                    response: first.clone().into(),
                });
            }
            let request = KeyMaterialRequest::from_bytes(&request.request.0).unwrap();
            assert_eq!(request.room_id.as_ref().unwrap().as_str(), uri);
            delivery_service::keys::verify_request(&request).unwrap();
            let clients = world
                .stock
                .iter_mut()
                .filter(|(client, _)| {
                    MimiUri::parse(client).unwrap().client_user().as_ref() == Some(&request.target_user)
                })
                .map(|(client, stock)| ClientKeyMaterial {
                    client_uri: MimiUri::parse(client).unwrap(),
                    material: match select(&request, stock.iter().enumerate(), now_ms()) {
                        Selection::Exhausted => ClientMaterial::KeyMaterialExhausted,
                        Selection::NothingCompatible => ClientMaterial::NothingCompatible(None),
                        Selection::Found(at) if stock[at].is_last_resort() => {
                            ClientMaterial::Success(Box::new(stock[at].clone()))
                        }
                        Selection::Found(at) => ClientMaterial::Success(Box::new(stock.remove(at))),
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
            world.outcomes.insert(key, response.to_bytes());
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
            let response = world.decide(uri, &domain(&self.provider), &bundle)?.to_bytes();
            world.outcomes.insert(key, response.clone());
            Ok(HubAnswer {
                response: response.into(),
            })
        })
    }

    async fn group_info(&self, uri: &str, query: &GroupInfoQuery) -> Result<HubAnswer, TransportError> {
        self.act(|world| {
            let request = GroupInfoRequest::from_bytes(&query.request.0).unwrap();
            let room = world.rooms.get(uri).ok_or_else(|| api(ApiErrorCode::NotFound))?;
            let response = room
                .group
                .group_info_response(&world.hub, &domain(&self.provider), &request);
            Ok(HubAnswer {
                response: response.to_bytes().into(),
            })
        })
    }

    async fn submit(&self, uri: &str, message: &SubmitMessage) -> Result<SubmissionStatus, TransportError> {
        self.act(|world| {
            let key = (uri.to_owned(), Sha256::digest(&message.message.0).to_vec());
            if let Some(first) = world.statuses.get(&key) {
                return Ok(first.clone());
            }
            let state = world.admit(uri, &self.user, &message.message)?;
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
