//! The keys with which a provider acts as hub.

use ed25519_dalek::{Signature, Signer as _, SigningKey};
use mimi_wire::components::FrankingAgentData;
use mimi_wire::mls::{Credential as WireCredential, ExternalSender as WireSender};
use mimi_wire::{Domain, MimiUri, labels};
use openmls::extensions::ExternalSender;
use openmls::prelude::{BasicCredential, Credential};
use tls_codec::Serialize as _;
use zeroize::Zeroizing;

/// The hub's own keys: one to sign as external sender, one to sign franks, one to compute them.
///
/// All signatures are Ed25519, so a hub can serve groups of the suites 0x0001 and 0x0003 only (a hub for other
/// suites needs keys of their schemes). Secrets are zeroized on drop and never shown by `Debug`.
pub struct HubIdentity {
    provider: Domain,
    signing: SigningKey,
    franking: SigningKey,
    hub_key: Zeroizing<[u8; 32]>,
}

impl HubIdentity {
    /// Makes the keys from their seeds. `signing` and `franking` are Ed25519 private keys, `hub_key` is the
    /// HMAC key of server franks (draft-ietf-mimi-protocol-06 section 5.4.1).
    pub fn from_seeds(provider: Domain, signing: [u8; 32], franking: [u8; 32], hub_key: [u8; 32]) -> Self {
        Self {
            provider,
            signing: SigningKey::from_bytes(&Zeroizing::new(signing)),
            franking: SigningKey::from_bytes(&Zeroizing::new(franking)),
            hub_key: Zeroizing::new(hub_key),
        }
    }

    /// The hub's domain.
    pub fn provider(&self) -> &Domain {
        &self.provider
    }

    /// The hub as it must stand in a room's `external_senders`: its Ed25519 key and the basic credential
    /// `mimi://PROVIDER`. TLS-encoded `ExternalSender`.
    pub fn external_sender(&self) -> Vec<u8> {
        // Encoding two short octet strings into a vector has no way to fail.
        self.sender().tls_serialize_detached().unwrap_or_default()
    }

    /// [`Self::external_sender`] as openmls has it.
    pub(crate) fn sender(&self) -> ExternalSender {
        ExternalSender::new(
            self.signing.verifying_key().to_bytes().to_vec().into(),
            self.credential(),
        )
    }

    /// [`Self::external_sender`] as the wire types have it.
    pub(crate) fn wire_sender(&self) -> WireSender {
        WireSender {
            signature_key: self.signature_key().as_slice().into(),
            credential: self.wire_credential(),
        }
    }

    /// What a room's component `franking_agent` has to be for this hub to frank there.
    pub fn franking_agent(&self) -> FrankingAgentData {
        FrankingAgentData {
            franking_signature_key: self.franking_signature_key().as_slice().into(),
            credential: self.wire_credential(),
        }
    }

    fn wire_credential(&self) -> WireCredential {
        WireCredential::basic(MimiUri::provider(&self.provider).as_bytes())
    }

    fn credential(&self) -> Credential {
        BasicCredential::new(MimiUri::provider(&self.provider).as_bytes().to_vec()).into()
    }

    /// The public key of the signatures as external sender, 32 octets.
    pub fn signature_key(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The public key of the signatures over franks, 32 octets.
    pub fn franking_signature_key(&self) -> [u8; 32] {
        self.franking.verifying_key().to_bytes()
    }

    /// Signs as external sender, with label.
    pub(crate) fn sign(&self, label: &str, content: &[u8]) -> Vec<u8> {
        self.signing
            .sign(&labels::sign_content(label, content))
            .to_bytes()
            .to_vec()
    }

    /// Signs the content of a frank, label included.
    pub(crate) fn sign_frank(&self, content: &[u8]) -> Vec<u8> {
        self.franking.sign(content).to_bytes().to_vec()
    }

    /// Verifies an own signature over the content of a frank.
    pub(crate) fn verify_frank(&self, content: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else {
            return false;
        };
        self.franking
            .verifying_key()
            .verify_strict(content, &signature)
            .is_ok()
    }

    pub(crate) fn hub_key(&self) -> &[u8; 32] {
        &self.hub_key
    }
}

impl std::fmt::Debug for HubIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubIdentity")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
