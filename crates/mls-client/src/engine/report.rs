//! Reports of abuse, from what this device has decrypted.

use super::Engine;
use crate::error::ClientError;
use crate::state::{Entry, Message, What};
use mimi_wire::MimiUri;
use mimi_wire::codec::{Decode as _, Encode as _, Opaque, UnixMillis};
use mimi_wire::components::AppDataDictionary;
use mimi_wire::protocol::{AbuseReport, AbuseType, AbusiveMessage, Frank};

impl Engine {
    /// The message of a room that a person means: its MIMI message id in hex, or the beginning of it.
    pub fn find_message(&self, uri: &str, id: &str) -> Result<(&Entry, &Message), ClientError> {
        let id = id.to_ascii_lowercase();
        let mut found = self
            .room(uri)?
            .history
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Message(message) if hex::encode(&message.message_id.0).starts_with(&id) => {
                    Some((entry, message.as_ref()))
                }
                _ => None,
            });
        match (found.next(), found.next()) {
            // Short beginnings name a message by accident.
            (Some(one), None) if id.len() >= 6 => Ok(one),
            _ => Err(ClientError::UnknownMessage(id.clone())),
        }
    }

    /// An `AbuseReport` about messages of one sender (protocol-06 section 5.9), TLS. It shows their contents to the hub.
    pub fn abuse_report(
        &self,
        uri: &str,
        ids: &[String],
        note: &str,
        anonymous: bool,
    ) -> Result<Vec<u8>, ClientError> {
        let parse = |text: &str| MimiUri::parse(text).map_err(ClientError::malformed("URI"));
        let mut messages = Vec::with_capacity(ids.len());
        let mut accused: Option<&str> = None;
        for id in ids {
            let (entry, message) = self.find_message(uri, id)?;
            if accused.is_some_and(|accused| accused != message.sender) {
                return Err(ClientError::Unreportable(
                    "the messages are of several senders; report each by itself".into(),
                ));
            }
            accused = Some(&message.sender);
            let frank = message.frank.as_ref().ok_or_else(|| {
                ClientError::Unreportable(format!(
                    "the hub didn't frank message {id}, so nothing proves who sent it"
                ))
            })?;
            messages.push(AbusiveMessage {
                message_content: Opaque(message.data.0.clone()),
                frank: Frank::from_bytes(&frank.0).map_err(ClientError::malformed("frank"))?,
                accepted_timestamp: UnixMillis(entry.at),
            });
        }
        let accused =
            accused.ok_or_else(|| ClientError::Unreportable("name the messages to be reported".into()))?;
        let reporting_user = if anonymous {
            None
        } else {
            Some(parse(&self.session()?.user)?)
        };
        let report = AbuseReport {
            reporting_user,
            alleged_abuser_uri: parse(accused)?,
            reason_code: AbuseType::Reserved,
            note: note.to_owned(),
            messages,
            abuse_extensions: AppDataDictionary::default(),
        };
        Ok(report.to_bytes())
    }
}
