//! MIMI's octets in this client's terms.

use crate::error::ClientError;
use crate::state::Account;
use mimi_wire::MimiUri;
use mimi_wire::codec::{Decode, Encode, Opaque};
use mimi_wire::components::{
    ApplicationFraming, MediaTypeList, ParticipantListUpdate, component_id, extension_type, media_type,
    proposal_type,
};
use mimi_wire::mls::{
    AppDataOperation, CipherSuite, Content, Credential, GroupInfo, HpkeCiphertext, MlsMessage, Proposal,
    RatchetTree, RequiredCapabilities, Welcome,
};
use mimi_wire::protocol::{
    ClientMaterial, GroupInfoOption, GroupInfoRatchetTreeTbe, GroupInfoRequest, GroupInfoResponse,
    HandshakeBundle, KeyMaterialRequest, KeyMaterialResponse, KeyMaterialUserCode, RatchetTreeOption,
    UpdateOutcome, UpdateRoomResponse,
};
use openmls::prelude::{
    Ciphersuite, CommitMessageBundle, CredentialType, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut,
    OpenMlsCrypto, ProtocolMessage, RatchetTreeIn,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::signatures::Signer as _;
use openmls_traits::types::SignatureScheme;
use tls_codec::DeserializeBytes as _;

/// Octets of `version` and `wire_format` before the body of an MLSMessage.
const MESSAGE_HEADER: usize = 4;

pub(crate) fn tls(value: &impl tls_codec::Serialize) -> Result<Vec<u8>, ClientError> {
    value
        .tls_serialize_detached()
        .map_err(ClientError::mls("serialize"))
}

/// An MLSMessage's octets.
pub(crate) fn octets(message: &MlsMessageOut) -> Result<Vec<u8>, ClientError> {
    message.to_bytes().map_err(ClientError::mls("serialize"))
}

/// The body of an MLSMessage without its header.
pub(crate) fn bare(message: &MlsMessageOut) -> Result<Vec<u8>, ClientError> {
    Ok(octets(message)?.split_off(MESSAGE_HEADER))
}

pub(crate) fn media_types() -> Vec<u8> {
    MediaTypeList::mimi().to_bytes()
}

fn own<T: Decode>(what: &'static str, octets: &[u8]) -> Result<T, ClientError> {
    T::from_bytes(octets).map_err(ClientError::malformed(what))
}

/// The body of an update that carries a commit.
pub(crate) fn commit_bundle(
    bundle: &CommitMessageBundle,
    tree: &impl tls_codec::Serialize,
) -> Result<Vec<u8>, ClientError> {
    let missing = || ClientError::Mls {
        what: "commit",
        why: "no GroupInfo was made".into(),
    };
    let commit: MlsMessage = own("commit", &octets(bundle.commit())?)?;
    let welcome: Option<Welcome> = bundle.welcome().map(|w| own("Welcome", &tls(w)?)).transpose()?;
    let group_info: GroupInfo = own("GroupInfo", &tls(bundle.group_info().ok_or_else(missing)?)?)?;
    let tree: RatchetTree = own("ratchet tree", &tls(tree)?)?;
    HandshakeBundle::commit(
        commit,
        welcome,
        GroupInfoOption::Full(Box::new(group_info)),
        RatchetTreeOption::Full(tree),
    )
    .map(|b| b.to_bytes())
    .map_err(ClientError::mls("bundle"))
}

/// The body of an update that carries proposals.
pub(crate) fn proposal_bundle(messages: &[Vec<u8>]) -> Result<Vec<u8>, ClientError> {
    let messages = messages
        .iter()
        .map(|m| own::<MlsMessage>("proposal", m))
        .collect::<Result<Vec<_>, _>>()?;
    let mut messages = messages.into_iter();
    let first = messages.next().ok_or(ClientError::Mls {
        what: "bundle",
        why: "no proposal".into(),
    })?;
    HandshakeBundle::proposals(first, messages.collect())
        .map(|b| b.to_bytes())
        .map_err(ClientError::mls("bundle"))
}

/// The hub's answer to an update.
pub(crate) enum UpdateAnswer {
    Success { at: u64 },
    WrongEpoch { current: u64 },
    NotAllowed { why: String },
    InvalidProposals { refs: Vec<Vec<u8>>, why: String },
}

pub(crate) fn update_answer(octets: &[u8]) -> Result<UpdateAnswer, ClientError> {
    let UpdateRoomResponse {
        error_description,
        outcome,
    } = own("UpdateRoomResponse", octets)?;
    let why = if error_description.is_empty() {
        "not allowed".into()
    } else {
        error_description
    };
    Ok(match outcome {
        UpdateOutcome::Success { accepted_timestamp } => UpdateAnswer::Success {
            at: accepted_timestamp.0,
        },
        UpdateOutcome::WrongEpoch { current_epoch } => UpdateAnswer::WrongEpoch {
            current: current_epoch.0,
        },
        UpdateOutcome::NotAllowed => UpdateAnswer::NotAllowed { why },
        UpdateOutcome::InvalidProposal { invalid_proposals } => UpdateAnswer::InvalidProposals {
            refs: invalid_proposals.iter().map(|r| r.as_bytes().to_vec()).collect(),
            why,
        },
    })
}

fn sign(signer: &SignatureKeyPair, content: &[u8]) -> Result<Opaque, ClientError> {
    signer.sign(content).map(Opaque).map_err(|e| ClientError::Mls {
        what: "sign",
        why: format!("{e:?}"),
    })
}

/// A signed KeyMaterialRequest (protocol-06 section 5.2).
///
/// The draft has nothing fresh in it, and signatures are deterministic: asking a second time for the same user and
/// room would be the same octets, which a hub answers with the KeyPackages it gave the first time, used up by now.
/// So the suites end in a random run of GREASE values (RFC 9420 section 13.5), which nobody can take for a suite.
pub(crate) fn key_material_request(
    account: &Account,
    room: &str,
    user: &MimiUri,
    suite: Ciphersuite,
) -> Result<Vec<u8>, ClientError> {
    let uri = |text: &str| MimiUri::parse(text).map_err(ClientError::malformed("URI"));
    let mut random = [0; 12];
    getrandom::fill(&mut random).map_err(|_| crate::storage::StorageError::Random)?;
    let grease = |octet: u8| CipherSuite(u16::from(octet % 15) * 0x1010 + 0x0a0a);
    let suites = std::iter::once(CipherSuite(suite.into()))
        .chain(random.map(grease))
        .collect();
    let signer = account.signer(suite)?;
    let mut request = KeyMaterialRequest {
        requesting_user: uri(&account.session.user)?,
        target_user: user.clone(),
        room_id: Some(uri(room)?),
        acceptable_ciphersuites: suites,
        required_capabilities: RequiredCapabilities {
            extension_types: vec![extension_type::APP_DATA_DICTIONARY],
            proposal_types: vec![proposal_type::APP_DATA_UPDATE, proposal_type::SELF_REMOVE],
            credential_types: vec![CredentialType::Basic.into()],
        },
        requester_signature_key: Opaque(signer.public().to_vec()),
        requester_credential: Credential::basic(account.session.client.as_bytes()),
        key_material_request_signature: Opaque(Vec::new()),
    };
    request.key_material_request_signature = sign(signer, &request.sign_content())?;
    Ok(request.to_bytes())
}

/// What the answer to a KeyMaterialRequest gives.
pub(crate) enum KeyMaterial {
    /// Bare KeyPackages, one for each client that has one.
    KeyPackages(Vec<Vec<u8>>),
    /// None, and why.
    None(String),
}

pub(crate) fn key_material_answer(user: &MimiUri, octets: &[u8]) -> Result<KeyMaterial, ClientError> {
    let response: KeyMaterialResponse = own("KeyMaterialResponse", octets)?;
    if response.user_uri != *user {
        let why = format!("it speaks of {}", response.user_uri);
        return Err(ClientError::Malformed {
            what: "KeyMaterialResponse",
            why,
        });
    }
    let packages: Vec<_> = response
        .key_packages()
        .map(|(_, p)| p.as_bytes().to_vec())
        .collect();
    if !packages.is_empty() {
        return Ok(KeyMaterial::KeyPackages(packages));
    }
    let exhausted = response
        .clients
        .iter()
        .any(|c| matches!(c.material, ClientMaterial::KeyMaterialExhausted));
    let why = refused(response.user_status, exhausted);
    Ok(KeyMaterial::None(why.into()))
}

fn refused(status: KeyMaterialUserCode, exhausted: bool) -> &'static str {
    match status {
        KeyMaterialUserCode::UserUnknown => "there is no such user",
        KeyMaterialUserCode::NoConsent => "the user hasn't consented to being added, or doesn't exist",
        KeyMaterialUserCode::NoConsentForThisRoom => "the user hasn't consented to being added to this room",
        KeyMaterialUserCode::UserDeleted => "the user was deleted",
        KeyMaterialUserCode::IncompatibleProtocol => "the user's provider has no protocol in common with us",
        _ if exhausted => "the user's clients have none left; they refill when they come online",
        _ => "no client of the user can take part in this room",
    }
}

