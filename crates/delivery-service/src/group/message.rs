//! Admitting application messages (draft-ietf-mimi-protocol-06 section 5.4).

use super::policy::takes_part;
use super::{Group, View};
use crate::refusal::MessageRefusal;
use mimi_wire::components::SafeAad;
use mimi_wire::policy::Capability;
use mimi_wire::protocol::SubmitMessageRequest;
use mimi_wire::{Decode, Domain, Reader};

/// How application messages are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageSettings {
    /// How many epochs back a message may be encrypted for.
    pub past_epochs: u64,
}

impl Group {
    /// Judges a message that the provider `actor`, authenticated, submits. Goes by the effective view: who was
    /// removed or has left is out, whether or not that is committed, and so is who has no client that stays.
    pub fn judge_message(
        &self,
        actor: &Domain,
        request: &SubmitMessageRequest,
        settings: MessageSettings,
    ) -> Result<(), MessageRefusal> {
        let message = request.app_message();
        let current = self.epoch();
        if !message.is_application() {
            return Err(MessageRefusal::NotApplication);
        }
        if message
            .group_id()
            .is_none_or(|id| id.as_bytes() != self.mls.group_id().as_slice())
        {
            return Err(MessageRefusal::WrongGroup);
        }
        let sender = &request.sending_uri;
        if sender.domain() != *actor {
            return Err(MessageRefusal::ForeignSender);
        }
        let role = self.role(sender, View::Effective);
        let has_client = self
            .policy
            .member(sender)
            .is_some_and(|member| member.clients > 0);
        if !takes_part(role) || !has_client {
            return Err(MessageRefusal::NotAParticipant(sender.clone()));
        }
        if !self.has_capability(sender, Capability::SEND_MESSAGE) {
            return Err(MessageRefusal::Forbidden(role));
        }
        match message.epoch() {
            Some(epoch) if epoch > current => return Err(MessageRefusal::EpochInFuture { current }),
            Some(epoch) if current.0.saturating_sub(epoch.0) > settings.past_epochs => {
                return Err(MessageRefusal::EpochTooOld { current });
            }
            Some(_) => {}
            None => return Err(MessageRefusal::NotApplication),
        }
        if self.mls.group_context().safe_aad_required() {
            let aad = message.authenticated_data().unwrap_or_default();
            SafeAad::decode(&mut Reader::new(aad)).map_err(|_| MessageRefusal::SafeAad)?;
        }
        Ok(())
    }
}
