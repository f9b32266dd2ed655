//! The keys with which a provider acts as hub.

use crate::signing::{Scheme, SigningKey};
use mimi_wire::components::FrankingAgentData;
use mimi_wire::mls::{CipherSuite, Credential as WireCredential, ExternalSender as WireSender};
use mimi_wire::{Domain, MimiUri, labels};
use openmls::extensions::ExternalSender;
use openmls::prelude::{BasicCredential, Credential};
use tls_codec::Serialize as _;
use zeroize::Zeroizing;

/// How long before and after its time a `hub_key` still verifies: clocks are set back, and nodes of one hub learn of a
/// rotation one after the other.
const OVERLAP_MS: u64 = 10 * 60 * 1000;

/// The hub's own keys: to sign as external sender, to sign franks, to compute them. Each is a ring, newest last.
///
/// A room names the hub's signature keys in its group for ever, so an old room goes on with the key that it names and
/// a new room gets the newest. The `hub_key` is chosen by the time a message was accepted at, so that a message that
/// was franked before a rotation still verifies, and a key that leaked later proves nothing about its own past.
///
/// Each signature key is one of every scheme ([`Scheme`]); a room gets the one of its suite. Secrets are zeroized on drop
/// and never shown by `Debug`.
pub struct HubIdentity {
    provider: Domain,
    signing: Newest<SigningKey>,
    franking: Newest<SigningKey>,
    hub_keys: Newest<HubKey>,
}

/// An HMAC key of server franks (draft-ietf-mimi-protocol-06 section 5.4.1).
struct HubKey {
    key: Zeroizing<[u8; 32]>,
    /// The first acceptance time that it is for, Unix ms.
    since_ms: u64,
}

/// A ring that is never empty.
struct Newest<T> {
    newest: T,
    /// Oldest first.
    older: Vec<T>,
}

impl<T> Newest<T> {
    fn new(mut oldest_first: Vec<T>) -> Option<Self> {
        Some(Self {
            newest: oldest_first.pop()?,
            older: oldest_first,
        })
    }

    /// Newest first.
    fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.newest).chain(self.older.iter().rev())
    }
}

/// The seeds of a hub's key rings, each oldest first.
#[derive(Default)]
pub struct HubSeeds {
    /// Seeds of the external sender's keys; an Ed25519 private key each.
    pub signing: Vec<Zeroizing<[u8; 32]>>,
    /// Seeds of the franking agent's keys, likewise.
    pub franking: Vec<Zeroizing<[u8; 32]>>,
    /// HMAC keys of server franks, each with the first acceptance time (Unix ms) that it is for.
    pub hub_keys: Vec<(u64, Zeroizing<[u8; 32]>)>,
}

impl HubIdentity {
    /// Makes the keys from their seeds. `hub_key` is the HMAC key of server franks (draft-ietf-mimi-protocol-06 section
    /// 5.4.1).
    pub fn from_seeds(provider: Domain, signing: [u8; 32], franking: [u8; 32], hub_key: [u8; 32]) -> Self {
        let signing = Zeroizing::new(signing);
        let franking = Zeroizing::new(franking);
        Self {
            provider,
            signing: Newest {
                newest: SigningKey::from_seed(&signing),
                older: Vec::new(),
            },
            franking: Newest {
                newest: SigningKey::from_seed(&franking),
                older: Vec::new(),
            },
            hub_keys: Newest {
                newest: HubKey {
                    key: Zeroizing::new(hub_key),
                    since_ms: 0,
                },
                older: Vec::new(),
            },
        }
    }

    /// Makes the key rings. `None` if one of them is empty.
    pub fn from_rings(provider: Domain, seeds: HubSeeds) -> Option<Self> {
        let signing = |seeds: Vec<Zeroizing<[u8; 32]>>| {
            Newest::new(seeds.iter().map(|seed| SigningKey::from_seed(seed)).collect())
        };
        let mut hub_keys: Vec<_> = seeds
            .hub_keys
            .into_iter()
            .map(|(since_ms, key)| HubKey { key, since_ms })
            .collect();
        hub_keys.sort_by_key(|key| key.since_ms);
        Some(Self {
            provider,
            signing: signing(seeds.signing)?,
            franking: signing(seeds.franking)?,
            hub_keys: Newest::new(hub_keys)?,
        })
    }

    /// The hub's domain.
    pub fn provider(&self) -> &Domain {
        &self.provider
    }

    /// The hub as it must stand in the `external_senders` of a new room of this suite: its newest key of the suite's
    /// scheme and the basic credential `mimi://PROVIDER`. TLS-encoded `ExternalSender`; `None` for a suite of which the
    /// hub takes up no rooms.
    pub fn external_sender(&self, suite: CipherSuite) -> Option<Vec<u8>> {
        // Encoding two short octet strings into a vector has no way to fail.
        self.sender(Scheme::of(suite)?).tls_serialize_detached().ok()
    }

