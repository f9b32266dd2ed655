//! The client API of a Causeway provider: what a MIMI client and its own provider say to each other.
//!
//! Served below [`PREFIX`]. Bodies are JSON; octets are base64url without padding ([`B64`]); times are Unix
//! milliseconds. Every request but `GET /provider` and `POST /login` carries
//! `Authorization: Bearer <session token>`. Errors are [`ApiError`] with an HTTP status that fits.
//! A request that changes something may be repeated with the same octets: the first outcome comes back.
//! The OpenAPI description in `schemas/client-api.json` is made from these types.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /provider` | | [`ProviderInfo`] |
//! | `POST /login` | [`LoginRequest`] | [`LoginResponse`] |
//! | `POST /logout` | | 204; the token is void |
//! | `GET /devices` | | array of [`Device`] |
//! | `POST /key_packages` | [`UploadKeyPackages`] | [`KeyPackageStock`] |
//! | `GET /key_packages` | | [`KeyPackageStock`] |
//! | `GET /notices?since=&wait_ms=` | | [`Notices`] |
//! | `GET /consents` | | [`Consents`] |
//! | `POST /consents` | [`ConsentAct`] | [`Consents`] |
//! | `GET /settings` | | [`Settings`] |
//! | `PUT /settings` | [`NewSettings`] | [`Settings`] |
//! | `POST /search` | [`SearchRequest`] | [`SearchAnswer`] |
//! | `POST /rooms` | [`CreateRoom`] | [`RoomSummary`] |
//! | `GET /rooms` | | array of [`RoomSummary`] |
//! | `POST /rooms/{room}/claims` | [`ClaimRequest`] | [`HubAnswer`] |
//! | `POST /rooms/{room}/update` | [`UpdateRequest`] | [`HubAnswer`] |
//! | `POST /rooms/{room}/group_info` | [`GroupInfoQuery`] | [`HubAnswer`] |
//! | `POST /rooms/{room}/messages` | [`SubmitMessage`] | [`SubmissionStatus`] |
//! | `GET /rooms/{room}/log?from=&limit=&wait_ms=` | | [`LogPage`] |
//! | `PUT /rooms/{room}/card` | [`RoomCard`] | 204 |
//! | `PUT /wake` | [`SetWake`] | 204 |
//! | `GET /wishes` | | array of [`Wish`] |
//! | `POST /wishes/{id}` | [`WishOutcome`] | 204 |
//! | `POST /rooms/{room}/reports` | [`ReportAbuse`] | 204 |
//! | `POST /assets` | octets | [`AssetRef`] |
//! | `GET /rooms/{room}/assets?url=` | | octets |
//! | `GET /rooms/{room}/ohttp` | | `application/ohttp-keys` of the hub's gateway |
//! | `POST /rooms/{room}/ohttp` | `message/ohttp-req` | `message/ohttp-res` |
//! | `PUT /blobs` | octets | [`BlobRef`] |
//! | `GET /blobs/{sha256}` | | octets |
//!
//! `{room}` is the room URI, percent-encoded as one path segment. Every 2xx counts as success.
//!
//! MIMI leaves the way between a client and its own provider open (draft-ietf-mimi-arch section 4), so this is
//! Causeway's own.

mod account;
mod encoding;
mod error;
mod people;
mod portal;
mod rooms;

pub use account::*;
pub use encoding::B64;
pub use error::*;
pub use people::*;
pub use portal::*;
pub use rooms::*;

/// The path below which everything here is served.
pub const PREFIX: &str = "/_causeway/client/v1";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_status_in_a_feed_reads_back() {
        let states = [
            SubmissionState::Queued,
            SubmissionState::Accepted {
                at: 7,
                frank: Some(B64(vec![1])),
            },
            SubmissionState::Refused {
                code: RefusalCode::EpochTooOld,
                reason: "old".into(),
                current_epoch: Some(u64::MAX),
            },
        ];
        for state in states {
            let item = FeedItem::Status(SubmissionStatus {
                id: "1".into(),
                state,
            });
            let entry = FeedEntry {
                pos: 3,
                at: 9,
                event_id: None,
                item,
            };
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<FeedEntry>(&text).unwrap(), entry);
        }
    }
}
