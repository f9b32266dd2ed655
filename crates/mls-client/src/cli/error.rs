//! Why a command failed, for people and for exit codes.

use crate::ClientError;
use crate::storage::StorageError;
use crate::transport::{HttpError, TransportError};

/// Exit codes, for `--help`.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 5 the profile, \
6 provider or homeserver can't be reached, 8 no such room or user or nothing to do it with, \
9 saved but not accepted yet (`sync` goes on with it).";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct CliError {
    cause: String,
    remedy: String,
    exit: u8,
}

impl CliError {
    pub(super) fn usage(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
            exit: 2,
        }
    }

    pub(super) fn failed(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
            exit: 1,
        }
    }

    pub(super) fn nothing(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
            exit: 8,
        }
    }

    /// What is wrong.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.exit
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let (exit, remedy) = match &error {
            ClientError::Storage(e) => (5, storage_remedy(e)),
            ClientError::State(_) => (
                5,
                "use the version that wrote it, or sign in with a new --profile",
            ),
            ClientError::Transport(e) => transport_remedy(e),
            ClientError::NotSignedIn => (1, "run `causeway client login`"),
            ClientError::UnknownRoom(_) | ClientError::AmbiguousRoom(_) => {
                (8, "`causeway client rooms` shows names and URIs")
            }
            ClientError::NotMember { .. } => (
                8,
                "`causeway client rooms` shows how this device stands in each room",
            ),
            ClientError::BadUser(_) => (2, "write a user as mimi://provider/u/name"),
            ClientError::AlreadyParticipant(_) | ClientError::NotParticipant(_) => {
                (8, "`causeway client members ROOM` shows who takes part")
            }
            ClientError::NoKeyPackages { .. } => (
                8,
                "without consent: `causeway client consent request USER`; else the user's client has to sign in and upload KeyPackages (`sync` does it)",
            ),
            ClientError::Refused(_) | ClientError::MessageRefused { .. } => (
                1,
                "the hub decides by the room's policy; `members` shows the roles",
            ),
            ClientError::UnknownMessage(_) => (8, "`causeway client read ROOM` shows the messages' ids"),
            ClientError::Unreportable(_) => (8, "see `causeway client report --help`"),
            ClientError::Attachment(_) => (1, "ask the sender to send it again"),
            ClientError::TooBusy(_) => (1, "try again"),
            ClientError::Pending { .. } => (9, "run `causeway client sync`"),
            _ => (
                1,
                "run it again; if it stays, report it with the output of RUST_LOG=debug",
            ),
        };
        Self {
            cause: error.to_string(),
            remedy: remedy.into(),
            exit,
        }
    }
}

fn storage_remedy(error: &StorageError) -> &'static str {
    match error {
        StorageError::Missing(_) => "run `causeway client login`, or name the right --profile",
        StorageError::Exists(_) => "use it, or name another --profile",
        StorageError::InUse(_) => "stop the other command, or use another --profile",
        StorageError::PassphraseNeeded | StorageError::WrongPassphrase => {
            "give the passphrase with --passphrase-file or CAUSEWAY_PASSPHRASE"
        }
        StorageError::NewerFormat { .. } => "update this program",
        _ => "check the file's permissions and the disk",
    }
}

fn transport_remedy(error: &TransportError) -> (u8, &'static str) {
    use crate::api::ApiErrorCode as Code;
    match (error.code(), error) {
        (Some(Code::Unauthorized), _) => (1, "sign in again with `causeway client login`"),
        (Some(Code::NotFound), _) => (8, "`causeway client rooms` shows what there is for you"),
        (Some(Code::Unavailable | Code::RateLimited), _) => {
            (6, "what was begun is saved; run `causeway client sync` later")
        }
        (None, TransportError::Unreachable(_)) => (
            6,
            "check the address, the network and --ca-file; what was begun is saved, `sync` goes on with it",
        ),
        (None, TransportError::Matrix(_)) => (6, "check the homeserver's address, account and password"),
        _ => (1, "read what the provider said; its log has more"),
    }
}

impl From<HttpError> for CliError {
    fn from(error: HttpError) -> Self {
        Self::usage(error.to_string(), "correct the address or --ca-file")
    }
}
