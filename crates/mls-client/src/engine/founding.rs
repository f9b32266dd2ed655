//! Founding a room of which our provider is the hub.

use super::Engine;
use crate::api::{B64, CreateRoom, ProviderInfo, RoomSummary};
use crate::error::ClientError;
use crate::mls;
use crate::state::{Change, Entry, Founding, Hash, Membership, Room, What};
use crate::wire;
use mimi_wire::codec::Encode as _;
use mimi_wire::components::{ParticipantListData, RoomMetaData, UserRolePair, component_id};
use mimi_wire::policy::{BaseRoomPolicy, Preset};
use mimi_wire::{Domain, MimiUri};
use openmls::prelude::{AppDataDictionary, Ciphersuite, ExternalSender, GroupId, MlsGroup};
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::types::SignatureScheme;
use tls_codec::DeserializeBytes as _;

/// The roles of new rooms: everyone may add and remove.
const PRESET: Preset = Preset::Cooperative;

/// What a new room is to be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRoom {
    /// It can be searched for, and is listed in the directory of the hub's homeserver.
    pub discoverable: bool,
    /// Its MLS cipher suite; none: the provider's best that this client has.
    pub suite: Option<u16>,
}

impl Engine {
    /// Makes the group of a new room. The room is there for others once [`Engine::founded`] was told so.
    pub fn found(&mut self, name: &str, new: NewRoom) -> Result<String, ClientError> {
        self.saving(|engine| {
            let suite = suite_of(&engine.provider()?.cipher_suites, new.suite)?;
            engine.need_signer(suite)?;
            engine.found_unsaved(name, suite, new.discoverable)
        })
    }

    fn found_unsaved(
        &mut self,
        name: &str,
        suite: Ciphersuite,
        discoverable: bool,
    ) -> Result<String, ClientError> {
        let account = self.account()?;
        let signer = account.signer(suite)?;
        let (external_sender, franking_agent) = hub_keys(&account.provider, suite)?;
        let domain = Domain::parse(&account.provider.provider).map_err(ClientError::malformed("provider"))?;
        let token = random_name()?;
        let uri = MimiUri::room(&domain, &token).map_err(ClientError::malformed("room URI"))?;
        let group_uri = MimiUri::group(&domain, &token).map_err(ClientError::malformed("group URI"))?;
        let user = MimiUri::parse(&account.session.user).map_err(ClientError::malformed("user URI"))?;

        let mut components = AppDataDictionary::new();
        let list = ParticipantListData {
            participants: vec![UserRolePair {
                user: user.clone(),
                role_index: PRESET.creator_role(),
            }],
        };
        components.insert(component_id::PARTICIPANT_LIST, list.to_bytes());
        let metadata = RoomMetaData {
            room_uri: uri.as_str().into(),
            room_name: name.replace('\0', ""),
            ..RoomMetaData::default()
        };
        components.insert(component_id::ROOM_METADATA, metadata.to_bytes());
        if discoverable {
            let policy = BaseRoomPolicy {
                discoverable,
                ..BaseRoomPolicy::default()
            };
            components.insert(component_id::BASE_ROOM_POLICY, policy.to_bytes());
        }
        if !franking_agent.0.is_empty() {
            components.insert(component_id::FRANKING_AGENT, franking_agent.0.clone());
        }
        components.insert(component_id::ROLES_LIST, PRESET.roles().to_bytes());
        let hub = ExternalSender::tls_deserialize_exact_bytes(&external_sender.0)
            .map_err(ClientError::malformed("external sender"))?;
        let config = mls::create_config(suite, mls::context_extensions(components, hub)?)?;
        let group_id = GroupId::from_slice(group_uri.as_bytes());
        let credential = mls::credential(&account.session.client, signer);
        let group = MlsGroup::new_with_group_id(&self.mls, signer, &config, group_id.clone(), credential)
            .map_err(ClientError::mls("found the group"))?;
        let group_info = group
            .export_group_info(self.mls.crypto(), signer, false)
            .map_err(ClientError::mls("export GroupInfo"))?;
        let founding = Founding {
            room: uri.as_str().into(),
            group_info: wire::bare(&group_info)?.into(),
            ratchet_tree: wire::tls(&group.export_ratchet_tree())?.into(),
        };
        let first = Entry {
            // Before the first entry of the feed.
            pos: Some(0),
            at: now(),
            event_id: None,
            hash: Hash::of(&founding.group_info.0),
            what: What::Change(Change {
                by: account.session.client.clone(),
                epoch: 0,
                added_users: vec![account.session.user.clone()],
                added_clients: vec![account.session.client.clone()],
                ..Change::default()
            }),
        };
        let room = Room {
            uri: uri.as_str().into(),
            hub: domain.as_str().into(),
            name: Some(name.into()),
            portal: None,
            group_id: B64(group_id.to_vec()),
            membership: Membership::Founding(founding),
            next: 1,
            joined_epoch: 0,
            departing: std::collections::BTreeSet::new(),
            intent: None,
            pending: None,
            card_epoch: None,
            group_info_key: None,
            own_handshakes: Vec::new(),
            outgoing: Vec::new(),
            former: Vec::new(),
            history: vec![first],
            future: Vec::new(),
        };
        self.state.rooms.insert(uri.as_str().into(), room);
        Ok(uri.as_str().into())
    }

