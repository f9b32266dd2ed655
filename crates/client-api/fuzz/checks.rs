//! What must hold for any input. Used by the fuzz targets and, on the corpus, by the crate's own tests.

use client_api::{
    ApiError, AssetRef, BlobRef, ClaimRequest, ConsentAct, Consents, CreateRoom, Device, GroupInfoQuery,
    HubAnswer, KeyPackageStock, LogPage, LoginRequest, LoginResponse, NewSettings, Notices, ProviderInfo,
    ReportAbuse, RoomCard, RoomSummary, SearchAnswer, SearchRequest, SetWake, Settings, SubmissionStatus,
    SubmitMessage, UpdateRequest, UploadKeyPackages, Wish, WishOutcome,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A body is refused, or reads the same after it was written.
fn again<T: DeserializeOwned + Serialize>(data: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<T>(data) else {
        return false;
    };
    let text = serde_json::to_string(&body).unwrap();
    let read: T = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    true
}

type Check = fn(&[u8]) -> bool;

macro_rules! kinds {
    ($($kind:ident)*) => {
        &[$((stringify!($kind), again::<$kind> as Check)),*]
    };
}

/// Every body of the API, of requests and of answers.
pub(crate) const KINDS: &[(&str, Check)] = kinds! {
    ApiError AssetRef BlobRef ClaimRequest ConsentAct Consents CreateRoom Device GroupInfoQuery HubAnswer KeyPackageStock
    LogPage LoginRequest LoginResponse NewSettings Notices ProviderInfo ReportAbuse RoomCard RoomSummary SearchAnswer
    SearchRequest SetWake Settings SubmissionStatus SubmitMessage UpdateRequest UploadKeyPackages Wish WishOutcome
};

/// The first octet picks a body; the rest is its JSON.
pub(crate) fn bodies(data: &[u8]) {
    let Some((&first, json)) = data.split_first() else {
        return;
    };
    let (_, check) = KINDS[usize::from(first) % KINDS.len()];
    check(json);
}
