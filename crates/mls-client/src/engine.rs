//! The client without its network: what to send, and what an answer or a feed entry means.
//!
//! Each method works on the state in memory and saves it before it returns, so a request that is handed out is
//! already on disk and an answer that was taken in is too. Killing the process between any two calls loses
//! nothing: requests are repeated octet by octet ([`Engine::pending`], [`Engine::founding`],
//! [`Engine::submission`]), and the feed goes on where it was left. If a method fails the state in memory is
//! what was saved last.

mod account;
pub(crate) mod attachment;
mod audit;
mod change;
mod dictionary;
mod feed;
mod founding;
mod join;
mod message;
mod plan;
mod proposals;
mod report;

pub use attachment::Attachment;
pub use audit::Secret;
pub use change::{Outcome, user_of};
pub use founding::NewRoom;
pub use message::Sent;

use crate::api::{ProviderInfo, RoomCard, RoomSummary, Session};
use crate::error::ClientError;
use crate::mls::{Held, Provider};
use crate::state::{Account, Entry, Membership, Room, State};
use crate::storage::{Passphrase, Vault};
use mimi_wire::MimiUri;
use openmls::prelude::MlsGroup;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// Everything of one profile.
#[derive(Debug)]
pub struct Engine {
    kept: Kept,
    mls: Provider,
    state: State,
}

/// Where it is saved.
#[derive(Debug)]
enum Kept {
    /// In a profile's directory.
    Profile(Vault),
    /// In memory: it is gone with the process.
    Memory(Box<Saved>),
}

#[derive(Serialize)]
struct Saving<'a> {
    mls: &'a Provider,
    state: &'a State,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Saved {
    mls: Provider,
    state: State,
}

fn pack(mls: &Provider, state: &State) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    serde_json::to_vec(&Saving { mls, state })
        .map(Zeroizing::new)
        .map_err(|e| ClientError::State(e.to_string()))
}

fn unpack(content: &[u8]) -> Result<Saved, ClientError> {
    serde_json::from_slice(content).map_err(|e| ClientError::State(e.to_string()))
}

impl Engine {
    /// Makes an empty profile in `dir`.
    pub fn create(dir: &Path, passphrase: Option<&Passphrase>) -> Result<Self, ClientError> {
        let (mls, state) = (Provider::default(), State::default());
        let kept = Kept::Profile(Vault::create(dir, passphrase, &pack(&mls, &state)?)?);
        Ok(Self { kept, mls, state })
    }

    /// Makes an empty profile that ends with the process, for simulations.
    pub fn ephemeral() -> Self {
        let Saved { mls, state } = Saved::default();
        let kept = Kept::Memory(Box::default());
        Self { kept, mls, state }
    }

    /// Opens the profile in `dir`; waits up to `patience` for another process to let go of it.
    pub fn open(
        dir: &Path,
        passphrase: Option<&Passphrase>,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let (vault, content) = Vault::open(dir, passphrase, patience)?;
        let Saved { mls, state } = unpack(&content)?;
        let kept = Kept::Profile(vault);
        Ok(Self { kept, mls, state })
    }

    fn save(&mut self) -> Result<(), ClientError> {
        match &mut self.kept {
            Kept::Profile(vault) => vault.replace(&pack(&self.mls, &self.state)?)?,
            Kept::Memory(saved) => {
                saved.mls.clone_from(&self.mls);
                saved.state.clone_from(&self.state);
            }
        }
        Ok(())
    }

    fn saved(&self) -> Result<Saved, ClientError> {
        match &self.kept {
            Kept::Profile(vault) => unpack(&vault.read()?),
            Kept::Memory(saved) => Ok(Saved::clone(saved)),
        }
    }

