//! Users towards other users outside of any room: consent, what others find, what waits for the user.

use super::error::Problem;
use super::request::Call;
use super::{ClientFace, FACE, convert};
use crate::faces::outcome;
use crate::web::refused;
use axum::Json;
use axum::extract::{Query, Request, State};
use bytes::Bytes;
use mimi_wire::components::AppDataDictionary;
use mimi_wire::directory::Endpoint;
use mimi_wire::protocol::{IdentifierRequest, IdentifierResponse, QueryElement};
use mimi_wire::{Decode as _, Domain, Encode as _, MimiUri};
use mls_client::api::{
    ConsentAct, ConsentState, ConsentVerb, Consents, NewSettings, Notices, SearchAnswer, SearchRequest,
    Settings,
};
use room_engine::{ClientActor, ConsentAnswer, LONGEST_POLL, RequestContext};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// `?since=&wait_ms=`
#[derive(Debug, Deserialize)]
pub(super) struct NoticesQuery {
    since: Option<u64>,
    wait_ms: Option<u64>,
}

pub(super) async fn notices(
    State(face): State<ClientFace>,
    query: Result<Query<NoticesQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Json<Notices>, Problem> {
    const NAME: &str = "notices";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let Query(query) = query.map_err(|e| Problem::malformed(NAME, e.body_text()))?;
    let wait = Duration::from_millis(query.wait_ms.unwrap_or_default()).min(LONGEST_POLL);
    let deadline = tokio::time::Instant::now() + wait;
    let mut stop = face.0.stop.clone();
    // Watched before looking: what comes in between wakes us.
    let mut changes = face.0.engine.watch_user(&who.user);
    loop {
        let now = face.notices_of(NAME, ctx.clone(), &who).await?;
        if query.since != Some(now.version) {
            return Ok(Json(now));
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Json(now)),
            () = stop.wait() => return Ok(Json(now)),
        }
    }
}

pub(super) async fn consents(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<Consents>, Problem> {
    const NAME: &str = "consents";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    face.consents_of(NAME, ctx, &who).await.map(Json)
}

pub(super) async fn consent(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<Consents>, Problem> {
    const NAME: &str = "consents";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let act: ConsentAct = call.json(&face).await?;
    let uri = |what: &str, text: &str| {
        MimiUri::parse(text).map_err(|e| Problem::malformed(NAME, format!("the {what} URI: {e}")))
    };
    let other = uri("user", &act.user)?;
    let room = act.room.as_deref().map(|room| uri("room", room)).transpose()?;
    let (engine, user, room) = (&face.0.engine, &who.user, room.as_ref());
    let answer = match act.act {
        ConsentVerb::Request | ConsentVerb::Cancel => None,
        ConsentVerb::Grant => Some(ConsentAnswer::Grant),
        ConsentVerb::Refuse => Some(ConsentAnswer::Refuse { tell: act.tell }),
        ConsentVerb::Forget => Some(ConsentAnswer::Forget),
    };
    let done = match (act.act, answer) {
        (_, Some(answer)) => {
            engine
                .answer_consent(ctx.clone(), user, &other, room, answer)
                .await
        }
        (ConsentVerb::Cancel, _) => engine.cancel_consent(ctx.clone(), user, &other, room).await,
        _ => engine.ask_consent(ctx.clone(), user, &other, room).await,
    };
    done.map_err(|e| Problem::refusal(NAME, &e))?;
    face.consents_of(NAME, ctx, &who).await.map(Json)
}

pub(super) async fn settings(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<Settings>, Problem> {
    const NAME: &str = "settings";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let settings = face.0.engine.settings(ctx, &who.user).await;
    settings
        .map(|s| Json(convert::people::settings(s)))
        .map_err(|e| Problem::refusal(NAME, &e))
}

pub(super) async fn set_settings(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<Settings>, Problem> {
    const NAME: &str = "settings";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let new: NewSettings = call.json(&face).await?;
    let required_of = new.consent_required_of.map(convert::people::required_of);
    let profile = new.profile.into_iter().map(convert::people::field_in).collect();
    let settings = face
        .0
        .engine
        .set_settings(ctx, &who.user, required_of, profile)
        .await;
    settings
        .map(|s| Json(convert::people::settings(s)))
        .map_err(|e| Problem::refusal(NAME, &e))
}

pub(super) async fn search(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<SearchAnswer>, Problem> {
    const NAME: &str = "search";
    let call = Call::new(NAME, request);
    let (_, ctx) = (call.who(&face).await?, call.ctx());
    let body: SearchRequest = call.json(&face).await?;
    let provider = Domain::parse(&body.provider)
        .map_err(|e| Problem::malformed(NAME, format!("the provider's domain: {e}")))?;
    let query = IdentifierRequest {
        query_elements: body
            .elements
            .into_iter()
            .map(|element| QueryElement {
                search_type: convert::people::search_type(element.by),
                field_name: element.name.unwrap_or_default(),
                search_value: element.value,
            })
            .collect(),
        id_request_extensions: AppDataDictionary::default(),
    };
    let response = if provider == face.0.engine.config().provider {
        let found = face.0.engine.identifier_query(&query).await;
        found.map_err(|e| Problem::engine(NAME, e))?
    } else {
        face.search_elsewhere(NAME, &provider, &ctx, &query).await?
    };
    if let Some(reason) = outcome::identifier_query(response.response_code) {
        refused(FACE, NAME, reason);
    }
    Ok(Json(convert::people::found(response)))
}

impl ClientFace {
    async fn search_elsewhere(
        &self,
        name: &'static str,
        provider: &Domain,
        ctx: &RequestContext,
        query: &IdentifierRequest,
    ) -> Result<IdentifierResponse, Problem> {
        let body = Bytes::from(query.to_bytes());
        let endpoint = Endpoint::IdentifierQuery;
        let answer = self
            .0
            .client
            .post(provider, endpoint, provider.as_str(), &ctx.request_id, body)
            .await;
        let answer = answer.map_err(|e| Problem::link(name, &e))?;
        if !answer.status.is_success() {
            return Err(Problem::answer(name, provider, &answer));
        }
        IdentifierResponse::from_bytes(&answer.body).map_err(|e| {
            let text = format!("the provider {provider} answered something malformed: {e}");
            Problem::unavailable(name, text, None)
        })
    }

    async fn consents_of(
        &self,
        name: &'static str,
        ctx: RequestContext,
        who: &ClientActor,
    ) -> Result<Consents, Problem> {
        let book = self.0.engine.consents(ctx, &who.user).await;
        book.map(convert::people::consents)
            .map_err(|e| Problem::refusal(name, &e))
    }

    async fn notices_of(
        &self,
        name: &'static str,
        ctx: RequestContext,
        who: &ClientActor,
    ) -> Result<Notices, Problem> {
        let Consents { of_me, of_others } = self.consents_of(name, ctx.clone(), who).await?;
        let stock = self.0.engine.key_package_stock(ctx, who).await;
        let mut notices = Notices {
            version: 0,
            consent_requests: of_me
                .into_iter()
                .filter(|consent| consent.state == ConsentState::Asked)
                .collect(),
            consents_of_others: of_others,
            key_packages: stock
                .map(convert::stock)
                .map_err(|e| Problem::refusal(name, &e))?,
        };
        let text = serde_json::to_vec(&notices)
            .map_err(|e| Problem::refusal(name, &room_engine::Refusal::Internal(e.to_string())))?;
        let digest: [u8; 32] = Sha256::digest(&text).into();
        notices.version = digest
            .iter()
            .take(6)
            .fold(0, |number, octet| number << 8 | u64::from(*octet));
        Ok(notices)
    }
}
