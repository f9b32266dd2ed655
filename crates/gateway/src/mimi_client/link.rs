//! What is kept of one peer: connections, directory.

use super::address::{Guarded, Pinned};
use super::discovery::Remembered;
use super::{LinkError, chain};
use crate::tls::{self, Material};
use mimi_wire::Domain;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Link {
    pub(super) peer: Domain,
    pub(super) http: reqwest::Client,
    pub(super) directory: Remembered,
    /// Whether the operator says where the peer is.
    pinned: bool,
    guard: Guarded,
    /// The certificates and trust that it was made with.
    material: Arc<Material>,
}

impl Link {
    pub(super) fn new(peer: &Domain, material: Arc<Material>, timeout: Duration) -> Result<Self, LinkError> {
        let verifier = material
            .trust
            .server_verifier(peer)
            .ok_or_else(|| LinkError::NotAPeer(peer.clone()))?;
        let tls = tls::peer_client(&material.own, verifier).map_err(|e| LinkError::Setup(e.cause()))?;
        let guard = Guarded::new(&material.private);
        let address = material.addresses.get(peer).copied();
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            // One connection per request in flight; the Host header is ours to set in HTTP/1.1 only.
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .pool_max_idle_per_host(32)
            .user_agent(concat!("causeway/", env!("CARGO_PKG_VERSION")));
        let builder = match address {
            Some(address) => builder.dns_resolver(Arc::new(Pinned(address))),
            None => builder.dns_resolver(Arc::new(guard.clone())),
        };
        Ok(Self {
            peer: peer.clone(),
            http: builder.build().map_err(|e| LinkError::Setup(chain(&e)))?,
            directory: Remembered::default(),
            pinned: address.is_some(),
            guard,
            material,
        })
    }

    /// Whether certificates and trust are still those that it was made with.
    pub(super) fn is_of(&self, material: &Arc<Material>) -> bool {
        Arc::ptr_eq(&self.material, material)
    }

    /// A URL that a peer gave, ready to be asked; else why it isn't.
    pub(super) fn url(&self, text: &str) -> Result<reqwest::Url, String> {
        let mut url = reqwest::Url::parse(text).map_err(|e| format!("{text}: {e}"))?;
        if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{text} is not a plain https URL"));
        }
        if self.pinned {
            // The pinned address has the port; one in the URL would go before it. And an address in the URL would
            // go before the pinned one.
            let _ = url.set_port(None);
            if url.domain().is_none() {
                return Err(format!(
                    "{text} names an address, although the peer's is configured"
                ));
            }
        } else {
            self.guard.check_url(&url).map_err(|e| e.to_string())?;
        }
        Ok(url)
    }
}
