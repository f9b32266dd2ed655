//! What makes a certificate a peer's: an authority of its own, its very key, or by explicit choice the public web's
//! authorities.

use super::validity::validity;
use super::{failure, provider};
use crate::failure::Failure;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

/// How a peer's certificate is known to be its own.
#[derive(Clone, Debug)]
pub(super) enum Anchor {
    /// It chains to one of these, with the key usage for its side.
    Authorities {
        roots: Arc<RootCertStore>,
        client: Arc<dyn ClientCertVerifier>,
        server: Arc<WebPkiServerVerifier>,
    },
    /// It has one of these keys (SHA-256 of the SubjectPublicKeyInfo). Who signed it doesn't matter.
    Keys(Arc<PinnedKeys>),
    /// It chains to a public authority and is for serverAuth, also where its owner is the client: public authorities
    /// no longer issue clientAuth.
    WebPki {
        roots: Arc<RootCertStore>,
        server: Arc<WebPkiServerVerifier>,
    },
}

impl Anchor {
    pub(super) fn authorities(roots: RootCertStore, path: &Path) -> Result<Self, Failure> {
        let unusable = |e: rustls::server::VerifierBuilderError| {
            failure(path, "no certificate could be verified with it").with_source(e)
        };
        let roots = Arc::new(roots);
        let client = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(unusable)?;
        let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(unusable)?;
        Ok(Self::Authorities {
            roots,
            client,
            server,
        })
    }

    pub(super) fn web_pki(roots: RootCertStore, path: &Path) -> Result<Self, Failure> {
        let roots = Arc::new(roots);
        let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|e| failure(path, "no certificate could be verified with it").with_source(e))?;
        Ok(Self::WebPki { roots, server })
    }

    /// `pins` are hexadecimal; what isn't matches nothing (`Config::problems` says so).
    pub(super) fn keys(pins: &[String]) -> Self {
        let pins = pins
            .iter()
            .filter_map(|pin| hex::decode(pin).ok()?.try_into().ok())
            .collect();
        Self::Keys(Arc::new(PinnedKeys {
            pins,
            algorithms: provider().signature_verification_algorithms,
        }))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Authorities { .. } => "authority",
            Self::Keys(_) => "key",
            Self::WebPki { .. } => "web_pki",
        }
    }

    pub(super) fn roots(&self) -> Option<Arc<RootCertStore>> {
        match self {
            Self::Authorities { roots, .. } | Self::WebPki { roots, .. } => Some(roots.clone()),
            Self::Keys(_) => None,
        }
    }

    pub(super) fn server_verifier(&self) -> Arc<dyn ServerCertVerifier> {
        match self {
            Self::Authorities { server, .. } | Self::WebPki { server, .. } => server.clone(),
            Self::Keys(keys) => keys.clone(),
        }
    }

    /// Whether a client with this certificate is the one this anchor stands for. Its names are not looked at.
    pub(super) fn accepts_client(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        match self {
            Self::Authorities { client, .. } => {
                client.verify_client_cert(end_entity, intermediates, now).is_ok()
            }
            Self::Keys(keys) => keys.accepts(end_entity, now),
            Self::WebPki { roots, .. } => EndEntityCert::try_from(end_entity).is_ok_and(|certificate| {
                certificate
                    .verify_for_usage(
                        provider().signature_verification_algorithms.all,
                        &roots.roots,
                        intermediates,
                        now,
                        KeyUsage::server_auth(),
                        None,
                        None,
                    )
                    .is_ok()
            }),
        }
    }
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo, DER.
pub fn key_pin(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    Some(Sha256::digest(parsed.subject_public_key_info()).into())
}

/// Certificates known by their key.
#[derive(Debug)]
pub(super) struct PinnedKeys {
    pins: Vec<[u8; 32]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedKeys {
    fn accepts(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let valid = validity(certificate).is_some_and(|(from, until)| from <= now && now <= until);
        valid && key_pin(certificate).is_some_and(|pin| self.pins.contains(&pin))
    }
}

impl ServerCertVerifier for PinnedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.accepts(end_entity, now) {
            return Err(CertificateError::UnknownIssuer.into());
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// For the handshake of a server: a certificate that any of the anchors takes. Which peer's it is, and whether that
/// peer's own anchor takes it, is asked for each request.
#[derive(Debug)]
pub(super) struct AnyOf {
    anchors: Vec<Anchor>,
    /// What clients are told: the authorities, or nothing where others would do as well.
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyOf {
    pub(super) fn new(anchors: Vec<Anchor>) -> Self {
        let only_authorities = anchors.iter().all(|a| matches!(a, Anchor::Authorities { .. }));
        let hints = if only_authorities {
            anchors
                .iter()
                .filter_map(Anchor::roots)
                .flat_map(|roots| roots.subjects())
                .collect()
        } else {
            Vec::new()
        };
        Self {
            anchors,
            hints,
            algorithms: provider().signature_verification_algorithms,
        }
    }
}

impl ClientCertVerifier for AnyOf {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let any = self
            .anchors
            .iter()
            .any(|anchor| anchor.accepts_client(end_entity, intermediates, now));
        if any {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
