//! Messages on their way out, and what their content says on the way in.

use super::{Engine, dictionary};
use crate::api::{B64, RefusalCode, SubmissionState, SubmissionStatus, SubmitMessage};
use crate::content::{self, Content};
use crate::error::ClientError;
use crate::state::{Attempt, Entry, Former, Hash, Message, Outgoing, Room, What};
use crate::wire;
use mimi_wire::components::component_id;
use mimi_wire::content::{Disposition, NestedPart};
use openmls::prelude::{MlsGroup, SafeAadItem};

/// How a message of ours stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not known to be accepted yet.
    Waiting {
        /// Whether our provider holds it.
        queued: bool,
    },
    /// Accepted.
    Accepted(Box<Entry>),
    /// Refused for its epoch: [`Engine::submission`] gives it anew once the feed was read.
    Again,
    /// Refused for good.
    Refused(String),
}

impl Engine {
    /// Writes a message; it is sent by [`Engine::submission`]. Returns our id for it.
    pub fn compose(&mut self, uri: &str, text: &str, content_type: &str) -> Result<String, ClientError> {
        self.compose_body(uri, NestedPart::single(Disposition::RENDER, content_type, text))
    }

    /// The same with any body.
    pub fn compose_body(&mut self, uri: &str, body: NestedPart) -> Result<String, ClientError> {
        self.member_group(uri)?;
        let id = super::founding::random_name()?;
        self.saving(|engine| {
            let sender = engine.session()?.user.clone();
            let (content, message_id) = content::write(&sender, uri, body)?;
            let message = Outgoing {
                id: id.clone(),
                content: content.into(),
                message_id: message_id.as_bytes().to_vec().into(),
                attempt: None,
                attempts: 0,
            };
            engine.room_mut(uri)?.outgoing.push(message);
            Ok(id)
        })
    }

    /// Messages of a room that are not known to be accepted, oldest first.
    pub fn outgoing(&self, uri: &str) -> Result<Vec<String>, ClientError> {
        Ok(self.room(uri)?.outgoing.iter().map(|m| m.id.clone()).collect())
    }

    /// Whether proposals keep this group from sending until they are committed (RFC 9420 section 12.4).
    pub fn proposals_pending(&self, uri: &str) -> Result<bool, ClientError> {
        Ok(self.group(uri)?.is_some_and(|g| g.has_pending_proposals()))
    }

    /// The submission of a message: what was encrypted and saved before, or encrypted now for the current epoch.
    /// The number tells attempts apart.
    pub fn submission(&mut self, uri: &str, id: &str) -> Result<(SubmitMessage, u32), ClientError> {
        let room = self.room(uri)?;
        let waiting =
            room.outgoing
                .iter()
                .find(|m| m.id == id)
                .ok_or_else(|| ClientError::MessageRefused {
                    id: id.into(),
                    why: "it isn't waiting".into(),
                })?;
        if let Some(attempt) = &waiting.attempt {
            return Ok((
                SubmitMessage {
                    id: id.into(),
                    message: attempt.message.clone(),
                },
                waiting.attempts,
            ));
        }
        let mut group = self.member_group(uri)?;
        let data = if dictionary::framed(&group) {
            wire::frame(&waiting.content.0)
        } else {
            waiting.content.0.clone()
        };
        let tag = content::franking_tag(&waiting.content.0, &data)?;
        self.saving(|engine| {
            if group.public_group().group_context().safe_aad_required() {
                group
                    .set_safe_aad(vec![SafeAadItem::new(component_id::FRANK_AAD, tag.to_vec())])
                    .map_err(ClientError::mls("Safe AAD"))?;
            }
            let signer = engine.account()?.signer(group.ciphersuite())?;
            let message = group
                .create_message(&engine.mls, signer, &data)
                .map_err(ClientError::mls("encrypt"))?;
            let message = B64(wire::octets(&message)?);
            let epoch = group.epoch().as_u64();
            let room = engine.room_mut(uri)?;
            let mut attempts = 0;
            for waiting in room.outgoing.iter_mut().filter(|m| m.id == id) {
                waiting.attempt = Some(Attempt {
                    message: message.clone(),
                    data: data.clone().into(),
                    epoch,
                    queued: false,
                });
                waiting.attempts += 1;
                attempts = waiting.attempts;
            }
            Ok((
                SubmitMessage {
                    id: id.into(),
                    message,
                },
                attempts,
            ))
        })
    }

