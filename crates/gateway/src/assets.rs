//! Assets: files that clients have encrypted, kept for whoever has their address, and fetched for own clients and for
//! peers (draft-ietf-mimi-protocol-06 section 5.10).
//!
//! As hub this provider fetches from nobody but asset hosts of its peers: it is no open proxy. Redirects are not
//! followed, nothing of the caller is passed on, and what comes back is octets, bounded in size and time.

use crate::config::Config;
use crate::mimi_client::{LinkError, MimiClient};
use crate::web::BodyError;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use mimi_wire::{Domain, MimiUri};
use room_engine::{AssetView, Engine, Refusal, RequestContext};
use std::sync::Arc;
use std::time::Duration;
use store::{BlobHash, Store};

/// Octets of one piece in the store.
const PIECE: usize = 2 << 20;
/// Path of own assets on the MIMI face.
pub const MIMI_PATH: &str = "/v1/asset/";
/// Path of own assets on the client API's face.
pub const PUBLIC_PATH: &str = "/_causeway/assets/";

/// Why an asset is not kept or not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssetError {
    /// Not an `https` URL.
    #[error("not an https URL without credentials")]
    BadUrl,
    /// No asset host of a peer.
    #[error("{0} is no asset host of a peer of this provider")]
    NotAnAssetHost(String),
    /// There is none.
    #[error("there is no such asset")]
    NotFound,
    /// Over the limit.
    #[error("the asset is larger than {0} octets")]
    TooLarge(usize),
    /// The upload broke off or took too long.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Whoever has it, or the hub, answers with an error.
    #[error("the asset's provider answered {0}")]
    Upstream(StatusCode),
    /// Whoever has it, or the hub, doesn't answer.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The engine or its store.
    #[error(transparent)]
    Refusal(#[from] Refusal),
}

