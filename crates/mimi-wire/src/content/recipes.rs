//! How the features of messaging are expressed (sections 5 and 7), both ways.

use super::{ContentError, Disposition, Extensions, MessageId, MimiContent, NestedPart, Part, PartSemantics};
use crate::codec::Opaque;
use crate::uri::{MimiUri, UriKind};

/// Media types of texts.
pub mod text_type {
    /// Plain text; every client takes it.
    pub const PLAIN: &str = "text/plain;charset=utf-8";
    /// Markdown in the variant of the draft; every client takes it.
    pub const GFM_MIMI: &str = "text/markdown;variant=GFM-MIMI";
    /// HTML; recommended.
    pub const HTML: &str = "text/html;charset=utf-8";
}

/// What a message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKind {
    /// Says something new, in answer to another message or not.
    Message,
    /// Reacts to the message.
    Reaction(MessageId),
    /// Gives a message a new body.
    Edit(MessageId),
    /// Takes a message back.
    Delete(MessageId),
    /// Takes a reaction back.
    Unlike(MessageId),
}

impl MimiContent {
    /// A message with a body, from a sender in a room.
    pub fn new(salt: [u8; 16], sender: &MimiUri, room: &MimiUri, body: NestedPart) -> Self {
        Self {
            salt,
            replaces: None,
            topic_id: Opaque::default(),
            expires: None,
            in_reply_to: None,
            extensions: Extensions::of(sender, room),
            body,
        }
    }

    /// The same in answer to a message.
    #[must_use]
    pub fn in_reply_to(mut self, id: MessageId) -> Self {
        self.in_reply_to = Some(id);
        self
    }

    /// The same as a replacement of a message, named by its first version. The original's `in_reply_to` has
    /// to be kept.
    #[must_use]
    pub fn replacing(mut self, id: MessageId) -> Self {
        self.replaces = Some(id);
        self
    }

    /// The same in a topic.
    #[must_use]
    pub fn in_topic(mut self, topic_id: impl Into<Vec<u8>>) -> Self {
        self.topic_id = Opaque(topic_id.into());
        self
    }

    /// What the message does.
    pub fn kind(&self) -> ContentKind {
        let disposition = self.body.disposition.effective();
        let is_null = matches!(self.body.part, Part::Null);
        match (self.replaces, self.in_reply_to) {
            (Some(id), _) if is_null && disposition == Disposition::REACTION => ContentKind::Unlike(id),
            (Some(id), _) if is_null => ContentKind::Delete(id),
            (Some(id), _) => ContentKind::Edit(id),
            (None, Some(id)) if disposition == Disposition::REACTION => ContentKind::Reaction(id),
            (None, _) => ContentKind::Message,
        }
    }

    /// The users mentioned: every user URI in a text part, each once, in order.
    pub fn mentions(&self) -> Vec<MimiUri> {
        let mut mentioned = Vec::new();
        for nested in self.parts() {
            let Some(text) = nested.text() else { continue };
            for (start, _) in text.match_indices("mimi://") {
                let rest = text.get(start..).unwrap_or_default();
                // Whatever ends a link in Markdown, HTML or plain text.
                let end = rest.find(|c: char| c.is_whitespace() || "()<>\"'[]`".contains(c));
                let end = end.unwrap_or(rest.len());
                let link = rest
                    .get(..end)
                    .unwrap_or_default()
                    .trim_end_matches(['.', ',', ';', ':', '!', '?']);
                if let Ok(uri) = MimiUri::parse(link)
                    && matches!(uri.kind(), UriKind::User | UriKind::Pseudonym)
                    && !mentioned.contains(&uri)
                {
                    mentioned.push(uri);
                }
            }
        }
        mentioned
    }

    /// The sender that the message names.
    pub fn sender(&self) -> Option<Result<MimiUri, ContentError>> {
        self.extensions.sender_uri().map(|text| parse(text, "senderUri"))
    }

    /// The room that the message names.
    pub fn room(&self) -> Option<Result<MimiUri, ContentError>> {
        self.extensions.room_uri().map(|text| parse(text, "roomUri"))
    }
}

fn parse(text: &str, field: &'static str) -> Result<MimiUri, ContentError> {
    MimiUri::parse(text).map_err(|_| ContentError::Shape {
        field,
        expected: "a mimi URI",
    })
}

impl NestedPart {
    /// Markdown to be shown.
    pub fn markdown(text: &str) -> Self {
        Self::single(Disposition::RENDER, text_type::GFM_MIMI, text)
    }

    /// Plain text to be shown.
    pub fn plain(text: &str) -> Self {
        Self::single(Disposition::RENDER, text_type::PLAIN, text)
    }

    /// A reaction: one emoji.
    pub fn reaction(emoji: &str) -> Self {
        Self::single(Disposition::REACTION, text_type::PLAIN, emoji)
    }

    /// Several reactions at once.
    pub fn reactions(emoji: &[&str]) -> Self {
        match emoji {
            [one] => Self::reaction(one),
            many => Self::multi(
                Disposition::REACTION,
                PartSemantics::ProcessAll,
                many.iter().map(|one| Self::reaction(one)).collect(),
            ),
        }
    }

    /// The body that deletes a message.
    pub fn deleted() -> Self {
        Self::null(Disposition::RENDER)
    }

    /// The body that takes a reaction back.
    pub fn unliked() -> Self {
        Self::null(Disposition::REACTION)
    }

    /// The text of a single part of a `text/` type.
    pub fn text(&self) -> Option<&str> {
        let Part::Single(single) = &self.part else {
            return None;
        };
        let is_text = single
            .content_type
            .get(..5)
            .is_some_and(|t| t.eq_ignore_ascii_case("text/"));
        if is_text {
            str::from_utf8(&single.content).ok()
        } else {
            None
        }
    }
}
