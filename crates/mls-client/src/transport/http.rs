//! The client API over HTTPS.

use super::{Backoff, People, Transport, TransportError, with_retry};
use crate::api::{
    ApiError, ApiErrorCode, AssetRef, BlobRef, ClaimRequest, ConsentAct, Consents, CreateRoom, Device,
    GroupInfoQuery, HubAnswer, KeyPackageStock, LogPage, LoginRequest, LoginResponse, NewSettings, Notices,
    PREFIX, ProviderInfo, ReportAbuse, RoomCard, RoomSummary, SearchAnswer, SearchRequest, SetWake, Settings,
    SubmissionStatus, SubmitMessage, UpdateRequest, UploadKeyPackages, Wish, WishOutcome,
};
use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Longest answer that is read: above any GroupInfo with tree a hub would serve, and any attachment.
const ANSWER_LIMIT: usize = 256 * 1024 * 1024;
/// For a whole attachment.
const ASSET_TIMEOUT: Duration = Duration::from_mins(10);
const TIMEOUT: Duration = Duration::from_mins(1);

/// A client can't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The file of certificate authorities.
    #[error("certificate authority file {0}: {1}")]
    CaFile(String, String),
    /// The address.
    #[error("{0} is not an address such as https://causeway.example.org")]
    Url(String),
    /// TLS or the HTTP library.
    #[error("HTTP: {0}")]
    Setup(String),
}

/// Makes an HTTP client that trusts the public authorities, or only those in `ca_file` where given.
pub(crate) fn client(ca_file: Option<&Path>) -> Result<Client, HttpError> {
    // reqwest without a provider of its own takes the process's; whoever installed one before keeps it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = Client::builder()
        .timeout(TIMEOUT)
        .connect_timeout(Duration::from_secs(10));
    if let Some(path) = ca_file {
        let fail = |e: String| HttpError::CaFile(path.display().to_string(), e);
        let pem = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| fail(e.to_string()))?;
        if authorities.is_empty() {
            return Err(fail("no certificate in it".into()));
        }
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().map_err(|e| HttpError::Setup(e.to_string()))
}

/// A provider's client API over HTTP.
#[derive(Clone)]
pub struct Http {
    client: Client,
    base: String,
    token: Option<Arc<Zeroizing<String>>>,
    backoff: Backoff,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Http {
    /// Speaks to the provider at `url` (without path), trusting the public authorities or only those in `ca_file`.
    pub fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, HttpError> {
        let url = url.trim_end_matches('/');
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(HttpError::Url(url.into()));
        }
        Ok(Self {
            client: client(ca_file)?,
            base: format!("{url}{PREFIX}"),
            token: None,
            backoff: Backoff::default(),
        })
    }

