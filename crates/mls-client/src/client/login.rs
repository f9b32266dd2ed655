//! Signing in.

use crate::api::{LoginKind, LoginRequest, LoginResponse, ProviderInfo, Session};
use crate::error::ClientError;
use crate::matrix::Matrix;
use crate::transport::{Transport, TransportError};
use std::time::Duration;

/// By what a device signs in.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// An account of a provider without a homeserver.
    Token {
        /// Local part of the user URI.
        user: &'a str,
        /// What `causeway user add` printed.
        token: &'a str,
    },
    /// An account of the homeserver beside the provider.
    Matrix(&'a Matrix),
}

/// How often it is looked whether the bot has seen the nonce, and how long between.
const PROOF_POLLS: u32 = 60;
const PROOF_PAUSE: Duration = Duration::from_millis(500);

/// Signs `device` in. Returns the session and what the provider says about itself.
pub async fn sign_in(
    transport: &impl Transport,
    credentials: Credentials<'_>,
    device: &str,
) -> Result<(ProviderInfo, Session), ClientError> {
    let provider = transport.provider().await?;
    let offers = |kind| {
        if provider.login.contains(&kind) {
            return Ok(());
        }
        let why = format!("{} doesn't offer this way to sign in", provider.provider);
        Err(ClientError::Transport(TransportError::BadAnswer(why)))
    };
    let session = match credentials {
        Credentials::Token { user, token } => {
            offers(LoginKind::LocalToken)?;
            let request = LoginRequest::LocalToken {
                user: user.into(),
                token: token.into(),
                device: device.into(),
            };
            match transport.login(&request).await? {
                LoginResponse::Session(session) => session,
                LoginResponse::Challenge { .. } => {
                    return Err(TransportError::BadAnswer("a challenge to a local token".into()).into());
                }
            }
        }
        Credentials::Matrix(matrix) => {
            offers(LoginKind::MatrixOpenid)?;
            by_openid(transport, matrix, device).await?
        }
    };
    Ok((provider, session))
}

async fn by_openid(
    transport: &impl Transport,
    matrix: &Matrix,
    device: &str,
) -> Result<Session, ClientError> {
    let access_token = matrix.openid_token().await?;
    let request = LoginRequest::MatrixOpenid {
        access_token,
        device: device.into(),
    };
    let (nonce, bot) = match transport.login(&request).await? {
        LoginResponse::Session(session) => return Ok(session),
        LoginResponse::Challenge { nonce, bot } => (nonce, bot),
    };
    matrix.prove(&bot, &nonce).await?;
    for _ in 0..PROOF_POLLS {
        if let LoginResponse::Session(session) = transport.login(&request).await? {
            return Ok(session);
        }
        tokio::time::sleep(PROOF_PAUSE).await;
    }
    let why =
        format!("{bot} has not told the provider of the nonce; does the homeserver reach the provider?");
    Err(TransportError::Matrix(why).into())
}
