//! Portals: what happens in them, what they have to show, and what became of them.

use mimi_wire::uri::MimiUri;
use std::collections::BTreeMap;
use store::{Scan, Space};

use super::{Engine, EngineError, Env};
use crate::carrier::{SubmissionRefusal, SubmissionState};
use crate::command::{ClientActor, InboxKey, RequestContext, RoomCommand, UserCommand};
use crate::ghost::{self, NAMESPACE};
use crate::homeserver::InboundEvent;
use crate::owner::UriKey;
use crate::records::{PortalState, parse};
use crate::refusal::Refusal;
use crate::room::{PortalAct, PortalRequest, Records};
use crate::views::{PictureKept, PortalMember, PortalWanted, RoomCard};
use crate::wish::{MOST_WISHES, Wish, WishOutcome};

/// Members' levels read from a power levels event.
const MOST_LEVELS: usize = 20_000;

impl Env {
    /// The Matrix user id under which a MIMI user is seen on the homeserver beside us.
    pub(crate) fn matrix_id(&self, user: &MimiUri) -> Option<String> {
        let homeserver = self.config.homeserver.as_ref()?;
        if user.domain() == self.config.provider {
            return Some(format!("@{}:{}", user.local_id()?, homeserver.server_name));
        }
        Some(ghost::user_id(user, &homeserver.server_name))
    }
}

/// Whether an event may be one that portals or the bot act on. Looked at before anything is written, so it must not
/// ask the store.
pub(crate) fn concerns_portals(event: &InboundEvent) -> bool {
    // Ghosts do what we told them to.
    if event
        .sender
        .strip_prefix('@')
        .is_some_and(|s| s.starts_with(NAMESPACE))
    {
        return false;
    }
    match event.event_type.as_str() {
        "m.room.member"
        | "m.room.power_levels"
        | "m.room.name"
        | "m.room.topic"
        | "m.room.avatar"
        | "m.room.tombstone" => event.state_key.is_some() && act_of(event).is_some(),
        "m.room.message" | "m.room.encrypted" => event.state_key.is_none(),
        _ => false,
    }
}

/// What an event asks for. `None`: nothing.
fn act_of(event: &InboundEvent) -> Option<PortalAct> {
    let text = |field: &str| {
        event
            .content
            .get(field)
            .and_then(serde_json::Value::as_str)
            .map(ToOwned::to_owned)
    };
    Some(match event.event_type.as_str() {
        "m.room.member" => {
            let target = event.state_key.clone()?;
            match (text("membership")?.as_str(), target == event.sender) {
                ("leave", true) => PortalAct::Leave,
                ("leave", false) => PortalAct::Remove { target },
                ("ban", false) => PortalAct::Ban { target },
                ("invite", false) => PortalAct::Invite { target },
                ("knock", true) => PortalAct::Knock,
                _ => return None,
            }
        }
        "m.room.power_levels" => {
            let users = event.content.get("users").and_then(serde_json::Value::as_object);
            PortalAct::Levels {
                users: users
                    .into_iter()
                    .flatten()
                    .take(MOST_LEVELS)
                    .filter_map(|(user, level)| Some((user.clone(), level.as_i64()?)))
                    .collect(),
                default: event
                    .content
                    .get("users_default")
                    .and_then(serde_json::Value::as_i64)
                    .unwrap_or_default(),
            }
        }
        "m.room.name" => PortalAct::Name(text("name").unwrap_or_default()),
        "m.room.topic" => PortalAct::Topic(text("topic").unwrap_or_default()),
        "m.room.avatar" => PortalAct::Picture(text("url").unwrap_or_default()),
        "m.room.tombstone" => PortalAct::Replaced {
            room_id: text("replacement_room")?,
        },
        _ => return None,
    })
}