    /// [`Self::external_sender`] as openmls has it.
    pub(crate) fn sender(&self, scheme: Scheme) -> ExternalSender {
        self.newest_signer(scheme).sender()
    }

    /// The hub with its newest key of a scheme, which need not be one that a given group names.
    pub(crate) fn newest_signer(&self, scheme: Scheme) -> Signer<'_> {
        self.signer(&self.signing.newest, scheme)
    }

    /// The hub as one of the external senders of a group of this scheme: its index there, and the key that goes with
    /// it, which need not be the newest.
    pub(crate) fn signer_among(
        &self,
        scheme: Scheme,
        senders: &[ExternalSender],
    ) -> Option<(u32, Signer<'_>)> {
        self.signing.iter().find_map(|key| {
            let signer = self.signer(key, scheme);
            let own = signer.sender();
            let index = senders.iter().position(|sender| *sender == own)?;
            Some((u32::try_from(index).ok()?, signer))
        })
    }

    fn signer<'a>(&'a self, key: &'a SigningKey, scheme: Scheme) -> Signer<'a> {
        Signer {
            provider: &self.provider,
            key,
            scheme,
        }
    }

    /// What the component `franking_agent` of a new room of this suite has to be for this hub to frank there. The key is
    /// of the suite's scheme (draft-ietf-mimi-protocol-06 section 5.4.1).
    pub fn franking_agent(&self, suite: CipherSuite) -> Option<FrankingAgentData> {
        Some(self.agent(&self.franking.newest, Scheme::of(suite)?))
    }

    fn agent(&self, key: &SigningKey, scheme: Scheme) -> FrankingAgentData {
        FrankingAgentData {
            franking_signature_key: key.public_octets(scheme).into(),
            credential: wire_credential(&self.provider),
        }
    }

    /// Signs the content of a frank, label included, with the key that the room's franking agent names. `None` if the
    /// agent is none of this hub's.
    pub(crate) fn sign_frank(
        &self,
        scheme: Scheme,
        agent: &FrankingAgentData,
        content: &[u8],
    ) -> Option<Vec<u8>> {
        Some(self.agents_key(scheme, agent)?.sign(scheme, content))
    }

    /// Whether an agent is this hub with any of its keys of this scheme.
    pub(crate) fn is_franking_agent(&self, scheme: Scheme, agent: &FrankingAgentData) -> bool {
        self.agents_key(scheme, agent).is_some()
    }

    fn agents_key(&self, scheme: Scheme, agent: &FrankingAgentData) -> Option<&SigningKey> {
        self.franking.iter().find(|key| self.agent(key, scheme) == *agent)
    }

    /// Verifies an own signature over the content of a frank, by any key of the ring.
    pub(crate) fn verify_frank(&self, scheme: Scheme, content: &[u8], signature: &[u8]) -> bool {
        self.franking
            .iter()
            .any(|key| key.verify(scheme, content, signature))
    }

    /// The key for franks of messages accepted at this time.
    pub(crate) fn hub_key_at(&self, accepted_ms: u64) -> &[u8; 32] {
        let of_then = self.hub_keys.iter().find(|key| key.since_ms <= accepted_ms);
        let oldest = || self.hub_keys.older.first().unwrap_or(&self.hub_keys.newest);
        &of_then.unwrap_or_else(oldest).key
    }

    /// The keys with which a frank of a message accepted at this time may have been made.
    pub(crate) fn hub_keys_around(&self, accepted_ms: u64) -> impl Iterator<Item = &[u8; 32]> {
        let mut until = u64::MAX;
        self.hub_keys.iter().filter_map(move |key| {
            let (from, to) = (key.since_ms.saturating_sub(OVERLAP_MS), until);
            until = key.since_ms.saturating_add(OVERLAP_MS);
            (from <= accepted_ms && accepted_ms < to).then_some(&*key.key)
        })
    }
}

fn wire_credential(provider: &Domain) -> WireCredential {
    WireCredential::basic(MimiUri::provider(provider).as_bytes())
}

/// The hub as external sender with one of its keys.
#[derive(Clone, Copy)]
pub(crate) struct Signer<'a> {
    provider: &'a Domain,
    key: &'a SigningKey,
    scheme: Scheme,
}

impl Signer<'_> {
    fn sender(&self) -> ExternalSender {
        let credential: Credential =
            BasicCredential::new(MimiUri::provider(self.provider).as_bytes().to_vec()).into();
        ExternalSender::new(self.key.public_octets(self.scheme).into(), credential)
    }

    /// The external sender as the wire types have it.
    pub(crate) fn wire_sender(&self) -> WireSender {
        WireSender {
            signature_key: self.key.public_octets(self.scheme).into(),
            credential: wire_credential(self.provider),
        }
    }

    /// Signs with label.
    pub(crate) fn sign(&self, label: &str, content: &[u8]) -> Vec<u8> {
        self.key.sign(self.scheme, &labels::sign_content(label, content))
    }
}

