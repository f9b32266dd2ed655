//! Taking a group up again from a room's handshake log, where no snapshot of it is left.
//!
//! The log is in the room's event graph, and so with everybody who holds the graph. An entry with GroupInfo and tree is
//! where a group can begin; the entries behind it are judged again and applied. What was accepted once is accepted:
//! lifetimes of key packages are not looked at, since a log that begins at the newest tree adds none after it.

use super::found::{
    check_context, check_franking_agent, check_metadata, check_signer, components, parse, participants,
    read_leaves, read_list,
};
use super::pending::Effect;
use super::{Group, Judged, JudgedProposals, View};
use crate::crypto;
use crate::hub::HubIdentity;
use crate::identity::Client;
use crate::refusal::{FoundRefusal, NotAllowed, UpdateRefusal};
use crate::signing::Scheme;
use mimi_wire::mls::{Content, GroupInfo, MlsMessage, PublicMessage, Sender};
use mimi_wire::protocol::{BundleBody, HandshakeBundle};
use mimi_wire::{Decode as _, Domain, MimiUri};
use openmls::group::{MlsGroup, PublicGroup};
use openmls::prelude::{
    BasicCredential, Capabilities, CredentialWithKey, LeafNodeIndex, LeafNodeParameters, OpenMlsProvider,
    RequiredCapabilitiesExtension,
};
use openmls_rust_crypto::{MemoryStorage, RustCrypto};
use openmls_traits::crypto::OpenMlsCrypto as _;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::{Ciphersuite, SignatureScheme};
use std::collections::BTreeSet;
use zeroize::Zeroizing;

impl Group {
    /// Takes up a room's group in the epoch of a GroupInfo that this hub once accepted. `group_info` is without
    /// embedded tree, `ratchet_tree` as in the `ratchet_tree` extension. Both are trusted as far as that they were
    /// accepted; that they belong together, to this room and to this hub is checked.
    pub fn rebuild(
        hub: &HubIdentity,
        room: &MimiUri,
        group_info: &[u8],
        ratchet_tree: &[u8],
    ) -> Result<Self, FoundRefusal> {
        if room.domain() != *hub.provider() {
            return Err(FoundRefusal::ForeignRoom);
        }
        let wire = GroupInfo::from_bytes(group_info).map_err(|_| FoundRefusal::Malformed("GroupInfo"))?;
        let suite = wire.cipher_suite();
        let scheme = Scheme::of(suite).ok_or(FoundRefusal::CipherSuite(suite.0))?;
        let mls = load(group_info, ratchet_tree)?;
        check_signer(&mls, &wire)?;
        // Of the keys of that time, which need not be the newest.
        check_context(mls.group_context(), |senders| {
            hub.signer_among(scheme, senders).is_some()
        })?;
        let components = components(&mls)?;
        let participants = participants(read_list(components)?)?;
        check_metadata(components, room)?;
        check_franking_agent(components, |agent| hub.is_franking_agent(scheme, agent))?;
        let leaves = read_leaves(&mls)?;
        Self::begun(room, mls, participants, leaves, group_info)
    }

    /// Judges an entry of the log again: what this hub accepted from a member's provider, or proposed itself.
    /// `external_proposals` are those that it made anew when it accepted the commit.
    pub fn judge_again(
        &self,
        hub: &HubIdentity,
        bundle: &HandshakeBundle,
        external_proposals: Vec<MlsMessage>,
        accepted_ms: u64,
    ) -> Result<Judged, UpdateRefusal> {
        let public = self.check_framing(bundle.proposal_or_commit())?;
        if let (Sender::External { .. }, BundleBody::Proposal { .. }) = (public.sender, bundle.body()) {
            return self
                .own_proposals(bundle.messages(), accepted_ms)
                .map(Judged::Proposals);
        }
        let actor = self.author(&public).ok_or(NotAllowed::SenderType)?;
        let mut judged = self.judge(hub, &actor, bundle, accepted_ms)?;
        if let Judged::Commit(commit) = &mut judged {
            commit.external_proposals = external_proposals;
        }
        Ok(judged)
    }

    /// The provider of the client that a message says it is of.
    fn author(&self, public: &PublicMessage) -> Option<Domain> {
        match (&public.sender, &public.content) {
            (Sender::Member { leaf_index }, _) => {
                let client = self.leaves.client(LeafNodeIndex::new(*leaf_index))?;
                Some(client.uri().domain())
            }
            (Sender::NewMemberCommit, Content::Commit(commit)) => {
                let credential = &commit.path.as_ref()?.leaf_node.credential;
                Some(MimiUri::try_from(credential.identity()?).ok()?.domain())
            }
            _ => None,
        }
    }

