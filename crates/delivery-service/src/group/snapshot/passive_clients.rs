#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

//! The passive-client vectors of mlswg/mls-implementations, followed as a hub follows a group: by what members send as
//! PublicMessage, and through a snapshot after each step. Their groups are no MIMI rooms, so it is what is below MIMI's
//! rules that is tested here.
//!
//! The vectors tell an epoch's authenticator, which a hub can't know. So the passive client is there, too: it has to come
//! to the authenticator told, and the hub to the client's group context, which has the tree's hash and the transcript's.

#[path = "../../../../mimi-wire/tests/it/data.rs"]
mod data;

use super::{PublicGroup, QueuedProposal, Reader, crypto, read_mls, write_mls};
use crate::group::judge::parse;
use crate::group::storage::Discard;
use data::{json, octets};
use mimi_wire::Decode as _;
use mimi_wire::mls::{ContentType, MlsMessage, WireFormat};
use openmls::prelude::{
    HpkePrivateKey, KeyPackage, KeyPackageBundle, MlsGroup, MlsGroupJoinConfig, MlsMessageBodyIn,
    MlsMessageIn, OpenMlsProvider as _, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProcessedMessageContent,
    StagedWelcome,
};
use openmls::schedule::{ExternalPsk, PreSharedKeyId, Psk};
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::storage::StorageProvider as _;
use openmls_traits::types::Ciphersuite;
use serde_json::Value;
use std::collections::BTreeMap;
use tls_codec::DeserializeBytes as _;

/// The vector's client, just welcomed. Key packages that have expired since don't count: that was judged when they were
/// added.
struct Client {
    provider: OpenMlsRustCrypto,
    group: MlsGroup,
}

fn body(message: &Value) -> MlsMessageBodyIn {
    MlsMessageIn::tls_deserialize_exact_bytes(&octets(message))
        .unwrap()
        .extract()
}

impl Client {
    fn welcomed(suite: Ciphersuite, vector: &Value) -> Result<Self, String> {
        let provider = OpenMlsRustCrypto::default();
        let MlsMessageBodyIn::KeyPackage(key_package) = body(&vector["key_package"]) else {
            panic!("no KeyPackage")
        };
        // openmls lets nobody put a key package with its keys together but itself, when it makes one.
        let key = |name: &str| HpkePrivateKey::from(octets(&vector[name]));
        let bundle = serde_json::json!({
            "key_package": key_package,
            "private_init_key": key("init_priv"),
            "private_encryption_key": { "key": key("encryption_priv") },
        });
        let bundle: KeyPackageBundle = serde_json::from_value(bundle).unwrap();
        let key_package: &KeyPackage = bundle.key_package();
        let reference = key_package.hash_ref(provider.crypto()).unwrap();
        provider.storage().write_key_package(&reference, &bundle).unwrap();
        for psk in vector["external_psks"].as_array().unwrap() {
            let name = Psk::External(ExternalPsk::new(octets(&psk["psk_id"])));
            PreSharedKeyId::new(suite, provider.rand(), name)
                .unwrap()
                .store(&provider, &octets(&psk["psk"]))
                .unwrap();
        }
        let MlsMessageBodyIn::Welcome(welcome) = body(&vector["welcome"]) else {
            panic!("no Welcome")
        };
        let config = MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .number_of_resumption_psks(10)
            .build();
        let group = StagedWelcome::build_from_welcome(&provider, &config, welcome)
            .map_err(|e| e.to_string())?
            .skip_lifetime_validation()
            .build()
            .map_err(|e| e.to_string())?
            .into_group(&provider)
            .map_err(|e| e.to_string())?;
        Ok(Self { provider, group })
    }

    /// What a hub would have of the group now.
    fn public(&self) -> PublicGroup {
        PublicGroup::load(self.provider.storage(), self.group.group_id())
            .unwrap()
            .unwrap()
    }

