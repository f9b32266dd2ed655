//! What leaves: the way to other providers, and a sender per destination, started with its first entry.

use crate::mimi_client::{Answer, LinkError, MimiClient};
use crate::web::Stop;
use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use mimi_wire::directory::Endpoint;
use mimi_wire::protocol::SubmitMessageResponse;
use mimi_wire::{Decode as _, MimiUri};
use room_engine::outbox::{
    Delivery, Destination, OutboxBody, OutboxEntry, Sender, SenderSettings, Transport,
};
use room_engine::{Engine, Refusal, RequestContext, Sent};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Carries entries to another provider.
pub struct MimiTransport {
    client: MimiClient,
    engine: Engine,
}

impl MimiTransport {
    /// Over this client; outcomes of submissions go to the engine.
    pub fn new(client: MimiClient, engine: Engine) -> Self {
        Self { client, engine }
    }

    async fn post(&self, entry: &OutboxEntry, endpoint: Endpoint) -> Result<Answer, Delivery> {
        let answer = self.try_post(entry, endpoint, &entry.room).await?;
        answer.map_err(|e| Delivery::Retry {
            after: None,
            reason: e.to_string(),
        })
    }

    async fn try_post(
        &self,
        entry: &OutboxEntry,
        endpoint: Endpoint,
        variable: &str,
    ) -> Result<Result<Answer, LinkError>, Delivery> {
        let Destination::Provider(peer) = &entry.destination else {
            return Err(refused(
                "wrong_destination",
                "an entry for another kind of destination",
            ));
        };
        let body = Bytes::copy_from_slice(&entry.octets.0);
        Ok(self
            .client
            .post(peer, endpoint, variable, &entry.request_id, body)
            .await)
    }

    /// A consent entry. The requester learns whether it arrived, and nothing about what happens with it.
    async fn consent(&self, entry: &OutboxEntry, consent: &ConsentBody<'_>) -> Delivery {
        let endpoint = if consent.request {
            Endpoint::RequestConsent
        } else {
            Endpoint::UpdateConsent
        };
        let answer = match self.try_post(entry, endpoint, consent.other.as_str()).await {
            Ok(answer) => answer,
            Err(delivery) => return delivery,
        };
        let failure = match answer {
            // The draft says 201, and lets a provider say 404 for a user it doesn't have.
            Ok(answer) if answer.status.is_success() => None,
            Ok(answer) => match answer.status {
                StatusCode::NOT_FOUND => Some("the other provider has no such user".to_owned()),
                status if status.is_client_error() && !again(status) => {
                    Some(format!("the other provider answered {status}"))
                }
                _ => return retry(&answer),
            },
            Err(error @ (LinkError::NotAPeer(_) | LinkError::NoEndpoint { .. })) => Some(error.to_string()),
            Err(error) => {
                return Delivery::Retry {
                    after: None,
                    reason: error.to_string(),
                };
            }
        };
        if consent.ask {
            let Ok(user) = MimiUri::parse(&entry.room) else {
                return refused("malformed", "the entry's user is no URI");
            };
            let ctx = RequestContext {
                request_id: entry.request_id.clone(),
            };
            let sent = failure.as_ref().map_or(Sent::Delivered, |reason| Sent::Failed {
                reason: reason.clone(),
            });
            let noted = self
                .engine
                .consent_sent(ctx, &user, consent.other, consent.room, sent)
                .await;
            match noted {
                // An account that is gone asks no more.
                Ok(()) | Err(Refusal::Unknown { .. }) => {}
                Err(error) => {
                    return Delivery::Retry {
                        after: None,
                        reason: error.to_string(),
                    };
                }
            }
        }
        match failure {
            None => Delivery::Done,
            Some(reason) => refused("consent", reason),
        }
    }

    /// What the hub says to a message. A hub that refuses the request itself has refused the message: nothing about
    /// it will change.
    fn response(answer: &Answer) -> Result<SubmitMessageResponse, Delivery> {
        match answer.status {
            StatusCode::OK => SubmitMessageResponse::from_bytes(&answer.body).map_err(|e| Delivery::Retry {
                after: answer.retry_after,
                reason: format!("the hub's answer is malformed: {e}"),
            }),
            StatusCode::BAD_REQUEST
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::PAYLOAD_TOO_LARGE => Ok(SubmitMessageResponse::NotAllowed),
            _ => Err(retry(answer)),
        }
    }
}

/// What an entry of kind consent says besides its octets.
struct ConsentBody<'a> {
    other: &'a MimiUri,
    room: Option<&'a MimiUri>,
    request: bool,
    ask: bool,
}

/// Whether a client error may be none the next time.
fn again(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
    )
}

