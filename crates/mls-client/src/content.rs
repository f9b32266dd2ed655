//! What a message says, and the hub's frank on it.

use crate::error::ClientError;
use crate::storage::StorageError;
use mimi_wire::MimiUri;
use mimi_wire::codec::{Decode as _, UnixMillis};
use mimi_wire::components::FrankingAgentData;
use mimi_wire::content::{ContentKind, MessageId, MimiContent, NestedPart, Part};
use mimi_wire::franking::{self, ServerFrankingContext};
use mimi_wire::protocol::Frank;
use openmls::prelude::OpenMlsCrypto;

/// What this client reads in a message.
pub(crate) struct Content {
    pub(crate) sender: MimiUri,
    pub(crate) room: MimiUri,
    pub(crate) salt: [u8; 16],
    pub(crate) message_id: MessageId,
    pub(crate) media_type: String,
    pub(crate) text: String,
}

/// Content and message id of a message with this body.
pub(crate) fn write(sender: &str, room: &str, body: NestedPart) -> Result<(Vec<u8>, MessageId), ClientError> {
    let uri = |text: &str| MimiUri::parse(text).map_err(ClientError::malformed("URI"));
    let (sender, room) = (uri(sender)?, uri(room)?);
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| StorageError::Random)?;
    let octets = MimiContent::new(salt, &sender, &room, body)
        .encode()
        .map_err(ClientError::malformed("message"))?;
    let id = MessageId::derive(&sender, &room, &octets, &salt);
    Ok((octets, id))
}

/// Reads content.
pub(crate) fn read(octets: &[u8]) -> Result<Content, ClientError> {
    let content = MimiContent::decode(octets).map_err(ClientError::malformed("content"))?;
    let missing = |what: &str| ClientError::Malformed {
        what: "content",
        why: format!("it names no {what}"),
    };
    let malformed = ClientError::malformed::<mimi_wire::content::ContentError>;
    let sender = content
        .sender()
        .ok_or_else(|| missing("sender"))?
        .map_err(malformed("content"))?;
    let room = content
        .room()
        .ok_or_else(|| missing("room"))?
        .map_err(malformed("content"))?;
    let message_id = MessageId::derive(&sender, &room, octets, &content.salt);
    let (media_type, text) = shown(&content);
    Ok(Content {
        sender,
        room,
        salt: content.salt,
        message_id,
        media_type,
        text,
    })
}

/// The text to show: that of the body, or what it is in brackets.
fn shown(content: &MimiContent) -> (String, String) {
    let parts = content.parts();
    let text = parts.iter().find_map(|p| Some((p, p.text()?)));
    let kind = content.kind();
    if let Some((part, text)) = text {
        let content_type = match &part.part {
            Part::Single(single) => single.content_type.clone(),
            _ => String::new(),
        };
        let text = match kind {
            ContentKind::Message => text.to_owned(),
            other => format!("[{}] {text}", name(other)),
        };
        return (content_type, text);
    }
    let content_type = parts.iter().find_map(|p| match &p.part {
        Part::Single(single) => Some(single.content_type.clone()),
        Part::External(external) => Some(external.content_type.clone()),
        _ => None,
    });
    let file = parts.iter().find_map(|p| match &p.part {
        Part::External(external) => Some(external.filename.as_str()),
        _ => None,
    });
    if let Some(name) = file.filter(|name| !name.is_empty()) {
        return (content_type.unwrap_or_default(), format!("[attachment {name}]"));
    }
    let what = content_type.clone().unwrap_or_else(|| name(kind).into());
    (content_type.unwrap_or_default(), format!("[{what}]"))
}

fn name(kind: ContentKind) -> &'static str {
    match kind {
        ContentKind::Message => "message",
        ContentKind::Reaction(_) => "reaction",
        ContentKind::Edit(_) => "edited",
        ContentKind::Delete(_) => "taken back",
        ContentKind::Unlike(_) => "reaction taken back",
    }
}

/// The franking tag of application data whose content is `content`.
pub(crate) fn franking_tag(content: &[u8], data: &[u8]) -> Result<[u8; 32], ClientError> {
    Ok(franking::franking_tag(&read(content)?.salt, data))
}

/// Whether the tag in the message is that of its content.
pub(crate) fn check_tag(content: &Content, data: &[u8], tag: &[u8]) -> Result<(), String> {
    let good = tag
        .try_into()
        .is_ok_and(|tag| franking::verify_franking_tag(&content.salt, data, tag));
    if good {
        Ok(())
    } else {
        Err("its franking tag is not that of its content".into())
    }
}

/// Whether the hub's frank is about this sender, room and time. (Its HMAC only the hub can check.)
pub(crate) fn check_frank(
    crypto: &impl OpenMlsCrypto,
    agent: &FrankingAgentData,
    suite: u16,
    frank: &[u8],
    content: &Content,
    at: u64,
) -> Result<(), String> {
    let frank = Frank::from_bytes(frank).map_err(|e| format!("its frank is malformed: {e}"))?;
    if frank.franking_signature_ciphersuite.0 != suite {
        return Err("its frank is of another cipher suite than the group".into());
    }
    let scheme = crate::wire::scheme(frank.franking_signature_ciphersuite)
        .ok_or("its frank is of an unknown suite")?;
    let context = ServerFrankingContext {
        sender_uri: content.sender.clone(),
        room_uri: content.room.clone(),
        accepted_timestamp: UnixMillis(at),
    };
    let signed = franking::integrity_content(
        &frank.server_frank,
        frank.franking_signature_ciphersuite,
        &context,
    );
    crypto
        .verify_signature(
            scheme,
            &signed,
            &agent.franking_signature_key,
            &frank.franking_integrity_signature,
        )
        .map_err(|_| "its frank is not the hub's for this sender, room and time".to_owned())
}
