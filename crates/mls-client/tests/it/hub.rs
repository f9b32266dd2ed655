//! Two providers and a hub in memory. What the hub accepts is judged by the delivery service that real hubs use;
//! around it is only what a test needs: one order, no store, no network.

mod line;

pub(crate) use line::Line;

use delivery_service::franking::{FrankingContext, frank};
use delivery_service::{CIPHER_SUITES, Group, HubIdentity, Judged, MessageSettings};
use mimi_wire::codec::{Decode, Encode, UnixMillis};
use mimi_wire::mls::{CipherSuite, KeyPackage, MlsMessage};
use mimi_wire::protocol::{
    BundleBody, HandshakeBundle, SubmitMessageRequest, UpdateOutcome, UpdateRoomResponse,
};
use mimi_wire::{Domain, MimiUri};
use mls_client::api::{
    ApiError, ApiErrorCode, B64, FeedEntry, FeedItem, RefusalCode, SubmissionState, SubmissionStatus,
    SubmitMessage,
};
use mls_client::transport::TransportError;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Where a request breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// It never arrives.
    Before,
    /// It is acted on, the answer is lost.
    After,
}

pub(crate) struct HubRoom {
    pub(crate) group: Group,
    pub(crate) log: Vec<(FeedEntry, Option<BTreeSet<String>>)>,
    users: BTreeSet<String>,
}

impl HubRoom {
    pub(crate) fn epoch(&self) -> u64 {
        self.group.epoch().0
    }
}

pub(crate) struct World {
    pub(crate) hub: HubIdentity,
    /// Taken here, best first.
    suites: &'static [CipherSuite],
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
    /// One that takes rooms and KeyPackages of the first suite, as stories about something else need no more.
    pub(crate) fn new() -> Self {
        Self::of_suites(&CIPHER_SUITES[..1])
    }

    pub(crate) fn of_suites(suites: &'static [CipherSuite]) -> Self {
        static HUBS: AtomicU8 = AtomicU8::new(1);
        let n = HUBS.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Mutex::new(World {
            hub: HubIdentity::from_seeds(domain("a.example"), [n; 32], [n ^ 0x40; 32], [n ^ 0x80; 32]),
            suites,
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

    pub(crate) fn frank(&self, user: &str, uri: &str, at: u64, message: &B64) -> Vec<u8> {
        let message = MlsMessage::from_bytes(&message.0).unwrap();
        let of_room = |room: &HubRoom| room.group.cipher_suite();
        let suite = self.rooms.get(uri).map_or(CipherSuite::X25519_AES128, of_room);
        let context = FrankingContext {
            sender: MimiUri::parse(user).unwrap(),
            room: MimiUri::parse(uri).unwrap(),
            accepted_ms: at,
        };
        frank(
            &self.hub,
            &self.hub.franking_agent(suite).unwrap(),
            suite,
            &message,
            &context,
        )
        .unwrap()
        .to_bytes()
    }

    fn decide(
        &mut self,
        uri: &str,
        actor: &Domain,
        bundle: &HandshakeBundle,
    ) -> Result<UpdateRoomResponse, TransportError> {
        let at = self.now();
        let Some(room) = self.rooms.get_mut(uri) else {
            return Err(api(ApiErrorCode::NotFound));
        };
        let judged = match room.group.judge(&self.hub, actor, bundle, at) {
            Ok(judged) => judged,
            Err(refusal) => return Ok(refusal.to_response()),
        };
        let bytes = |m: &MlsMessage| B64(m.as_bytes().to_vec());
        let stapled = match &judged {
            Judged::Commit(commit) => commit.external_proposals.iter().map(bytes).collect(),
            Judged::Proposals(_) => Vec::new(),
        };
        room.group.apply(judged).unwrap();
        match bundle.body() {
            BundleBody::Commit {
                welcome,
                ratchet_tree_option,
                ..
            } => {
                let to: BTreeSet<String> = welcome
                    .iter()
                    .flat_map(|w| w.key_package_refs().iter())
                    .filter_map(|r| self.owners.get(r.as_bytes()).cloned())
                    .collect();
                room.users.extend(to.iter().cloned());
                let message = bytes(bundle.proposal_or_commit());
                self.push(
                    uri,
                    at,
                    FeedItem::Commit {
                        message,
                        external_proposals: stapled,
                    },
                    None,
                );
                if let Some(welcome) = welcome {
                    let message = bytes(&MlsMessage::from(welcome));
                    let ratchet_tree = ratchet_tree_option.to_bytes().into();
                    self.push(
                        uri,
                        at,
                        FeedItem::Welcome {
                            message,
                            ratchet_tree,
                        },
                        Some(to),
                    );
                }
            }
            BundleBody::Proposal { .. } => {
                let messages = bundle.messages().map(bytes).collect();
                self.push(uri, at, FeedItem::Proposals { messages }, None);
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

    fn admit(&mut self, uri: &str, user: &str, message: &B64) -> Result<SubmissionState, TransportError> {
        use delivery_service::MessageRefusal as Refusal;
        let at = self.now();
        let user = MimiUri::parse(user).unwrap();
        let parsed = MlsMessage::from_bytes(&message.0).unwrap();
        let request = SubmitMessageRequest::new(parsed, user.clone()).unwrap();
        let settings = MessageSettings { past_epochs: 0 };
        let refused = self
            .room(uri)?
            .group
            .judge_message(&user.domain(), &request, settings)
            .err();
        if let Some(refusal) = refused {
            assert!(
                !matches!(refusal, Refusal::EpochInFuture { .. }),
                "a message of an epoch to come"
            );
            let (code, current_epoch) = match refusal {
                Refusal::EpochTooOld { current } => (RefusalCode::EpochTooOld, Some(current.0)),
                _ => (RefusalCode::NotAllowed, None),
            };
            return Ok(SubmissionState::Refused {
                code,
                reason: refusal.to_string(),
                current_epoch,
            });
        }
        let frank = Some(B64(self.frank(user.as_str(), uri, at, message)));
        self.push(
            uri,
            at,
            FeedItem::Message {
                message: message.clone(),
                frank: frank.clone(),
            },
            None,
        );
        Ok(SubmissionState::Accepted { at, frank })
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

impl Hub {
    /// Puts a message of a past epoch into the log, as a node of the hub that was cut off does.
    pub(crate) fn accept_late(&self, from: &Line, uri: &str, message: &SubmitMessage) {
        let mut world = self.world();
        let at = world.now();
        let frank = Some(B64(world.frank(&from.user, uri, at, &message.message)));
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

    /// The hub takes a user out.
    pub(crate) fn take_out(&self, uri: &str, user: &str) {
        let mut world = self.world();
        let at = world.now();
        let World { hub, rooms, .. } = &mut *world;
        let group = &mut rooms.get_mut(uri).unwrap().group;
        let judged = group
            .propose_removal(hub, &MimiUri::parse(user).unwrap(), at)
            .unwrap();
        let Judged::Proposals(proposals) = &judged else {
            panic!("a removal is proposed")
        };
        let messages = proposals
            .proposals
            .iter()
            .map(|p| B64(p.message().as_bytes().to_vec()))
            .collect();
        group.apply(judged).unwrap();
        world.push(uri, at, FeedItem::Proposals { messages }, None);
    }
}
