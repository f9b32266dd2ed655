//! Two providers and a hub in memory: an ordering double. It puts handshakes and messages of the right epoch
//! into one order, franks, seals GroupInfos, and accepts everything else unseen.

use async_trait::async_trait;
use mimi_wire::MimiUri;
use mimi_wire::codec::{Decode, Encode, Opaque, UnixMillis};
use mimi_wire::components::FrankingAgentData;
use mimi_wire::labels;
use mimi_wire::mls::{
    CipherSuite, Credential, Epoch, ExternalSender, GroupInfo, HpkeCiphertext, KeyPackage, MlsMessage,
    RatchetTree,
};
use mimi_wire::protocol::{
    BundleBody, ClientKeyMaterial, ClientMaterial, Frank, GroupInfoOption, GroupInfoRatchetTreeTbe,
    GroupInfoRequest, GroupInfoResponse, GroupInfoSuccess, HandshakeBundle, KeyMaterialRequest,
    KeyMaterialResponse, KeyMaterialUserCode, PendingProposal, RatchetTreeOption, UpdateOutcome,
    UpdateRoomResponse,
};
use mls_client::api::{
    ApiError, ApiErrorCode, B64, BlobRef, ClaimRequest, CreateRoom, Device, FeedEntry, FeedItem,
    GroupInfoQuery, HubAnswer, KeyPackageStock, LogPage, LoginKind, LoginRequest, LoginResponse,
    ProviderInfo, RefusalCode, RoomSummary, SubmissionState, SubmissionStatus, SubmitMessage, UpdateRequest,
    UploadKeyPackages,
};
use mls_client::transport::{Transport, TransportError};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::crypto::OpenMlsCrypto as _;
use openmls_traits::signatures::Signer as _;
use openmls_traits::types::{Ciphersuite, SignatureScheme};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// Where a request breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// It never arrives.
    Before,
    /// It is acted on, the answer is lost.
    After,
}

pub(crate) struct HubRoom {
    pub(crate) epoch: u64,
    pub(crate) log: Vec<(FeedEntry, Option<BTreeSet<String>>)>,
    users: BTreeSet<String>,
    group_id: Vec<u8>,
    group_info: Vec<u8>,
    tree: Vec<u8>,
    pending: Vec<PendingProposal>,
}

pub(crate) struct World {
    pub(crate) hub: SignatureKeyPair,
    crypto: RustCrypto,
    clock: u64,
    pub(crate) rooms: BTreeMap<String, HubRoom>,
    stock: BTreeMap<String, Vec<KeyPackage>>,
    owners: HashMap<Vec<u8>, String>,
    outcomes: HashMap<(String, Vec<u8>), Vec<u8>>,
    statuses: HashMap<(String, Vec<u8>), SubmissionStatus>,
    /// Requests until the line breaks, and how; once broken it stays so until mended.
    fuse: Option<(u32, Break)>,
    broken: bool,
    fired: bool,
}

#[derive(Clone)]
pub(crate) struct Hub(Arc<Mutex<World>>);

impl Hub {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(World {
            hub: SignatureKeyPair::new(SignatureScheme::ED25519).unwrap(),
            crypto: RustCrypto::default(),
            clock: 1_700_000_000_000,
            rooms: BTreeMap::new(),
            stock: BTreeMap::new(),
            owners: HashMap::new(),
            outcomes: HashMap::new(),
            statuses: HashMap::new(),
            fuse: None,
            broken: false,
            fired: false,
        })))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) fn line(&self, user: &str, device: &str) -> Line {
        let (name, provider) = user.split_once('@').unwrap();
        Line {
            hub: self.clone(),
            provider: provider.into(),
            user: format!("mimi://{provider}/u/{name}"),
            client: format!("mimi://{provider}/d/{name}/{device}"),
        }
    }

    pub(crate) fn break_after(&self, requests: u32, how: Break) {
        self.world().fuse = Some((requests, how));
    }

    /// Mends the line if it is broken, and says whether it was.
    pub(crate) fn mend(&self) -> bool {
        std::mem::take(&mut self.world().broken)
    }

    /// Takes the fuse out. Whether it had fired.
    pub(crate) fn take_fuse(&self) -> bool {
        let mut world = self.world();
        world.fuse = None;
        world.fired
    }
}

