//! Who a peer is: its certificate has to chain to the authorities trusted for that very peer, and to name the
//! provider that the `From` header claims (draft-ietf-mimi-protocol-06 section 4.1).

use super::{failure, provider, roots};
use crate::config::{Config, PeerPolicy};
use crate::failure::Failure;
use http::HeaderMap;
use mimi_wire::Domain;
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A peer whose certificate was checked against its name. Only [`PeerTrust::identify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(Domain);

impl PeerIdentity {
    /// The provider's domain.
    pub fn domain(&self) -> &Domain {
        &self.0
    }
}

/// Why a caller is not the peer it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerRefusal {
    /// No `From` header.
    #[error("the From header is missing; it names the calling provider as mimi@domain")]
    NoFrom,
    /// Not `mimi@domain`, or more than one.
    #[error("the From header is not of the form mimi@domain")]
    MalformedFrom,
    /// No client certificate on this connection.
    #[error("the connection has no client certificate")]
    NoCertificate,
    /// The domain is no peer of this provider, or the provider itself.
    #[error("this provider has no such peer")]
    NotAPeer,
    /// The certificate doesn't chain to an authority that is trusted for this peer, or is expired.
    #[error("the client certificate is not one of an authority trusted for this peer")]
    Untrusted,
    /// The certificate is for other names.
    #[error("the client certificate does not name the provider of the From header")]
    WrongName,
}

impl PeerRefusal {
    /// A stable name for metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoFrom => "no_from",
            Self::MalformedFrom => "malformed_from",
            Self::NoCertificate => "no_certificate",
            Self::NotAPeer => "not_a_peer",
            Self::Untrusted => "untrusted_certificate",
            Self::WrongName => "wrong_certificate_name",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> http::StatusCode {
        match self {
            Self::NoFrom | Self::MalformedFrom => http::StatusCode::BAD_REQUEST,
            Self::NoCertificate => http::StatusCode::UNAUTHORIZED,
            Self::NotAPeer | Self::Untrusted | Self::WrongName => http::StatusCode::FORBIDDEN,
        }
    }
}

/// What the configuration says about peers, ready to be asked.
pub struct PeerTrust {
    own: Domain,
    policy: PeerPolicy,
    handshake: Arc<dyn ClientCertVerifier>,
    common: Anchors,
    /// Listed peers: their own anchors, or `None` for the common ones. Peers that aren't allowed are absent.
    listed: HashMap<Domain, Option<Anchors>>,
    refused: Vec<Domain>,
}

#[derive(Clone)]
struct Anchors {
    roots: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Anchors {
    fn new(roots: RootCertStore, path: &std::path::Path) -> Result<Self, Failure> {
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|e| failure(path, "no certificate could be verified with it").with_source(e))?;
        Ok(Self { roots, verifier })
    }
}

impl PeerTrust {
    /// The authorities that this provider's own certificates chain to, as those of its peers do.
    pub fn own_roots(&self) -> Arc<RootCertStore> {
        self.common.roots.clone()
    }

    /// Reads the authorities that the configuration names.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let paths: Vec<PathBuf> = config.mimi.trusted_ca.iter().map(|p| config.path(p)).collect();
        let first = paths.first().cloned().unwrap_or_default();
        let common = roots(paths.iter().map(PathBuf::as_path))?;
        let mut all = common.clone();
        let mut listed = HashMap::new();
        let mut refused = Vec::new();
        for (domain, peer) in &config.peers {
            if !peer.allow {
                refused.push(domain.0.clone());
                continue;
            }
            let anchors = match &peer.ca {
                Some(ca) => {
                    let path = config.path(ca);
                    let own = roots([path.as_path()])?;
                    all.roots.extend(own.roots.iter().cloned());
                    Some(Anchors::new(own, &path)?)
                }
                None => None,
            };
            listed.insert(domain.0.clone(), anchors);
        }
        Ok(Self {
            own: config.provider.domain.0.clone(),
            policy: config.mimi.peers,
            handshake: Anchors::new(all, &first)?.verifier,
            common: Anchors::new(common, &first)?,
            listed,
            refused,
        })
    }

    /// For the TLS handshake, where the peer's name isn't known yet: any trusted authority.
    pub(super) fn handshake_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.handshake.clone()
    }

    /// The authorities of a peer; `None`: no peer of ours.
    pub fn roots_of(&self, peer: &Domain) -> Option<Arc<RootCertStore>> {
        self.anchors(peer).map(|a| a.roots.clone())
    }

    fn anchors(&self, peer: &Domain) -> Option<&Anchors> {
        if *peer == self.own {
            return None;
        }
        match self.listed.get(peer) {
            Some(own) => Some(own.as_ref().unwrap_or(&self.common)),
            None if self.policy == PeerPolicy::Any && !self.refused.contains(peer) => Some(&self.common),
            None => None,
        }
    }

    /// Who sends this request. `chain` is what the client showed in the handshake, end entity first.
    pub fn identify(
        &self,
        headers: &HeaderMap,
        chain: &[CertificateDer<'_>],
    ) -> Result<PeerIdentity, PeerRefusal> {
        let claimed = claimed(headers)?;
        let (end_entity, intermediates) = chain.split_first().ok_or(PeerRefusal::NoCertificate)?;
        let anchors = self.anchors(&claimed).ok_or(PeerRefusal::NotAPeer)?;
        anchors
            .verifier
            .verify_client_cert(end_entity, intermediates, UnixTime::now())
            .map_err(|_| PeerRefusal::Untrusted)?;
        let parsed = ParsedCertificate::try_from(end_entity).map_err(|_| PeerRefusal::Untrusted)?;
        let name = ServerName::try_from(claimed.as_str()).map_err(|_| PeerRefusal::MalformedFrom)?;
        verify_server_name(&parsed, &name).map_err(|_| PeerRefusal::WrongName)?;
        Ok(PeerIdentity(claimed))
    }
}

/// The domain in `From: mimi@domain`.
fn claimed(headers: &HeaderMap) -> Result<Domain, PeerRefusal> {
    let mut all = headers.get_all(http::header::FROM).iter();
    let value = all.next().ok_or(PeerRefusal::NoFrom)?;
    if all.next().is_some() {
        return Err(PeerRefusal::MalformedFrom);
    }
    let domain = value
        .to_str()
        .ok()
        .and_then(|v| v.strip_prefix("mimi@"))
        .ok_or(PeerRefusal::MalformedFrom)?;
    Domain::parse(domain).map_err(|_| PeerRefusal::MalformedFrom)
}
