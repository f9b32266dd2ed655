//! Two providers and a hub in memory: an ordering double. It puts handshakes and messages of the right epoch
//! into one order, franks, seals GroupInfos, and accepts everything else unseen.

mod line;

pub(crate) use line::Line;

use mimi_wire::MimiUri;
use mimi_wire::codec::{Decode, Encode, Opaque, UnixMillis};
use mimi_wire::labels;
use mimi_wire::mls::{
    CipherSuite, Credential, Epoch, ExternalSender, GroupInfo, HpkeCiphertext, KeyPackage, MlsMessage,
    RatchetTree,
};
use mimi_wire::protocol::{
    BundleBody, Frank, GroupInfoOption, GroupInfoRatchetTreeTbe, GroupInfoRequest, GroupInfoResponse,
    GroupInfoSuccess, HandshakeBundle, PendingProposal, RatchetTreeOption, UpdateOutcome, UpdateRoomResponse,
};
use mls_client::api::{ApiError, ApiErrorCode, B64, FeedEntry, FeedItem, SubmissionStatus, SubmitMessage};
use mls_client::transport::TransportError;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::crypto::OpenMlsCrypto as _;
use openmls_traits::signatures::Signer as _;
use openmls_traits::types::{Ciphersuite, SignatureScheme};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

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

fn api(code: ApiErrorCode) -> TransportError {
    TransportError::Api(ApiError {
        code,
        error: format!("{code:?}"),
        retry_after_ms: None,
    })
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