/// A signed GroupInfoRequest (protocol-06 section 5.6) whose answer is sealed to `public`.
pub(crate) fn group_info_request(
    account: &Account,
    suite: Ciphersuite,
    public: Vec<u8>,
) -> Result<Vec<u8>, ClientError> {
    let signer = account.signer(suite)?;
    let mut request = GroupInfoRequest {
        cipher_suite: CipherSuite(suite.into()),
        requesting_signature_key: Opaque(signer.public().to_vec()),
        requesting_credential: Credential::basic(account.session.client.as_bytes()),
        group_info_public_key: Opaque(public),
        joining_code: Opaque(Vec::new()),
        signature: Opaque(Vec::new()),
    };
    request.signature = sign(signer, &request.sign_content())?;
    Ok(request.to_bytes())
}

/// What a joiner learns from the hub.
pub(crate) struct GroupState {
    pub(crate) group_info: Vec<u8>,
    pub(crate) tree: Vec<u8>,
    pub(crate) pending: Vec<Vec<u8>>,
    /// Who signed the answer.
    pub(crate) hub: mimi_wire::mls::ExternalSender,
    /// The suite of the exchange.
    pub(crate) suite: Ciphersuite,
}

/// Opens a GroupInfoResponse and checks that it is about `room` and signed by the hub it names.
pub(crate) fn group_info_answer(
    crypto: &impl OpenMlsCrypto,
    room: &str,
    private: &[u8],
    octets: &[u8],
) -> Result<GroupState, ClientError> {
    let success = match own("GroupInfoResponse", octets)? {
        GroupInfoResponse::Success(success) => success,
        GroupInfoResponse::NotAuthorized { .. } => {
            return Err(ClientError::Refused(
                "this user may not join the room, or there is no such room".into(),
            ));
        }
        GroupInfoResponse::NoSuchRoom { .. } => return Err(ClientError::UnknownRoom(room.into())),
    };
    if success.room_id.as_bytes() != room.as_bytes() {
        return Err(ClientError::Malformed {
            what: "GroupInfoResponse",
            why: "it is about another room".into(),
        });
    }
    let suite =
        Ciphersuite::try_from(success.cipher_suite.0).map_err(ClientError::malformed("GroupInfoResponse"))?;
    crypto
        .verify_signature(
            suite.signature_algorithm(),
            &success.sign_content(),
            &success.hub_sender.signature_key,
            &success.signature,
        )
        .map_err(|_| ClientError::HubSignature)?;
    let HpkeCiphertext {
        kem_output,
        ciphertext,
    } = success.encrypted_groupinfo_and_tree;
    let sealed = openmls_traits::types::HpkeCiphertext {
        kem_output: kem_output.0.into(),
        ciphertext: ciphertext.0.into(),
    };
    let info = mimi_wire::labels::encrypt_info(mimi_wire::labels::GROUP_INFO_ENCRYPTION, room.as_bytes());
    let plain = crypto
        .hpke_open(suite.hpke_config(), &sealed, private, &info, &[])
        .map_err(ClientError::malformed("GroupInfoResponse"))?;
    let content: GroupInfoRatchetTreeTbe = own("GroupInfoRatchetTreeTBE", &plain)?;
    Ok(GroupState {
        group_info: content.group_info.as_bytes().to_vec(),
        tree: full_tree(content.ratchet_tree_option)?,
        pending: content
            .pending_proposals
            .iter()
            .map(|p| p.proposal.as_bytes().to_vec())
            .collect(),
        hub: success.hub_sender,
        suite,
    })
}

