//! Carries a portal's plan out, within the homeserver's rate limits.

use super::plan::{AVATAR, Step, plan};
use super::{alias, alias_localpart};
use crate::homeserver::{GhostProfile, Homeserver, HomeserverError, Membership};
use crate::matrix::OwnedRoomAliasId;
use crate::pictures::{Gallery, SOURCE_FIELD};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mimi_wire::MimiUri;
use room_engine::{PortalWanted, ghost};

/// Ghosts on their way into or out of a room at once. The homeserver takes one membership event of a room after the
/// other anyway; a few in flight keep it busy.
const AT_ONCE: usize = 4;
/// Members after which a long piece of work says how far it is.
const REPORT: usize = 100;

/// Characters of a name that are shown.
const LONGEST_NAME: usize = 150;

/// What a ghost shows: "bob (b.example)" with the name that its provider tells, its picture, and the URI in its profile.
/// `ghost` is its Matrix user id, `near` a room or user by way of whose provider a picture can be fetched.
pub async fn dressed(
    homeserver: &Homeserver,
    gallery: &Gallery,
    near: &MimiUri,
    (user, ghost): (&MimiUri, &str),
) -> Result<GhostProfile, HomeserverError> {
    let shown = gallery.shown(user).await;
    let name = shown.name.as_deref().filter(|name| !name.trim().is_empty());
    let name = name
        .map(ToOwned::to_owned)
        .or_else(|| user.local_id().map(Into::into));
    let name = name.map_or_else(
        || user.as_str().to_owned(),
        |name| {
            let name: String = name.chars().take(LONGEST_NAME).collect();
            format!("{name} ({})", user.domain().as_str())
        },
    );
    let avatar = match shown.picture {
        Some(address)
            if !gallery.has(&address) && homeserver.picture_of(ghost).await?.as_ref() == Some(&address) =>
        {
            None
        }
        Some(address) => {
            let mxc = gallery.uploaded(homeserver, near, &address).await?;
            mxc.map(|mxc| (mxc, address))
        }
        None => None,
    };
    Ok(GhostProfile {
        uri: user.as_str().to_owned(),
        name: name.chars().filter(|c| !c.is_control()).take(400).collect(),
        avatar,
    })
}

/// Brings a portal to what it has to show; answers with the number of steps that took. Interrupted, it goes on from
/// there the next time.
pub async fn sync(
    homeserver: &Homeserver,
    gallery: &Gallery,
    wanted: &PortalWanted,
) -> Result<usize, HomeserverError> {
    let room = wanted.portal.as_str();
    let place = Place {
        homeserver,
        gallery,
        mimi: &wanted.room,
        room,
    };
    let state = homeserver.full_state(room).await?;
    let steps = plan(wanted, homeserver.bot(), &state);
    let count = steps.len();
    let (ghosts, first): (Vec<Step>, Vec<Step>) = steps
        .into_iter()
        .partition(|step| matches!(step, Step::BringIn { .. } | Step::TakeOut(_)));
    for step in &first {
        place.carry_out(step).await?;
    }
    let all = ghosts.len();
    let mut done = 0_usize;
    let mut running = stream::iter(ghosts)
        .map(|step| async move { place.carry_out(&step).await })
        .buffer_unordered(AT_ONCE);
    while running.try_next().await?.is_some() {
        done = done.saturating_add(1);
        if done.is_multiple_of(REPORT) {
            tracing::info!(
                room = wanted.room.as_str(),
                portal = room,
                done,
                all,
                "ghosts on their way"
            );
        }
    }
    if let Ok(alias) = OwnedRoomAliasId::try_from(alias(wanted.room.as_str(), homeserver.server_name())) {
        let canonical = homeserver.state(room, "m.room.canonical_alias", "").await?;
        let named = canonical
            .as_ref()
            .and_then(|content| content.get("alias"))
            .is_some();
        if !named {
            homeserver.set_alias(&alias, room).await?;
            let content = serde_json::json!({ "alias": alias });
            homeserver
                .set_state(room, "m.room.canonical_alias", "", &content)
                .await?;
        }
    }
    // The operator's rules for the directory are the operator's.
    soft(homeserver.set_published(room, wanted.published).await)?;
    Ok(count)
}

/// Where a plan is carried out.
#[derive(Clone, Copy)]
struct Place<'a> {
    homeserver: &'a Homeserver,
    gallery: &'a Gallery,
    /// The MIMI room.
    mimi: &'a MimiUri,
    /// The Matrix room.
    room: &'a str,
}

