//! What Matrix users do in a portal besides sending: kicks, bans, invitations, roles, names, leaving.
//!
//! The portal is a copy, and the handshake log says what the room is. So each of these is a **request**. At the hub a
//! removal is carried out at once, by an external Remove; what only a member's commit can do becomes a wish for the
//! client of whoever asked. At a follower everything becomes a wish. Until the log agrees the portal is put back, with a
//! notice that says why.

use delivery_service::{Group, Judged, RoleIndex, View};
use mimi_wire::policy::{Action, Capability, MetadataField};
use mimi_wire::uri::MimiUri;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use store::Space;

use super::RoomState;
use super::scribe::Scribe;
use crate::command::{InboxKey, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::ghost::{self, Ghost};
use crate::outbox::{Destination, OutboxBody};
use crate::records::{AccessRecord, Audience, FeedKind, ParticipantRecord, PortalState, access_key, read};
use crate::refusal::Refusal;
use crate::wish::{Want, Wish, notice, wish_id, wish_key};

/// Something that was done in a portal by somebody other than the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortalAct {
    /// The user left, or declined the invitation.
    Leave,
    /// The user removed another one, or took an invitation back.
    Remove {
        /// Matrix user id.
        target: String,
    },
    /// The user banned another one.
    Ban {
        /// Matrix user id.
        target: String,
    },
    /// The user would like to be let in.
    Knock,
    /// The user invited another one.
    Invite {
        /// Matrix user id.
        target: String,
    },
    /// The user set power levels: the whole `users` map, and `users_default`.
    Levels {
        /// Levels by Matrix user id.
        users: BTreeMap<String, i64>,
        /// Everybody else's.
        default: i64,
    },
    /// The user changed the name.
    Name(String),
    /// The user changed the topic.
    Topic(String),
    /// The user changed the picture to this media of the homeserver; empty: none.
    Picture(String),
    /// The picture that the user set is kept at this address, or why it isn't.
    PictureKept(Result<String, String>),
    /// Somebody replaced the room by another one.
    Replaced {
        /// Matrix room id of the replacement.
        room_id: String,
    },
}

/// Such an act, with its circumstances.
#[derive(Clone, Debug)]
pub(crate) struct PortalRequest {
    /// The inbox entry to be consumed, where one is behind it.
    pub(crate) entry: Option<InboxKey>,
    /// The event.
    pub(crate) event_id: String,
    /// The Matrix room it happened in.
    pub(crate) portal: String,
    /// Who did it.
    pub(crate) user: MimiUri,
    /// What.
    pub(crate) act: PortalAct,
}

impl RoomState {
    pub(super) async fn portal_request(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        request: &PortalRequest,
    ) -> Result<Decision, Refusal> {
        let Some(records) = &self.records else {
            return Err(Refusal::Unknown { what: "room" });
        };
        let mut scribe = Scribe::new(env, ctx, records);
        if let Some(entry) = request.entry {
            scribe
                .decision
                .delete(Space::HsInbox, entry.0.to_be_bytes().to_vec());
        }
        let current =
            matches!(&scribe.room.portal, PortalState::Linked { room_id } if *room_id == request.portal);
        if current {
            metrics::counter!("causeway_portal_requests_total", "what" => request.act.name()).increment(1);
            if let PortalAct::Replaced { room_id } = &request.act {
                let body = OutboxBody::PortalFollow {
                    old: request.portal.clone(),
                    new: room_id.clone(),
                };
                scribe.queue(Destination::Homeserver, body, None)?;
            } else if let PortalAct::Picture(mxc) = &request.act
                && !mxc.is_empty()
                && scribe.may_set_picture(self.group.as_ref(), &request.user)
            {
                scribe.keep_picture(request, mxc)?;
                scribe.sync_portal()?;
            } else if let Some(text) = scribe.answer(self.group.as_mut(), request).await? {
                scribe.portal_event("m.room.message", &notice(&text), &request.event_id)?;
                scribe.sync_portal()?;
            }
        }
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }

    /// Has the portal looked at and put right, with a notice that says why.
    pub(super) fn sync_again(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        why: Option<&str>,
        audit: bool,
    ) -> Result<Decision, Refusal> {
        let mut scribe = Scribe::new(env, ctx, self.known()?);
        scribe.look_at_portal(audit)?;
        if let Some(why) = why {
            let distinct = format!("sync {}", scribe.head.portal_revision);
            scribe.portal_event("m.room.message", &notice(why), &distinct)?;
        }
        let (decision, changes) = scribe.finish(Reply::Done)?;
        self.take(changes);
        Ok(decision)
    }
}

/// Whether the room's policy lets the user do that.
fn may(group: &Group, user: &MimiUri, want: &Want) -> Result<(), String> {
    let parse = |text: &str| MimiUri::parse(text).map_err(|e| e.to_string());
    let judged = match want {
        Want::Leave | Want::Start { .. } => return Ok(()),
        Want::Remove { user: target } => {
            let target = &parse(target)?;
            if !group.is_participant(target, View::Effective) {
                return Err(format!("{target} is no participant"));
            }
            group.may(user, &Action::RemoveParticipant { user: target })
        }
        Want::Ban { user: target } => group.may(
            user,
            &Action::Ban {
                user: &parse(target)?,
            },
        ),
        Want::Add { .. } => group.may(user, &Action::Use(Capability::ADD_PARTICIPANT)),
        Want::Unban { .. } => group.may(user, &Action::Use(Capability::UNBAN)),
        Want::SetRole { user: target, role } => group.may(
            user,
            &Action::ChangeRole {
                user: &parse(target)?,
                role: RoleIndex(*role),
            },
        ),
        Want::Rename { .. } => group.may(user, &Action::ChangeMetadata(MetadataField::Name)),
        Want::SetTopic { .. } => group.may(user, &Action::ChangeMetadata(MetadataField::Subject)),
        Want::SetPicture { .. } => group.may(user, &Action::ChangeMetadata(MetadataField::Avatar)),
    };
    judged.map_err(|denial| denial.to_string())
}

