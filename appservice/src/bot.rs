//! The bot's rooms: it joins where local users invite it, so that a device can show it a sign-in nonce.
//!
//! An invitation is not worth a record of its own: what a crash loses is found again at the next start, because
//! [`run`] first asks the homeserver for open invitations.

use crate::homeserver::{Homeserver, HomeserverError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Invitations that wait; more are dropped and found at the next start.
const QUEUE: usize = 1024;
/// First pause after a failure; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// Attempts for one invitation.
const ATTEMPTS: u32 = 8;

/// The bot was invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Where to.
    pub room_id: String,
    /// Whether by a user of our homeserver.
    pub local: bool,
}

/// The sending half: the routes put invitations in.
#[derive(Clone, Debug)]
pub struct Invites {
    bot: String,
    server_name: String,
    queue: Option<mpsc::Sender<Invite>>,
}

impl Invites {
    /// A queue of invitations for the bot of this homeserver, and its end for [`run`].
    pub fn new(server_name: &str) -> (Self, mpsc::Receiver<Invite>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let bot = crate::bot_user_id(server_name);
        (
            Self {
                bot,
                server_name: server_name.to_owned(),
                queue: Some(queue),
            },
            receiver,
        )
    }

    /// Nobody joins anything.
    pub fn none(server_name: &str) -> Self {
        Self {
            queue: None,
            ..Self::new(server_name).0
        }
    }

    pub(crate) fn wanted(&self) -> bool {
        self.queue.is_some()
    }

    pub(crate) fn bot(&self) -> &str {
        &self.bot
    }

    pub(crate) fn server_name(&self) -> &str {
        &self.server_name
    }

    pub(crate) fn offer(&self, invite: Invite) {
        if self
            .queue
            .as_ref()
            .is_some_and(|queue| queue.try_send(invite).is_err())
        {
            tracing::warn!("too many invitations at once; this one is taken up at the next start");
        }
    }
}

/// Answers invitations until `stop` turns true: joins those of local users, declines those from elsewhere.
pub async fn run(
    homeserver: Homeserver,
    mut invites: mpsc::Receiver<Invite>,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        match homeserver.open_invites().await {
            Ok(open) => {
                for invite in open {
                    answer(&homeserver, &invite).await;
                }
            }
            Err(error) => tracing::warn!(%error, "the bot's open invitations are unknown"),
        }
        while let Some(invite) = invites.recv().await {
            answer(&homeserver, &invite).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn answer(homeserver: &Homeserver, invite: &Invite) {
    let mut pause = MIN_PAUSE;
    for _ in 0..ATTEMPTS {
        let done = if invite.local {
            homeserver.join(&invite.room_id).await
        } else {
            homeserver.leave(&invite.room_id).await
        };
        match done {
            Ok(()) => {
                tracing::info!(
                    room_id = invite.room_id,
                    joined = invite.local,
                    "the bot answered an invitation"
                );
                return;
            }
            Err(HomeserverError::RateLimited { retry_after }) => {
                tokio::time::sleep(retry_after.unwrap_or(pause).min(MAX_PAUSE)).await;
            }
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, room_id = invite.room_id, "the bot tries an invitation again");
                tokio::time::sleep(pause).await;
            }
            Err(error) => {
                tracing::warn!(%error, room_id = invite.room_id, "the bot can't answer an invitation");
                return;
            }
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
    tracing::warn!(
        room_id = invite.room_id,
        "the bot gave an invitation up until the next start"
    );
}
