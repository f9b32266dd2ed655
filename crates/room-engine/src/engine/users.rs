//! Users of this provider: accounts, sessions, devices, key packages.

use mimi_wire::uri::MimiUri;
use sha2::{Digest as _, Sha256};
use store::Space;
use zeroize::Zeroizing;

use super::{Engine, EngineError, unexpected};
use crate::command::{ClientActor, Reply, RequestContext, UserCommand};
use crate::records::read;
use crate::refusal::Refusal;
use crate::user::{SessionRecord, session_key};
use crate::views::{Device, KeyPackageStock, Session, SignIn};

impl Engine {
    /// Makes an account that signs in with a token. Returns the token; only its hash is kept.
    pub async fn add_account(
        &self,
        ctx: RequestContext,
        localpart: &str,
    ) -> Result<(MimiUri, Zeroizing<String>), Refusal> {
        let user = self.user_uri(localpart)?;
        let token = Zeroizing::new(crate::user::random_token()?);
        let token_hash = Sha256::digest(token.as_bytes()).into();
        self.user_command(ctx, &user, UserCommand::AddAccount { token_hash })
            .await?;
        Ok((user, token))
    }

    /// Removes an account with its devices, sessions and key packages.
    pub async fn remove_account(&self, ctx: RequestContext, localpart: &str) -> Result<(), Refusal> {
        let user = self.user_uri(localpart)?;
        self.user_command(ctx, &user, UserCommand::RemoveAccount)
            .await
            .map(drop)
    }

    /// The URI of a user of this provider.
    pub fn user_uri(&self, localpart: &str) -> Result<MimiUri, Refusal> {
        MimiUri::user(&self.env.config.provider, localpart).map_err(|e| Refusal::malformed("user name", e))
    }

    /// Signs a device in with an account's token.
    pub async fn sign_in_local(
        &self,
        ctx: RequestContext,
        localpart: &str,
        secret: Zeroizing<String>,
        device: &str,
    ) -> Result<Session, Refusal> {
        let user = self.user_uri(localpart)?;
        let command = UserCommand::SignInLocal {
            device: device.to_owned(),
            secret,
        };
        match self.user_command(ctx, &user, command).await? {
            Reply::Session(session) => Ok(session),
            other => Err(unexpected(&other)),
        }
    }

    /// Signs a device of a Matrix user in. The caller has checked with the homeserver that it speaks for
    /// `localpart`.
    pub async fn sign_in_matrix(
        &self,
        ctx: RequestContext,
        localpart: &str,
        device: &str,
    ) -> Result<SignIn, Refusal> {
        let user = self.user_uri(localpart)?;
        match self
            .user_command(
                ctx,
                &user,
                UserCommand::SignInMatrix {
                    device: device.to_owned(),
                },
            )
            .await?
        {
            Reply::Session(session) => Ok(SignIn::Session(session)),
            Reply::Challenge { nonce } => Ok(SignIn::Challenge { nonce }),
            other => Err(unexpected(&other)),
        }
    }

    /// Whose session a token is.
    pub async fn session(&self, token: &str) -> Result<Option<ClientActor>, EngineError> {
        let found: Option<SessionRecord> =
            read(self.env.store.as_ref(), Space::Session, &session_key(token)).await?;
        Ok(found.map(|record| ClientActor {
            user: record.user,
            client: record.client,
        }))
    }

    /// Ends a session.
    pub async fn sign_out(&self, ctx: RequestContext, who: &ClientActor, token: &str) -> Result<(), Refusal> {
        self.user_command(
            ctx,
            &who.user,
            UserCommand::SignOut {
                session: session_key(token),
            },
        )
        .await
        .map(drop)
    }

    /// The user's devices.
    pub async fn devices(&self, ctx: RequestContext, user: &MimiUri) -> Result<Vec<Device>, Refusal> {
        match self.user_command(ctx, user, UserCommand::Devices).await? {
            Reply::Devices(devices) => Ok(devices),
            other => Err(unexpected(&other)),
        }
    }

    /// Forgets a device: its sessions and key packages. Its leaves in groups stay until a commit removes them.
    pub async fn remove_device(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        client: &MimiUri,
    ) -> Result<(), Refusal> {
        self.user_command(
            ctx,
            user,
            UserCommand::RemoveDevice {
                client: client.clone(),
            },
        )
        .await
        .map(drop)
    }

    /// Adds to a client's stock of KeyPackages.
    pub async fn upload_key_packages(
        &self,
        ctx: RequestContext,
        who: &ClientActor,
        packages: Vec<Vec<u8>>,
    ) -> Result<KeyPackageStock, Refusal> {
        let command = UserCommand::UploadKeyPackages {
            client: who.client.clone(),
            packages,
        };
        match self.user_command(ctx, &who.user, command).await? {
            Reply::Stock(stock) => Ok(stock),
            other => Err(unexpected(&other)),
        }
    }

    /// A client's stock of KeyPackages.
    pub async fn key_package_stock(
        &self,
        ctx: RequestContext,
        who: &ClientActor,
    ) -> Result<KeyPackageStock, Refusal> {
        match self
            .user_command(
                ctx,
                &who.user,
                UserCommand::Stock {
                    client: who.client.clone(),
                },
            )
            .await?
        {
            Reply::Stock(stock) => Ok(stock),
            other => Err(unexpected(&other)),
        }
    }
}
