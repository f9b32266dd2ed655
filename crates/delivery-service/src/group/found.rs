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
use openmls::prelude::{LeafNodeIndex, RatchetTreeIn};
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
        check_signer(&mls, &wire)?;
        check_context(mls.group_context(), |senders| {
            senders.contains(&hub.sender(scheme))
        })?;
        let components = components(&mls)?;
        let participants = check_participants(components, creator)?;
        check_metadata(components, room)?;
        check_franking_agent(components, |agent| {
            hub.franking_agent(suite).as_ref() == Some(agent)
        })?;
        let leaves = check_leaves(&mls, creator)?;
        let group = Self::begun(room, mls, participants, leaves, group_info)?;
        if group.policy.roles.get(CREATOR_ROLE).is_none() {
            return Err(FoundRefusal::Component(component_id::ROLES_LIST));
        }
        Ok(group)
    }

    /// A group in which nothing is pending, and which serves this GroupInfo.
    pub(super) fn begun(
        room: &MimiUri,
        mls: PublicGroup,
        participants: Participants,
        leaves: Leaves,
        group_info: &[u8],
    ) -> Result<Self, FoundRefusal> {
        let nobody = BTreeSet::new();
        let policy = policy::build(
            components(&mls)?,
            &participants,
            &leaves,
            &nobody,
            &BTreeSet::new(),
        )
        .map_err(FoundRefusal::Component)?;
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

/// GroupInfo and tree as openmls takes them.
pub(super) fn parse(
    group_info: &[u8],
    ratchet_tree: &[u8],
) -> Result<(VerifiableGroupInfo, RatchetTreeIn), FoundRefusal> {
    let tree = RatchetTreeIn::tls_deserialize_exact_bytes(ratchet_tree)
        .map_err(|_| FoundRefusal::Malformed("ratchet tree"))?;
    let group_info = VerifiableGroupInfo::tls_deserialize_exact_bytes(group_info)
        .map_err(|_| FoundRefusal::Malformed("GroupInfo"))?;
    Ok((group_info, tree))
}

/// The components of a group's epoch; none is a room without its list.
pub(super) fn components(mls: &PublicGroup) -> Result<&AppDataDictionary, FoundRefusal> {
    dictionary(mls.group_context()).ok_or(FoundRefusal::ComponentMissing(component_id::PARTICIPANT_LIST))
}

/// Whether a GroupInfo is the group's, and signed by the leaf that it names.
pub(super) fn check_signer(mls: &PublicGroup, group_info: &GroupInfo) -> Result<(), FoundRefusal> {
    let signer = group_info.content().signer;
    let leaf = mls
        .leaf(LeafNodeIndex::new(signer))
        .ok_or(FoundRefusal::Malformed("signer"))?;
    let expected = Expected {
        context: mls.group_context(),
        confirmation_tag: group_info.confirmation_tag(),
        signer,
        signature_key: leaf.signature_key().as_slice(),
    };
    Ok(expected.check_full(group_info)?)
}

fn load(group_info: &[u8], ratchet_tree: &[u8]) -> Result<PublicGroup, FoundRefusal> {
    let (group_info, tree) = parse(group_info, ratchet_tree)?;
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

fn read<T: Decode>(components: &AppDataDictionary, id: u16) -> Result<Option<T>, FoundRefusal> {
    components
        .get(&id)
        .map(T::from_bytes)
        .transpose()
        .map_err(|_| FoundRefusal::Component(id))
}

/// The participant list.
pub(super) fn read_list(components: &AppDataDictionary) -> Result<ParticipantListData, FoundRefusal> {
    let id = component_id::PARTICIPANT_LIST;
    read(components, id)?.ok_or(FoundRefusal::ComponentMissing(id))
}

/// The list, if it is consistent in itself.
pub(super) fn participants(list: ParticipantListData) -> Result<Participants, FoundRefusal> {
    Participants::new(list).map_err(|_| FoundRefusal::Component(component_id::PARTICIPANT_LIST))
}

fn check_participants(
    components: &AppDataDictionary,
    creator: &MimiUri,
) -> Result<Participants, FoundRefusal> {
    let list = read_list(components)?;
    let alone = [UserRolePair {
        user: creator.clone(),
        role_index: CREATOR_ROLE,
    }];
    if list.participants != alone {
        return Err(FoundRefusal::Participants);
    }
    participants(list)
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