    /// The same with a session token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(Arc::new(Zeroizing::new(token.to_owned())));
        self
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token.as_str()),
            None => request,
        }
    }

    async fn octets(&self, make: impl Fn() -> RequestBuilder) -> Result<Vec<u8>, TransportError> {
        with_retry(self.backoff, || async {
            let response = make().send().await.map_err(unreachable)?;
            let status = response.status();
            let body = read(response).await?;
            if status.is_success() {
                Ok(body)
            } else {
                Err(refusal(status, &body))
            }
        })
        .await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<T, TransportError> {
        let body = self.octets(make).await?;
        serde_json::from_slice(&body).map_err(|e| TransportError::BadAnswer(e.to_string()))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, TransportError> {
        self.json(|| self.request(Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, TransportError> {
        self.json(|| self.request(Method::POST, path).json(body)).await
    }
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > ANSWER_LIMIT {
            return Err(TransportError::BadAnswer(format!(
                "more than {ANSWER_LIMIT} octets"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Errors of reqwest with all their causes; the URL's query may hold nothing secret, so it stays.
#[allow(clippy::needless_pass_by_value)] // for map_err
pub(crate) fn unreachable(error: reqwest::Error) -> TransportError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    TransportError::Unreachable(text)
}

fn refusal(status: StatusCode, body: &[u8]) -> TransportError {
    if let Ok(error) = serde_json::from_slice::<ApiError>(body) {
        return TransportError::Api(error);
    }
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS => ApiErrorCode::RateLimited,
        s if s.is_server_error() => ApiErrorCode::Unavailable,
        StatusCode::NOT_FOUND => ApiErrorCode::NotFound,
        StatusCode::UNAUTHORIZED => ApiErrorCode::Unauthorized,
        StatusCode::FORBIDDEN => ApiErrorCode::Forbidden,
        StatusCode::PAYLOAD_TOO_LARGE => ApiErrorCode::TooLarge,
        _ => return TransportError::BadAnswer(format!("HTTP status {status} without a reason")),
    };
    TransportError::Api(ApiError {
        code,
        error: format!("HTTP status {status}"),
        retry_after_ms: None,
    })
}

fn in_room(room: &str, rest: &str) -> String {
    format!("/rooms/{}{rest}", utf8_percent_encode(room, SEGMENT))
}

#[async_trait]
impl Transport for Http {
    async fn provider(&self) -> Result<ProviderInfo, TransportError> {
        self.get("/provider").await
    }

    async fn login(&self, request: &LoginRequest) -> Result<LoginResponse, TransportError> {
        self.post("/login", request).await
    }

    async fn logout(&self) -> Result<(), TransportError> {
        self.octets(|| self.request(Method::POST, "/logout"))
            .await
            .map(drop)
    }

    async fn devices(&self) -> Result<Vec<Device>, TransportError> {
        self.get("/devices").await
    }

    async fn upload_key_packages(
        &self,
        upload: &UploadKeyPackages,
    ) -> Result<KeyPackageStock, TransportError> {
        self.post("/key_packages", upload).await
    }

    async fn key_packages(&self) -> Result<KeyPackageStock, TransportError> {
        self.get("/key_packages").await
    }

    async fn create_room(&self, room: &CreateRoom) -> Result<RoomSummary, TransportError> {
        self.post("/rooms", room).await
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, TransportError> {
        self.get("/rooms").await
    }

    async fn claim(&self, room: &str, request: &ClaimRequest) -> Result<HubAnswer, TransportError> {
        self.post(&in_room(room, "/claims"), request).await
    }

    async fn update(&self, room: &str, request: &UpdateRequest) -> Result<HubAnswer, TransportError> {
        self.post(&in_room(room, "/update"), request).await
    }

    async fn group_info(&self, room: &str, request: &GroupInfoQuery) -> Result<HubAnswer, TransportError> {
        self.post(&in_room(room, "/group_info"), request).await
    }

    async fn submit(&self, room: &str, message: &SubmitMessage) -> Result<SubmissionStatus, TransportError> {
        self.post(&in_room(room, "/messages"), message).await
    }

    async fn log(
        &self,
        room: &str,
        from: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<LogPage, TransportError> {
        let path = in_room(
            room,
            &format!("/log?from={from}&limit={limit}&wait_ms={}", wait.as_millis()),
        );
        self.json(|| self.request(Method::GET, &path).timeout(TIMEOUT + wait))
            .await
    }

    async fn report(&self, room: &str, report: &ReportAbuse) -> Result<(), TransportError> {
        let path = in_room(room, "/reports");
        self.octets(|| self.request(Method::POST, &path).json(report))
            .await
            .map(drop)
    }

    async fn put_asset(&self, octets: &[u8]) -> Result<AssetRef, TransportError> {
        let octets = bytes::Bytes::copy_from_slice(octets);
        self.json(|| {
            self.request(Method::POST, "/assets")
                .timeout(ASSET_TIMEOUT)
                .body(octets.clone())
        })
        .await
    }

    async fn get_asset(&self, room: &str, url: &str) -> Result<Vec<u8>, TransportError> {
        let path = in_room(room, "/assets");
        self.octets(|| {
            self.request(Method::GET, &path)
                .timeout(ASSET_TIMEOUT)
                .query(&[("url", url)])
        })
        .await
    }

    async fn ohttp_keys(&self, room: &str) -> Result<Vec<u8>, TransportError> {
        let path = in_room(room, "/ohttp");
        self.octets(|| self.request(Method::GET, &path)).await
    }

    async fn ohttp(&self, room: &str, sealed: &[u8]) -> Result<Vec<u8>, TransportError> {
        let (path, sealed) = (in_room(room, "/ohttp"), sealed.to_vec());
        self.octets(|| {
            self.request(Method::POST, &path)
                .timeout(ASSET_TIMEOUT)
                .header("content-type", ohttp::REQUEST_TYPE)
                .body(sealed.clone())
        })
        .await
    }

    async fn put_blob(&self, octets: &[u8]) -> Result<BlobRef, TransportError> {
        self.json(|| self.request(Method::PUT, "/blobs").body(octets.to_vec()))
            .await
    }

    async fn get_blob(&self, sha256: &str) -> Result<Vec<u8>, TransportError> {
        self.octets(|| self.request(Method::GET, &format!("/blobs/{sha256}")))
            .await
    }

    async fn put_card(&self, room: &str, card: &RoomCard) -> Result<(), TransportError> {
        let path = in_room(room, "/card");
        self.octets(|| self.request(Method::PUT, &path).json(card))
            .await
            .map(drop)
    }

    async fn set_wake(&self, wake: &SetWake) -> Result<(), TransportError> {
        self.octets(|| self.request(Method::PUT, "/wake").json(wake))
            .await
            .map(drop)
    }

    async fn wishes(&self) -> Result<Vec<Wish>, TransportError> {
        self.get("/wishes").await
    }

    async fn settle_wish(&self, id: &str, outcome: &WishOutcome) -> Result<(), TransportError> {
        let path = format!("/wishes/{}", utf8_percent_encode(id, SEGMENT));
        self.octets(|| self.request(Method::POST, &path).json(outcome))
            .await
            .map(drop)
    }
}

#[async_trait]
impl People for Http {
    async fn notices(&self, since: Option<u64>, wait: Duration) -> Result<Notices, TransportError> {
        let since = since
            .map(|version| format!("since={version}&"))
            .unwrap_or_default();
        let path = format!("/notices?{since}wait_ms={}", wait.as_millis());
        self.json(|| self.request(Method::GET, &path).timeout(TIMEOUT + wait))
            .await
    }

    async fn consents(&self) -> Result<Consents, TransportError> {
        self.get("/consents").await
    }

    async fn consent(&self, act: &ConsentAct) -> Result<Consents, TransportError> {
        self.post("/consents", act).await
    }

    async fn settings(&self) -> Result<Settings, TransportError> {
        self.get("/settings").await
    }

    async fn set_settings(&self, settings: &NewSettings) -> Result<Settings, TransportError> {
        self.json(|| self.request(Method::PUT, "/settings").json(settings))
            .await
    }

    async fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, TransportError> {
        self.post("/search", request).await
    }
}
