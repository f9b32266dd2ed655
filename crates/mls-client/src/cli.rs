//! `causeway client`: a MIMI client on the command line, for people and for scripts.

mod account;
mod attach;
mod chat;
mod error;
mod output;
mod people;
mod report;
mod rooms;
mod secret;
mod wishes;

pub use error::CliError;

use crate::client::{Client, Options};
use crate::engine::Engine;
use crate::matrix::Matrix;
use crate::storage::{Passphrase, Vault};
use crate::transport::Http;
use async_recursion::async_recursion as boxed;
use clap::{Args, Subcommand};
use output::Output;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a command waits for another one that uses the profile.
const PATIENCE: Duration = Duration::from_secs(15);

/// A MIMI client: signs in, sends and reads end-to-end encrypted messages.
///
/// All state is in the profile directory, encrypted. Without a passphrase the key lies beside it in a file that
/// only you may read (mode 0600): whoever can read your files can read the profile. With a passphrase (Argon2id)
/// it can't be opened without.
#[derive(Debug, Args)]
#[command(after_help = error::EXIT_CODES)]
pub struct ClientArgs {
    /// Directory of the profile: one device of one user. Default: $XDG_DATA_HOME/causeway/client.
    #[arg(long, global = true, env = "CAUSEWAY_PROFILE", value_name = "DIR")]
    profile: Option<PathBuf>,
    /// File with the profile's passphrase, `-` for standard input. Or in CAUSEWAY_PASSPHRASE. A passphrase given
    /// at the first sign-in protects the profile from then on.
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Login(account::LoginArgs),
    /// End the session. Keys and history stay in the profile.
    Logout,
    RegisterKeys(account::RegisterKeysArgs),
    /// List your devices.
    Devices,
    /// List your rooms.
    Rooms,
    /// Show who is in a room.
    Members(rooms::RoomArg),
    Create(rooms::CreateArgs),
    /// Add users to a room, with all their devices.
    Add(rooms::UsersArgs),
    /// Remove users from a room, with all their devices.
    Remove(rooms::UsersArgs),
    /// Bring this device into a room you take part in, by external commit. Also mends a room that this device
    /// can't follow any more.
    Join(rooms::RoomArg),
    /// Leave a room with all your devices. Another member's client takes you out.
    Leave(rooms::RoomArg),
    Send(rooms::SendArgs),
    Read(rooms::ReadArgs),
    Attach(attach::AttachArgs),
    Fetch(attach::FetchArgs),
    Report(report::ReportArgs),
    Sync(rooms::SyncArgs),
    /// List what was asked for on the Matrix side and waits for you.
    Wishes,
    Wake(wishes::WakeArgs),
    Fulfil(wishes::FulfilArgs),
    Decline(wishes::DeclineArgs),
    /// Give a user another role.
    Role(rooms::RoleArgs),
    /// Ban users from a room: they lose all their devices and can't come back.
    Ban(rooms::UsersArgs),
    /// Change a room's name.
    Rename(rooms::TextArgs),
    /// Change a room's subject.
    Topic(rooms::TextArgs),
    /// Replace this device's keys in a room's group: whoever has got hold of the old ones reads no further.
    RenewKeys(rooms::RoomArg),
    /// Change a room's picture to the one at this https address (see `upload`); an empty one takes it away.
    Picture(rooms::TextArgs),
    Upload(attach::UploadArgs),
    Chat(chat::ChatArgs),
    Consent(people::ConsentArgs),
    Profile(people::ProfileArgs),
    Find(people::FindArgs),
    /// Show what waits for you: consent requests, answers to yours, KeyPackages running low.
    Notices,
    Secrets(secret::SecretsArgs),
}

/// The client over HTTPS.
pub(crate) type HttpClient = Client<Http>;