impl AssetError {
    /// A stable name for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadUrl => "bad_url",
            Self::NotAnAssetHost(_) => "not_an_asset_host",
            Self::NotFound => "unknown",
            Self::TooLarge(_) => "too_large",
            Self::Body(error) => error.code(),
            Self::Upstream(_) => "peer_status",
            Self::Link(error) => error.code(),
            Self::Refusal(refusal) => refusal.code(),
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadUrl => StatusCode::BAD_REQUEST,
            Self::NotAnAssetHost(_) | Self::Upstream(StatusCode::FORBIDDEN) => StatusCode::FORBIDDEN,
            Self::NotFound
            | Self::Upstream(StatusCode::NOT_FOUND | StatusCode::GONE)
            | Self::Refusal(Refusal::Unknown { .. }) => StatusCode::NOT_FOUND,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(error) => error.status(),
            Self::Upstream(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            | Self::Refusal(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(_) | Self::Link(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// An asset under way.
pub struct Download {
    /// Its size, where known.
    pub length: Option<u64>,
    /// Its octets.
    pub body: Body,
}

impl Download {
    /// The answer that carries it. Whatever it was called where it came from, it is octets: nothing that a browser would
    /// run.
    pub fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream"),
            (header::CACHE_CONTROL, "private, max-age=86400, immutable"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONTENT_DISPOSITION, "attachment"),
        ];
        let mut response = (headers, self.body).into_response();
        if let Some(length) = self.length {
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }

    /// The whole of it.
    pub async fn collect(self) -> Result<Bytes, AssetError> {
        self.collect_up_to(usize::MAX).await
    }

    /// The whole of it, if that is no more than so many octets.
    pub async fn collect_up_to(self, most: usize) -> Result<Bytes, AssetError> {
        let collected = Limited::new(self.body, most).collect().await;
        let whole = collected.map(http_body_util::Collected::to_bytes);
        whole.map_err(|e| match e.downcast_ref::<http_body_util::LengthLimitError>() {
            Some(_) => AssetError::TooLarge(most),
            None => AssetError::Body(BodyError::Broken),
        })
    }
}

/// The assets of this provider, and the way to others'. Cheap to clone.
#[derive(Clone)]
pub struct Assets(Arc<Inner>);

struct Inner {
    engine: Engine,
    client: MimiClient,
    store: Arc<dyn Store>,
    /// What own assets' addresses begin with.
    base: String,
    limit: usize,
    time: Duration,
}

/// The URL of an asset, and its host.
struct Address {
    url: reqwest::Url,
    host: Domain,
}

fn parse(url: &str) -> Result<Address, AssetError> {
    let parsed = reqwest::Url::parse(url).map_err(|_| AssetError::BadUrl)?;
    let plain = parsed.scheme() == "https" && parsed.username().is_empty() && parsed.password().is_none();
    let host = parsed.domain().and_then(|host| Domain::parse(host).ok());
    match host {
        Some(host) if plain && url.len() <= 2048 => Ok(Address { url: parsed, host }),
        _ => Err(AssetError::BadUrl),
    }
}

impl Assets {
    /// Puts it together.
    pub fn new(config: &Config, engine: Engine, client: MimiClient, store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Inner {
            engine,
            client,
            store,
            base: base(config),
            limit: config.limits.asset(),
            time: config.limits.asset_time(),
        }))
    }

    /// Takes a file in, piece by piece. Returns its address and size once it is durable.
    pub async fn keep(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        body: Body,
    ) -> Result<(String, u64), AssetError> {
        let taken = tokio::time::timeout(self.0.time, self.take(body)).await;
        let (pieces, size) = taken.unwrap_or(Err(AssetError::Body(BodyError::Timeout)))?;
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(|e| Refusal::Internal(e.to_string()))?;
        self.0.engine.add_asset(ctx, user, id, pieces, size).await?;
        metrics::counter!("causeway_assets_kept_total").increment(1);
        Ok((format!("{}{}", self.0.base, URL_SAFE_NO_PAD.encode(id)), size))
    }

    async fn take(&self, mut body: Body) -> Result<(Vec<BlobHash>, u64), AssetError> {
        let (mut pieces, mut size) = (Vec::new(), 0_usize);
        let mut piece = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
                continue;
            };
            size = size.saturating_add(data.len());
            if size > self.0.limit {
                return Err(AssetError::TooLarge(self.0.limit));
            }
            piece.extend_from_slice(&data);
            while piece.len() >= PIECE {
                pieces.push(self.put(piece.split_to(PIECE).freeze()).await?);
            }
        }
        if !piece.is_empty() {
            pieces.push(self.put(piece.freeze()).await?);
        }
        Ok((pieces, u64::try_from(size).unwrap_or(u64::MAX)))
    }

    async fn put(&self, piece: Bytes) -> Result<BlobHash, AssetError> {
        let put = self.0.store.blob_put(piece).await;
        put.map_err(|e| AssetError::Refusal(Refusal::Store(e)))
    }

    /// An own asset.
    pub async fn own(&self, id: &str) -> Result<Download, AssetError> {
        let key = URL_SAFE_NO_PAD.decode(id).map_err(|_| AssetError::NotFound)?;
        let key: [u8; 32] = key.try_into().map_err(|_| AssetError::NotFound)?;
        let asset = self.0.engine.asset(key).await.map_err(|e| match e {
            room_engine::EngineError::Store(e) => AssetError::Refusal(Refusal::Store(e)),
            other => AssetError::Refusal(Refusal::Internal(other.to_string())),
        })?;
        let AssetView { pieces, size } = asset.ok_or(AssetError::NotFound)?;
        let store = self.0.store.clone();
        let stream = futures_util::stream::iter(pieces).then(move |hash| {
            let store = store.clone();
            async move {
                let piece = store.blob_get(&hash).await.map_err(std::io::Error::other)?;
                piece.ok_or_else(|| std::io::Error::other("a piece of the asset is gone"))
            }
        });
        Ok(Download {
            length: Some(size),
            body: Body::from_stream(stream),
        })
    }

    /// As hub, or for an own room: from this provider's own assets or from an asset host of a peer, and from nowhere else.
    pub async fn fetch(&self, url: &str, request_id: &str) -> Result<Download, AssetError> {
        if let Some(id) = url.strip_prefix(&self.0.base) {
            return self.own(id).await;
        }
        let address = parse(url)?;
        let client = &self.0.client;
        let refused = || AssetError::NotAnAssetHost(address.host.to_string());
        let peer = client
            .asset_peer(&address.host, address.url.port(), request_id)
            .await
            .ok_or_else(refused)?;
        let got = client
            .download(&peer, address.url.as_str(), request_id, self.0.time)
            .await?;
        self.passed_on(got)
    }

    /// As follower: through the room's hub.
    pub async fn fetch_through(
        &self,
        hub: &Domain,
        url: &str,
        request_id: &str,
    ) -> Result<Download, AssetError> {
        if let Some(id) = url.strip_prefix(&self.0.base) {
            return self.own(id).await;
        }
        let address = parse(url)?;
        let client = &self.0.client;
        let got = client
            .proxy_download(hub, address.url.as_str(), request_id, self.0.time)
            .await?;
        self.passed_on(got)
    }

    /// As OHTTP relay: an encapsulated request to a hub's gateway. The answer is up to an asset's size.
    pub async fn relay(&self, hub: &Domain, request: Bytes) -> Result<Download, AssetError> {
        let got = self.0.client.ohttp_relay(hub, request, self.0.time).await?;
        self.passed_on(got)
    }

    /// The answer's octets as they come, up to the limit. No header of it is passed on.
    fn passed_on(&self, got: reqwest::Response) -> Result<Download, AssetError> {
        if got.status() != StatusCode::OK {
            return Err(AssetError::Upstream(got.status()));
        }
        let (limit, length) = (self.0.limit, got.content_length());
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        if length.is_some_and(|length| length > most) {
            return Err(AssetError::TooLarge(limit));
        }
        metrics::counter!("causeway_assets_passed_on_total").increment(1);
        let mut left = limit;
        let stream = got.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(|e| std::io::Error::other(e.without_url()))?;
            match left.checked_sub(chunk.len()) {
                Some(rest) => {
                    left = rest;
                    Ok(chunk)
                }
                None => Err(std::io::Error::other("the asset is larger than the limit")),
            }
        });
        Ok(Download {
            length,
            body: Body::from_stream(stream),
        })
    }
}

/// What own assets' addresses begin with.
fn base(config: &Config) -> String {
    match &config.mimi.asset_url {
        Some(url) => format!("{}{PUBLIC_PATH}", url.trim_end_matches('/')),
        None => format!("https://{}{MIMI_PATH}", config.advertised()),
    }
}

/// The host of own assets, for this provider's directory.
pub fn host(config: &Config) -> Option<String> {
    parse(&base(config)).ok().map(|address| address.host.to_string())
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

    #[test]
    fn addresses_are_plain_https_with_a_name() {
        for good in ["https://assets.b.example/x", "https://b.example:8443/a?b=c"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://b.example/x",
            "https://user@b.example/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "file:///etc/passwd",
            "https://",
            "b.example/x",
            "",
        ] {
            assert!(matches!(parse(bad), Err(AssetError::BadUrl)), "{bad}");
        }
    }
}
