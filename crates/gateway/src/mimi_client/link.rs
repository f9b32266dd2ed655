//! What is kept of one peer: connections, directory.

use super::address::{Guarded, Pinned};
use super::discovery::Remembered;
use super::{LinkError, chain};
use crate::tls::{self, Material};
use http::header::HOST;
use mimi_wire::Domain;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Link {
    pub(super) peer: Domain,
    /// Speaks HTTP/2 where the peer does, else 1.1.
    pub(super) http: reqwest::Client,
    /// Speaks 1.1 alone, where the Host header may differ from the URL's host.
    http1: reqwest::Client,
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
        let mut tls = tls::peer_client(&material.own, verifier).map_err(|e| LinkError::Setup(e.cause()))?;
        let guard = Guarded::new(&material.private);
        let address = material.addresses.get(peer).copied();
        let builder = |tls| {
            let builder = reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .https_only(true)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(timeout.min(Duration::from_secs(10)))
                .pool_max_idle_per_host(32)
                .user_agent(concat!("causeway/", env!("CARGO_PKG_VERSION")));
            match address {
                Some(address) => builder.dns_resolver(Arc::new(Pinned(address))),
                None => builder.dns_resolver(Arc::new(guard.clone())),
            }
        };
        let setup = |e: reqwest::Error| LinkError::Setup(chain(&e));
        let http1 = builder(tls.clone()).http1_only().build().map_err(setup)?;
        tls.alpn_protocols = tls::alpn();
        let http = builder(tls)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build()
            .map_err(setup)?;
        Ok(Self {
            peer: peer.clone(),
            http,
            http1,
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

    /// A request to one of the peer's endpoints. It names the provider that is meant, which in HTTP/2 can only be the
    /// URL's host: so where the two differ it is 1.1.
    pub(super) fn request(&self, method: http::Method, url: reqwest::Url) -> reqwest::RequestBuilder {
        if url.host_str() == Some(self.peer.as_str()) {
            self.http.request(method, url)
        } else {
            self.http1.request(method, url).header(HOST, self.peer.as_str())
        }
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
