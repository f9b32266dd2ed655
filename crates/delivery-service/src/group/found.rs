//! Taking up a new room from its creator's first GroupInfo (draft-ietf-mimi-protocol-06 section 7.4).

use super::group_info::Expected;
use super::storage::Discard;
use super::{Group, context::dictionary, policy};
use crate::crypto;
use crate::hub::HubIdentity;
use crate::identity::Client;
use crate::refusal::FoundRefusal;
use crate::roster::{Leaves, LeavesError, Participants};
use crate::signing::Scheme;
use mimi_wire::components::{
    FrankingAgentData, ParticipantListData, RoleIndex, RoomMetaData, UserRolePair, component_id,
};
use mimi_wire::mls::GroupInfo;
use mimi_wire::{Decode, MimiUri};
use openmls::extensions::{AppDataDictionary, ExtensionType, ExternalSender, RequiredCapabilitiesExtension};
use openmls::group::{GroupContext, ProposalStore, PublicGroup};
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::messages::proposals::ProposalType;
use openmls::prelude::RatchetTreeIn;
use std::collections::BTreeSet;
use tls_codec::DeserializeBytes as _;

/// The role of a room's creator: super admin in every room that is founded here.
const CREATOR_ROLE: RoleIndex = RoleIndex(4);

impl Group {
    /// Founds a room: `group_info` is the creator's GroupInfo without embedded tree, `ratchet_tree` the tree as in
    /// the `ratchet_tree` extension. Checked are suite, signatures, that the hub is an external sender, the
    /// required capabilities, the components, that the list is the creator as super admin, and that the tree
    /// has the creator's clients and nobody else's.
    pub fn found(
        hub: &HubIdentity,
        room: &MimiUri,
        creator: &MimiUri,
        group_info: &[u8],
        ratchet_tree: &[u8],
    ) -> Result<Self, FoundRefusal> {
        if room.domain() != *hub.provider() {
            return Err(FoundRefusal::ForeignRoom);
        }
        if creator.domain() != *hub.provider() {
            return Err(FoundRefusal::ForeignCreator);
        }
        let wire = GroupInfo::from_bytes(group_info).map_err(|_| FoundRefusal::Malformed("GroupInfo"))?;
        let suite = wire.cipher_suite();
        let scheme = Scheme::of(suite).ok_or(FoundRefusal::CipherSuite(suite.0))?;
        let mls = load(group_info, ratchet_tree)?;
        let signer = mls
            .leaf(openmls::prelude::LeafNodeIndex::new(wire.content().signer))
            .ok_or(FoundRefusal::Malformed("signer"))?;
        Expected {
            context: mls.group_context(),
            confirmation_tag: wire.confirmation_tag(),
            signer: wire.content().signer,
            signature_key: signer.signature_key().as_slice(),
        }
        .check_full(&wire)?;

        check_context(mls.group_context(), |senders| {
            senders.contains(&hub.sender(scheme))
        })?;
        let components = dictionary(mls.group_context())
            .ok_or(FoundRefusal::ComponentMissing(component_id::PARTICIPANT_LIST))?;
        let participants = check_participants(components, creator)?;
        check_metadata(components, room)?;
        check_franking_agent(components, |agent| {
            hub.franking_agent(suite).as_ref() == Some(agent)
        })?;
        let leaves = check_leaves(&mls, creator)?;
        let nobody = BTreeSet::new();
        let policy = policy::build(components, &participants, &leaves, &nobody, &BTreeSet::new())
            .map_err(FoundRefusal::Component)?;
        if policy.roles.get(CREATOR_ROLE).is_none() {
            return Err(FoundRefusal::Component(component_id::ROLES_LIST));
        }

        Ok(Self {
            room: room.clone(),
            mls,
            participants,
            leaves,
            policy,
            pending: Vec::new(),
            departing: BTreeSet::new(),
            served_group_info: group_info.to_vec(),
        })
    }
}