/// One device's connection.
#[derive(Clone)]
pub(crate) struct Line {
    hub: Hub,
    provider: String,
    pub(crate) user: String,
    pub(crate) client: String,
}

fn lost() -> TransportError {
    TransportError::Unreachable("the line broke".into())
}

fn api(code: ApiErrorCode) -> TransportError {
    TransportError::Api(ApiError {
        code,
        error: format!("{code:?}"),
        retry_after_ms: None,
    })
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

impl World {
    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn room(&mut self, uri: &str) -> Result<&mut HubRoom, TransportError> {
        self.rooms.get_mut(uri).ok_or_else(|| api(ApiErrorCode::NotFound))
    }

    pub(crate) fn push(&mut self, uri: &str, at: u64, item: FeedItem, only: Option<BTreeSet<String>>) {
        let room = self.rooms.get_mut(uri).unwrap();
        let pos = room.log.len() as u64 + 1;
        let entry = FeedEntry {
            pos,
            at,
            event_id: Some(format!("$event{pos}")),
            item,
        };
        room.log.push((entry, only));
    }

    pub(crate) fn frank(&self, user: &str, uri: &str, at: u64) -> Vec<u8> {
        let mut frank = Frank {
            server_frank: [7; 32],
            franking_signature_ciphersuite: CipherSuite(1),
            franking_integrity_signature: Opaque(Vec::new()),
        };
        let mut tbs = frank.server_frank.to_vec();
        frank.franking_signature_ciphersuite.encode(&mut tbs);
        MimiUri::parse(user).unwrap().encode(&mut tbs);
        MimiUri::parse(uri).unwrap().encode(&mut tbs);
        at.encode(&mut tbs);
        let signed = labels::sign_content(labels::FRANKING_INTEGRITY, &tbs);
        frank.franking_integrity_signature = Opaque(self.hub.sign(&signed).unwrap());
        frank.to_bytes()
    }

    fn decide(&mut self, uri: &str, bundle: &HandshakeBundle) -> Result<UpdateRoomResponse, TransportError> {
        let at = self.now();
        let owners = self.owners.clone();
        let room = self.room(uri)?;
        let message = bundle.proposal_or_commit().clone();
        if message.epoch().unwrap().0 != room.epoch {
            let current_epoch = Epoch(room.epoch);
            let outcome = UpdateOutcome::WrongEpoch { current_epoch };
            return Ok(UpdateRoomResponse {
                error_description: String::new(),
                outcome,
            });
        }
        let bytes = |m: &MlsMessage| B64(m.as_bytes().to_vec());
        match bundle.body() {
            BundleBody::Commit {
                welcome,
                group_info_option,
                ratchet_tree_option,
            } => {
                let GroupInfoOption::Full(info) = group_info_option else {
                    panic!("not full")
                };
                let RatchetTreeOption::Full(tree) = ratchet_tree_option else {
                    panic!("not full")
                };
                assert!(!info.has_ratchet_tree());
                room.epoch += 1;
                assert_eq!(info.epoch().0, room.epoch);
                room.group_info = info.as_bytes().to_vec();
                room.tree = tree.as_bytes().to_vec();
                room.pending.clear();
                let tree = ratchet_tree_option.to_bytes();
                let welcome = welcome.clone();
                let to: BTreeSet<String> = welcome
                    .iter()
                    .flat_map(|w| w.key_package_refs().iter())
                    .filter_map(|r| owners.get(r.as_bytes()).cloned())
                    .collect();
                room.users.extend(to.iter().cloned());
                let commit = FeedItem::Commit {
                    message: bytes(&message),
                    external_proposals: Vec::new(),
                };
                self.push(uri, at, commit, None);
                if let Some(welcome) = welcome {
                    let message = bytes(&MlsMessage::from(&welcome));
                    self.push(
                        uri,
                        at,
                        FeedItem::Welcome {
                            message,
                            ratchet_tree: tree.into(),
                        },
                        Some(to),
                    );
                }
            }
            BundleBody::Proposal { .. } => {
                let messages: Vec<MlsMessage> = bundle.messages().cloned().collect();
                self.propose(uri, at, &messages);
            }
        }
        let outcome = UpdateOutcome::Success {
            accepted_timestamp: UnixMillis(at),
        };
        Ok(UpdateRoomResponse {
            error_description: String::new(),
            outcome,
        })
    }

    pub(crate) fn propose(&mut self, uri: &str, at: u64, messages: &[MlsMessage]) {
        let room = self.rooms.get_mut(uri).unwrap();
        room.pending.extend(messages.iter().map(|m| PendingProposal {
            proposal: m.clone(),
            hub_accepted_time: UnixMillis(at),
        }));
        let messages = messages.iter().map(|m| B64(m.as_bytes().to_vec())).collect();
        self.push(uri, at, FeedItem::Proposals { messages }, None);
    }

    fn sealed_group_info(
        &mut self,
        uri: &str,
        request: &GroupInfoRequest,
    ) -> Result<Vec<u8>, TransportError> {
        let room = self.room(uri)?;
        let content = GroupInfoRatchetTreeTbe {
            group_info: GroupInfo::from_bytes(&room.group_info).unwrap(),
            ratchet_tree_option: RatchetTreeOption::Full(RatchetTree::from_bytes(&room.tree).unwrap()),
            pending_proposals: room.pending.clone(),
        };
        let info = labels::encrypt_info(labels::GROUP_INFO_ENCRYPTION, uri.as_bytes());
        let key = &request.group_info_public_key;
        let sealed = self
            .crypto
            .hpke_seal(SUITE.hpke_config(), key, &info, &[], &content.to_bytes())
            .unwrap();
        let mut success = GroupInfoSuccess {
            room_id: Opaque(uri.as_bytes().to_vec()),
            cipher_suite: CipherSuite(1),
            hub_sender: ExternalSender {
                signature_key: Opaque(self.hub.public().to_vec()),
                credential: Credential::basic(b"mimi://a.example".to_vec()),
            },
            encrypted_groupinfo_and_tree: HpkeCiphertext {
                kem_output: Opaque(sealed.kem_output.into()),
                ciphertext: Opaque(sealed.ciphertext.into()),
            },
            signature: Opaque(Vec::new()),
        };
        success.signature = Opaque(self.hub.sign(&success.sign_content()).unwrap());
        Ok(GroupInfoResponse::Success(success).to_bytes())
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

impl Hub {
    /// Puts a message of a past epoch into the log, as a node of the hub that was cut off does.
    pub(crate) fn accept_late(&self, from: &Line, uri: &str, message: &SubmitMessage) {
        let mut world = self.world();
        let at = world.now();
        let frank = Some(B64(world.frank(&from.user, uri, at)));
        world.push(
            uri,
            at,
            FeedItem::Message {
                message: message.message.clone(),
                frank,
            },
            None,
        );
    }

    /// The hub proposes to remove a client.
    pub(crate) fn remove_leaf(&self, uri: &str, leaf: u32) {
        let mut world = self.world();
        let at = world.now();
        let room = &world.rooms[uri];
        // openmls leaves the authenticated data of such a proposal empty, which Safe AAD doesn't allow.
        let mut message = vec![0, 1, 0, 1];
        Opaque(room.group_id.clone()).encode(&mut message);
        room.epoch.encode(&mut message);
        message.extend([2, 0, 0, 0, 0]); // sender: external 0
        message.extend([1, 0]); // authenticated data: an empty Safe AAD
        message.extend([2, 0, 3]); // a proposal: remove
        leaf.encode(&mut message);
        let signature = world
            .hub
            .sign(&labels::sign_content("FramedContentTBS", &message))
            .unwrap();
        Opaque(signature).encode(&mut message);
        let message = MlsMessage::from_bytes(&message).unwrap();
        world.propose(uri, at, &[message]);
    }
}