    /// Runs `work` and saves; if either fails, forgets what `work` did.
    fn saving<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let done = work(self).and_then(|value| self.save().map(|()| value));
        if done.is_err() {
            let Saved { mls, state } = self.saved()?;
            (self.mls, self.state) = (mls, state);
        }
        done
    }

    /// Who is signed in.
    pub fn account(&self) -> Result<&Account, ClientError> {
        self.state.account.as_ref().ok_or(ClientError::NotSignedIn)
    }

    /// Our session.
    pub fn session(&self) -> Result<&Session, ClientError> {
        Ok(&self.account()?.session)
    }

    /// Our provider.
    pub fn provider(&self) -> Result<&ProviderInfo, ClientError> {
        Ok(&self.account()?.provider)
    }

    /// Takes in what our provider says about itself now.
    pub fn provider_is(&mut self, info: ProviderInfo) -> Result<(), ClientError> {
        if info.provider != self.provider()?.provider {
            let why = format!("it calls itself {} now", info.provider);
            return Err(ClientError::Malformed {
                what: "description of itself",
                why,
            });
        }
        if info == *self.provider()? {
            return Ok(());
        }
        self.saving(|engine| {
            if let Some(account) = &mut engine.state.account {
                account.provider = info;
            }
            Ok(())
        })
    }

    /// All rooms this device knows.
    pub fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.state.rooms.values()
    }

    /// A room by its URI.
    pub fn room(&self, uri: &str) -> Result<&Room, ClientError> {
        self.state
            .rooms
            .get(uri)
            .ok_or_else(|| ClientError::UnknownRoom(uri.into()))
    }

    fn room_mut(&mut self, uri: &str) -> Result<&mut Room, ClientError> {
        self.state
            .rooms
            .get_mut(uri)
            .ok_or_else(|| ClientError::UnknownRoom(uri.into()))
    }

    /// The room a person means: its URI, its name, or the last segment of the URI.
    pub fn find_room(&self, text: &str) -> Result<String, ClientError> {
        if self.state.rooms.contains_key(text) {
            return Ok(text.into());
        }
        let matches = |r: &&Room| r.name.as_deref() == Some(text) || r.uri.rsplit('/').next() == Some(text);
        let mut found = self.rooms().filter(matches);
        match (found.next(), found.next()) {
            (Some(room), None) => Ok(room.uri.clone()),
            (Some(_), Some(_)) => Err(ClientError::AmbiguousRoom(text.into())),
            (None, _) => Err(ClientError::UnknownRoom(text.into())),
        }
    }

    /// Takes in the provider's list of rooms.
    pub fn summaries(&mut self, summaries: Vec<RoomSummary>) -> Result<(), ClientError> {
        self.saving(|engine| {
            for s in summaries {
                let room = engine.state.rooms.entry(s.room.clone()).or_insert_with(|| Room {
                    uri: s.room,
                    hub: s.hub,
                    name: s.name.clone(),
                    portal: None,
                    group_id: s.group_id,
                    membership: Membership::Outside,
                    next: s.first,
                    joined_epoch: 0,
                    departing: std::collections::BTreeSet::new(),
                    intent: None,
                    pending: None,
                    card_epoch: None,
                    group_info_key: None,
                    own_handshakes: Vec::new(),
                    outgoing: Vec::new(),
                    former: Vec::new(),
                    history: Vec::new(),
                    future: Vec::new(),
                });
                room.portal = s.portal;
                if room.name.is_none() {
                    room.name = s.name;
                }
                // What lies before what we may read can't be waited for.
                room.next = room.next.max(s.first);
                if let Membership::Founding(_) = room.membership {
                    room.membership = Membership::Member;
                }
            }
            Ok(())
        })
    }

    fn group(&self, uri: &str) -> Result<Option<Held<MlsGroup>>, ClientError> {
        load(&self.mls, self.room(uri)?)
    }

    /// The group of a room this device is a member of.
    fn member_group(&self, uri: &str) -> Result<Held<MlsGroup>, ClientError> {
        let room = self.room(uri)?;
        let why = match &room.membership {
            Membership::Member => None,
            Membership::Outside => Some("it was not added; bring it in with `join`"),
            Membership::Founding(_) => Some("the provider hasn't confirmed its founding; run `sync`"),
            Membership::Joining => Some("its own commit waits for an answer; run `sync`"),
            Membership::Leaving => Some("it is leaving"),
            Membership::Left => Some("it left or was removed"),
            Membership::Broken { .. } => {
                Some("it can't follow the group any more; bring it back in with `join`")
            }
        };
        let lost = |why| ClientError::NotMember {
            room: uri.into(),
            why,
        };
        match why {
            Some(why) => Err(lost(why)),
            None => load(&self.mls, room)?
                .filter(|group| group.is_active())
                .ok_or(lost("its MLS state is gone")),
        }
    }

    /// The epoch this device is in, where it is a member.
    pub fn epoch(&self, uri: &str) -> Result<Option<u64>, ClientError> {
        Ok(self.group(uri)?.map(|g| g.epoch().as_u64()))
    }

    /// Participants of a room with their roles, and the clients in its group, as this device sees them.
    pub fn members(&self, uri: &str) -> Result<Roster, ClientError> {
        let Some(group) = self.group(uri)? else {
            return Ok(Roster::default());
        };
        dictionary::roster(&group)
    }

    /// What the own provider can't read of a room whose hub is elsewhere, where that has changed since the last time
    /// ([`Engine::card_shown`]).
    pub fn card(&self, uri: &str) -> Result<Option<RoomCard>, ClientError> {
        let room = self.room(uri)?;
        let own = self.account()?.provider.provider == room.hub;
        if own || room.membership != Membership::Member {
            return Ok(None);
        }
        let Some(group) = self
            .group(uri)?
            .filter(|group| Some(group.epoch().as_u64()) != room.card_epoch)
        else {
            return Ok(None);
        };
        dictionary::card(&group).map(Some)
    }

    /// The provider has the card of this epoch.
    pub fn card_shown(&mut self, uri: &str, epoch: u64) -> Result<(), ClientError> {
        self.saving(|engine| {
            engine.room_mut(uri)?.card_epoch = Some(epoch);
            Ok(())
        })
    }
}

/// Who is in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Roster {
    /// User URI and role.
    pub participants: Vec<(String, u32)>,
    /// Client URIs of the group's members.
    pub clients: Vec<String>,
}

fn load(mls: &Provider, room: &Room) -> Result<Option<Held<MlsGroup>>, ClientError> {
    mls.group(&room.group_id.0)
}

/// Reads a user as people write one: a MIMI URI, `name@provider`, or `@name:provider` as Matrix does.
pub fn parse_user(text: &str) -> Result<MimiUri, ClientError> {
    let bad = || ClientError::BadUser(text.into());
    if text.starts_with("mimi://") {
        let uri = MimiUri::parse(text).map_err(|_| bad())?;
        let user = matches!(
            uri.kind(),
            mimi_wire::UriKind::User | mimi_wire::UriKind::Pseudonym
        );
        return if user { Ok(uri) } else { Err(bad()) };
    }
    let (name, domain) = match text.strip_prefix('@') {
        Some(matrix) => matrix.split_once(':'),
        None => text.rsplit_once('@'),
    }
    .ok_or_else(bad)?;
    let domain = mimi_wire::Domain::parse(domain).map_err(|_| bad())?;
    MimiUri::user(&domain, name).map_err(|_| bad())
}

impl Room {
    fn entry_mut(&mut self, hash: crate::state::Hash) -> Option<&mut Entry> {
        self.history.iter_mut().rev().find(|e| e.hash == hash)
    }
}
