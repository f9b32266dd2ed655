//! Hands on what waits in the homeserver inbox.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use mimi_wire::uri::MimiUri;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::{BlobHash, Space, StoreError};
use tokio::sync::watch;

use super::Engine;
use crate::carrier::{self, Login, PortalSubmission, SubmittedMessage};
use crate::command::{HomeserverCommand, InboxKey, RequestContext, Submission, UserCommand};
use crate::homeserver::{InboundEvent, InboxRecord, SetAside, count_set_aside};
use crate::refusal::Refusal;

/// Entries taken at once; those of one Matrix room go in order, rooms beside each other.
const PAGE: usize = 100;
/// How long at most between two looks at the inbox: what should have woken us and did not is found all the same.
const LOOK: Duration = Duration::from_secs(10);
/// After a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(engine: Engine, mut stop: watch::Receiver<bool>) {
    let mut terms = engine.terms();
    let mut begun = None;
    while !*stop.borrow() {
        let term = *terms.borrow_and_update();
        let Some(term) = term else {
            // The node that orders hands on.
            tokio::select! {
                biased;
                _ = terms.changed() => {}
                _ = stop.changed() => {}
            }
            continue;
        };
        let passed = match engine.begin(term, &mut begun).await {
            Ok(()) => engine.hand_on().await,
            Err(error) => Err(error.into()),
        };
        let failed = match passed {
            Ok(Pass {
                stuck: None,
                entries: 0,
            }) => {
                tokio::select! {
                    biased;
                    () = engine.env.inbox.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                    _ = stop.changed() => {}
                }
                continue;
            }
            Ok(Pass { stuck: None, .. }) => continue,
            Ok(Pass { stuck: Some(why), .. }) => why,
            Err(error) => error,
        };
        metrics::counter!("causeway_homeserver_inbox_stuck_total").increment(1);
        tracing::error!(error = %failed, "the homeserver inbox stands still");
        tokio::select! {
            biased;
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.changed() => {}
        }
    }
}

/// A pass over the inbox.
struct Pass {
    entries: usize,
    /// What holds up one or more rooms, if anything does.
    stuck: Option<Refusal>,
}

impl Engine {
    /// Under a new term: what was decided before it has to be here before anything is judged by it.
    async fn begin(&self, term: u64, begun: &mut Option<u64>) -> Result<(), StoreError> {
        if *begun != Some(term) {
            self.env.sequencer.confirm(term).await?;
            self.env.wakes.refresh(self.env.store.as_ref()).await?;
            *begun = Some(term);
        }
        Ok(())
    }