    fn take(&mut self, message: &MlsMessage) {
        let message = parse(message).unwrap();
        let processed = self.group.process_message(&self.provider, message).unwrap();
        match processed.into_content() {
            ProcessedMessageContent::ProposalMessage(proposal)
            | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => self
                .group
                .store_pending_proposal(self.provider.storage(), *proposal)
                .unwrap(),
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                self.group.merge_staged_commit(&self.provider, *staged).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

/// How far a group was followed, and why no further.
#[derive(Debug, Default, PartialEq, Eq)]
struct Followed {
    commits: usize,
    proposals: usize,
    stopped: BTreeMap<String, usize>,
}

impl Followed {
    fn stop(&mut self, why: impl Into<String>) {
        *self.stopped.entry(why.into()).or_default() += 1;
    }

    /// Follows the group of one vector as far as it goes.
    fn follow(&mut self, vector: &Value) {
        let suite = u16::try_from(vector["cipher_suite"].as_u64().unwrap()).unwrap();
        let epochs = vector["epochs"].as_array().unwrap();
        let Some(suite) = crypto::supported(suite) else {
            return self.stop("cipher suite");
        };
        let mut client = match Client::welcomed(suite, vector) {
            Ok(client) => client,
            Err(why) => return self.stop(why),
        };
        let mut group = client.public();
        let mut queued: Vec<QueuedProposal> = Vec::new();
        for epoch in epochs {
            let proposals = epoch["proposals"].as_array().unwrap().iter();
            for message in proposals.chain([&epoch["commit"]]) {
                let message = MlsMessage::from_bytes(&octets(message)).unwrap();
                if message.wire_format() != WireFormat::PublicMessage {
                    return self.stop("PrivateMessage");
                }
                let parsed = parse(&message).unwrap();
                let processed = match group.process_message(crypto::provider(), parsed) {
                    Ok(processed) => processed,
                    Err(error) => return self.stop(error.to_string()),
                };
                match processed.into_content() {
                    ProcessedMessageContent::ProposalMessage(proposal)
                    | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => {
                        assert!(message.is_handshake(ContentType::Proposal));
                        group.add_proposal(&Discard, (*proposal).clone()).unwrap();
                        queued.push(*proposal);
                        self.proposals += 1;
                    }
                    ProcessedMessageContent::StagedCommitMessage(staged) => {
                        group.merge_commit(&Discard, *staged).unwrap();
                        queued.clear();
                        self.commits += 1;
                    }
                    other => panic!("{other:?}"),
                }
                // As after a restart.
                (group, queued) = reopened(&group, &queued);
                client.take(&message);
                assert_eq!(group.group_context(), client.public().group_context());
            }
            assert_eq!(
                client.group.epoch_authenticator().as_slice(),
                octets(&epoch["epoch_authenticator"])
            );
        }
    }
}

fn reopened(group: &PublicGroup, queued: &[QueuedProposal]) -> (PublicGroup, Vec<QueuedProposal>) {
    let named: Vec<_> = queued
        .iter()
        .map(|proposal| (proposal.proposal_reference_ref(), proposal))
        .collect();
    let mut snapshot = Vec::new();
    write_mls(&mut snapshot, group, &named).unwrap();
    let mut r = Reader::new(&snapshot);
    let read = read_mls(&mut r).unwrap();
    r.finish().unwrap();
    read
}

/// What openmls says to extensions of GREASE values in a leaf, though the leaf's capabilities list them
/// (docs/decisions/0003).
const GREASE: &str = "Extensions are not acceptable.";
/// Suites that openmls' provider doesn't know: the hub refuses such rooms.
const SUITE: &str = "cipher suite";

#[test]
fn what_members_send_in_the_open_is_followed() {
    for (file, commits, proposals, stopped) in [
        (
            "test-vectors/passive-client-handling-commit.json",
            78,
            36,
            vec![(SUITE, 52)],
        ),
        ("passive/commit.json", 0, 0, vec![(GREASE, 132), (SUITE, 176)]),
        (
            "passive/external_join.json",
            0,
            0,
            vec![(GREASE, 18), (SUITE, 24)],
        ),
        (
            "passive/external_proposals.json",
            0,
            0,
            vec![(GREASE, 84), (SUITE, 112)],
        ),
    ] {
        let Some(vectors) = json(&format!("mls/{file}")) else {
            continue;
        };
        let mut followed = Followed::default();
        for vector in vectors.as_array().unwrap() {
            followed.follow(vector);
        }
        println!("{file}: {followed:?}");
        let stopped = stopped
            .into_iter()
            .map(|(why, count)| (why.to_owned(), count))
            .collect();
        let expected = Followed {
            commits,
            proposals,
            stopped,
        };
        assert_eq!(followed, expected, "{file}");
    }
}
