//! The adapter to existing Matrix homeservers, and the registration it generates.
//!
//! Causeway stands beside an unmodified homeserver as an application service. Inbound, [`routes()`] takes the
//! homeserver's transactions and hands them to an [`Intake`], which makes them durable before the answer goes
//! out. Outbound, [`HomeserverTransport`] carries the outbox entries of a room's [`portal`] through the client-server
//! API as the bot, each in a way that a repeat after a crash changes nothing twice.

mod engine;
pub mod homeserver;
pub mod matrix;
pub mod pictures;
pub mod portal;
pub mod registration;
pub mod routes;
pub mod thirdparty;
pub mod tokens;
pub mod transport;
pub mod watch;

pub use homeserver::{Homeserver, HomeserverError, HomeserverSettings};
pub use matrix_wire::push::{self, Incoming, event as events};
pub use pictures::{Gallery, PictureError, Pictures, Shown};
pub use registration::{Difference, Registration, RegistrationError, Secret};
pub use room_engine::ghost::{self, Ghost, NAMESPACE};
pub use routes::{AppserviceState, Intake, IntakeError, Lookup, routes};
pub use tokens::{KeyRing, TokenPair};
pub use transport::{HomeserverTransport, Portals};
pub use watch::{Watch, WatchSettings, Watched};

/// Local part of the bot, the application service's own user.
pub const BOT_LOCALPART: &str = "_mimi";

/// The bot's Matrix user id on a homeserver.
pub fn bot_user_id(server_name: &str) -> String {
    format!("@{BOT_LOCALPART}:{server_name}")
}