fn load(group_info: &[u8], ratchet_tree: &[u8]) -> Result<PublicGroup, FoundRefusal> {
    let tree = RatchetTreeIn::tls_deserialize_exact_bytes(ratchet_tree)
        .map_err(|_| FoundRefusal::Malformed("ratchet tree"))?;
    let group_info = VerifiableGroupInfo::tls_deserialize_exact_bytes(group_info)
        .map_err(|_| FoundRefusal::Malformed("GroupInfo"))?;
    let (group, _) = PublicGroup::from_external(
        crypto::provider(),
        &Discard,
        tree,
        group_info,
        ProposalStore::new(),
    )
    .map_err(|error| FoundRefusal::Mls(error.to_string()))?;
    Ok(group)
}

/// `is_hub`: whether the hub with a key that may be there is among the external senders.
pub(super) fn check_context(
    context: &GroupContext,
    is_hub: impl FnOnce(&[ExternalSender]) -> bool,
) -> Result<(), FoundRefusal> {
    let senders = context.extensions().external_senders();
    if !senders.is_some_and(|senders| is_hub(senders)) {
        return Err(FoundRefusal::HubNotExternalSender);
    }
    let required = context.required_capabilities();
    let extensions = required
        .map(RequiredCapabilitiesExtension::extension_types)
        .unwrap_or_default();
    let proposals = required
        .map(RequiredCapabilitiesExtension::proposal_types)
        .unwrap_or_default();
    if !extensions.contains(&ExtensionType::AppDataDictionary) {
        return Err(FoundRefusal::RequiredCapabilities(
            "extension app_data_dictionary",
        ));
    }
    if !proposals.contains(&ProposalType::AppDataUpdate) {
        return Err(FoundRefusal::RequiredCapabilities("proposal app_data_update"));
    }
    if !proposals.contains(&ProposalType::SelfRemove) {
        return Err(FoundRefusal::RequiredCapabilities("proposal self_remove"));
    }
    Ok(())
}

pub(super) fn read<T: Decode>(components: &AppDataDictionary, id: u16) -> Result<Option<T>, FoundRefusal> {
    components
        .get(&id)
        .map(T::from_bytes)
        .transpose()
        .map_err(|_| FoundRefusal::Component(id))
}

fn check_participants(
    components: &AppDataDictionary,
    creator: &MimiUri,
) -> Result<Participants, FoundRefusal> {
    let id = component_id::PARTICIPANT_LIST;
    let list: ParticipantListData = read(components, id)?.ok_or(FoundRefusal::ComponentMissing(id))?;
    let alone = [UserRolePair {
        user: creator.clone(),
        role_index: CREATOR_ROLE,
    }];
    if list.participants != alone {
        return Err(FoundRefusal::Participants);
    }
    Participants::new(list).map_err(|_| FoundRefusal::Component(id))
}

pub(super) fn check_metadata(components: &AppDataDictionary, room: &MimiUri) -> Result<(), FoundRefusal> {
    let id = component_id::ROOM_METADATA;
    let metadata: RoomMetaData = read(components, id)?.ok_or(FoundRefusal::ComponentMissing(id))?;
    if metadata.room_uri == room.as_str() {
        Ok(())
    } else {
        Err(FoundRefusal::RoomUri)
    }
}

/// A franking agent is optional; if there is one, it must be able to sign: `is_hub` says whether it is this hub with a
/// key that may be there.
pub(super) fn check_franking_agent(
    components: &AppDataDictionary,
    is_hub: impl FnOnce(&FrankingAgentData) -> bool,
) -> Result<(), FoundRefusal> {
    let agent: Option<FrankingAgentData> = read(components, component_id::FRANKING_AGENT)?;
    if agent.is_some_and(|agent| !is_hub(&agent)) {
        return Err(FoundRefusal::FrankingAgent);
    }
    Ok(())
}

fn check_leaves(mls: &PublicGroup, creator: &MimiUri) -> Result<Leaves, FoundRefusal> {
    let leaves = read_leaves(mls)?;
    if leaves.users().eq([creator]) {
        Ok(leaves)
    } else {
        Err(FoundRefusal::Clients)
    }
}

/// All clients of a tree.
pub(super) fn read_leaves(mls: &PublicGroup) -> Result<Leaves, LeavesError> {
    let mut leaves = Leaves::default();
    for (index, leaf) in mls.treesync().full_leaves() {
        let client = Client::of_credential(leaf.credential()).map_err(|error| LeavesError::Identity {
            leaf: index.u32(),
            error,
        })?;
        leaves.insert(index, client)?;
    }
    Ok(leaves)
}