    /// The hub's own removals, as it once proposed them.
    fn own_proposals<'a>(
        &self,
        messages: impl Iterator<Item = &'a MlsMessage>,
        accepted_ms: u64,
    ) -> Result<JudgedProposals, UpdateRefusal> {
        let mut proposals = Vec::new();
        let mut removed: Vec<Client> = Vec::new();
        for message in messages {
            let proposal = self
                .own_proposal(message.clone(), accepted_ms)
                .map_err(|error| super::judge::mls(&error))?;
            if let Effect::Removes { leaf, .. } = &proposal.effect
                && let Some(client) = self.leaves.client(LeafNodeIndex::new(*leaf))
            {
                removed.push(client.clone());
            }
            proposals.push(proposal);
        }
        let departing: BTreeSet<MimiUri> = removed.iter().map(|client| client.user().clone()).collect();
        Ok(JudgedProposals {
            epoch: self.epoch(),
            sender: None,
            proposals,
            providers_before: self.providers(View::Committed),
            providers_after: self
                .leaves
                .providers_without(self.departing.iter().chain(&departing)),
            departing: departing.into_iter().collect(),
            removed,
            accepted_ms,
        })
    }
}

/// The group that a GroupInfo and a tree describe, without a look at lifetimes.
///
/// `PublicGroup` has no such way in, but whoever joins by external commit has: the group is taken from what openmls
/// stores on the way to such a commit, which nobody ever sees.
fn load(group_info: &[u8], ratchet_tree: &[u8]) -> Result<PublicGroup, FoundRefusal> {
    let mls = |error: &dyn std::fmt::Display| FoundRefusal::Mls(error.to_string());
    let (group_info, tree) = parse(group_info, ratchet_tree)?;
    let (suite, group_id) = (group_info.ciphersuite(), group_info.group_id().clone());
    let required = group_info.group_context().required_capabilities();
    let capabilities = Capabilities::new(
        None,
        Some(&[suite]),
        required.map(RequiredCapabilitiesExtension::extension_types),
        required.map(RequiredCapabilitiesExtension::proposal_types),
        required.map(RequiredCapabilitiesExtension::credential_types),
    );
    let passer_by = PasserBy::new(suite).map_err(|e| mls(&e))?;
    let credential = CredentialWithKey {
        credential: BasicCredential::new(Vec::new()).into(),
        signature_key: passer_by.public.clone().into(),
    };
    let provider = FirstWrites::default();
    MlsGroup::external_commit_builder()
        .with_ratchet_tree(tree)
        .skip_lifetime_validation()
        .build_group(&provider, group_info, credential)
        .map_err(|e| mls(&e))?
        .leaf_node_parameters(
            LeafNodeParameters::builder()
                .with_capabilities(capabilities)
                .build(),
        )
        .load_psks(provider.storage())
        .map_err(|e| mls(&e))?
        .build(crypto::provider(), crypto::provider(), &passer_by, |_| true)
        .map_err(|e| mls(&e))?
        .finalize(&provider)
        .map_err(|e| mls(&e))?;
    PublicGroup::load(&provider.first, &group_id)
        .map_err(|e| mls(&e))?
        .ok_or_else(|| mls(&"the group was not stored"))
}

/// A provider whose storage keeps apart what is written first: the group as it is before the commit.
#[derive(Default)]
struct FirstWrites {
    first: MemoryStorage,
    rest: MemoryStorage,
}

impl OpenMlsProvider for FirstWrites {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        let untouched = self.first.values.read().is_ok_and(|values| values.is_empty());
        if untouched { &self.first } else { &self.rest }
    }

    fn crypto(&self) -> &RustCrypto {
        crypto::provider()
    }

    fn rand(&self) -> &RustCrypto {
        crypto::provider()
    }
}

/// Somebody who never joins.
struct PasserBy {
    scheme: SignatureScheme,
    secret: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

impl PasserBy {
    fn new(suite: Ciphersuite) -> Result<Self, openmls_traits::types::CryptoError> {
        let scheme = suite.signature_algorithm();
        let (secret, public) = crypto::provider().signature_key_gen(scheme)?;
        Ok(Self {
            scheme,
            secret: secret.into(),
            public,
        })
    }
}

impl Signer for PasserBy {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        crypto::provider()
            .sign(self.scheme, payload, &self.secret)
            .map_err(SignerError::CryptoError)
    }

    fn signature_scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