/// Runs `causeway client ...`.
#[boxed]
pub async fn run(args: ClientArgs) -> Result<(), CliError> {
    let profile = args.profile.clone().map_or_else(default_profile, Ok)?;
    let passphrase = secret::passphrase(args.passphrase_file.as_deref())?;
    let place = Place {
        profile: &profile,
        passphrase: passphrase.as_ref(),
    };
    let out = Output { json: args.json };
    match args.command {
        Command::Login(args) => account::login(&place, &args, out).await,
        Command::Logout => account::logout(&mut place.client()?, out).await,
        Command::RegisterKeys(args) => account::register_keys(&mut place.client()?, &args, out).await,
        Command::Devices => account::devices(&place.client()?, out).await,
        Command::Rooms => rooms::list(&mut place.client()?, out).await,
        Command::Members(args) => rooms::members(&mut place.client()?, &args, out).await,
        Command::Create(args) => rooms::create(&mut place.client()?, &args, out).await,
        Command::Add(args) => rooms::add(&mut place.client()?, &args, out).await,
        Command::Remove(args) => rooms::remove(&mut place.client()?, &args, out).await,
        Command::Join(args) => rooms::join(&mut place.client()?, &args, out).await,
        Command::Leave(args) => rooms::leave(&mut place.client()?, &args, out).await,
        Command::Send(args) => rooms::send(&mut place.client()?, &args, out).await,
        Command::Read(args) => rooms::read(&place, &args, out).await,
        Command::Attach(args) => attach::attach(&mut place.client()?, &args, out).await,
        Command::Fetch(args) => attach::fetch(&mut place.client()?, &args, out).await,
        Command::Report(args) => report::report(&mut place.client()?, &args, out).await,
        Command::Sync(args) => rooms::sync(&mut place.client()?, &args, out).await,
        Command::Wishes => wishes::list(&place.client()?, out).await,
        Command::Wake(args) => wishes::wake(&place.client()?, &args, out).await,
        Command::Fulfil(args) => wishes::fulfil(&mut place.client()?, &args, out).await,
        Command::Decline(args) => wishes::decline(&place.client()?, &args, out).await,
        Command::Role(args) => rooms::role(&mut place.client()?, &args, out).await,
        Command::Ban(args) => rooms::ban(&mut place.client()?, &args, out).await,
        Command::Rename(args) => rooms::rename(&mut place.client()?, &args, out).await,
        Command::Topic(args) => rooms::topic(&mut place.client()?, &args, out).await,
        Command::RenewKeys(args) => rooms::renew_keys(&mut place.client()?, &args, out).await,
        Command::Picture(args) => rooms::picture(&mut place.client()?, &args, out).await,
        Command::Upload(args) => attach::upload(&place.client()?, &args, out).await,
        Command::Chat(args) => chat::chat(&mut place.client()?, &args, out).await,
        Command::Consent(args) => people::consent(&place.client()?, args, out).await,
        Command::Profile(args) => people::profile(&place.client()?, args, out).await,
        Command::Find(args) => people::find(&place.client()?, args, out).await,
        Command::Notices => people::notices(&place.client()?, out).await,
        Command::Secrets(args) => secret::secrets(&place.engine()?, &args, out),
    }
}

/// A profile that may not be there yet.
struct Place<'a> {
    profile: &'a Path,
    passphrase: Option<&'a Passphrase>,
}

impl Place<'_> {
    fn engine(&self) -> Result<Engine, CliError> {
        Ok(Engine::open(self.profile, self.passphrase, PATIENCE)?)
    }

    fn engine_or_new(&self) -> Result<Engine, CliError> {
        if Vault::exists(self.profile) {
            return self.engine();
        }
        Ok(Engine::create(self.profile, self.passphrase)?)
    }

    fn client(&self) -> Result<HttpClient, CliError> {
        let engine = self.engine()?;
        let account = engine.account()?;
        if account.session.token.is_empty() {
            return Err(crate::ClientError::NotSignedIn.into());
        }
        let ca = account.ca_file.as_deref().map(Path::new);
        let http = Http::new(&account.provider_url, ca)?.with_token(&account.session.token);
        let matrix = account
            .matrix
            .clone()
            .map(|session| {
                let ca = session.ca_file.clone();
                Matrix::resume(session, ca.as_deref().map(Path::new))
            })
            .transpose()
            .map_err(crate::ClientError::from)?;
        Ok(Client::new(engine, http, matrix, Options::default()))
    }
}

fn default_profile() -> Result<PathBuf, CliError> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_DATA_HOME")
        .or_else(|| Some(set("HOME")?.join(".local/share")))
        .map(|base| base.join("causeway/client"))
        .ok_or_else(|| CliError::usage("there is no home directory", "name a directory with --profile"))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Parser)]
    struct Causeway {
        #[command(flatten)]
        client: ClientArgs,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Causeway::command().debug_assert();
    }

    #[test]
    fn options_for_all_commands_stand_before_or_after() {
        for line in [
            "causeway --json --profile p rooms",
            "causeway rooms --profile p --json",
        ] {
            let args = Causeway::try_parse_from(line.split(' ')).unwrap().client;
            assert!(args.json);
            assert_eq!(args.profile, Some("p".into()));
            assert!(matches!(args.command, Command::Rooms));
        }
        assert!(
            Causeway::try_parse_from(["causeway", "secrets"]).is_err(),
            "not without --for-audit"
        );
        assert!(Causeway::try_parse_from(["causeway", "login", "--user", "alice"]).is_err());
    }
}