impl Engine {
    /// Something happened in a room with the bot or with ghosts in it.
    pub(super) async fn portal_event(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        event: &InboundEvent,
    ) -> Result<bool, Refusal> {
        let Some(user) = self.local_user(&event.sender) else {
            return Ok(false);
        };
        let Some(room) = self.portal_of(&event.room_id).await? else {
            return self.bot_event(ctx, key, &user, event).await;
        };
        let Some(act) = act_of(event) else {
            return Ok(false);
        };
        let request = PortalRequest {
            entry: Some(key),
            event_id: event.event_id.clone(),
            portal: event.room_id.clone(),
            user,
            act,
        };
        self.room_command(ctx.clone(), &room, RoomCommand::PortalRequest(request))
            .await
            .map(|_| true)
    }

    /// Tells the sender of a submission in a portal why it is none. `id`: the client's id of it, where it could be read.
    pub(super) async fn refuse_submission(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        (room, user): (&MimiUri, &MimiUri),
        id: &str,
        refusal: &Refusal,
    ) -> Result<(), Refusal> {
        let code = match refusal {
            Refusal::Unknown { .. } | Refusal::Forbidden { .. } => SubmissionRefusal::NotAllowed,
            _ => SubmissionRefusal::Malformed,
        };
        let command = RoomCommand::RefuseSubmission {
            user: user.clone(),
            id: id.to_owned(),
            refusal: SubmissionState::Refused {
                code,
                reason: refusal.to_string(),
                current_epoch: None,
            },
            entry: key,
        };
        self.room_command(ctx.clone(), room, command).await.map(drop)
    }

    /// The homeserver made the room's portal.
    pub async fn portal_created(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        portal: &str,
    ) -> Result<(), Refusal> {
        let portal = portal.to_owned();
        self.room_command(ctx, room, RoomCommand::PortalCreated { portal })
            .await
            .map(drop)
    }

    /// A room took the place of the portal.
    pub async fn portal_moved(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        old: &str,
        new: &str,
    ) -> Result<(), Refusal> {
        let (old, new) = (old.to_owned(), new.to_owned());
        self.room_command(ctx, room, RoomCommand::PortalMoved { old, new })
            .await
            .map(drop)
    }

    /// A picture that a user set in a portal is kept, or isn't; the request goes on from there.
    pub async fn picture_kept(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        kept: PictureKept,
    ) -> Result<(), Refusal> {
        let request = PortalRequest {
            entry: None,
            event_id: kept.event_id,
            portal: kept.portal,
            user: kept.user,
            act: PortalAct::PictureKept(kept.address),
        };
        self.room_command(ctx, room, RoomCommand::PortalRequest(request))
            .await
            .map(drop)
    }

    /// Everybody is out of a portal that was given up.
    pub async fn portal_closed(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        portal: &str,
    ) -> Result<(), Refusal> {
        let portal = portal.to_owned();
        self.room_command(ctx, room, RoomCommand::PortalClosed { portal })
            .await
            .map(drop)
    }

    /// Gives a room's portal up: ghosts, aliases and devices go, Matrix users are shown out. It is done by the
    /// homeserver's sender, step by step; whatever interrupts it, it goes on from there.
    pub async fn unbridge(&self, ctx: RequestContext, room: &MimiUri) -> Result<(), Refusal> {
        self.room_command(ctx, room, RoomCommand::Unbridge)
            .await
            .map(drop)
    }

    /// Has a room's portal replaced by a room of another version, with a tombstone in the old one. It is done by the
    /// homeserver's sender; a version that the homeserver doesn't know becomes a dead letter.
    pub async fn upgrade_portal(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        version: &str,
    ) -> Result<(), Refusal> {
        let version = version.to_owned();
        self.room_command(ctx, room, RoomCommand::UpgradePortal { version })
            .await
            .map(drop)
    }

    /// Makes a portal again where it was given up.
    pub async fn bridge(&self, ctx: RequestContext, room: &MimiUri) -> Result<(), Refusal> {
        self.room_command(ctx, room, RoomCommand::Bridge).await.map(drop)
    }