fn refused(code: &str, reason: impl Into<String>) -> Delivery {
    Delivery::Refused {
        code: code.to_owned(),
        reason: reason.into(),
    }
}

fn retry(answer: &Answer) -> Delivery {
    Delivery::Retry {
        after: answer.retry_after,
        reason: format!("HTTP status {}", answer.status),
    }
}

#[async_trait]
impl Transport for MimiTransport {
    async fn deliver(&self, entry: &OutboxEntry) -> Delivery {
        match &entry.body {
            OutboxBody::Notify => match self.post(entry, Endpoint::Notify).await {
                // The draft says 201; every 2xx means that the follower has it.
                Ok(answer) if answer.status.is_success() => Delivery::Done,
                Ok(answer) => retry(&answer),
                Err(delivery) => delivery,
            },
            OutboxBody::Submit { submission } => {
                let answer = match self.post(entry, Endpoint::SubmitMessage).await {
                    Ok(answer) => answer,
                    Err(delivery) => return delivery,
                };
                let response = match Self::response(&answer) {
                    Ok(response) => response,
                    Err(delivery) => return delivery,
                };
                let Ok(room) = MimiUri::parse(&entry.room) else {
                    return refused("malformed", "the entry's room is no URI");
                };
                let ctx = RequestContext {
                    request_id: entry.request_id.clone(),
                };
                match self
                    .engine
                    .submission_outcome(ctx, &room, submission, response)
                    .await
                {
                    Ok(()) => Delivery::Done,
                    // The hub remembers the request, so the repeat gets the same answer.
                    Err(error) => Delivery::Retry {
                        after: None,
                        reason: error.to_string(),
                    },
                }
            }
            OutboxBody::Consent {
                other,
                room_id,
                request,
                ask,
            } => {
                let consent = ConsentBody {
                    other,
                    room: room_id.as_ref(),
                    request: *request,
                    ask: *ask,
                };
                self.consent(entry, &consent).await
            }
            _ => refused("wrong_destination", "an entry for the homeserver"),
        }
    }
}

/// The ways out.
pub struct Transports {
    /// To other providers.
    pub peers: Arc<dyn Transport>,
    /// To the homeserver, where there is one.
    pub homeserver: Option<Arc<dyn Transport>>,
    /// To Matrix servers, where this node federates.
    pub servers: Option<Arc<dyn Transport>>,
}

/// Starts a sender when a destination gets its first entry, until stopped; then stops them all.
pub struct Senders {
    engine: Engine,
    transports: Transports,
    settings: SenderSettings,
    running: HashMap<Destination, Sender>,
}

impl Senders {
    /// With these ways out.
    pub fn new(engine: Engine, transports: Transports, settings: SenderSettings) -> Self {
        Self {
            engine,
            transports,
            settings,
            running: HashMap::new(),
        }
    }

    /// Runs until told to stop.
    pub async fn run(mut self, mut stop: Stop) {
        // Subscribed before looking, so that nothing is missed in between.
        let mut new = self.engine.new_destinations();
        let mut terms = self.engine.terms();
        self.start_known().await;
        loop {
            let next = tokio::select! {
                () = stop.wait() => break,
                next = new.recv() => next,
                Ok(()) = terms.changed() => {
                    // Another node may have queued for destinations that are new here.
                    self.start_known().await;
                    continue;
                }
            };
            match next {
                Ok(destination) => self.start(destination),
                Err(RecvError::Lagged(_)) => self.start_known().await,
                Err(RecvError::Closed) => break,
            }
        }
        let stopping: Vec<_> = self.running.into_values().map(Sender::stop).collect();
        futures_util::future::join_all(stopping).await;
    }

    async fn start_known(&mut self) {
        loop {
            match self.engine.destinations().await {
                Ok(known) => return known.into_iter().for_each(|destination| self.start(destination)),
                Err(error) => {
                    tracing::error!(%error, "the outbox can't be read");
                    tokio::time::sleep(self.settings.first_pause).await;
                }
            }
        }
    }

    fn start(&mut self, destination: Destination) {
        if self.running.contains_key(&destination) {
            return;
        }
        let transport = match &destination {
            Destination::Provider(_) => Some(&self.transports.peers),
            Destination::Homeserver => self.transports.homeserver.as_ref(),
            Destination::Server(_) => self.transports.servers.as_ref(),
        };
        let Some(transport) = transport.cloned() else {
            tracing::warn!(%destination, "entries wait, but the configuration has no way there");
            return;
        };
        tracing::info!(%destination, "sender started");
        let sender = self.engine.sender(destination.clone(), transport, self.settings);
        self.running.insert(destination, sender);
    }
}