    /// Everything that waits, page by page. A room that can't be served now waits, with all of its entries in order,
    /// and holds up no other.
    async fn hand_on(&self) -> Result<Pass, Refusal> {
        let mut pass = Pass {
            entries: 0,
            stuck: None,
        };
        let mut stuck_rooms: BTreeSet<String> = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.env.inbox_page(after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(pass);
            };
            after = Some(*last);
            let mut rooms: BTreeMap<String, Vec<(InboxKey, InboxRecord)>> = BTreeMap::new();
            for (key, record) in page {
                if !stuck_rooms.contains(&record.event.room_id) {
                    rooms
                        .entry(record.event.room_id.clone())
                        .or_default()
                        .push((key, record));
                }
            }
            let handed = join_all(rooms.into_iter().map(|(room, entries)| async move {
                let mut done = 0;
                for (key, record) in entries {
                    if let Err(refusal) = self.hand_on_one(key, record).await {
                        return (done, Some((room, refusal)));
                    }
                    done += 1;
                }
                (done, None)
            }))
            .await;
            for (done, stuck) in handed {
                pass.entries += done;
                if let Some((room, refusal)) = stuck {
                    stuck_rooms.insert(room);
                    pass.stuck = Some(refusal);
                }
            }
        }
    }

    async fn hand_on_one(&self, key: InboxKey, record: InboxRecord) -> Result<(), Refusal> {
        let ctx = RequestContext {
            request_id: record.request_id,
        };
        let outcome = match record.event.event_type.as_str() {
            carrier::MESSAGE => self.portal_message(&ctx, key, &record.event).await,
            carrier::LOGIN => self.portal_login(&ctx, key, &record.event).await,
            "m.room.member" if self.is_bot(record.event.state_key.as_deref()) => {
                self.bot_invited(&ctx, key, &record.event).await
            }
            _ => self.portal_event(&ctx, key, &record.event).await,
        };
        match outcome {
            Ok(true) => Ok(()),
            // Nothing that can be acted on, now or later. One bad event must not hold up those behind it.
            Ok(false) => self.discard(ctx, key, None).await,
            Err(Refusal::Store(error)) => Err(error.into()),
            Err(refusal @ Refusal::Unavailable { .. }) => Err(refusal),
            Err(refusal) => self.discard(ctx, key, Some((&record.event, &refusal))).await,
        }
    }

    async fn discard(
        &self,
        ctx: RequestContext,
        entry: InboxKey,
        why: Option<(&InboundEvent, &Refusal)>,
    ) -> Result<(), Refusal> {
        let why = why.map(|(event, refusal)| {
            tracing::warn!(
                request_id = %ctx.request_id, event_id = %event.event_id, portal = %event.room_id, why = %refusal,
                "an event of the homeserver is set aside"
            );
            count_set_aside(1);
            SetAside {
                at: 0,
                event_id: Some(event.event_id.clone()),
                room_id: Some(event.room_id.clone()),
                code: refusal.code().to_owned(),
                reason: refusal.to_string(),
                event: serde_json::to_string(event).unwrap_or_default(),
            }
        });
        self.homeserver_command(ctx, HomeserverCommand::Discard { entry, why })
            .await
            .map(drop)
    }

    /// A submission in a portal.
    async fn portal_message(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        event: &InboundEvent,
    ) -> Result<bool, Refusal> {
        let Some(room) = self.portal_of(&event.room_id).await? else {
            return Ok(false);
        };
        let Some(user) = self.local_user(&event.sender) else {
            return Ok(false);
        };
        let outcome = match self.submission(key, event).await {
            Ok(submission) => self.submit(ctx.clone(), &room, &user, submission).await.map(drop),
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(refusal @ (Refusal::Store(_) | Refusal::Unavailable { .. } | Refusal::Internal(_))) => {
                Err(refusal)
            }
            // Nobody waits in vain: whatever is wrong with it, its sender sees a status.
            Err(refusal) => {
                let id = event.content.get("id").and_then(serde_json::Value::as_str);
                let id = id
                    .filter(|id| (1..=64).contains(&id.len()))
                    .unwrap_or(&event.event_id);
                self.refuse_submission(ctx, key, (&room, &user), id, &refusal)
                    .await
                    .map(|()| true)
            }
        }
    }

    /// Reads a submission.
    async fn submission(&self, key: InboxKey, event: &InboundEvent) -> Result<Submission, Refusal> {
        let content: PortalSubmission =
            serde_json::from_value(event.content.clone()).map_err(|e| Refusal::malformed("submission", e))?;
        let message = match content.message {
            SubmittedMessage::Inline { message } => URL_SAFE_NO_PAD
                .decode(message.as_bytes())
                .map_err(|e| Refusal::malformed("submission", e))?,
            SubmittedMessage::ByHash { sha256, size } => {
                let octets = self.env.store.blob_get(&BlobHash::from(sha256.0)).await?;
                let octets = octets.filter(|octets| usize::try_from(size) == Ok(octets.len()));
                let missing = "no such octets here: PUT them to /blobs of the client API first";
                octets
                    .ok_or_else(|| Refusal::malformed("submission", missing))?
                    .to_vec()
            }
        };
        Ok(Submission {
            id: content.id,
            message,
            from_portal: Some(key),
        })
    }

    /// A device that signs in repeats its nonce.
    async fn portal_login(
        &self,
        ctx: &RequestContext,
        key: InboxKey,
        event: &InboundEvent,
    ) -> Result<bool, Refusal> {
        let Some(user) = self.local_user(&event.sender) else {
            return Ok(false);
        };
        let content: Login = serde_json::from_value(event.content.clone())
            .map_err(|e| Refusal::malformed("login event", e))?;
        let command = UserCommand::Confirm {
            nonce: content.nonce,
            from_portal: key,
        };
        self.user_command(ctx.clone(), &user, command).await.map(|_| true)
    }

    fn is_bot(&self, mxid: Option<&str>) -> bool {
        let bot = self.env.config.homeserver.as_ref().map(|h| h.bot.as_str());
        mxid.is_some() && mxid == bot
    }

    /// The MIMI user of a Matrix user of the homeserver beside us: `@alice:a.example` is `mimi://a.example/u/alice`.
    pub(super) fn local_user(&self, mxid: &str) -> Option<MimiUri> {
        let homeserver = self.env.config.homeserver.as_ref()?;
        let (localpart, server) = mxid.strip_prefix('@')?.split_once(':')?;
        (server == homeserver.server_name && !localpart.starts_with(crate::ghost::NAMESPACE))
            .then(|| self.user_uri(localpart).ok())
            .flatten()
    }

    /// The MIMI room of a portal.
    pub(super) async fn portal_of(&self, room_id: &str) -> Result<Option<MimiUri>, Refusal> {
        let Some(bytes) = self.env.store.get(Space::Portal, room_id.as_bytes()).await? else {
            return Ok(None);
        };
        Ok(Some(crate::records::parse(
            Space::Portal,
            room_id.as_bytes(),
            &bytes,
        )?))
    }
}
