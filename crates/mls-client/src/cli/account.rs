//! Signing in and out, devices, KeyPackages.

use super::output::{Output, time};
use super::{CliError, HttpClient, Place, secret};
use crate::api::LoginKind;
use crate::client::{Client, Credentials, Options, sign_in};
use crate::error::ClientError;
use crate::matrix::Matrix;
use crate::transport::{Http, Transport as _};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Sign this device in: with a Matrix account, or with the token of a local account.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// Base URL of the provider's client API. Default: the homeserver's.
    #[arg(long, value_name = "URL", required_unless_present = "homeserver")]
    provider_url: Option<String>,
    /// PEM file with the certificate authorities to trust, instead of the public ones.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Your name: the local part of your account.
    #[arg(long)]
    user: String,
    /// What this device is to be called. Default: a random name.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Base URL of the Matrix homeserver. Default: https:// and the server name that the provider says.
    #[arg(long, value_name = "URL")]
    homeserver: Option<String>,
    /// File with the Matrix password, `-` for standard input. Or in CAUSEWAY_PASSWORD.
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    password_file: Option<PathBuf>,
    /// File with the token of a local account, `-` for standard input. Or in CAUSEWAY_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Do not upload KeyPackages now.
    #[arg(long)]
    no_keys: bool,
}

pub(super) async fn login(place: &Place<'_>, args: &LoginArgs, out: Output) -> Result<(), CliError> {
    let url = args
        .provider_url
        .as_deref()
        .or(args.homeserver.as_deref())
        .unwrap_or_default();
    let ca = args.ca_file.as_deref().map(absolute).transpose()?;
    let http = Http::new(url, ca.as_deref())?;
    let info = http.provider().await.map_err(ClientError::from)?;
    let mut engine = place.engine_or_new()?;
    // Signing in again is for the same device, so its name stays.
    let known = engine
        .session()
        .ok()
        .and_then(|s| s.client.rsplit('/').next().map(str::to_owned));
    let device = match (&args.device, known) {
        (Some(device), _) => device.clone(),
        (None, Some(device)) => device,
        (None, None) => random_device()?,
    };
    let token = secret::given(args.token_file.as_deref(), "CAUSEWAY_TOKEN")?;
    let local = token.is_some() || !info.login.contains(&LoginKind::MatrixOpenid);
    let (matrix, provider, session) = if local {
        let token = match token {
            Some(token) => token,
            None => secret::needed(None, "CAUSEWAY_TOKEN", "the account's token", "--token-file")?,
        };
        let credentials = Credentials::Token {
            user: &args.user,
            token: &token,
        };
        let (provider, session) = sign_in(&http, credentials, &device).await?;
        (None, provider, session)
    } else {
        let homeserver = args
            .homeserver
            .clone()
            .or_else(|| info.homeserver.as_ref().map(|name| format!("https://{name}")))
            .ok_or_else(|| {
                CliError::usage(
                    "the provider doesn't say where its homeserver is",
                    "add --homeserver URL",
                )
            })?;
        let password = secret::needed(
            args.password_file.as_deref(),
            "CAUSEWAY_PASSWORD",
            "the Matrix password",
            "--password-file",
        )?;
        let matrix = Matrix::login(&homeserver, &args.user, &password, &device, ca.as_deref())
            .await
            .map_err(ClientError::from)?;
        let (provider, session) = sign_in(&http, Credentials::Matrix(&matrix), &device).await?;
        (Some(matrix), provider, session)
    };
    let token = session.token.clone();
    let ca_file = ca.as_ref().map(|p| p.display().to_string());
    let kept = matrix.as_ref().map(|m| m.session().clone());
    engine.signed_in(url, ca_file, provider, session, kept)?;
    let mut client = Client::new(engine, http.with_token(&token), matrix, Options::default());
    if !args.no_keys {
        client.refill(None).await?;
    }
    let account = client.engine().account()?;
    let matrix_user = account.matrix.as_ref().map(|m| m.user_id.clone());
    let value = json!({
        "user": account.session.user, "client": account.session.client,
        "provider": account.provider.provider, "matrix_user": matrix_user,
    });
    out.show(&value, || {
        format!(
            "signed in as {}, device {}",
            account.session.user, account.session.client
        )
    })
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path)
        .map_err(|e| CliError::usage(format!("{}: {e}", path.display()), "name a readable file"))
}

fn random_device() -> Result<String, CliError> {
    let mut octets = [0; 5];
    getrandom::fill(&mut octets)
        .map_err(|_| CliError::failed("no random octets", "name the device with --device"))?;
    Ok(format!("cli-{}", hex::encode(octets)))
}

pub(super) async fn logout(client: &mut HttpClient, out: Output) -> Result<(), CliError> {
    client.logout().await?;
    out.show(&json!({"signed_out": true}), || {
        "signed out; the profile keeps keys and history".into()
    })
}

/// Upload KeyPackages, so that others can add this device to rooms.
#[derive(Debug, Args)]
pub(super) struct RegisterKeysArgs {
    /// Have at least this many one-time KeyPackages there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    count: Option<u32>,
}

pub(super) async fn register_keys(
    client: &mut HttpClient,
    args: &RegisterKeysArgs,
    out: Output,
) -> Result<(), CliError> {
    let available = client.refill(args.count).await?;
    out.show(&json!({"available": available}), || {
        format!("{available} KeyPackages are there")
    })
}

pub(super) async fn devices(client: &HttpClient, out: Output) -> Result<(), CliError> {
    let devices = client.devices().await?;
    let own = &client.engine().session()?.client;
    let rows: Vec<_> = devices
        .iter()
        .map(|d| {
            let this = if d.client == *own { "this one" } else { "" };
            [
                d.client.clone(),
                d.key_packages.to_string(),
                time(d.created_at),
                this.into(),
            ]
        })
        .collect();
    let values = devices
        .iter()
        .map(|d| {
            json!({
                "client": d.client, "key_packages": d.key_packages, "last_resort": d.last_resort,
                "created_at": d.created_at, "this": d.client == *own,
            })
        })
        .collect();
    out.table(["DEVICE", "KEYPACKAGES", "SINCE", ""], &rows, values)
}