/// An external sender of a group.
pub(crate) fn external_sender(
    sender: &openmls::prelude::ExternalSender,
) -> Result<mimi_wire::mls::ExternalSender, ClientError> {
    own("external sender", &tls(sender)?)
}

/// The tree in a TLS `RatchetTreeOption`.
pub(crate) fn ratchet_tree(octets: &[u8]) -> Result<RatchetTreeIn, ClientError> {
    tree_in(&full_tree(own("RatchetTreeOption", octets)?)?)
}

pub(crate) fn tree_in(octets: &[u8]) -> Result<RatchetTreeIn, ClientError> {
    RatchetTreeIn::tls_deserialize_exact_bytes(octets).map_err(ClientError::malformed("ratchet tree"))
}

fn full_tree(option: RatchetTreeOption) -> Result<Vec<u8>, ClientError> {
    match option {
        RatchetTreeOption::Full(tree) => Ok(tree.as_bytes().to_vec()),
        _ => Err(ClientError::Malformed {
            what: "RatchetTreeOption",
            why: "the tree isn't in it".into(),
        }),
    }
}

/// Reads an MLSMessage.
pub(crate) fn message(octets: &[u8]) -> Result<MlsMessageBodyIn, ClientError> {
    MlsMessageIn::tls_deserialize_exact_bytes(octets)
        .map(MlsMessageIn::extract)
        .map_err(ClientError::malformed("MLSMessage"))
}