impl Scribe<'_> {
    /// Does what can be done; says what came of it. `None`: nothing was asked for.
    async fn answer(
        &mut self,
        group: Option<&mut Group>,
        request: &PortalRequest,
    ) -> Result<Option<String>, Refusal> {
        let user = &request.user;
        if matches!(request.act, PortalAct::Knock) {
            let asks = self.room.face.published && !self.is_here(user);
            return Ok(asks.then(|| {
                format!(
                    "{} would like to be let in. Who may add participants invites them here; until then they read nothing.",
                    user.as_str()
                )
            }));
        }
        if !self.is_here(user) {
            // Who is no participant any more, or never was, is shown out by the next look at the portal.
            return match request.act {
                PortalAct::Leave => Ok(None),
                _ => Ok(Some(format!(
                    "{} takes no part in this room, so nothing was changed.",
                    user.as_str()
                ))),
            };
        }
        let want = match self.want_of(&request.act) {
            None => return Ok(None),
            Some(Ok(want)) => want,
            Some(Err(why)) => return Ok(Some(format!("Not done: {why}"))),
        };
        let words = want.words();
        let Some(group) = group else {
            self.wish(request, want)?;
            return Ok(Some(format!(
                "{}'s client was asked to {words}. Until the room's hub ({}) agrees, this room shows what is.",
                user.as_str(),
                self.room.room.domain().as_str()
            )));
        };
        if let Err(why) = may(group, user, &want) {
            return Ok(Some(format!(
                "Not done: {} may not {words}: {why}",
                user.as_str()
            )));
        }
        let out = match &want {
            Want::Remove { user } | Want::Ban { user } => MimiUri::parse(user).ok(),
            Want::Leave => Some(user.clone()),
            _ => None,
        };
        let mut done = String::new();
        if let Some(out) = out.filter(|out| group.is_participant(out, View::Effective)) {
            self.take_out(group, &out).await?;
            done = format!("{} is out of the room. ", out.as_str());
        }
        if matches!(want, Want::Remove { .. } | Want::Leave) {
            return Ok(Some(format!(
                "{done}A member's client completes it with its next change of keys."
            )));
        }
        self.wish(request, want)?;
        Ok(Some(format!(
            "{done}{}'s client was asked to {words}. Until it has done so, this room shows what is.",
            user.as_str()
        )))
    }

    /// Whether a picture of this user's is worth keeping. Who may not set it is told by [`Scribe::answer`].
    fn may_set_picture(&self, group: Option<&Group>, user: &MimiUri) -> bool {
        let want = Want::SetPicture {
            address: String::new(),
        };
        self.is_here(user) && group.is_none_or(|group| may(group, user, &want).is_ok())
    }

    /// Has a picture kept where the other providers can fetch it; the wish follows when it is.
    fn keep_picture(&mut self, request: &PortalRequest, mxc: &str) -> Result<(), Refusal> {
        let body = OutboxBody::PortalPicture {
            portal: request.portal.clone(),
            user: request.user.as_str().to_owned(),
            event_id: request.event_id.clone(),
            mxc: mxc.to_owned(),
        };
        self.queue(Destination::Homeserver, body, None)
    }

    /// An external Remove of all of a user's clients; the user reads nothing more from here on.
    async fn take_out(&mut self, group: &mut Group, user: &MimiUri) -> Result<(), Refusal> {
        let judged = group
            .propose_removal(&self.env.hub(), user, self.at)
            .map_err(|e| Refusal::forbidden(e.to_string()))?;
        let Judged::Proposals(judged) = judged else {
            return Err(Refusal::internal("a removal is made of proposals"));
        };
        self.proposals(group, judged)?;
        if self.is_here(user) {
            let place = access_key(user, self.id());
            let access: Option<AccessRecord> =
                read(self.env.store.as_ref(), Space::FeedAccess, &place).await?;
            let end = self.head.feed_next;
            self.dismiss(user, access, end)?;
            self.leave_portal(user)?;
        }
        Ok(())
    }

    /// What an act asks for. `None`: nothing that isn't so already; an error says why it can't be asked for.
    fn want_of(&self, act: &PortalAct) -> Option<Result<Want, String>> {
        let user_of = |mxid: &str| {
            self.mimi_user(mxid)
                .map(|user| user.as_str().to_owned())
                .ok_or_else(|| format!("{mxid} is no user of MIMI"))
        };
        Some(match act {
            PortalAct::Leave => Ok(Want::Leave),
            PortalAct::Remove { target } => user_of(target).map(|user| {
                let banned =
                    |(one, role): &(MimiUri, u32)| one.as_str() == user && *role == RoleIndex::BANNED.0;
                if self.shown_users().iter().any(banned) {
                    Want::Unban { user }
                } else {
                    Want::Remove { user }
                }
            }),
            PortalAct::Ban { target } => user_of(target).map(|user| Want::Ban { user }),
            PortalAct::Invite { target } => user_of(target).map(|user| Want::Add { user }),
            PortalAct::Name(name) => {
                if self.room.name.as_deref().unwrap_or_default() == name {
                    return None;
                }
                Ok(Want::Rename { name: name.clone() })
            }
            PortalAct::Topic(topic) => {
                if self.room.face.topic.as_deref().unwrap_or_default() == topic {
                    return None;
                }
                Ok(Want::SetTopic { topic: topic.clone() })
            }
            // What isn't empty and may be set has been taken to be kept first.
            PortalAct::Picture(mxc) => {
                if self.room.face.picture.is_none() && mxc.is_empty() {
                    return None;
                }
                Ok(Want::SetPicture {
                    address: String::new(),
                })
            }
            PortalAct::PictureKept(kept) => {
                if kept.as_ref().ok() == self.room.face.picture.as_ref() {
                    return None;
                }
                kept.clone().map(|address| Want::SetPicture { address })
            }
            PortalAct::Levels { users, default } => self.role_change(users, *default),
            PortalAct::Knock | PortalAct::Replaced { .. } => return None,
        })
    }

    /// The first participant whose level isn't what the role has.
    fn role_change(&self, users: &BTreeMap<String, i64>, default: i64) -> Result<Want, String> {
        let face = &self.room.face;
        for (user, role) in self.shown_users() {
            let Some(mxid) = self.matrix_id(&user) else {
                continue;
            };
            let now = face.level(role, user.domain() != self.env.config.provider);
            let asked = users.get(&mxid).copied().unwrap_or(default);
            if asked == now {
                continue;
            }
            let fitting = face
                .levels
                .iter()
                .filter(|(other, level)| **other != role && **level <= asked)
                // Of several with the same level the least of them: the hub's own enforcer is the last.
                .max_by_key(|(role, level)| (**level, Reverse(**role)));
            let (role, _) = fitting.ok_or_else(|| format!("no role of this room has power level {asked}"))?;
            return Ok(Want::SetRole {
                user: user.as_str().to_owned(),
                role: *role,
            });
        }
        // Other levels than users' are this room's rules, which are not negotiated here.
        Err("the room's rules are made on the MIMI side".to_owned())
    }

    /// Writes a wish for the client of whoever asked, and shows it in the feed.
    fn wish(&mut self, request: &PortalRequest, want: Want) -> Result<(), Refusal> {
        let wish = Wish {
            id: wish_id(&request.event_id),
            at: self.at,
            room: Some(self.room.room.as_str().to_owned()),
            asked_in: request.portal.clone(),
            want,
        };
        self.decision
            .put(Space::Wish, wish_key(&request.user, &wish.id), &wish)?;
        let audience = Audience::Users([request.user.clone()].into());
        self.feed(None, audience, FeedKind::Wish { wish: Box::new(wish) })
            .map(drop)
    }

    /// The MIMI user behind a Matrix user id of our homeserver.
    fn mimi_user(&self, mxid: &str) -> Option<MimiUri> {
        let homeserver = self.env.config.homeserver.as_ref()?;
        let (localpart, server) = mxid.strip_prefix('@')?.split_once(':')?;
        if server != homeserver.server_name || mxid == homeserver.bot {
            return None;
        }
        match ghost::parse(localpart, server) {
            Some(Ghost::User(user)) => Some(user),
            Some(Ghost::Hashed(_)) => self
                .everybody()
                .into_keys()
                .find(|user| ghost::localpart(user, server) == localpart)
                .cloned(),
            None => MimiUri::user(&self.env.config.provider, localpart).ok(),
        }
    }

    /// Who is to be seen in the portal, with roles.
    fn shown_users(&self) -> Vec<(MimiUri, u32)> {
        let own = &self.env.config.provider;
        let is_hub = self.room.room.domain() == *own;
        let role = |(user, participant): (&MimiUri, &ParticipantRecord)| {
            let role = participant.shown_role(is_hub, user.domain() == *own)?;
            Some((user.clone(), role))
        };
        self.everybody().into_iter().filter_map(role).collect()
    }

    /// The Matrix user id under which a MIMI user is seen on our homeserver.
    pub(super) fn matrix_id(&self, user: &MimiUri) -> Option<String> {
        self.env.matrix_id(user)
    }
}

impl PortalAct {
    /// For metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Remove { .. } => "remove",
            Self::Ban { .. } => "ban",
            Self::Knock => "knock",
            Self::Invite { .. } => "invite",
            Self::Levels { .. } => "levels",
            Self::Name(_) => "name",
            Self::Topic(_) => "topic",
            Self::Picture(_) | Self::PictureKept(_) => "picture",
            Self::Replaced { .. } => "replaced",
        }
    }
}
