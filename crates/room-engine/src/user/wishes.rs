//! What was asked for on the Matrix side and waits for one of the user's clients, and how those are woken.

use mimi_wire::uri::MimiUri;
use store::{Scan, Space};

use super::UserState;
use crate::command::{InboxKey, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::outbox::{Destination, OutboxBody};
use crate::owner::{UriKey, half_sha256};
use crate::records::{OutboxRecord, read};
use crate::refusal::Refusal;
use crate::wake::{WakeRecord, wake_key};
use crate::wish::{MOST_WISHES, Wish, WishOutcome, notice, say, wish_key};

impl UserState {
    /// Writes a wish down and says so in the Matrix room. A user without a client has nobody to do it.
    pub(super) async fn add_wish(
        &self,
        env: &Env,
        wish: &Wish,
        (lane, answer): (&str, &OutboxBody),
        entry: InboxKey,
        request_id: &str,
    ) -> Result<Decision, Refusal> {
        if self.devices.is_empty() {
            return Err(Refusal::Unknown { what: "client" });
        }
        let scan = Scan::prefix(Space::Wish, UriKey::of(&self.user).0).limit(MOST_WISHES);
        if env.store.scan(scan).await?.len() >= MOST_WISHES {
            return Err(Refusal::TooLarge {
                what: "list of wishes",
                limit: MOST_WISHES,
            });
        }
        let mut decision = Decision::reply(Reply::Done);
        decision.delete(Space::HsInbox, entry.0.to_be_bytes().to_vec());
        decision.put(Space::Wish, wish_key(&self.user, &wish.id), wish)?;
        let record = OutboxRecord {
            destination: Destination::Homeserver,
            room: lane.to_owned(),
            seq: entry.0,
            request_id: request_id.to_owned(),
            queued_at: env.clock.now_ms(),
            octets: None,
            body: answer.clone(),
        };
        decision.queue(record)?;
        Ok(decision)
    }

    /// Has the bot tell the user something, where there is a homeserver. `distinct`: what makes it another thing than
    /// anything told before.
    pub(super) fn tell_by_bot(
        &self,
        env: &Env,
        ctx: &RequestContext,
        decision: &mut Decision,
        distinct: &str,
        text: &str,
    ) -> Result<(), Refusal> {
        let Some(user) = env.matrix_id(&self.user) else {
            return Ok(());
        };
        let lane = format!("{user} ({distinct})");
        let record = OutboxRecord {
            destination: Destination::Homeserver,
            seq: 1,
            request_id: ctx.request_id.clone(),
            queued_at: env.clock.now_ms(),
            octets: None,
            body: OutboxBody::BotTell {
                txn_id: hex::encode(half_sha256(lane.as_bytes())),
                user,
                content: notice(text),
            },
            room: lane,
        };
        decision.queue(record)
    }

    /// A client wants to be woken on this Matrix device, or no more.
    pub(super) fn set_wake(&self, client: &MimiUri, device: Option<&str>) -> Result<Decision, Refusal> {
        if !self.devices.contains_key(client) {
            return Err(Refusal::Unknown { what: "client" });
        }
        let mut decision = Decision::reply(Reply::Done);
        let place = wake_key(&self.user, client);
        match device {
            None => decision.delete(Space::Wake, place),
            Some(device) if (1..=255).contains(&device.len()) => {
                let record = WakeRecord {
                    user: self.user.clone(),
                    client: client.clone(),
                    device: device.to_owned(),
                };
                decision.put(Space::Wake, place, &record)?;
            }
            Some(_) => return Err(Refusal::malformed("device id", "1 to 255 octets")),
        }
        Ok(decision)
    }

    /// What became of a wish; whoever wished is told.
    pub(super) async fn settle_wish(
        &self,
        env: &Env,
        id: &str,
        outcome: &WishOutcome,
        request_id: &str,
    ) -> Result<Decision, Refusal> {
        let place = wish_key(&self.user, id);
        let Some(wish) = read::<Wish>(env.store.as_ref(), Space::Wish, &place).await? else {
            return Ok(Decision::reply(Reply::Done));
        };
        let mut decision = Decision::reply(Reply::Done);
        decision.delete(Space::Wish, place);
        metrics::counter!("causeway_wishes_settled_total").increment(1);
        if wish.asked_in.is_empty() {
            return Ok(decision);
        }
        let text = match outcome {
            WishOutcome::Done { room: Some(room) } => {
                format!("Done: {}. The room is {room}.", wish.want.words())
            }
            WishOutcome::Done { room: None } => format!("Done: {}.", wish.want.words()),
            WishOutcome::Declined { reason } => {
                let reason: String = reason.chars().filter(|c| !c.is_control()).take(500).collect();
                format!("Not done: {}. {reason}", wish.want.words())
            }
        };
        let record = OutboxRecord {
            destination: Destination::Homeserver,
            // A queue of its own with one entry in it.
            room: format!("{} (wish {id})", wish.asked_in),
            seq: 1,
            request_id: request_id.to_owned(),
            queued_at: env.clock.now_ms(),
            octets: None,
            body: say(&wish.asked_in, &format!("wish {id}"), notice(&text)),
        };
        decision.queue(record)?;
        Ok(decision)
    }
}
