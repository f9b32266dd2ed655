//! Certificates and trust as they are now. They are replaced as a whole while the service runs; connections that
//! are open keep the certificate they were made with, but every request is judged by the trust of now.

use super::{OwnCertificate, PeerTrust, mimi_server, own_certificate, plain_server};
use crate::config::Config;
use crate::failure::Failure;
use mimi_wire::Domain;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// One consistent set of certificates and trust.
pub struct Material {
    /// What this provider shows.
    pub own: OwnCertificate,
    /// Whom it believes.
    pub trust: PeerTrust,
    /// For the MIMI face's listener.
    pub mimi: Arc<ServerConfig>,
    /// For the client API's listener, where it speaks TLS itself.
    pub client_api: Option<Arc<ServerConfig>>,
    /// For the listener towards Matrix servers, where this node federates.
    pub matrix: Option<Arc<ServerConfig>>,
    /// Addresses that go before DNS.
    pub addresses: HashMap<Domain, SocketAddr>,
    /// Where peers may be besides public addresses.
    pub private: Vec<ipnet::IpNet>,
    /// Asset hosts that the configuration names, by peer.
    pub asset_hosts: HashMap<Domain, Vec<String>>,
}

impl Material {
    /// Reads everything that the configuration names.
    pub fn load(config: &Config) -> Result<Self, Failure> {
        let own = own_certificate(config)?;
        let trust = PeerTrust::new(config)?;
        let client_api = match (&config.client_api.certificate, &config.client_api.key) {
            (Some(certificate), Some(key)) => Some(plain(config, certificate, key)?),
            _ => None,
        };
        let matrix = match &config.federation {
            Some(section) => Some(plain(config, &section.certificate, &section.key)?),
            None => None,
        };
        Ok(Self {
            mimi: mimi_server(&own, &trust)?,
            own,
            trust,
            client_api,
            matrix,
            addresses: config
                .peers
                .iter()
                .filter_map(|(domain, peer)| Some((domain.0.clone(), peer.address?)))
                .collect(),
            private: config
                .mimi
                .private_networks
                .iter()
                .filter_map(|network| network.parse().ok())
                .collect(),
            asset_hosts: config
                .peers
                .iter()
                .filter(|(_, peer)| !peer.asset_hosts.is_empty())
                .map(|(domain, peer)| {
                    let hosts = peer.asset_hosts.iter().map(ToString::to_string).collect();
                    (domain.0.clone(), hosts)
                })
                .collect(),
        })
    }
}

fn plain(config: &Config, certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Failure> {
    plain_server(&OwnCertificate::load(
        &config.path(certificate),
        &config.path(key),
    )?)
}

/// The set that holds now. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub struct Live(Arc<RwLock<Arc<Material>>>);

impl Live {
    /// The first one.
    pub fn new(material: Material) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(material))))
    }

    /// Reads it from the files that the configuration names.
    pub fn load(config: &Config) -> Result<Self, Failure> {
        Material::load(config).map(Self::new)
    }

    /// The set of now.
    pub fn now(&self) -> Arc<Material> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one.
    pub fn replace(&self, material: Material) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
    }
}