    /// How a message stands.
    pub fn sent(&self, uri: &str, id: &str) -> Result<Sent, ClientError> {
        let room = self.room(uri)?;
        if let Some(waiting) = room.outgoing.iter().find(|m| m.id == id) {
            return Ok(match &waiting.attempt {
                Some(attempt) => Sent::Waiting {
                    queued: attempt.queued,
                },
                None => Sent::Again,
            });
        }
        let ours = |e: &&Entry| matches!(&e.what, What::Message(m) if m.id.as_deref() == Some(id));
        if let Some(entry) = room.history.iter().rev().find(ours) {
            return Ok(Sent::Accepted(Box::new(entry.clone())));
        }
        let why = room.history.iter().rev().find_map(|e| match &e.what {
            What::Problem { what, reason } if what.contains(id) => Some(reason.clone()),
            _ => None,
        });
        Ok(Sent::Refused(why.unwrap_or_else(|| "it isn't known here".into())))
    }

    /// Takes in what the provider said about a message of ours.
    pub fn submitted(&mut self, uri: &str, status: &SubmissionStatus) -> Result<Sent, ClientError> {
        self.saving(|engine| engine.status(uri, status, true))?;
        self.sent(uri, &status.id)
    }

    /// `answer`: it is the answer to the newest attempt. Statuses in the feed may be about an older one: they
    /// count only if the epoch they ask for is news to that attempt.
    pub(super) fn status(
        &mut self,
        uri: &str,
        status: &SubmissionStatus,
        answer: bool,
    ) -> Result<(), ClientError> {
        let client = self.session()?.client.clone();
        let room = self.room_mut(uri)?;
        let Some(at) = room.outgoing.iter().position(|m| m.id == status.id) else {
            return Ok(());
        };
        let Some(waiting) = room.outgoing.get_mut(at) else {
            return Ok(());
        };
        let Some(attempt) = &mut waiting.attempt else {
            return Ok(());
        };
        match &status.state {
            SubmissionState::Queued => attempt.queued = true,
            SubmissionState::Accepted { at: time, frank } => {
                let accepted = room.outgoing.remove(at);
                record_own(room, accepted, &client, *time, frank.clone())?;
            }
            SubmissionState::Refused {
                code: RefusalCode::EpochTooOld,
                current_epoch,
                ..
            } => {
                if answer || current_epoch.is_none_or(|current| attempt.epoch < current) {
                    let id = waiting.id.clone();
                    let former = waiting.attempt.take();
                    replaced(room, id, former);
                }
            }
            SubmissionState::Refused { code, reason, .. } => {
                let refused = room.outgoing.remove(at);
                let hash = refused.attempt.map_or(Hash([0; 32]), |a| Hash::of(&a.message.0));
                room.history.push(Entry {
                    pos: None,
                    at: 0,
                    event_id: None,
                    hash,
                    what: What::Problem {
                        what: format!("own message {}", status.id),
                        reason: format!("{reason} ({code:?})"),
                    },
                });
            }
        }
        Ok(())
    }

    /// An own message came back in the feed.
    pub(super) fn echoed(
        &mut self,
        uri: &str,
        hash: Hash,
        at: u64,
        frank: Option<B64>,
    ) -> Result<bool, ClientError> {
        let client = self.session()?.client.clone();
        let room = self.room_mut(uri)?;
        if let Some(place) = room.former.iter().position(|f| f.hash == hash) {
            let former = room.former.remove(place);
            return former_echoed(room, former, &client, at, frank).map(|()| true);
        }
        let is_it = |m: &Outgoing| m.attempt.as_ref().is_some_and(|a| Hash::of(&a.message.0) == hash);
        let Some(place) = room.outgoing.iter().position(is_it) else {
            return Ok(false);
        };
        let accepted = room.outgoing.remove(place);
        record_own(room, accepted, &client, at, frank)?;
        Ok(true)
    }
}

/// Former encryptions kept in a room: some twenty messages that wait may each be refused a dozen times before it turns out
/// that a node which was cut off had accepted one of them.
const FORMER: usize = 512;