    /// Rooms whose founding the provider hasn't confirmed, as the requests to repeat.
    pub fn founding(&self) -> Vec<CreateRoom> {
        self.rooms()
            .filter_map(|r| match &r.membership {
                Membership::Founding(f) => Some(f.into()),
                _ => None,
            })
            .collect()
    }

    /// The provider confirmed the founding.
    pub fn founded(&mut self, summary: RoomSummary) -> Result<(), ClientError> {
        self.summaries(vec![summary])
    }

    /// The provider refused the founding for good: the room never was.
    pub fn not_founded(&mut self, uri: &str) -> Result<(), ClientError> {
        self.saving(|engine| {
            if let Some(mut group) = engine.group(uri)? {
                group
                    .delete(engine.mls.storage())
                    .map_err(ClientError::mls("delete group"))?;
            }
            engine.state.rooms.remove(uri);
            Ok(())
        })
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The first suite of the provider's list that we can do, or the one that is asked for.
pub(super) fn suite_of(suites: &[u16], wanted: Option<u16>) -> Result<Ciphersuite, ClientError> {
    let suites = if suites.is_empty() { &[1] } else { suites };
    suites
        .iter()
        .filter(|suite| wanted.is_none_or(|wanted| wanted == **suite))
        .find_map(|suite| mls::suite(*suite))
        .ok_or_else(|| ClientError::Mls {
            what: "cipher suite",
            why: match wanted {
                Some(wanted) => {
                    format!("{wanted} is asked for, the provider takes {suites:?}, we have 1 to 3")
                }
                None => format!("the provider takes {suites:?}, we have 1 to 3"),
            },
        })
}

/// What a group of this suite has to name of the hub: external sender and franking agent.
fn hub_keys(provider: &ProviderInfo, suite: Ciphersuite) -> Result<(&B64, &B64), ClientError> {
    if suite.signature_algorithm() == SignatureScheme::ED25519 {
        return Ok((&provider.external_sender, &provider.franking_agent));
    }
    let keys = provider.p256.as_ref().ok_or_else(|| ClientError::Mls {
        what: "cipher suite",
        why: format!("the provider has no key for rooms of {suite:?}"),
    })?;
    Ok((&keys.external_sender, &keys.franking_agent))
}

/// 128 random bits as a URI segment.
pub(super) fn random_name() -> Result<String, ClientError> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|_| crate::storage::StorageError::Random)?;
    Ok(hex::encode(octets))
}