    /// Has a room's portal compared with the room and put right. `why`: a notice for it.
    pub async fn sync_portal(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        why: Option<String>,
    ) -> Result<(), Refusal> {
        self.room_command(ctx, room, RoomCommand::SyncPortal { why, audit: false })
            .await
            .map(drop)
    }

    /// Has a portal looked at though nothing has changed that we know of. A homeserver can lose members of a room, by a
    /// restored database or a resolution of state; what was lost is put right, and an operator told.
    pub async fn audit_portal(&self, ctx: RequestContext, portal: &str) -> Result<(), Refusal> {
        let Some(room) = self.portal_of(portal).await? else {
            return Ok(());
        };
        let command = RoomCommand::SyncPortal {
            why: None,
            audit: true,
        };
        self.room_command(ctx, &room, command).await.map(drop)
    }

    /// Takes a member's card of a room whose hub is elsewhere.
    pub async fn hand_in_card(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        who: &ClientActor,
        card: RoomCard,
    ) -> Result<(), Refusal> {
        let who = who.clone();
        self.room_command(ctx, room, RoomCommand::Card { who, card })
            .await
            .map(drop)
    }

    /// What a room's portal has to show now; `None` where it has none.
    pub async fn portal_wanted(&self, room: &MimiUri) -> Result<Option<PortalWanted>, EngineError> {
        let records = Records::load(&self.env, UriKey::of(room)).await?;
        Ok(records.and_then(|records| self.env.wanted(&records)))
    }

    /// The open wishes of a user, oldest first.
    pub async fn wishes(&self, user: &MimiUri) -> Result<Vec<Wish>, EngineError> {
        let scan = Scan::prefix(Space::Wish, UriKey::of(user).0).limit(MOST_WISHES.saturating_mul(2));
        let mut wishes = Vec::new();
        for (key, value) in self.env.store.scan(scan).await? {
            wishes.push(parse::<Wish>(Space::Wish, &key, &value)?);
        }
        wishes.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        Ok(wishes)
    }

    /// A client wants to be woken by to-device events on a Matrix device of its user's, or no more (`None`).
    pub async fn set_wake(
        &self,
        ctx: RequestContext,
        who: &ClientActor,
        device: Option<String>,
    ) -> Result<(), Refusal> {
        let command = UserCommand::SetWake {
            client: who.client.clone(),
            device: device.clone(),
        };
        self.user_command(ctx, &who.user, command).await?;
        self.env.wakes.set(&who.user, &who.client, device);
        Ok(())
    }

    /// What a client made of a wish. Whoever wished is told, in the Matrix room where they did. The same again is fine.
    pub async fn settle_wish(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        id: &str,
        outcome: WishOutcome,
    ) -> Result<(), Refusal> {
        let command = UserCommand::SettleWish {
            id: id.to_owned(),
            outcome,
            request_id: ctx.request_id.clone(),
        };
        self.user_command(ctx, user, command).await.map(drop)
    }
}

impl Env {
    fn wanted(&self, records: &Records) -> Option<PortalWanted> {
        let room = &records.room;
        let PortalState::Linked { room_id } = &room.portal else {
            return None;
        };
        let is_hub = room.room.domain() == self.config.provider;
        let mut members = BTreeMap::new();
        for (user, participant) in &records.participants {
            let ghost = user.domain() != self.config.provider;
            let role = participant.shown_role(is_hub, !ghost);
            let (Some(role), Some(mxid)) = (role, self.matrix_id(user)) else {
                continue;
            };
            let member = PortalMember {
                user: user.clone(),
                ghost,
                banned: role == 1,
                level: room.face.level(role, ghost),
            };
            members.insert(mxid, member);
        }
        Some(PortalWanted {
            room: room.room.clone(),
            portal: room_id.clone(),
            revision: records.head.portal_revision,
            name: room.name.clone(),
            topic: room.face.topic.clone(),
            picture: room.face.picture.clone(),
            info: serde_json::to_value(crate::room::room_content(room)).ok()?,
            members,
            thresholds: room.face.thresholds,
            published: room.face.published,
        })
    }
}