/// Remembers an encryption that another one takes the place of.
fn replaced(room: &mut Room, id: String, attempt: Option<Attempt>) {
    let Some(attempt) = attempt else { return };
    if room.former.len() >= FORMER {
        room.former.remove(0);
    }
    room.former.push(Former {
        id,
        hash: Hash::of(&attempt.message.0),
        attempt: Some(attempt),
    });
}

/// A former encryption turns out to be accepted. Others leave out what comes second under one message id; so do we.
fn former_echoed(
    room: &mut Room,
    former: Former,
    client: &str,
    at: u64,
    frank: Option<B64>,
) -> Result<(), ClientError> {
    if let Some(place) = room.outgoing.iter().position(|m| m.id == former.id) {
        let mut accepted = room.outgoing.remove(place);
        replaced(room, former.id, accepted.attempt.take());
        accepted.attempt = former.attempt;
        return record_own(room, accepted, client, at, frank);
    }
    let ours = |e: &&mut Entry| {
        e.pos.is_none() && matches!(&e.what, What::Message(m) if m.id.as_deref() == Some(former.id.as_str()))
    };
    // Accepted, says an answer, but not read yet: this one comes first.
    let placed = room.history.iter_mut().find(ours).map(|entry| {
        entry.at = at;
        std::mem::replace(&mut entry.hash, former.hash)
    });
    if let Some(hash) = placed {
        room.former.push(Former {
            id: former.id,
            hash,
            attempt: None,
        });
    }
    Ok(())
}

fn record_own(
    room: &mut Room,
    accepted: Outgoing,
    client: &str,
    at: u64,
    frank: Option<B64>,
) -> Result<(), ClientError> {
    let Some(attempt) = accepted.attempt else {
        return Ok(());
    };
    let Content {
        sender,
        media_type,
        text,
        ..
    } = content::read(&accepted.content.0)?;
    let message = Message {
        sender: sender.as_str().into(),
        client: client.into(),
        own: true,
        id: Some(accepted.id),
        message_id: accepted.message_id,
        content_type: media_type,
        text,
        epoch: attempt.epoch,
        data: attempt.data,
        frank,
    };
    let hash = Hash::of(&attempt.message.0);
    room.history.push(Entry {
        pos: None,
        at,
        event_id: None,
        hash,
        what: What::Message(Box::new(message)),
    });
    Ok(())
}

/// A received message whose claims hold; otherwise why not.
pub(super) struct Received<'a> {
    pub(super) room: &'a str,
    pub(super) client: &'a str,
    pub(super) at: u64,
    pub(super) epoch: u64,
    pub(super) data: Vec<u8>,
    pub(super) tag: Option<&'a [u8]>,
    pub(super) frank: Option<&'a B64>,
}

impl Received<'_> {
    /// Checks what a receiver has to (mimi-protocol-06 section 5.4.1): the sender in the content is the user of the
    /// leaf that signed, the room is this one, the tag is that of the content, the frank is the hub's over this
    /// sender, room and time.
    pub(super) fn check(
        self,
        group: &MlsGroup,
        crypto: &impl openmls::prelude::OpenMlsCrypto,
    ) -> Result<Message, String> {
        let inner = if dictionary::framed(group) {
            wire::unframe(&self.data)?
        } else {
            self.data.clone()
        };
        let content = content::read(&inner).map_err(|e| e.to_string())?;
        let user = super::change::user_of(self.client).ok_or("the sender's credential names no user")?;
        if content.sender != user {
            return Err(format!(
                "it says it is from {}, but {} signed it",
                content.sender, self.client
            ));
        }
        if content.room.as_str() != self.room {
            return Err(format!("it was written for {}", content.room));
        }
        let agent = dictionary::franking_agent(group).map_err(|e| e.to_string())?;
        if let Some(agent) = agent {
            let tag = self.tag.ok_or("it has no franking tag")?;
            let frank = self.frank.ok_or("the hub didn't frank it")?;
            content::check_tag(&content, &self.data, tag)?;
            content::check_frank(
                crypto,
                &agent,
                group.ciphersuite().into(),
                &frank.0,
                &content,
                self.at,
            )?;
        }
        Ok(Message {
            sender: content.sender.as_str().into(),
            client: self.client.into(),
            own: false,
            id: None,
            message_id: content.message_id.as_bytes().to_vec().into(),
            content_type: content.media_type,
            text: content.text,
            epoch: self.epoch,
            data: self.data.into(),
            frank: self.frank.cloned(),
        })
    }
}
