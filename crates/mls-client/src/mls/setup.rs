//! How the groups and leaves of this client are set up (mimi-protocol-06 section 7, DESIGN of a MIMI room).

use crate::error::ClientError;
use mimi_wire::components::component_id as ids;
use openmls::component::ComponentId;
use openmls::prelude::{
    AppDataDictionary, AppDataDictionaryExtension, BasicCredential, Capabilities, Ciphersuite, Credential,
    CredentialType, CredentialWithKey, Extension, ExtensionType, Extensions, ExternalSender, KeyPackage,
    LeafNode, MlsGroupCreateConfig, MlsGroupJoinConfig, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProposalType,
    RequiredCapabilitiesExtension, SenderRatchetConfiguration,
};
use openmls_basic_credential::SignatureKeyPair;
use tls_codec::Serialize as _;

/// Messages of this many past epochs can still be read: three, because a node of the hub that is cut off accepts messages of
/// old epochs, and as many more as we may commit ourselves before our provider was told of what came before.
const PAST_EPOCHS: usize = 5;
/// Other nodes of the hub accept at the same time, so one sender's messages may arrive a little out of order.
const OUT_OF_ORDER: u32 = 64;
/// How many messages of a sender may be missing before one that can still be read.
const FORWARD: u32 = 4096;

/// Components this client understands in a GroupContext.
pub(crate) const COMPONENTS: &[ComponentId] = &[
    ids::APP_COMPONENTS,
    ids::SAFE_AAD,
    ids::CONTENT_MEDIA_TYPES,
    ids::FRANK_AAD,
    ids::FRANKING_AGENT,
    ids::PARTICIPANT_LIST,
    ids::ROOM_METADATA,
    ids::ROLES_LIST,
    ids::BASE_ROOM_POLICY,
];

pub(crate) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(PAST_EPOCHS)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD))
        .use_ratchet_tree_extension(false)
        .build()
}

pub(crate) fn create_config(
    suite: Ciphersuite,
    context: Extensions<openmls::prelude::GroupContext>,
) -> Result<MlsGroupCreateConfig, ClientError> {
    Ok(MlsGroupCreateConfig::builder()
        .ciphersuite(suite)
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(PAST_EPOCHS)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD))
        .use_ratchet_tree_extension(false)
        .capabilities(capabilities())
        .with_leaf_node_extensions(leaf_extensions()?)
        .map_err(ClientError::mls("leaf extensions"))?
        .with_group_context_extensions(context)
        .build())
}

/// The suites of groups that this client takes part in.
const SUITES: [Ciphersuite; 3] = [
    Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
    Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256,
    Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
];

/// A suite by number, if it is one of ours.
pub(crate) fn suite(number: u16) -> Option<Ciphersuite> {
    SUITES.into_iter().find(|suite| u16::from(*suite) == number)
}

/// What a leaf of ours can do.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities::new(
        None,
        Some(&SUITES),
        Some(&[ExtensionType::AppDataDictionary, ExtensionType::LastResort]),
        Some(&[ProposalType::AppDataUpdate, ProposalType::SelfRemove]),
        Some(&[CredentialType::Basic]),
    )
}

/// What every member of a MIMI room must be able to do.
pub(crate) fn required_capabilities() -> RequiredCapabilitiesExtension {
    RequiredCapabilitiesExtension::new(
        &[ExtensionType::AppDataDictionary],
        &[ProposalType::AppDataUpdate, ProposalType::SelfRemove],
        &[CredentialType::Basic],
    )
}

/// The dictionary of a leaf: which components, Safe AAD items and media types it supports.
pub(crate) fn leaf_extensions() -> Result<Extensions<LeafNode>, ClientError> {
    let mut dictionary = AppDataDictionary::new();
    dictionary.insert(ids::APP_COMPONENTS, component_list(COMPONENTS)?);
    dictionary.insert(ids::SAFE_AAD, component_list(&[ids::FRANK_AAD])?);
    dictionary.insert(ids::CONTENT_MEDIA_TYPES, crate::wire::media_types());
    Extensions::single(Extension::AppDataDictionary(AppDataDictionaryExtension::new(
        dictionary,
    )))
    .map_err(ClientError::mls("leaf extensions"))
}

/// The dictionary of a last-resort KeyPackage (mls-extensions-10 section 5.1); the extension of the same meaning
/// is added by openmls.
pub(crate) fn last_resort_extensions() -> Result<Extensions<KeyPackage>, ClientError> {
    let mut dictionary = AppDataDictionary::new();
    dictionary.insert(ids::LAST_RESORT_KEY_PACKAGE, Vec::new());
    Extensions::single(Extension::AppDataDictionary(AppDataDictionaryExtension::new(
        dictionary,
    )))
    .map_err(ClientError::mls("KeyPackage extensions"))
}

/// The GroupContext extensions of a new room.
pub(crate) fn context_extensions(
    mut components: AppDataDictionary,
    hub: ExternalSender,
) -> Result<Extensions<openmls::prelude::GroupContext>, ClientError> {
    let mut used: Vec<ComponentId> = components
        .entries()
        .map(openmls::component::ComponentData::id)
        .collect();
    used.extend([
        ids::APP_COMPONENTS,
        ids::SAFE_AAD,
        ids::CONTENT_MEDIA_TYPES,
        ids::FRANK_AAD,
    ]);
    used.sort_unstable();
    used.dedup();
    components.insert(ids::APP_COMPONENTS, component_list(&used)?);
    components.insert(ids::SAFE_AAD, component_list(&[ids::FRANK_AAD])?);
    components.insert(ids::CONTENT_MEDIA_TYPES, crate::wire::media_types());
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(required_capabilities()),
        Extension::ExternalSenders(vec![hub]),
        Extension::AppDataDictionary(AppDataDictionaryExtension::new(components)),
    ])
    .map_err(ClientError::mls("GroupContext extensions"))
}

fn component_list(ids: &[ComponentId]) -> Result<Vec<u8>, ClientError> {
    ids.to_vec()
        .tls_serialize_detached()
        .map_err(ClientError::mls("component list"))
}

/// The basic credential over a client URI with the device's key.
pub(crate) fn credential(client: &str, signer: &SignatureKeyPair) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(client.as_bytes().to_vec()).into(),
        signature_key: signer.public().into(),
    }
}

/// The client URI of a basic credential.
pub(crate) fn client_of(credential: &Credential) -> Result<String, ClientError> {
    let basic = BasicCredential::try_from(credential.clone())
        .map_err(|_| ClientError::BadIdentity("not a basic credential".into()))?;
    String::from_utf8(basic.identity().to_vec()).map_err(|_| ClientError::BadIdentity("not UTF-8".into()))
}