impl std::fmt::Debug for HubIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubIdentity")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;
    use crate::signing::CIPHER_SUITES;

    fn seed(n: u8) -> Zeroizing<[u8; 32]> {
        Zeroizing::new([n; 32])
    }

    fn hub(hub_keys: Vec<(u64, Zeroizing<[u8; 32]>)>) -> HubIdentity {
        let seeds = HubSeeds {
            signing: vec![seed(1), seed(2)],
            franking: vec![seed(3), seed(4)],
            hub_keys,
        };
        HubIdentity::from_rings(Domain::parse("a.example").unwrap(), seeds).unwrap()
    }

    #[test]
    fn an_empty_ring_is_no_identity() {
        let domain = Domain::parse("a.example").unwrap();
        assert!(HubIdentity::from_rings(domain, HubSeeds::default()).is_none());
    }

    #[test]
    fn the_time_of_acceptance_chooses_the_key() {
        let hour = 60 * 60 * 1000;
        let hub = hub(vec![(2 * hour, seed(8)), (0, seed(7)), (4 * hour, seed(9))]);
        for (at, key) in [
            (0, 7),
            (2 * hour - 1, 7),
            (2 * hour, 8),
            (4 * hour - 1, 8),
            (4 * hour, 9),
            (u64::MAX, 9),
        ] {
            assert_eq!(hub.hub_key_at(at)[0], key, "{at}");
        }
        let around = |at| hub.hub_keys_around(at).map(|key| key[0]).collect::<Vec<_>>();
        assert_eq!(around(hour), [7]);
        assert_eq!(around(2 * hour - 1), [8, 7]);
        assert_eq!(around(2 * hour + 1), [8, 7]);
        assert_eq!(around(3 * hour), [8]);
        assert_eq!(around(9 * hour), [9]);
    }

    #[test]
    fn old_rooms_keep_their_keys_and_new_ones_get_the_newest() {
        let hub = hub(vec![(0, seed(7))]);
        let old = HubIdentity::from_seeds(Domain::parse("a.example").unwrap(), [1; 32], [3; 32], [7; 32]);
        for suite in CIPHER_SUITES {
            let scheme = Scheme::of(suite).unwrap();
            assert_ne!(hub.sender(scheme), old.sender(scheme));
            let both = [hub.sender(scheme), old.sender(scheme)];
            let (index, signer) = hub.signer_among(scheme, &both).unwrap();
            assert_eq!((index, signer.sender()), (0, hub.sender(scheme)));
            let (index, signer) = hub.signer_among(scheme, &[old.sender(scheme)]).unwrap();
            assert_eq!((index, signer.sender()), (0, old.sender(scheme)));
            assert!(old.signer_among(scheme, &[hub.sender(scheme)]).is_none());

            let (agent, old_agent) = (
                hub.franking_agent(suite).unwrap(),
                old.franking_agent(suite).unwrap(),
            );
            let by_old = hub.sign_frank(scheme, &old_agent, b"x").unwrap();
            assert_eq!(by_old, old.sign_frank(scheme, &old_agent, b"x").unwrap());
            assert!(hub.verify_frank(scheme, b"x", &by_old));
            assert!(!hub.verify_frank(scheme, b"y", &by_old));
            assert!(old.sign_frank(scheme, &agent, b"x").is_none());
        }
    }

    #[test]
    fn a_key_of_one_scheme_is_none_of_the_other() {
        let hub = hub(vec![(0, seed(7))]);
        let (one, two) = (Scheme::Ed25519, Scheme::P256);
        for (scheme, other) in [(one, two), (two, one)] {
            assert!(hub.signer_among(scheme, &[hub.sender(other)]).is_none());
            let agent = hub.agent(&hub.franking.newest, scheme);
            assert!(hub.sign_frank(other, &agent, b"x").is_none());
            let signature = hub.sign_frank(scheme, &agent, b"x").unwrap();
            assert!(!hub.verify_frank(other, b"x", &signature));
        }
    }

    #[test]
    fn no_keys_for_suites_of_which_no_rooms_are_taken_up() {
        let hub = hub(vec![(0, seed(7))]);
        for suite in (0..=9).chain([0x0a0a, 0xf000, u16::MAX]).map(CipherSuite) {
            let taken = CIPHER_SUITES.contains(&suite);
            assert_eq!(hub.external_sender(suite).is_some(), taken, "{suite:?}");
            assert_eq!(hub.franking_agent(suite).is_some(), taken, "{suite:?}");
        }
    }
}
