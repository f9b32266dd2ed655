//! The bot: reads what local users say to it, and answers. Every answer is queued in the batch that consumes the
//! message, so that it is given once.

use mimi_wire::uri::MimiUri;
use store::Space;

use super::Engine;
use crate::bot::{self, Admin, Command, Reply};
use crate::carrier::SubmissionState;
use crate::command::{HomeserverCommand, InboxKey, RequestContext, UserCommand};
use crate::ghost::{self, Ghost};
use crate::homeserver::InboundEvent;
use crate::outbox::OutboxBody;
use crate::owner::UriKey;
use crate::records::{SubmissionRecord, read, submission_key};
use crate::refusal::Refusal;
use crate::user::ConsentAnswer;
use crate::views::{RoomView, UserRoom};
use crate::wish::{Want, Wish, WishOutcome, say, wish_id};

/// Rooms and queues shown in one reply.
const MOST_LINES: usize = 50;

impl Engine {
    /// Somebody invited the bot. Where it is a conversation with the bot alone, commands need no prefix.
    pub(super) async fn bot_invited(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        event: &InboundEvent,
    ) -> Result<bool, Refusal> {
        if event
            .content
            .get("membership")
            .and_then(serde_json::Value::as_str)
            != Some("invite")
        {
            return Ok(false);
        }
        let direct = event
            .content
            .get("is_direct")
            .and_then(serde_json::Value::as_bool);
        let command = HomeserverCommand::JoinInvited {
            entry: key,
            room_id: event.room_id.clone(),
            direct: (direct == Some(true)).then(|| event.sender.clone()),
        };
        self.homeserver_command(ctx.clone(), command).await.map(|_| true)
    }

