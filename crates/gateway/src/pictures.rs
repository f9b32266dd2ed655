//! Pictures and names of other providers' users, for ghosts and portals; and the pictures that Matrix users set in portals.
//!
//! A picture's octets come by the ways of assets and from nowhere else ([`crate::assets`]): an address in a profile or in a
//! room's metadata makes this provider fetch from its peers' asset hosts or through the room's hub, never from an address of
//! somebody's choice. What a user shows is asked of the user's provider by identifierQuery, with the user's URI as handle; who
//! can't be found by that shows nothing.

use crate::assets::{AssetError, Assets};
use crate::mimi_client::MimiClient;
use crate::web::RequestId;
use appservice::pictures::LARGEST;
use appservice::{PictureError, Pictures, Shown};
use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use mimi_wire::components::AppDataDictionary;
use mimi_wire::directory::Endpoint;
use mimi_wire::protocol::{
    FieldSource, IdentifierRequest, IdentifierResponse, ProfileField, QueryElement, SearchIdentifierType,
};
use mimi_wire::{Decode as _, Domain, Encode as _, MimiUri};
use room_engine::{Engine, Hub};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a provider isn't asked that didn't answer: a thousand ghosts don't wait for it one after the other.
const REST: Duration = Duration::from_mins(10);

/// The way to other providers' pictures.
pub(crate) struct PeerPictures {
    engine: Engine,
    client: MimiClient,
    assets: Assets,
    away: Mutex<HashMap<Domain, Instant>>,
}

impl PeerPictures {
    /// Puts it together.
    pub(crate) fn new(engine: Engine, client: MimiClient, assets: Assets) -> Self {
        Self {
            engine,
            client,
            assets,
            away: Mutex::default(),
        }
    }

    fn rests(&self, provider: &Domain) -> bool {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.retain(|_, since| since.elapsed() < REST);
        away.contains_key(provider)
    }

    async fn ask(&self, user: &MimiUri) -> Option<IdentifierResponse> {
        let provider = user.domain();
        let query = IdentifierRequest {
            query_elements: vec![QueryElement {
                search_type: SearchIdentifierType::Handle,
                field_name: String::new(),
                search_value: user.as_str().to_owned(),
            }],
            id_request_extensions: AppDataDictionary::default(),
        };
        let body = Bytes::from(query.to_bytes());
        let (endpoint, id) = (Endpoint::IdentifierQuery, RequestId::random());
        let answer = self
            .client
            .post(&provider, endpoint, provider.as_str(), &id.0, body)
            .await;
        match answer {
            Ok(answer) if answer.status.is_success() => IdentifierResponse::from_bytes(&answer.body).ok(),
            Ok(_) => None,
            Err(error) => {
                tracing::info!(provider = provider.as_str(), %error, "not asked what its users show for a while");
                None
            }
        }
    }
}

#[async_trait]
impl Pictures for PeerPictures {
    async fn shown(&self, user: &MimiUri) -> Option<Shown> {
        let provider = user.domain();
        if self.rests(&provider) {
            return None;
        }
        let Some(answer) = self.ask(user).await else {
            let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
            away.insert(provider, Instant::now());
            return None;
        };
        let profile = answer
            .found_profiles
            .into_iter()
            .find(|found| found.stable_uri == *user);
        Some(profile.map(|found| shown(&found.fields)).unwrap_or_default())
    }

    async fn fetch(&self, near: &MimiUri, address: &str) -> Result<Vec<u8>, PictureError> {
        let id = RequestId::random();
        let got = match (self.assets.fetch(address, &id.0).await, self.engine.hub_of(near)) {
            (Err(AssetError::NotAnAssetHost(_)), Hub::Peer(hub)) => {
                self.assets.fetch_through(&hub, address, &id.0).await
            }
            (other, _) => other,
        };
        let whole = match got {
            Ok(download) => download.collect_up_to(LARGEST).await,
            Err(error) => Err(error),
        };
        whole.map(Into::into).map_err(|error| failure(&error))
    }

    async fn keep(&self, user: &MimiUri, octets: Vec<u8>) -> Result<String, PictureError> {
        let ctx = (&RequestId::random()).into();
        let kept = self.assets.keep(ctx, user, Body::from(octets)).await;
        kept.map(|(address, _)| address).map_err(|error| failure(&error))
    }
}

fn failure(error: &AssetError) -> PictureError {
    if error.status().is_server_error() {
        PictureError::Unavailable(error.to_string())
    } else {
        PictureError::Refused(error.to_string())
    }
}

/// Name and picture of a profile, from the vocabularies of draft-ietf-mimi-protocol-06 section 5.8.
fn shown(fields: &[ProfileField]) -> Shown {
    let text = |wanted: &[(FieldSource, &str)]| {
        wanted.iter().find_map(|(source, name)| {
            let field = fields
                .iter()
                .find(|field| field.field_source == *source && field.field_name.eq_ignore_ascii_case(name))?;
            String::from_utf8(field.field_value.0.clone()).ok()
        })
    };
    let picture = text(&[
        (FieldSource::VcardField, "PHOTO"),
        (FieldSource::OidcStdClaim, "picture"),
    ]);
    Shown {
        name: text(&[
            (FieldSource::VcardField, "FN"),
            (FieldSource::OidcStdClaim, "name"),
            (FieldSource::VcardField, "NICKNAME"),
            (FieldSource::OidcStdClaim, "nickname"),
        ]),
        picture: picture.filter(|address| address.starts_with("https://")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn field(field_source: FieldSource, name: &str, value: &str) -> ProfileField {
        ProfileField {
            field_source,
            field_name: name.to_owned(),
            field_value: value.as_bytes().to_vec().into(),
        }
    }

    #[test]
    fn a_profile_shows_a_name_and_a_picture_where_it_has_them() {
        use FieldSource::{OidcStdClaim, VcardField};
        assert_eq!(shown(&[]), Shown::default());
        let both = shown(&[
            field(OidcStdClaim, "name", "Bob B."),
            field(VcardField, "photo", "https://b.example/v1/asset/x"),
        ]);
        assert_eq!(both.name.unwrap(), "Bob B.");
        assert_eq!(both.picture.unwrap(), "https://b.example/v1/asset/x");
        let data = shown(&[field(VcardField, "PHOTO", "data:image/png;base64,AAAA")]);
        assert_eq!(data.picture, None);
    }
}
