//! A MIMI client as the hub meets it: a real openmls member whose groups are set up as MIMI rooms are.

use crate::setup::{capabilities, leaf_extensions, room_components, room_extensions};
use delivery_service::{Group, HubIdentity};
use mimi_wire::components::{
    AppDataDictionary, ParticipantListData, ParticipantListUpdate, RoomMetaData, SafeAad, component_id,
};
use mimi_wire::mls::{
    CipherSuite, Credential as WireCredential, GroupInfo, MlsMessage, Welcome as WireWelcome,
};
use mimi_wire::protocol::{
    GroupInfoOption, GroupInfoRatchetTreeTbe, GroupInfoRequest, GroupInfoResponse, HandshakeBundle,
    RatchetTreeOption, SubmitMessageRequest,
};
use mimi_wire::{Decode, Domain, Encode, MimiUri, Opaque, labels};
use openmls::component::ComponentData;
use openmls::prelude::{tls_codec::*, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::signatures::Signer as _;

pub const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
/// Of which a hub takes up rooms.
pub const SUITES: [Ciphersuite; 3] = [
    SUITE,
    Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256,
    Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
];
pub const COMPONENTS: [u16; 4] = [
    component_id::FRANKING_AGENT,
    component_id::PARTICIPANT_LIST,
    component_id::ROOM_METADATA,
    component_id::ROLES_LIST,
];

pub fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

pub fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// Octets of one codec as a value of the other.
pub fn wire<T: Decode>(bytes: &[u8]) -> T {
    T::from_bytes(bytes).unwrap()
}

/// Tells a story once in rooms of each suite.
pub fn each_suite(story: impl Fn(Ciphersuite)) {
    for suite in SUITES {
        println!("in rooms of {suite:?}");
        story(suite);
    }
}

pub struct TestClient {
    pub uri: MimiUri,
    pub suite: Ciphersuite,
    pub provider: OpenMlsRustCrypto,
    pub signer: SignatureKeyPair,
    pub group: Option<MlsGroup>,
}

/// What a commit is to do, beside taking in what is pending.
#[derive(Default)]
pub struct Plan {
    pub adds: Vec<KeyPackage>,
    pub removes: Vec<u32>,
    pub list: Option<ParticipantListUpdate>,
    pub metadata: Option<RoomMetaData>,
    /// Leave pending proposals out.
    pub ignore_pending: bool,
}

impl TestClient {
    pub fn new(uri_text: &str) -> Self {
        Self::of(SUITE, uri_text)
    }

    /// A client that takes part in rooms of this suite.
    pub fn of(suite: Ciphersuite, uri_text: &str) -> Self {
        Self {
            uri: uri(uri_text),
            suite,
            provider: OpenMlsRustCrypto::default(),
            signer: SignatureKeyPair::new(suite.signature_algorithm()).unwrap(),
            group: None,
        }
    }

    pub fn user(&self) -> MimiUri {
        self.uri.client_user().unwrap()
    }

    pub fn domain(&self) -> Domain {
        self.uri.domain()
    }

    pub fn group(&self) -> &MlsGroup {
        self.group.as_ref().unwrap()
    }

    pub fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.uri.as_bytes().to_vec()).into(),
            signature_key: self.signer.to_public_vec().into(),
        }
    }

    pub fn key_package(&self) -> KeyPackage {
        self.key_package_with(Lifetime::default(), &COMPONENTS)
    }

    pub fn key_package_with(&self, lifetime: Lifetime, components: &[u16]) -> KeyPackage {
        KeyPackage::builder()
            .key_package_lifetime(lifetime)
            .leaf_node_capabilities(capabilities())
            .leaf_node_extensions(leaf_extensions(components))
            .build(self.suite, &self.provider, &self.signer, self.credential())
            .unwrap()
            .key_package()
            .clone()
    }

    fn config() -> MlsGroupJoinConfig {
        MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_PLAINTEXT_HANDSHAKES)
            .use_ratchet_tree_extension(false)
            .build()
    }

    /// Makes the group of a room; GroupInfo and ratchet tree are for the hub.
    pub fn create(&mut self, extensions: Extensions<GroupContext>, id: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let group = MlsGroup::builder()
            .ciphersuite(self.suite)
            .with_group_id(GroupId::from_slice(id))
            .with_wire_format_policy(PURE_PLAINTEXT_HANDSHAKES)
            .use_ratchet_tree_extension(false)
            .with_capabilities(capabilities())
            .with_leaf_node_extensions(leaf_extensions(&COMPONENTS))
            .unwrap()
            .with_group_context_extensions(extensions)
            .build(&self.provider, &self.signer, self.credential())
            .unwrap();
        self.group = Some(group);
        (self.group_info(), self.tree())
    }

    pub fn found(&mut self, hub: &HubIdentity, room: &MimiUri) -> Group {
        let components = room_components(hub, self.suite, room, &self.user());
        let extensions = room_extensions(hub, self.suite, &components);
        let (group_info, tree) = self.create(extensions, room.as_bytes());
        Group::found(hub, room, &self.user(), &group_info, &tree).unwrap()
    }

    pub fn group_info(&self) -> Vec<u8> {
        let message = self
            .group()
            .export_group_info(self.provider.crypto(), &self.signer, false)
            .unwrap();
        message.tls_serialize_detached().unwrap()[4..].to_vec()
    }

    pub fn tree(&self) -> Vec<u8> {
        self.group()
            .export_ratchet_tree()
            .tls_serialize_detached()
            .unwrap()
    }

    pub fn component(&self, id: u16) -> Vec<u8> {
        let extension = self.group().extensions().app_data_dictionary().unwrap();
        extension.dictionary().get(&id).unwrap().to_vec()
    }

    pub fn participants(&self) -> ParticipantListData {
        wire(&self.component(component_id::PARTICIPANT_LIST))
    }

    pub fn index_of(&self, user: &MimiUri) -> u32 {
        self.participants().find(user).unwrap().0
    }

    /// The leaf of a client.
    pub fn leaf_of(&self, client: &MimiUri) -> u32 {
        let mut members = self.group().members();
        members
            .find(|m| m.credential.serialized_content() == client.as_bytes())
            .unwrap()
            .index
            .u32()
    }

    /// A commit that is not merged yet.
    pub fn commit(&mut self, plan: Plan) -> HandshakeBundle {
        let list = self.participants();
        let group = self.group.as_mut().unwrap();
        let mut own = Vec::new();
        if let Some(update) = plan.list {
            let id = component_id::PARTICIPANT_LIST;
            own.push(Proposal::AppDataUpdate(Box::new(AppDataUpdateProposal::update(
                id,
                update.to_bytes(),
            ))));
        }
        if let Some(metadata) = plan.metadata {
            let id = component_id::ROOM_METADATA;
            let update = AppDataUpdateProposal::update(id, metadata.to_bytes());
            own.push(Proposal::AppDataUpdate(Box::new(update)));
        }
        let mut builder = group
            .commit_builder()
            .consume_proposal_store(!plan.ignore_pending)
            .add_proposals(own)
            .propose_adds(plan.adds)
            .propose_removals(plan.removes.into_iter().map(LeafNodeIndex::new))
            .load_psks(self.provider.storage())
            .unwrap()
            .create_group_info(true);
        let updates: Vec<AppDataUpdateProposal> = if plan.ignore_pending {
            Vec::new()
        } else {
            builder.app_data_update_proposals().cloned().collect()
        };
        let mut updater = builder.app_data_dictionary_updater();
        for data in new_data(&list, &updates) {
            updater.set(data);
        }
        let changes = updater.changes();
        builder.with_app_data_dictionary_updates(changes);
        let bundle = builder
            .build(self.provider.rand(), self.provider.crypto(), &self.signer, |_| {
                true
            })
            .unwrap()
            .stage_commit(&self.provider)
            .unwrap();
        to_bundle(&bundle)
    }

    pub fn merge(&mut self) {
        self.group
            .as_mut()
            .unwrap()
            .merge_pending_commit(&self.provider)
            .unwrap();
    }

    pub fn discard(&mut self) {
        let storage = self.provider.storage();
        self.group
            .as_mut()
            .unwrap()
            .clear_pending_commit(storage)
            .unwrap();
    }

    /// Takes in what the hub sent around.
    pub fn receive(&mut self, message: &MlsMessage) {
        let list = self.participants();
        let group = self.group.as_mut().unwrap();
        let parsed = MlsMessageIn::tls_deserialize_exact(message.as_bytes()).unwrap();
        let parsed = parsed.try_into_protocol_message().unwrap();
        let processed = group.process_message(&self.provider, parsed).unwrap();
        match processed.into_content() {
            ProcessedMessageContent::ProposalMessage(proposal) => {
                group
                    .store_pending_proposal(self.provider.storage(), *proposal)
                    .unwrap();
            }
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                group.merge_staged_commit(&self.provider, *staged).unwrap();
            }
            ProcessedMessageContent::UnresolvedAppDataCommit(unresolved) => {
                let updates: Vec<_> = unresolved.app_data_update_proposals().cloned().collect();
                let mut updater = group.app_data_dictionary_updater();
                for data in new_data(&list, &updates) {
                    updater.set(data);
                }
                let changes = updater.changes();
                let staged = group
                    .stage_app_data_commit(&self.provider, *unresolved, changes)
                    .unwrap();
                group.merge_staged_commit(&self.provider, staged).unwrap();
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Joins with a Welcome and the tree the hub sends with it.
    pub fn join(&mut self, welcome: &[u8], tree: &RatchetTreeOption) {
        let RatchetTreeOption::Full(tree) = tree else {
            panic!("no tree")
        };
        let tree = RatchetTreeIn::tls_deserialize_exact(tree.as_bytes()).unwrap();
        let welcome = Welcome::tls_deserialize_exact(welcome).unwrap();
        let joined = StagedWelcome::new_from_welcome(&self.provider, &Self::config(), welcome, Some(tree))
            .unwrap()
            .into_group(&self.provider)
            .unwrap();
        self.group = Some(joined);
    }

    /// A request for the GroupInfo, and the private key that opens the answer.
    pub fn group_info_request(&self) -> (GroupInfoRequest, HpkePrivateKey) {
        let ikm = self.provider.rand().random_vec(32).unwrap();
        let keys = self
            .provider
            .crypto()
            .derive_hpke_keypair(self.suite.hpke_config(), &ikm)
            .unwrap();
        let mut request = GroupInfoRequest {
            cipher_suite: CipherSuite(self.suite.into()),
            requesting_signature_key: self.signer.public().into(),
            requesting_credential: WireCredential::basic(self.uri.as_bytes()),
            group_info_public_key: keys.public.as_slice().into(),
            joining_code: Opaque::default(),
            signature: Opaque::default(),
        };
        request.signature = self.signer.sign(&request.sign_content()).unwrap().into();
        (request, keys.private)
    }

    /// Asks the hub for the GroupInfo; opens the answer.
    pub fn ask_group_info(&self, hub: &HubIdentity, group: &Group) -> Option<GroupInfoRatchetTreeTbe> {
        let (request, private) = self.group_info_request();
        let response = group.group_info_response(hub, &self.domain(), &request);
        let response: GroupInfoResponse = wire(&response.to_bytes());
        let GroupInfoResponse::Success(success) = response else {
            return None;
        };
        let key = success.hub_sender.signature_key.as_bytes();
        self.provider
            .crypto()
            .verify_signature(
                self.suite.signature_algorithm(),
                &success.sign_content(),
                key,
                &success.signature,
            )
            .unwrap();
        let sealed = HpkeCiphertext {
            kem_output: success
                .encrypted_groupinfo_and_tree
                .kem_output
                .as_bytes()
                .to_vec()
                .into(),
            ciphertext: success
                .encrypted_groupinfo_and_tree
                .ciphertext
                .as_bytes()
                .to_vec()
                .into(),
        };
        let info = labels::encrypt_info(labels::GROUP_INFO_ENCRYPTION, &success.room_id);
        let opened = self
            .provider
            .crypto()
            .hpke_open(self.suite.hpke_config(), &sealed, &private, &info, &[])
            .unwrap();
        Some(wire(&opened))
    }

    /// Joins by external commit. The group is kept although the hub may still refuse.
    pub fn join_externally(
        &mut self,
        from: &GroupInfoRatchetTreeTbe,
        list: Option<ParticipantListUpdate>,
    ) -> HandshakeBundle {
        let RatchetTreeOption::Full(tree) = &from.ratchet_tree_option else {
            panic!("no tree")
        };
        let tree = RatchetTreeIn::tls_deserialize_exact(tree.as_bytes()).unwrap();
        let group_info = openmls::messages::group_info::VerifiableGroupInfo::tls_deserialize_exact(
            from.group_info.as_bytes(),
        )
        .unwrap();
        let before: AppDataDictionary = {
            let context = from.group_info.app_data().unwrap();
            context.unwrap()
        };
        let proposals = from
            .pending_proposals
            .iter()
            .map(|pending| {
                let message = MlsMessageIn::tls_deserialize_exact(pending.proposal.as_bytes()).unwrap();
                let MlsMessageBodyIn::PublicMessage(public) = message.extract() else {
                    panic!()
                };
                public
            })
            .collect();
        let mut builder = MlsGroup::external_commit_builder()
            .with_proposals(proposals)
            .with_ratchet_tree(tree)
            .with_config(Self::config())
            .skip_lifetime_validation()
            .with_aad(SafeAad::new().to_bytes())
            .build_group(&self.provider, group_info, self.credential())
            .unwrap()
            .leaf_node_parameters(
                LeafNodeParameters::builder()
                    .with_capabilities(capabilities())
                    .with_extensions(leaf_extensions(&COMPONENTS))
                    .build(),
            );
        if let Some(update) = list {
            let id = component_id::PARTICIPANT_LIST;
            builder =
                builder.add_app_data_update_proposal(AppDataUpdateProposal::update(id, update.to_bytes()));
        }
        let mut builder = builder
            .load_psks(self.provider.storage())
            .unwrap()
            .create_group_info(true);
        let updates: Vec<_> = builder.app_data_update_proposals().cloned().collect();
        let list: ParticipantListData = wire(before.get(component_id::PARTICIPANT_LIST).unwrap());
        let mut updater = builder.app_data_dictionary_updater();
        for data in new_data(&list, &updates) {
            updater.set(data);
        }
        let changes = updater.changes();
        builder.with_app_data_dictionary_updates(changes);
        let (group, bundle) = builder
            .build(self.provider.rand(), self.provider.crypto(), &self.signer, |_| {
                true
            })
            .unwrap()
            .finalize(&self.provider)
            .unwrap();
        self.group = Some(group);
        to_bundle(&bundle)
    }

    /// The proposals with which this client takes its user and all its user's clients out.
    pub fn leave(&mut self) -> HandshakeBundle {
        let index = self.index_of(&self.user());
        let own = self.uri.clone();
        let user = self.user();
        let others: Vec<u32> = self
            .group()
            .members()
            .map(|m| {
                (
                    m.index.u32(),
                    MimiUri::try_from(m.credential.serialized_content()).unwrap(),
                )
            })
            .filter(|(_, client)| *client != own && client.client_user() == Some(user.clone()))
            .map(|(leaf, _)| leaf)
            .collect();
        let first = self.self_remove();
        let mut more: Vec<MlsMessage> = others
            .into_iter()
            .map(|leaf| self.propose(Propose::Remove(leaf)))
            .collect();
        let update = ParticipantListUpdate {
            removed_indices: vec![index],
            ..Default::default()
        };
        more.push(self.propose_list(&update));
        HandshakeBundle::proposals(first, more).unwrap()
    }

    pub fn self_remove(&mut self) -> MlsMessage {
        let group = self.group.as_mut().unwrap();
        out(&group
            .leave_group_via_self_remove(&self.provider, &self.signer)
            .unwrap())
    }

    pub fn propose_list(&mut self, update: &ParticipantListUpdate) -> MlsMessage {
        self.propose(Propose::UpdateAppDataComponent {
            component_id: component_id::PARTICIPANT_LIST,
            update: update.to_bytes(),
        })
    }

    pub fn propose(&mut self, what: Propose) -> MlsMessage {
        let group = self.group.as_mut().unwrap();
        let by_ref = openmls::messages::proposals::ProposalOrRefType::Reference;
        out(&group
            .propose(&self.provider, &self.signer, what, by_ref)
            .unwrap()
            .0)
    }

    /// An application message, with this franking tag if there is one.
    pub fn message(&mut self, text: &[u8], tag: Option<[u8; 32]>) -> SubmitMessageRequest {
        let user = self.user();
        let group = self.group.as_mut().unwrap();
        if let Some(tag) = tag {
            let item = SafeAadItem::new(component_id::FRANK_AAD, tag.to_vec());
            group.set_safe_aad(vec![item]).unwrap();
        }
        let message = group.create_message(&self.provider, &self.signer, text).unwrap();
        SubmitMessageRequest::new(out(&message), user).unwrap()
    }
}

/// Handshakes in the clear, application messages encrypted: openmls never sends the latter any other way.
pub const PURE_PLAINTEXT_HANDSHAKES: WireFormatPolicy = MIXED_PLAINTEXT_WIRE_FORMAT_POLICY;

pub fn out(message: &MlsMessageOut) -> MlsMessage {
    wire(&message.tls_serialize_detached().unwrap())
}

pub fn to_bundle(bundle: &CommitMessageBundle) -> HandshakeBundle {
    let (commit, welcome, group_info) = bundle.contents();
    let welcome: Option<WireWelcome> = welcome.map(|w| wire(&w.tls_serialize_detached().unwrap()));
    let group_info: GroupInfo = wire(&group_info.unwrap().tls_serialize_detached().unwrap());
    HandshakeBundle::commit(
        out(commit),
        welcome,
        GroupInfoOption::Full(Box::new(group_info)),
        RatchetTreeOption::DistributionService,
    )
    .unwrap()
}

/// What a commit's updates come to: the list by its own rules, the rest replaced.
pub fn new_data(list: &ParticipantListData, updates: &[AppDataUpdateProposal]) -> Vec<ComponentData> {
    let mut lists: Vec<ParticipantListUpdate> = Vec::new();
    let mut data = Vec::new();
    for update in updates {
        let AppDataUpdateOperation::Update(new) = update.operation() else {
            panic!()
        };
        if update.component_id() == component_id::PARTICIPANT_LIST {
            lists.push(wire(new.as_slice()));
        } else {
            data.push(ComponentData::from_parts(update.component_id(), new.clone()));
        }
    }
    if !lists.is_empty() {
        let new = list.apply(&lists).unwrap().to_bytes();
        data.push(ComponentData::from_parts(
            component_id::PARTICIPANT_LIST,
            new.into(),
        ));
    }
    data
}