/// Reads an MLSMessage of the framed kinds.
pub(crate) fn protocol_message(octets: &[u8]) -> Result<ProtocolMessage, ClientError> {
    match message(octets)? {
        MlsMessageBodyIn::PublicMessage(m) => Ok(ProtocolMessage::from(m)),
        MlsMessageBodyIn::PrivateMessage(m) => Ok(ProtocolMessage::from(m)),
        _ => Err(ClientError::Malformed {
            what: "MLSMessage",
            why: "neither Public- nor PrivateMessage".into(),
        }),
    }
}

/// The participant list update that a proposal message carries, where it carries one.
pub(crate) fn list_update_in(proposal: &[u8]) -> Option<ParticipantListUpdate> {
    let message = MlsMessage::from_bytes(proposal).ok()?.public_message()?;
    let Content::Proposal(proposal) = message.content else {
        return None;
    };
    let Proposal::AppDataUpdate(update) = *proposal else {
        return None;
    };
    match update.operation {
        AppDataOperation::Update(body) if update.component_id == component_id::PARTICIPANT_LIST => {
            ParticipantListUpdate::from_bytes(&body).ok()
        }
        _ => None,
    }
}

/// Application data that holds MIMI content.
pub(crate) fn frame(content: &[u8]) -> Vec<u8> {
    ApplicationFraming::mimi_content(content).to_bytes()
}

/// The MIMI content in application data.
pub(crate) fn unframe(data: &[u8]) -> Result<Vec<u8>, String> {
    let framing =
        ApplicationFraming::from_bytes(data).map_err(|e| format!("its framing is malformed: {e}"))?;
    match framing.effective_type(&MediaTypeList::mimi()).media_type.as_str() {
        media_type::MIMI_CONTENT => Ok(framing.inner_application_content.0),
        other => Err(format!("it holds {other}, which this client doesn't know")),
    }
}

/// The signature scheme of a suite by number.
pub(crate) fn scheme(suite: CipherSuite) -> Option<SignatureScheme> {
    Ciphersuite::try_from(suite.0)
        .ok()
        .map(|s| s.signature_algorithm())
}

#[cfg(test)]
mod tests {
    use super::{KeyMaterial, key_material_answer};
    use mimi_wire::protocol::{KeyMaterialResponse, KeyMaterialUserCode};
    use mimi_wire::{Encode as _, MimiUri};
    use std::collections::BTreeSet;

    #[test]
    fn every_refusal_of_key_material_is_told_in_words() {
        let user = MimiUri::parse("mimi://b.example/u/bob").unwrap();
        let words: BTreeSet<String> = KeyMaterialUserCode::ALL
            .iter()
            .filter(|code| !code.may_list_clients())
            .map(|code| {
                let answer = KeyMaterialResponse::refusal(*code, user.clone()).to_bytes();
                match key_material_answer(&user, &answer).unwrap() {
                    KeyMaterial::None(why) => why,
                    KeyMaterial::KeyPackages(_) => panic!("there are none"),
                }
            })
            .collect();
        // One sentence for each.
        assert_eq!(words.len(), 5);
    }
}
