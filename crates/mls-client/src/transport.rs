//! How a client reaches its provider.

mod http;
mod retry;

pub use http::{Http, HttpError};
pub(crate) use http::{client as http_client, unreachable};
pub use retry::{Backoff, with_retry};

use crate::api::{
    ApiError, ApiErrorCode, AssetRef, BlobRef, ClaimRequest, ConsentAct, Consents, CreateRoom, Device,
    GroupInfoQuery, HubAnswer, KeyPackageStock, LogPage, LoginRequest, LoginResponse, NewSettings, Notices,
    ProviderInfo, ReportAbuse, RoomCard, RoomSummary, SearchAnswer, SearchRequest, SetWake, Settings,
    SubmissionStatus, SubmitMessage, UpdateRequest, UploadKeyPackages, Wish, WishOutcome,
};
use async_trait::async_trait;
use std::time::Duration;

/// A request that got no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The provider answered with an error of the client API.
    #[error("the provider refused ({:?}): {}", .0.code, .0.error)]
    Api(ApiError),
    /// The provider couldn't be reached or broke off; whether it acted is unknown.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is not what the client API describes.
    #[error("the provider's answer makes no sense: {0}")]
    BadAnswer(String),
    /// A request to the homeserver.
    #[error("homeserver: {0}")]
    Matrix(String),
}

impl TransportError {
    /// Whether the same request may succeed later, and after how long at the earliest if that was said.
    pub fn retry_after(&self) -> Option<Option<Duration>> {
        match self {
            Self::Api(e) if matches!(e.code, ApiErrorCode::RateLimited | ApiErrorCode::Unavailable) => {
                Some(e.retry_after_ms.map(Duration::from_millis))
            }
            Self::Unreachable(_) => Some(None),
            _ => None,
        }
    }

    /// The API's code, where it was an API error.
    pub fn code(&self) -> Option<ApiErrorCode> {
        match self {
            Self::Api(e) => Some(e.code),
            _ => None,
        }
    }
}

/// The part of the client API that is about users outside of any room.
#[async_trait]
pub trait People: Send + Sync {
    /// `GET /notices`; answers as soon as the version is another than `since`, after `wait` at the latest.
    async fn notices(&self, since: Option<u64>, wait: Duration) -> Result<Notices, TransportError>;
    /// `GET /consents`.
    async fn consents(&self) -> Result<Consents, TransportError>;
    /// `POST /consents`.
    async fn consent(&self, act: &ConsentAct) -> Result<Consents, TransportError>;
    /// `GET /settings`.
    async fn settings(&self) -> Result<Settings, TransportError>;
    /// `PUT /settings`.
    async fn set_settings(&self, settings: &NewSettings) -> Result<Settings, TransportError>;
    /// `POST /search`.
    async fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, TransportError>;
}

/// The client API ([`crate::api`]), however it is reached. Every request may be repeated with the same octets.
#[async_trait]
pub trait Transport: Send + Sync {
    /// `GET /provider`.
    async fn provider(&self) -> Result<ProviderInfo, TransportError>;
    /// `POST /login`.
    async fn login(&self, request: &LoginRequest) -> Result<LoginResponse, TransportError>;
    /// `POST /logout`.
    async fn logout(&self) -> Result<(), TransportError>;
    /// `GET /devices`.
    async fn devices(&self) -> Result<Vec<Device>, TransportError>;
    /// `POST /key_packages`.
    async fn upload_key_packages(
        &self,
        upload: &UploadKeyPackages,
    ) -> Result<KeyPackageStock, TransportError>;
    /// `GET /key_packages`.
    async fn key_packages(&self) -> Result<KeyPackageStock, TransportError>;
    /// `POST /rooms`.
    async fn create_room(&self, room: &CreateRoom) -> Result<RoomSummary, TransportError>;
    /// `GET /rooms`.
    async fn rooms(&self) -> Result<Vec<RoomSummary>, TransportError>;
    /// `POST /rooms/{room}/claims`.
    async fn claim(&self, room: &str, request: &ClaimRequest) -> Result<HubAnswer, TransportError>;
    /// `POST /rooms/{room}/update`.
    async fn update(&self, room: &str, request: &UpdateRequest) -> Result<HubAnswer, TransportError>;
    /// `POST /rooms/{room}/group_info`.
    async fn group_info(&self, room: &str, request: &GroupInfoQuery) -> Result<HubAnswer, TransportError>;
    /// `POST /rooms/{room}/messages`.
    async fn submit(&self, room: &str, message: &SubmitMessage) -> Result<SubmissionStatus, TransportError>;
    /// `GET /rooms/{room}/log`; answers at once when there is something, else after `wait` at the latest.
    async fn log(&self, room: &str, from: u64, limit: u32, wait: Duration)
    -> Result<LogPage, TransportError>;
    /// `POST /rooms/{room}/reports`.
    async fn report(&self, room: &str, report: &ReportAbuse) -> Result<(), TransportError> {
        let _ = (room, report);
        Err(TransportError::BadAnswer(
            "no reports can be sent this way".into(),
        ))
    }
    /// `POST /assets`.
    async fn put_asset(&self, octets: &[u8]) -> Result<AssetRef, TransportError> {
        let _ = octets;
        Err(no_assets())
    }
    /// `GET /rooms/{room}/assets?url=`.
    async fn get_asset(&self, room: &str, url: &str) -> Result<Vec<u8>, TransportError> {
        let _ = (room, url);
        Err(no_assets())
    }
    /// `GET /rooms/{room}/ohttp`.
    async fn ohttp_keys(&self, room: &str) -> Result<Vec<u8>, TransportError> {
        let _ = room;
        Err(no_assets())
    }
    /// `POST /rooms/{room}/ohttp`.
    async fn ohttp(&self, room: &str, sealed: &[u8]) -> Result<Vec<u8>, TransportError> {
        let _ = (room, sealed);
        Err(no_assets())
    }
    /// `PUT /blobs`.
    async fn put_blob(&self, octets: &[u8]) -> Result<BlobRef, TransportError>;
    /// `GET /blobs/{sha256}`.
    async fn get_blob(&self, sha256: &str) -> Result<Vec<u8>, TransportError>;
    /// `PUT /rooms/{room}/card`. A provider without portals has no use for one.
    async fn put_card(&self, _room: &str, _card: &RoomCard) -> Result<(), TransportError> {
        Ok(())
    }
    /// `PUT /wake`.
    async fn set_wake(&self, _wake: &SetWake) -> Result<(), TransportError> {
        Ok(())
    }
    /// `GET /wishes`.
    async fn wishes(&self) -> Result<Vec<Wish>, TransportError> {
        Ok(Vec::new())
    }
    /// `POST /wishes/{id}`.
    async fn settle_wish(&self, _id: &str, _outcome: &WishOutcome) -> Result<(), TransportError> {
        Ok(())
    }
}

fn no_assets() -> TransportError {
    TransportError::BadAnswer("no assets can be had this way".into())
}
