//! The few cryptographic operations a hub does itself, all through the provider openmls uses.
//!
//! Nothing here reads a clock. Sealing to a public key draws from the provider's own generator, seeded once by
//! the operating system: openmls's interface has no way to pass one in. It is the only randomness in the crate
//! and decides nothing but an encapsulated key.

use mimi_wire::labels;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::{Ciphersuite, HpkeCiphertext, SignatureScheme};
use std::sync::LazyLock;

static PROVIDER: LazyLock<RustCrypto> = LazyLock::new(RustCrypto::default);

/// The provider of all MLS cryptography.
pub(crate) fn provider() -> &'static RustCrypto {
    &PROVIDER
}

/// The suites whose groups can be validated: the ones the provider implements.
pub(crate) fn supported(suite: u16) -> Option<Ciphersuite> {
    let suite = Ciphersuite::try_from(suite).ok()?;
    provider().supports(suite).is_ok().then_some(suite)
}

/// Whether a signature is good for this content as it stands.
pub(crate) fn verify(scheme: SignatureScheme, key: &[u8], content: &[u8], signature: &[u8]) -> bool {
    provider()
        .verify_signature(scheme, content, key, signature)
        .is_ok()
}

/// `VerifyWithLabel` of RFC 9420 section 5.1.2.
pub(crate) fn verify_with_label(
    scheme: SignatureScheme,
    key: &[u8],
    label: &str,
    content: &[u8],
    signature: &[u8],
) -> bool {
    verify(scheme, key, &labels::sign_content(label, content), signature)
}

/// `EncryptWithLabel` of RFC 9420 section 5.1.3. `None` if the key is no key of the suite.
pub(crate) fn encrypt_with_label(
    suite: Ciphersuite,
    key: &[u8],
    label: &str,
    context: &[u8],
    plaintext: &[u8],
) -> Option<HpkeCiphertext> {
    provider()
        .hpke_seal(
            suite.hpke_config(),
            key,
            &labels::encrypt_info(label, context),
            &[],
            plaintext,
        )
        .ok()
}
