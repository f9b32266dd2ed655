//! The way from one provider to another.

use async_trait::async_trait;
use mimi_wire::codec::Decode as _;
use mimi_wire::protocol::ConsentEntry;
use mimi_wire::uri::MimiUri;
use room_engine::outbox::{Delivery, Destination, OutboxBody, OutboxEntry};
use room_engine::{Engine, Refusal, Sent};
use std::sync::Weak;

use super::{Home, Way, ctx, domain};

/// Carries the outbox of one provider.
pub(crate) struct Link<H> {
    pub(crate) from: String,
    pub(crate) engine: Engine,
    pub(crate) home: Weak<H>,
}

#[async_trait]
impl<H: Home> room_engine::outbox::Transport for Link<H> {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        let retry = |reason: String| Delivery::Retry { after: None, reason };
        let Some(home) = self.home.upgrade() else {
            return retry("the world is gone".into());
        };
        let room = MimiUri::parse(&entry.room);
        let outcome: Result<(), Refusal> = match (&entry.destination, &entry.body) {
            (Destination::Provider(to), OutboxBody::Notify) => {
                let engine = match home.reach(&self.from, to.as_str(), Way::Ordering).await {
                    Ok(engine) => engine,
                    Err(why) => return retry(why),
                };
                home.arrives(entry);
                engine
                    .notify(ctx(), &room.unwrap(), &domain(&self.from), entry.octets.0.clone())
                    .await
            }
            (Destination::Provider(to), OutboxBody::Submit { submission }) => {
                let hub = match home.reach(&self.from, to.as_str(), Way::Message).await {
                    Ok(hub) => hub,
                    Err(why) => return retry(why),
                };
                home.arrives(entry);
                let room = room.unwrap();
                match hub
                    .submit_message(ctx(), &room, &domain(&self.from), entry.octets.0.clone())
                    .await
                {
                    Ok(response) => {
                        if let Err(why) = home.back(&self.from, to.as_str()).await {
                            return retry(why);
                        }
                        self.engine
                            .submission_outcome(ctx(), &room, submission, response)
                            .await
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            (
                Destination::Provider(to),
                OutboxBody::Consent {
                    request,
                    other,
                    room_id,
                    ask,
                },
            ) => {
                let engine = match home.reach(&self.from, to.as_str(), Way::Ordering).await {
                    Ok(engine) => engine,
                    Err(why) => return retry(why),
                };
                let consent = ConsentEntry::from_bytes(&entry.octets.0).unwrap();
                let from = domain(&self.from);
                let taken = if *request {
                    engine.request_consent(ctx(), &from, consent).await
                } else {
                    engine.update_consent(ctx(), &from, consent).await
                };
                if *ask && taken.is_ok() {
                    let own = room.unwrap();
                    self.engine
                        .consent_sent(ctx(), &own, other, room_id.as_ref(), Sent::Delivered)
                        .await
                } else {
                    taken
                }
            }
            (Destination::Homeserver, body) => {
                home.shown(entry);
                match body {
                    OutboxBody::PortalCreate { .. } => {
                        let portal = format!("!portal-of-{}", entry.room);
                        self.engine.portal_created(ctx(), &room.unwrap(), &portal).await
                    }
                    _ => Ok(()),
                }
            }
            other => panic!("{other:?}"),
        };
        if home.forgets() {
            return retry("the answer was lost".into());
        }
        if let Destination::Provider(to) = &entry.destination
            && let Err(why) = home.back(&self.from, to.as_str()).await
        {
            return retry(why);
        }
        match outcome {
            Ok(()) => Delivery::Done,
            Err(refusal) => retry(refusal.to_string()),
        }
    }
}
