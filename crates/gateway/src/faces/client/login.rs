//! Signing in and out.

use super::ClientFace;
use super::error::Problem;
use super::request::Call;
use appservice::{BOT_LOCALPART, NAMESPACE};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use delivery_service::CIPHER_SUITES;
use mimi_wire::Encode as _;
use mimi_wire::mls::CipherSuite;
use mls_client::api::{B64, HubKeys, LoginKind, LoginRequest, LoginResponse, ProviderInfo, Session};
use room_engine::SignIn;
use zeroize::Zeroizing;

pub(super) async fn provider(State(face): State<ClientFace>) -> Json<ProviderInfo> {
    let engine = &face.0.engine;
    let homeserver = engine.config().homeserver.as_ref();
    let hub = engine.hub();
    let keys = |suite| {
        Some(HubKeys {
            external_sender: B64(hub.external_sender(suite)?),
            franking_agent: B64(hub.franking_agent(suite)?.to_bytes()),
        })
    };
    // There is a key of each scheme; these are not empty.
    let (external_sender, franking_agent) = keys(CipherSuite::X25519_AES128)
        .map(|keys| (keys.external_sender, keys.franking_agent))
        .unwrap_or_default();
    Json(ProviderInfo {
        provider: engine.config().provider.to_string(),
        external_sender,
        franking_agent,
        p256: keys(CipherSuite::P256_AES128),
        cipher_suites: CIPHER_SUITES.map(|suite| suite.0).to_vec(),
        login: vec![if homeserver.is_some() {
            LoginKind::MatrixOpenid
        } else {
            LoginKind::LocalToken
        }],
        homeserver: homeserver.map(|h| h.server_name.clone()),
        bot: homeserver.map(|h| h.bot.clone()),
    })
}

pub(super) async fn login(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<LoginResponse>, Problem> {
    const NAME: &str = "login";
    let call = Call::new(NAME, request);
    let ctx = call.ctx();
    let engine = &face.0.engine;
    match call.json(&face).await? {
        LoginRequest::LocalToken { user, token, device } => {
            let token = Zeroizing::new(token);
            // Beside a homeserver, its accounts are the users; a local account could take one's name.
            if face.0.homeserver.is_some() {
                return Err(Problem::unauthorized(
                    NAME,
                    "sign in with a Matrix OpenID token here",
                ));
            }
            let session = engine.sign_in_local(ctx, &user, token, &device).await;
            session
                .map(|s| Json(LoginResponse::Session(signed_in(s))))
                .map_err(|e| Problem::refusal(NAME, &e))
        }
        LoginRequest::MatrixOpenid { access_token, device } => {
            let token = Zeroizing::new(access_token);
            let localpart = face.subject(NAME, &token).await?;
            match engine.sign_in_matrix(ctx, &localpart, &device).await {
                Ok(SignIn::Session(session)) => Ok(Json(LoginResponse::Session(signed_in(session)))),
                Ok(SignIn::Challenge { nonce }) => {
                    let bot = engine
                        .config()
                        .homeserver
                        .as_ref()
                        .map(|h| h.bot.clone())
                        .unwrap_or_default();
                    Ok(Json(LoginResponse::Challenge { nonce, bot }))
                }
                Err(refusal) => Err(Problem::refusal(NAME, &refusal)),
            }
        }
    }
}

fn signed_in(session: room_engine::Session) -> Session {
    Session {
        token: session.token,
        user: session.who.user.to_string(),
        client: session.who.client.to_string(),
    }
}

impl ClientFace {
    /// The local user that an OpenID token speaks for, asked of our homeserver only.
    async fn subject(&self, endpoint: &'static str, token: &str) -> Result<String, Problem> {
        let Some(homeserver) = &self.0.homeserver else {
            return Err(Problem::unauthorized(
                endpoint,
                "this provider has no homeserver; sign in with a local token",
            ));
        };
        let subject = homeserver
            .openid_subject(token)
            .await
            .map_err(|e| {
                Problem::unavailable(endpoint, format!("the token can't be checked now: {e}"), None)
            })?
            .ok_or_else(|| {
                Problem::unauthorized(
                    endpoint,
                    "the homeserver doesn't know this token, or it has expired",
                )
            })?;
        local_user(&subject, homeserver.server_name())
            .map(str::to_owned)
            .ok_or_else(|| {
                Problem::unauthorized(
                    endpoint,
                    format!("{subject} is no user of {}", homeserver.server_name()),
                )
            })
    }
}

/// The local part of a user id of this server that is neither the bot's nor a ghost's.
fn local_user<'s>(subject: &'s str, server_name: &str) -> Option<&'s str> {
    let (local, server) = subject.strip_prefix('@')?.split_once(':')?;
    let ours = local == BOT_LOCALPART || local.starts_with(NAMESPACE);
    (server == server_name && !local.is_empty() && !ours).then_some(local)
}

pub(super) async fn logout(State(face): State<ClientFace>, request: Request) -> Result<StatusCode, Problem> {
    const NAME: &str = "logout";
    let call = Call::new(NAME, request);
    let who = call.who(&face).await?;
    let token = call.token()?;
    let done = face.0.engine.sign_out(call.ctx(), &who, &token).await;
    done.map(|()| StatusCode::NO_CONTENT)
        .map_err(|e| Problem::refusal(NAME, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_people_are_subjects() {
        assert_eq!(local_user("@alice:a.example", "a.example"), Some("alice"));
        assert_eq!(local_user("@a:b:a.example", "b:a.example"), Some("a"));
        for subject in [
            "@alice:b.example",
            "@alice:a.example.evil",
            "alice:a.example",
            "@alice",
            "@:a.example",
            "@_mimi:a.example",
            "@_mimi_bob=40b.example:a.example",
            "",
        ] {
            assert_eq!(local_user(subject, "a.example"), None, "{subject}");
        }
    }
}
