//! Wishes made on the Matrix side, and cards for the portals of followed rooms.

use super::Client;
use crate::api::{SetWake, Want, Wish, WishOutcome};
use crate::engine::parse_user;
use crate::error::ClientError;
use crate::state::Entry;
use crate::transport::Transport;
use mimi_wire::MimiUri;

impl<T: Transport> Client<T> {
    /// What was asked for on the Matrix side and waits for this user.
    pub async fn wishes(&self) -> Result<Vec<Wish>, ClientError> {
        Ok(self.transport.wishes().await?)
    }

    /// Has this client woken by to-device events on a Matrix device of its user's; none: no more.
    pub async fn set_wake(&self, matrix_device: Option<String>) -> Result<(), ClientError> {
        Ok(self.transport.set_wake(&SetWake { matrix_device }).await?)
    }

    /// Does what was wished for, and says so to whoever wished. Returns the room. What the hub refuses is told too.
    pub async fn fulfil(&mut self, wish: &Wish) -> Result<String, ClientError> {
        let done = self.act_on(wish).await;
        let outcome = match &done {
            Ok(room) => WishOutcome::Done {
                room: wish.room.is_none().then(|| room.clone()),
            },
            // What can't be done is said; what can't be done now stays open.
            Err(error) if error.is_final() => WishOutcome::Declined {
                reason: error.to_string(),
            },
            Err(_) => return done,
        };
        self.transport.settle_wish(&wish.id, &outcome).await?;
        done
    }

    /// Declines a wish.
    pub async fn decline(&self, wish: &Wish, reason: &str) -> Result<(), ClientError> {
        let outcome = WishOutcome::Declined {
            reason: reason.to_owned(),
        };
        Ok(self.transport.settle_wish(&wish.id, &outcome).await?)
    }

    async fn act_on(&mut self, wish: &Wish) -> Result<String, ClientError> {
        if let Want::Start { users, name } = &wish.want {
            let users = users
                .iter()
                .map(|u| parse_user(u))
                .collect::<Result<Vec<_>, _>>()?;
            let name = match name {
                Some(name) => name.clone(),
                None => users.iter().map(short).collect::<Vec<_>>().join(", "),
            };
            let uri = self.create(&name).await?;
            self.add(&uri, &users).await?;
            return Ok(uri);
        }
        let uri = wish.room.clone().ok_or_else(|| ClientError::Malformed {
            what: "wish",
            why: "it names no room".into(),
        })?;
        self.refresh().await?;
        let one = |user: &str| parse_user(user);
        match &wish.want {
            Want::Start { .. } => {}
            Want::Add { user } => drop(self.add(&uri, &[one(user)?]).await?),
            Want::Ban { user } => drop(self.set_roles(&uri, vec![(user.clone(), BANNED)]).await?),
            // A banned user is out of the group already; taken from the list, they may come in again.
            Want::Remove { user } | Want::Unban { user } => drop(self.remove(&uri, &[one(user)?]).await?),
            Want::SetRole { user, role } => drop(self.set_roles(&uri, vec![(user.clone(), *role)]).await?),
            Want::Rename { name } => drop(self.describe(&uri, Some(name.clone()), None).await?),
            Want::SetTopic { topic } => drop(self.describe(&uri, None, Some(topic.clone())).await?),
            Want::SetPicture { address } => drop(self.set_picture(&uri, address.clone()).await?),
            Want::Leave => drop(self.leave(&uri).await?),
        }
        Ok(uri)
    }

    /// Gives users other roles.
    pub async fn set_roles(
        &mut self,
        uri: &str,
        changes: Vec<(String, u32)>,
    ) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        self.finish_first(uri, &mut news).await?;
        self.engine.set_roles(uri, changes)?;
        self.settle(uri, &mut news).await?;
        Ok(news)
    }

    /// Changes the room's name or subject.
    pub async fn describe(
        &mut self,
        uri: &str,
        name: Option<String>,
        topic: Option<String>,
    ) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        self.finish_first(uri, &mut news).await?;
        self.engine.describe(uri, name, topic)?;
        self.settle(uri, &mut news).await?;
        Ok(news)
    }

    /// Changes the room's picture to the one at this `https` address; empty: none.
    pub async fn set_picture(&mut self, uri: &str, address: String) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        self.finish_first(uri, &mut news).await?;
        self.engine.set_picture(uri, address)?;
        self.settle(uri, &mut news).await?;
        Ok(news)
    }

    /// Hands in the card of a room whose hub is elsewhere, where there is news. A provider that doesn't take one is not
    /// asked again for this epoch.
    pub(super) async fn show_card(&mut self, uri: &str) -> Result<(), ClientError> {
        let Some(card) = self.engine.card(uri)? else {
            return Ok(());
        };
        let shown = self.transport.put_card(uri, &card).await;
        match shown {
            Err(error) if error.retry_after().is_some() => return Err(error.into()),
            Err(error) => tracing::warn!(room = uri, %error, "the provider takes no card of this room"),
            Ok(()) => {}
        }
        self.engine.card_shown(uri, card.epoch)
    }
}

/// The banned role (room-policy section 4).
const BANNED: u32 = 1;

fn short(user: &MimiUri) -> String {
    user.local_id()
        .map_or_else(|| user.as_str().to_owned(), std::borrow::Cow::into_owned)
}
