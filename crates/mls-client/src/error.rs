//! What can go wrong in a client.

use crate::storage::StorageError;
use crate::transport::TransportError;

/// Any failure of a client's operation. State is as it was before it, or as saved on the way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The profile on disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The provider couldn't be asked, or refused.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Nobody is signed in.
    #[error("not signed in; run `causeway client login`")]
    NotSignedIn,
    /// Something the provider sent is not what it should be.
    #[error("the provider sent a malformed {what}: {why}")]
    Malformed {
        /// What it was meant to be.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// openmls refused.
    #[error("MLS: {what}: {why}")]
    Mls {
        /// What was tried.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// No such room.
    #[error("no room {0}; `causeway client rooms` lists them")]
    UnknownRoom(String),
    /// More than one room of that name.
    #[error("{0} names several rooms; use the room's URI")]
    AmbiguousRoom(String),
    /// This device is no member.
    #[error("this device is no member of {room}: {why}")]
    NotMember {
        /// The room.
        room: String,
        /// How it stands, and what to do.
        why: &'static str,
    },
    /// Not a URI, or not one of the right kind.
    #[error("{0} is not a user: write mimi://provider/u/name, name@provider or @name:provider")]
    BadUser(String),
    /// The user takes part already.
    #[error("{0} takes part in the room already")]
    AlreadyParticipant(String),
    /// The user doesn't take part.
    #[error("{0} takes no part in the room")]
    NotParticipant(String),
    /// A credential that names no client.
    #[error("a credential names no client: {0}")]
    BadIdentity(String),
    /// No KeyPackages to be had.
    #[error("no KeyPackages of {user}: {why}")]
    NoKeyPackages {
        /// Whose.
        user: String,
        /// What the answer said.
        why: String,
    },
    /// The hub refused a change.
    #[error("the hub refused: {0}")]
    Refused(String),
    /// The hub refused a message for good.
    #[error("message {id} was refused: {why}")]
    MessageRefused {
        /// Our id for it.
        id: String,
        /// What was said.
        why: String,
    },
    /// No message of that id, or several.
    #[error("no message, or more than one, has the id {0}; `causeway client read` shows the ids")]
    UnknownMessage(String),
    /// Nothing that a hub could verify.
    #[error("it can't be reported: {0}")]
    Unreportable(String),
    /// A file that can't be sent or fetched.
    #[error("the attachment: {0}")]
    Attachment(String),
    /// Gave up repeating.
    #[error("gave up after {0} attempts: the group kept changing; try again")]
    TooBusy(u32),
    /// The outcome will show in the feed.
    #[error("no outcome within {seconds} s; it is saved and goes on with the next `sync`")]
    Pending {
        /// How long was waited.
        seconds: u64,
    },
    /// A signature of the hub doesn't verify.
    #[error("the answer of the hub is not signed by the hub's key")]
    HubSignature,
    /// The saved state can't be read although its seal is whole.
    #[error("the saved state is of another version of this program: {0}")]
    State(String),
}

impl ClientError {
    /// Whether the same thing would fail in the same way again.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Transport(error) => error.code().is_some() && error.retry_after().is_none(),
            Self::Malformed { .. }
            | Self::UnknownRoom(_)
            | Self::NotMember { .. }
            | Self::BadUser(_)
            | Self::AlreadyParticipant(_)
            | Self::NotParticipant(_)
            | Self::BadIdentity(_)
            | Self::NoKeyPackages { .. }
            | Self::Refused(_) => true,
            _ => false,
        }
    }

    pub(crate) fn mls<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |e| Self::Mls {
            what,
            why: e.to_string(),
        }
    }

    pub(crate) fn malformed<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |e| Self::Malformed {
            what,
            why: e.to_string(),
        }
    }
}
