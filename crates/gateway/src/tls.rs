//! TLS: certificates from files, trust per peer, server and client configurations.
//!
//! The crypto provider is passed explicitly everywhere, so nothing depends on a process default.

use crate::config::Config;
use crate::failure::{Code, Failure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::Arc;

mod anchor;
pub mod dev_ca;
mod live;
mod peers;
pub mod validity;

pub use anchor::key_pin;
pub use live::{Live, Material};
pub use peers::{PeerIdentity, PeerRefusal, PeerTrust};

/// The one crypto provider.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn failure(path: &Path, cause: &str) -> Failure {
    Failure::new(
        Code::Certificate,
        format!("{}: {cause}", path.display()),
        "check that the file exists, is readable by the service's user and holds PEM; `causeway check` says more",
    )
}

/// The certificates in a PEM file, at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| failure(path, "the certificates can't be read").with_source(e))?;
    if all.is_empty() {
        Err(failure(path, "holds no certificate"))
    } else {
        Ok(all)
    }
}

/// The private key in a PEM file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|e| failure(path, "the private key can't be read").with_source(e))
}

/// The certificates of PEM files as trust anchors.
pub fn roots<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<RootCertStore, Failure> {
    let mut store = RootCertStore::empty();
    for path in paths {
        for certificate in certificates(path)? {
            store
                .add(certificate)
                .map_err(|e| failure(path, "a certificate can't serve as authority").with_source(e))?;
        }
    }
    Ok(store)
}

/// Certificate chain and key that this provider shows to its peers.
pub struct OwnCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    path: std::path::PathBuf,
}

impl OwnCertificate {
    /// Reads both files.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, Failure> {
        Ok(Self {
            chain: certificates(chain)?,
            key: private_key(key)?,
            path: chain.to_owned(),
        })
    }

    /// The chain, end entity first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// HTTP/2 and 1.1.
pub(crate) fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// For the MIMI face: a client certificate of one of the trusted authorities is required. Whether it is the one of
/// the provider that a request names is [`PeerTrust::identify`]'s to say.
pub fn mimi_server(own: &OwnCertificate, trust: &PeerTrust) -> Result<Arc<ServerConfig>, Failure> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| failure(&own.path, "TLS can't be set up").with_source(e))?;
    let mut config = builder
        .with_client_cert_verifier(trust.handshake_verifier())
        .with_single_cert(own.chain.clone(), own.key.clone_key())
        .map_err(|e| failure(&own.path, "certificate and key don't fit").with_source(e))?;
    config.alpn_protocols = alpn();
    Ok(Arc::new(config))
}

/// For faces whose clients need no certificate.
pub fn plain_server(own: &OwnCertificate) -> Result<Arc<ServerConfig>, Failure> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| failure(&own.path, "TLS can't be set up").with_source(e))?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(own.chain.clone(), own.key.clone_key())
        .map_err(|e| failure(&own.path, "certificate and key don't fit").with_source(e))?;
    config.alpn_protocols = alpn();
    Ok(Arc::new(config))
}

/// For requests to a peer: its authorities only, our certificate shown.
pub fn mimi_client(own: &OwnCertificate, roots: Arc<RootCertStore>) -> Result<ClientConfig, Failure> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|e| failure(&own.path, "no peer could be verified").with_source(e))?;
    peer_client(own, verifier)
}

/// For requests to a peer: judged by what [`PeerTrust::server_verifier`] gives for it, our certificate shown.
pub fn peer_client(
    own: &OwnCertificate,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| failure(&own.path, "TLS can't be set up").with_source(e))?;
    builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
        .map_err(|e| failure(&own.path, "certificate and key don't fit").with_source(e))
}

/// The own certificate that the configuration names.
pub fn own_certificate(config: &Config) -> Result<OwnCertificate, Failure> {
    OwnCertificate::load(
        &config.path(&config.mimi.certificate),
        &config.path(&config.mimi.key),
    )
}

#[cfg(test)]
mod tests;