    /// The conversation that a Matrix user has with the bot, if there is one.
    pub async fn conversation(&self, user: &str) -> Result<Option<String>, Refusal> {
        let mut found = None;
        self.each(Space::BotRoom, b"", |key, value| {
            let whose: String = crate::records::parse(Space::BotRoom, key, value)?;
            if whose == user {
                found = String::from_utf8(key.to_vec()).ok();
            }
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// The bot made a conversation with a user.
    pub async fn conversation_made(
        &self,
        ctx: RequestContext,
        user: &str,
        room_id: &str,
    ) -> Result<(), Refusal> {
        let command = HomeserverCommand::Conversation {
            room_id: room_id.to_owned(),
            user: user.to_owned(),
        };
        self.homeserver_command(ctx, command).await.map(drop)
    }

    /// Something happened in a room that is no portal.
    pub(super) async fn bot_event(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        user: &MimiUri,
        event: &InboundEvent,
    ) -> Result<bool, Refusal> {
        match event.event_type.as_str() {
            "m.room.member" => self.ghost_invited(ctx, key, user, event).await,
            "m.room.message" => self.bot_told(ctx, key, user, event).await,
            "m.room.encrypted" if self.is_direct(event).await? => {
                self.bot_says(ctx, key, event, bot::cannot_read()).await
            }
            _ => Ok(false),
        }
    }

    async fn is_direct(&self, event: &InboundEvent) -> Result<bool, Refusal> {
        let whose: Option<String> =
            read(self.env.store.as_ref(), Space::BotRoom, event.room_id.as_bytes()).await?;
        Ok(whose.as_deref() == Some(event.sender.as_str()))
    }

    /// A ghost was invited into a room that somebody made: a wish for a chat. The room itself can't become the portal:
    /// whoever made it stands above the bot, which could put nothing right there.
    async fn ghost_invited(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        user: &MimiUri,
        event: &InboundEvent,
    ) -> Result<bool, Refusal> {
        let invited = event
            .content
            .get("membership")
            .and_then(serde_json::Value::as_str)
            == Some("invite");
        let Some((target, target_id)) = event
            .state_key
            .as_deref()
            .filter(|_| invited)
            .and_then(|mxid| Some((self.ghost_of(mxid)?, mxid)))
        else {
            return Ok(false);
        };
        let wish = Wish {
            id: wish_id(&event.event_id),
            at: self.env.clock.now_ms(),
            room: None,
            asked_in: String::new(),
            want: Want::Start {
                users: vec![target.as_str().to_owned()],
                name: None,
            },
        };
        let leave = |why: &str| OutboxBody::GhostLeave {
            room_id: event.room_id.clone(),
            user: target.as_str().to_owned(),
            reason: format!(
                "Chats with {} are end-to-end encrypted and take place in a room of their own. {why}",
                target.as_str()
            ),
        };
        tracing::info!(request_id = %ctx.request_id, user = %user.as_str(), target_id, "a ghost was invited");
        let command = UserCommand::AddWish {
            wish: Box::new(wish),
            answer: Box::new(leave("Your MIMI client was asked to make it.")),
            lane: event.room_id.clone(),
            entry: key,
            request_id: ctx.request_id.clone(),
        };
        let body = match self.user_command(ctx.clone(), user, command).await {
            Ok(_) => return Ok(true),
            Err(Refusal::Unknown { .. }) => leave("Sign in a MIMI client first: `causeway client login`."),
            Err(Refusal::TooLarge { .. }) => leave("Too much waits for your MIMI client already."),
            Err(other) => return Err(other),
        };
        let command = HomeserverCommand::Act {
            entry: key,
            room_id: event.room_id.clone(),
            body,
        };
        self.homeserver_command(ctx.clone(), command).await.map(|_| true)
    }

    fn ghost_of(&self, mxid: &str) -> Option<MimiUri> {
        let homeserver = self.env.config.homeserver.as_ref()?;
        let (localpart, server) = mxid.strip_prefix('@')?.split_once(':')?;
        match ghost::parse(localpart, server).filter(|_| server == homeserver.server_name)? {
            Ghost::User(user) => Some(user),
            // The hash tells nobody's name.
            Ghost::Hashed(_) => None,
        }
    }

    async fn bot_told(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        user: &MimiUri,
        event: &InboundEvent,
    ) -> Result<bool, Refusal> {
        let Some(text) = bot::text_of(&event.content) else {
            return Ok(false);
        };
        let command = match bot::read(text, self.is_direct(event).await?) {
            None => return Ok(false),
            Some(Ok(command)) => command,
            Some(Err(error)) => {
                let content = Reply::new(&error.to_string()).content();
                return self.bot_says(ctx, key, event, content).await;
            }
        };
        metrics::counter!("causeway_bot_commands_total").increment(1);
        let admin = self.is_admin(&event.sender);
        let reply = match command {
            Command::Help => bot::help(admin),
            Command::Chat { users, name } => {
                return self.wish_for_chat(ctx, key, user, event, &users, name).await;
            }
            Command::List => self.list(user).await?,
            Command::Info { room } => self.info(user, room.as_deref()).await?,
            Command::Status { id } => self.status_of(user, &id).await?,
            Command::Wishes => self.show_wishes(user).await?,
            Command::Cancel { id } => self.cancel(ctx, user, &id).await?,
            Command::Requests => self.show_requests(ctx, user).await?,
            Command::Accept { user: asker } => self.answer_request(ctx, user, &asker, true).await?,
            Command::Refuse { user: asker } => self.answer_request(ctx, user, &asker, false).await?,
            Command::Admin(_) if !admin => Reply::new("That is for the admins of this provider."),
            Command::Admin(command) => self.administer(ctx, command).await?,
        };
        self.bot_says(ctx, key, event, reply.content()).await
    }

    async fn bot_says(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        event: &InboundEvent,
        content: serde_json::Value,
    ) -> Result<bool, Refusal> {
        let command = HomeserverCommand::Act {
            entry: key,
            room_id: event.room_id.clone(),
            body: say(&event.room_id, &event.event_id, content),
        };
        self.homeserver_command(ctx.clone(), command).await.map(|_| true)
    }

    fn is_admin(&self, mxid: &str) -> bool {
        let homeserver = self.env.config.homeserver.as_ref();
        homeserver.is_some_and(|h| h.admins.iter().any(|admin| admin == mxid))
    }

    async fn wish_for_chat(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        user: &MimiUri,
        event: &InboundEvent,
        users: &[MimiUri],
        name: Option<String>,
    ) -> Result<bool, Refusal> {
        let others: Vec<String> = users
            .iter()
            .filter(|one| *one != user)
            .map(|one| one.as_str().to_owned())
            .collect();
        if others.is_empty() {
            let content = Reply::new("That would be a chat with yourself alone.").content();
            return self.bot_says(ctx, key, event, content).await;
        }
        let wish = Wish {
            id: wish_id(&event.event_id),
            at: self.env.clock.now_ms(),
            room: None,
            asked_in: event.room_id.clone(),
            want: Want::Start { users: others, name },
        };
        let mut reply = Reply::new(&format!(
            "Your MIMI client was asked to {}. I hold no keys, so only it can do that; you are invited to the room as soon \
             as it has. They were asked for their consent, where that is needed.",
            wish.want.words()
        ));
        reply.item("causeway client wishes", "shows what waits for it");
        reply.item(&format!("causeway client fulfil {}", wish.id), "does it");
        let command = UserCommand::AddWish {
            answer: Box::new(say(&event.room_id, &event.event_id, reply.content())),
            lane: event.room_id.clone(),
            wish: Box::new(wish),
            entry: key,
            request_id: ctx.request_id.clone(),
        };
        // Whoever is to be added may have to consent first; asking twice is asking once.
        for other in users.iter().filter(|other| *other != user) {
            match self.ask_consent(ctx.clone(), user, other, None).await {
                Err(refusal @ (Refusal::Store(_) | Refusal::Unavailable { .. })) => return Err(refusal),
                Err(refusal) => {
                    tracing::info!(request_id = %ctx.request_id, %refusal, "no consent was asked for");
                }
                Ok(()) => {}
            }
        }
        match self.user_command(ctx.clone(), user, command).await {
            Ok(_) => Ok(true),
            Err(Refusal::TooLarge { .. }) => {
                let content =
                    Reply::new("Too many wishes wait already. See wishes, and cancel what you don't want.");
                self.bot_says(ctx, key, event, content.content()).await
            }
            Err(Refusal::Unknown { .. }) => {
                let content = Reply::new(
                    "You have no MIMI client yet, and without one nobody could read your messages. Sign one in first: \
                     `causeway client login`.",
                );
                self.bot_says(ctx, key, event, content.content()).await
            }
            Err(other) => Err(other),
        }
    }

    async fn list(&self, user: &MimiUri) -> Result<Reply, Refusal> {
        let rooms: Vec<UserRoom> = self
            .rooms_of(user)
            .await?
            .into_iter()
            .filter(|room| room.joined)
            .collect();
        if rooms.is_empty() {
            return Ok(Reply::new("You are in no room yet. Say: chat USER."));
        }
        let mut reply = Reply::new(&format!("Your {} rooms:", rooms.len()));
        for room in rooms.iter().take(MOST_LINES) {
            reply.item(room.view.room.as_str(), &title(&room.view));
        }
        Ok(reply)
    }

    async fn info(&self, user: &MimiUri, text: Option<&str>) -> Result<Reply, Refusal> {
        let rooms = self.rooms_of(user).await?;
        let found: Vec<&UserRoom> = rooms
            .iter()
            .filter(|room| room.joined && text.is_none_or(|text| is_called(&room.view, text)))
            .collect();
        let [room] = found.as_slice() else {
            return Ok(Reply::new(match found.len() {
                0 => "There is no such room of yours. See list.",
                _ => "Which one? Several rooms fit; give the URI that list shows.",
            }));
        };
        let view = &room.view;
        let mut reply = Reply::new(&title(view));
        reply.item("room", view.room.as_str());
        let hub = if view.is_hub { " (this provider)" } else { "" };
        reply.item("hub", &format!("{}{hub}", view.hub.as_str()));
        reply.item(
            "encryption",
            "opaque: end-to-end encrypted with MLS between the participants' clients; no key exists in this gateway",
        );
        reply.item("epoch", &view.epoch.to_string());
        if let Some(portal) = &view.portal {
            reply.item("Matrix room", portal);
        }
        let wanted = self.portal_wanted(&view.room).await?;
        let members = wanted.as_ref().map(|wanted| &wanted.members);
        let mut providers: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
        for member in members.into_iter().flat_map(|members| members.values()) {
            let count = providers
                .entry(member.user.domain().as_str().to_owned())
                .or_default();
            *count = count.saturating_add(1);
        }
        for (provider, count) in providers {
            reply.item(&provider, &format!("{count} participants"));
        }
        if let Some(wanted) = wanted {
            let t = wanted.thresholds;
            reply.item(
                "policy, as power levels",
                &format!(
                    "invite {}, remove {}, ban {}, roles {}, name {}, send {}",
                    t.invite, t.kick, t.ban, t.roles, t.name, t.send
                ),
            );
            for (mxid, member) in wanted.members.iter().take(MOST_LINES) {
                let standing = if member.banned {
                    "banned".to_owned()
                } else {
                    format!("level {}", member.level)
                };
                reply.item(member.user.as_str(), &format!("{standing}, here {mxid}"));
            }
        }
        Ok(reply)
    }

    async fn status_of(&self, user: &MimiUri, id: &str) -> Result<Reply, Refusal> {
        let mut reply = Reply::default();
        let mut found = false;
        for room in self.rooms_of(user).await? {
            let place = submission_key(UriKey::of(&room.view.room), user, id);
            let kept: Option<SubmissionRecord> =
                read(self.env.store.as_ref(), Space::Submission, &place).await?;
            let Some(kept) = kept else { continue };
            found = true;
            let text = match kept.state {
                SubmissionState::Queued => format!("waits for the hub, {}", room.view.hub.as_str()),
                SubmissionState::Accepted { at, .. } => format!("accepted at {} (Unix ms)", at.0),
                SubmissionState::Refused { reason, .. } => format!("refused: {reason}"),
            };
            reply.item(&title(&room.view), &text);
        }
        if !found {
            reply.line("No message of yours has that id.");
        }
        Ok(reply)
    }

    async fn show_wishes(&self, user: &MimiUri) -> Result<Reply, Refusal> {
        let wishes = self.wishes(user).await?;
        if wishes.is_empty() {
            return Ok(Reply::new("Nothing waits for your client."));
        }
        let mut reply = Reply::new("Your client was asked to:");
        for wish in wishes.iter().take(MOST_LINES) {
            let room = wish
                .room
                .as_ref()
                .map(|room| format!(" in {room}"))
                .unwrap_or_default();
            reply.item(&wish.id, &format!("{}{room}", wish.want.words()));
        }
        reply.line("Run causeway client wishes there. To take one back: cancel ID.");
        Ok(reply)
    }

    async fn cancel(&self, ctx: &RequestContext, user: &MimiUri, id: &str) -> Result<Reply, Refusal> {
        let wishes = self.wishes(user).await?;
        let found: Vec<&Wish> = wishes.iter().filter(|wish| wish.id.starts_with(id)).collect();
        let [wish] = found.as_slice() else {
            return Ok(Reply::new("There is no such wish, or more than one. See wishes."));
        };
        let outcome = WishOutcome::Declined {
            reason: "taken back".to_owned(),
        };
        self.settle_wish(ctx.clone(), user, &wish.id, outcome).await?;
        Ok(Reply::new(&format!("Taken back: {}.", wish.want.words())))
    }

    async fn administer(&self, ctx: &RequestContext, command: Admin) -> Result<Reply, Refusal> {
        let mut reply = Reply::default();
        match command {
            Admin::Rooms => {
                let rooms = self.rooms().await?;
                reply.line(&format!("{} rooms", rooms.len()));
                for view in rooms.iter().take(MOST_LINES) {
                    let participants = view.participants.len();
                    reply.item(
                        view.room.as_str(),
                        &format!("{}, {participants} participants", title(view)),
                    );
                }
            }
            Admin::Queues => {
                let queues = self.queues().await?;
                if queues.is_empty() {
                    reply.line("Nothing was ever sent.");
                }
                let now = self.env.clock.now_ms();
                for queue in queues.iter().take(MOST_LINES) {
                    let age = queue.oldest.map(|oldest| now.saturating_sub(oldest) / 1000);
                    let age = age.map(|s| format!(", the oldest for {s} s")).unwrap_or_default();
                    reply.item(
                        &queue.destination.to_string(),
                        &format!("{} waiting{age}", queue.waiting),
                    );
                }
            }
            Admin::Sync { room } => {
                let room = self.any_room(&room).await;
                let done = async { self.sync_portal(ctx.clone(), &room?, None).await };
                reply.line(&told(done.await, "The portal is being compared with its room."));
            }
            Admin::Upgrade { room, version } => {
                let room = self.any_room(&room).await;
                let done = async { self.upgrade_portal(ctx.clone(), &room?, &version).await };
                reply.line(&told(done.await, "The portal is being replaced."));
            }
            Admin::Unbridge { room } => {
                let room = self.any_room(&room).await;
                let done = async { self.unbridge(ctx.clone(), &room?).await };
                reply.line(&told(done.await, "The portal is being given up."));
            }
            Admin::Bridge { room } => {
                let room = self.any_room(&room).await;
                let done = async { self.bridge(ctx.clone(), &room?).await };
                reply.line(&told(done.await, "A portal is being made."));
            }
        }
        Ok(reply)
    }

    /// The one room of this provider that is called so.
    async fn any_room(&self, text: &str) -> Result<MimiUri, Refusal> {
        let rooms = self.rooms().await?;
        let mut found = rooms.iter().filter(|view| is_called(view, text));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.room.clone()),
            _ => Err(Refusal::Unknown { what: "room" }),
        }
    }
}

fn told(outcome: Result<(), Refusal>, good: &str) -> String {
    match outcome {
        Ok(()) => good.to_owned(),
        Err(refusal) => refusal.to_string(),
    }
}

fn title(view: &RoomView) -> String {
    view.name
        .clone()
        .unwrap_or_else(|| "a room without a name".to_owned())
}

/// Whether somebody may mean this room: by URI, by the last part of it, by name, or by the Matrix room.
fn is_called(view: &RoomView, text: &str) -> bool {
    view.room.as_str() == text
        || view.room.as_str().rsplit('/').next() == Some(text)
        || view.name.as_deref() == Some(text)
        || view.portal.as_deref() == Some(text)
}

impl Engine {
    async fn show_requests(&self, ctx: &RequestContext, user: &MimiUri) -> Result<Reply, Refusal> {
        let waiting = self.consent_requests(ctx.clone(), user).await?;
        if waiting.is_empty() {
            return Ok(Reply::new("Nobody waits for your consent."));
        }
        let mut reply = Reply::new("These ask for your consent to add you to rooms:");
        for view in waiting.iter().take(MOST_LINES) {
            let room = view
                .room
                .as_ref()
                .map(|room| format!("only to {}", room.as_str()));
            reply.item(
                view.other.as_str(),
                &room.unwrap_or_else(|| "to any room".to_owned()),
            );
        }
        reply.line("Say accept USER, or refuse USER; who is refused isn't told.");
        Ok(reply)
    }

    async fn answer_request(
        &self,
        ctx: &RequestContext,
        user: &MimiUri,
        asker: &MimiUri,
        consent: bool,
    ) -> Result<Reply, Refusal> {
        let waiting = self.consent_requests(ctx.clone(), user).await?;
        let theirs: Vec<_> = waiting.iter().filter(|view| view.other == *asker).collect();
        if theirs.is_empty() {
            return Ok(Reply::new(&format!(
                "{} does not wait for your consent. See requests.",
                asker.as_str()
            )));
        }
        for view in theirs {
            let answer = if consent {
                ConsentAnswer::Grant
            } else {
                ConsentAnswer::Refuse { tell: false }
            };
            self.answer_consent(ctx.clone(), user, asker, view.room.as_ref(), answer)
                .await?;
        }
        Ok(Reply::new(&if consent {
            format!("{} may add you to rooms now.", asker.as_str())
        } else {
            format!("{} may not, and isn't told.", asker.as_str())
        }))
    }
}
