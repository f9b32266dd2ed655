//! Assets of peers, and Oblivious HTTP through them.

use super::link::Link;
use super::{Answer, LinkError, MimiClient, chain};
use crate::web::REQUEST_ID;
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, FROM};
use mimi_wire::Domain;
use mimi_wire::directory::Endpoint;
use std::time::Duration;

/// Largest list of keys taken.
const KEYS_SIZE: usize = 16 * 1024;

impl MimiClient {
    /// The peer that has its assets on this host. What the configuration names goes first; then what a listed peer's
    /// directory names, as far as it is the peer's own domain or below it.
    pub async fn asset_peer(&self, host: &Domain, port: Option<u16>, request_id: &str) -> Option<Domain> {
        let material = self.0.live.now();
        // The operator's word is for the host; which port, the peer's directory says.
        let configured = material
            .asset_hosts
            .iter()
            .find(|(_, hosts)| hosts.iter().any(|h| h == host.as_str()));
        if let Some((peer, _)) = configured {
            return (port.is_none() && material.trust.is_peer(peer)).then(|| peer.clone());
        }
        let owns = |peer: &&Domain| {
            let below = host.as_str().strip_suffix(peer.as_str());
            below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
        };
        let candidates: Vec<Domain> = material.trust.listed().filter(owns).cloned().collect();
        for peer in candidates {
            if material.asset_hosts.contains_key(&peer) {
                // Named by the operator, and this host is not among them.
                continue;
            }
            let Ok(directory) = self.directory_of(&peer, request_id).await else {
                continue;
            };
            let named = directory.asset_hosts.iter().flatten();
            let same_port = directory.get(Endpoint::ProxyDownload).is_some_and(|template| {
                reqwest::Url::parse(&template.expand("x")).is_ok_and(|url| url.port() == port)
            });
            if named.into_iter().any(|h| h == host.as_str()) && (port.is_none() || same_port) {
                return Some(peer);
            }
        }
        None
    }

    /// GETs an asset from its provider, as hub.
    pub async fn download(
        &self,
        peer: &Domain,
        url: &str,
        request_id: &str,
        time: Duration,
    ) -> Result<reqwest::Response, LinkError> {
        let link = self.link(peer)?;
        let url = link.url(url).map_err(|reason| LinkError::Directory {
            peer: peer.clone(),
            reason,
        })?;
        let request = link.http.get(url).timeout(time);
        self.send(&link, request, request_id).await
    }

    /// GETs an asset through a hub (`proxyDownload`).
    pub async fn proxy_download(
        &self,
        hub: &Domain,
        asset: &str,
        request_id: &str,
        time: Duration,
    ) -> Result<reqwest::Response, LinkError> {
        let link = self.link(hub)?;
        let directory = self.directory(&link, request_id).await?;
        let endpoint = Endpoint::ProxyDownload;
        let template = directory.get(endpoint).ok_or_else(|| LinkError::NoEndpoint {
            peer: hub.clone(),
            endpoint,
        })?;
        let url = link
            .url(&template.expand(asset))
            .map_err(|reason| LinkError::Directory {
                peer: hub.clone(),
                reason,
            })?;
        let request = link.request(Method::GET, url).timeout(time);
        self.send(&link, request, request_id).await
    }

    async fn send(
        &self,
        link: &Link,
        request: reqwest::RequestBuilder,
        request_id: &str,
    ) -> Result<reqwest::Response, LinkError> {
        let request = request
            .header(FROM, self.0.from.clone())
            .header(REQUEST_ID, request_id);
        request.send().await.map_err(|e| LinkError::Unreachable {
            peer: link.peer.clone(),
            reason: chain(&e.without_url()),
        })
    }

    /// The keys of a hub's OHTTP gateway (`application/ohttp-keys`).
    pub async fn ohttp_keys(&self, hub: &Domain, request_id: &str) -> Result<Answer, LinkError> {
        let link = self.link(hub)?;
        let url = self.ohttp_url(&link, request_id).await?;
        let request = link.request(Method::GET, url).header(ACCEPT, ohttp::KEYS_TYPE);
        let asked = self.exchange(&link, request, request_id, KEYS_SIZE).await;
        asked.map(|(answer, _)| answer)
    }

    /// Passes an encapsulated request on to a hub's OHTTP gateway. Nothing of whose it is goes along, not even the id of
    /// the request.
    pub async fn ohttp_relay(
        &self,
        hub: &Domain,
        request: Bytes,
        time: Duration,
    ) -> Result<reqwest::Response, LinkError> {
        let link = self.link(hub)?;
        let anonymous = crate::web::RequestId::random();
        let url = self.ohttp_url(&link, &anonymous.0).await?;
        let request = link
            .request(Method::POST, url)
            .header(CONTENT_TYPE, ohttp::REQUEST_TYPE)
            .timeout(time)
            .body(request);
        self.send(&link, request, &anonymous.0).await
    }

    async fn ohttp_url(&self, link: &Link, request_id: &str) -> Result<reqwest::Url, LinkError> {
        let bad = |reason: String| LinkError::Directory {
            peer: link.peer.clone(),
            reason,
        };
        let directory = self.directory(link, request_id).await?;
        let gateway = directory
            .ohttp_gateway
            .as_deref()
            .ok_or_else(|| bad("it names no OHTTP gateway".into()))?;
        link.url(gateway).map_err(bad)
    }
}