impl Place<'_> {
    async fn carry_out(&self, step: &Step) -> Result<(), HomeserverError> {
        let (homeserver, room) = (self.homeserver, self.room);
        let done = match step {
            Step::State { event_type, content } => homeserver
                .set_state(room, event_type, "", content)
                .await
                .map(drop),
            Step::Picture(address) => self.show(address).await,
            Step::Unban(user) => homeserver.unban(room, user).await,
            Step::Invite(user) => homeserver.invite(room, user).await,
            Step::Remove { user, reason } => homeserver.kick(room, user, Some(reason)).await,
            Step::Ban(user) => {
                homeserver
                    .ban(room, user, Some("banned from the MIMI room"))
                    .await
            }
            Step::TakeOut(ghost) => homeserver.leave_as(room, ghost, None).await,
            Step::BringIn { ghost, uri, invited } => self.bring_in(ghost, uri, *invited).await,
        };
        match done {
            // One user who can't be invited (deactivated, blocks invitations) holds up nobody else.
            Err(error) if !error.is_transient() => {
                metrics::counter!("causeway_portal_steps_refused_total").increment(1);
                tracing::warn!(portal = room, ?step, %error, "the homeserver refuses a step");
                Ok(())
            }
            other => other,
        }
    }

    /// Shows a picture. One that can't be had is tried again when the portal is next compared with its room.
    async fn show(&self, address: &str) -> Result<(), HomeserverError> {
        let uploaded = self.gallery.uploaded(self.homeserver, self.mimi, address).await?;
        let Some(mxc) = uploaded else { return Ok(()) };
        let content = serde_json::json!({ "url": mxc, SOURCE_FIELD: address });
        self.homeserver
            .set_state(self.room, AVATAR, "", &content)
            .await
            .map(drop)
    }

    async fn bring_in(&self, ghost: &str, uri: &str, invited: bool) -> Result<(), HomeserverError> {
        let (homeserver, room) = (self.homeserver, self.room);
        let user = MimiUri::parse(uri).map_err(|e| HomeserverError::Setup(format!("{uri}: {e}")))?;
        let profile = dressed(homeserver, self.gallery, self.mimi, (&user, ghost)).await?;
        homeserver.ensure_ghost(ghost, &profile).await?;
        if !invited {
            homeserver.invite(room, ghost).await?;
        }
        homeserver.join_as(room, ghost).await
    }
}

/// Takes everybody out of a portal and leaves it: ghosts (with their devices, where they are in no other room), Matrix
/// users, the alias, the entry in the directory, the bot. Each step is skipped where it is done already.
pub async fn close(homeserver: &Homeserver, mimi_room: &str, room: &str) -> Result<(), HomeserverError> {
    if let Ok(alias) = OwnedRoomAliasId::try_from(alias(mimi_room, homeserver.server_name()))
        && homeserver
            .resolve(&alias)
            .await?
            .is_some_and(|found| found.as_str() == room)
    {
        homeserver.delete_alias(&alias).await?;
        tracing::info!(portal = room, alias = alias_localpart(mimi_room), "alias removed");
    }
    let state = match homeserver.full_state(room).await {
        Ok(state) => state,
        // The bot is out already, and it goes last.
        Err(error) if error.status() == Some(403) => return Ok(()),
        Err(error) => return Err(error),
    };
    soft(homeserver.set_published(room, false).await)?;
    let members: Vec<(String, bool)> = state
        .iter()
        .filter(|event| event.event_type == "m.room.member" && event.state_key != homeserver.bot())
        .filter(|event| {
            let membership = event
                .content
                .get("membership")
                .and_then(serde_json::Value::as_str);
            matches!(membership, Some("join" | "invite" | "knock"))
        })
        .map(|event| {
            let local = event.state_key.strip_prefix('@').unwrap_or_default();
            (event.state_key.clone(), local.starts_with(ghost::NAMESPACE))
        })
        .collect();
    let all = members.len();
    let mut done = 0_usize;
    let mut running = stream::iter(members)
        .map(|(user, is_ghost)| async move {
            if !is_ghost {
                let why = Some("this room is no longer connected to MIMI");
                return soft(homeserver.kick(room, &user, why).await);
            }
            soft(homeserver.leave_as(room, &user, None).await)?;
            if homeserver.rooms_of(&user).await?.is_empty() {
                homeserver.delete_devices(&user).await?;
            }
            Ok(())
        })
        .buffer_unordered(AT_ONCE);
    while running.try_next().await?.is_some() {
        done = done.saturating_add(1);
        if done.is_multiple_of(REPORT) {
            tracing::info!(portal = room, done, all, "members on their way out");
        }
    }
    soft(homeserver.leave(room).await)
}

/// What the homeserver refuses for good is passed over.
fn soft(outcome: Result<(), HomeserverError>) -> Result<(), HomeserverError> {
    match outcome {
        Err(error) if !error.is_transient() => {
            tracing::warn!(%error, "the homeserver refuses a step");
            Ok(())
        }
        other => other,
    }
}

/// Whether the bot can do its work in a room that took a portal's place.
pub async fn fits(homeserver: &Homeserver, room: &str) -> Result<bool, HomeserverError> {
    match homeserver.join(room).await {
        Ok(()) => {}
        Err(error) if error.is_transient() => return Err(error),
        Err(_) => return Ok(false),
    }
    if homeserver.membership(room, homeserver.bot()).await? != Membership::Join {
        return Ok(false);
    }
    let create = homeserver
        .state(room, "m.room.create", "")
        .await?
        .unwrap_or_default();
    let levels = homeserver
        .state(room, "m.room.power_levels", "")
        .await?
        .unwrap_or_default();
    let is_creator = |field: &str| {
        create
            .get(field)
            .and_then(serde_json::Value::as_array)
            .is_some_and(|creators| creators.iter().any(|one| one == homeserver.bot()))
    };
    let level = levels.get("users").and_then(|users| users.get(homeserver.bot()));
    let level = level.and_then(serde_json::Value::as_i64).unwrap_or_default();
    Ok(level >= 100 || is_creator("additional_creators"))
}
