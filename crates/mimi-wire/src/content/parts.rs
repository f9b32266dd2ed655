//! Bodies and their parts (sections 4.4 and 4.5).

use crate::codec::Opaque;

/// A part with what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestedPart {
    /// What it is for.
    pub disposition: Disposition,
    /// Comma-separated BCP 47 tags; may be empty.
    pub language: String,
    /// The part.
    pub part: Part,
}

/// A part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Nothing: deletes or unlikes.
    Null,
    /// Content in the message.
    Single(SinglePart),
    /// Content elsewhere.
    External(Box<ExternalPart>),
    /// Several parts.
    Multi(MultiPart),
}

/// Content in the message. `Debug` does not show it: what people write is not for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct SinglePart {
    /// Media type with parameters.
    pub content_type: String,
    /// The content.
    pub content: Opaque,
}

/// Content elsewhere. `Debug` shows neither its key nor where it is.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ExternalPart {
    /// Media type with parameters.
    pub content_type: String,
    /// Where it is.
    pub url: String,
    /// Until when, in seconds since the UNIX epoch; 0 for ever.
    pub expires: u32,
    /// Octets; 0 if not known.
    pub size: u64,
    /// IANA AEAD algorithm it is encrypted with; 0 for none.
    pub enc_alg: u16,
    /// Key.
    pub key: Opaque,
    /// Nonce.
    pub nonce: Opaque,
    /// Additional authenticated data.
    pub aad: Opaque,
    /// IANA Named Information hash algorithm; 0 for none.
    pub hash_alg: u8,
    /// Hash of the octets at the URL, which are the encrypted ones.
    pub content_hash: Opaque,
    /// For people.
    pub description: String,
    /// Suggested file name.
    pub filename: String,
}

impl std::fmt::Debug for SinglePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinglePart")
            .field("content_type", &self.content_type)
            .field("octets", &self.content.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ExternalPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalPart")
            .field("content_type", &self.content_type)
            .field("size", &self.size)
            .field("enc_alg", &self.enc_alg)
            .finish_non_exhaustive()
    }
}

/// Several parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiPart {
    /// How they belong together.
    pub semantics: PartSemantics,
    /// Two at least.
    pub parts: Vec<NestedPart>,
}

/// How parts belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartSemantics {
    /// The receiver takes one.
    ChooseOne,
    /// All or none.
    SingleUnit,
    /// As many as possible.
    ProcessAll,
}

impl PartSemantics {
    /// The number on the wire.
    pub const fn number(self) -> u64 {
        match self {
            Self::ChooseOne => 0,
            Self::SingleUnit => 1,
            Self::ProcessAll => 2,
        }
    }

    /// The semantics with a number.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::ChooseOne),
            1 => Some(Self::SingleUnit),
            2 => Some(Self::ProcessAll),
            _ => None,
        }
    }
}

/// What a part is for. Numbers from 9 are unknown and mean what [`Disposition::RENDER`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Disposition(pub u8);

impl Disposition {
    /// Not said.
    pub const UNSPECIFIED: Self = Self(0);
    /// To be shown.
    pub const RENDER: Self = Self(1);
    /// A reaction to another message.
    pub const REACTION: Self = Self(2);
    /// A profile.
    pub const PROFILE: Self = Self(3);
    /// To be shown within another part.
    pub const INLINE: Self = Self(4);
    /// An icon.
    pub const ICON: Self = Self(5);
    /// To be downloaded.
    pub const ATTACHMENT: Self = Self(6);
    /// A call, or where to join one.
    pub const SESSION: Self = Self(7);
    /// A preview made by the sender.
    pub const PREVIEW: Self = Self(8);

    /// What a receiver takes it for.
    #[must_use]
    pub fn effective(self) -> Self {
        if self.0 > Self::PREVIEW.0 {
            Self::RENDER
        } else {
            self
        }
    }
}

impl NestedPart {
    /// A single part without language.
    pub fn single(disposition: Disposition, content_type: &str, content: impl Into<Vec<u8>>) -> Self {
        let part = SinglePart {
            content_type: content_type.to_owned(),
            content: Opaque(content.into()),
        };
        Self {
            disposition,
            language: String::new(),
            part: Part::Single(part),
        }
    }

    /// No part, to delete ([`Disposition::RENDER`]) or unlike ([`Disposition::REACTION`]).
    pub fn null(disposition: Disposition) -> Self {
        Self {
            disposition,
            language: String::new(),
            part: Part::Null,
        }
    }

    /// An external part without language.
    pub fn external(disposition: Disposition, part: ExternalPart) -> Self {
        Self {
            disposition,
            language: String::new(),
            part: Part::External(Box::new(part)),
        }
    }

    /// Several parts, without language.
    pub fn multi(disposition: Disposition, semantics: PartSemantics, parts: Vec<Self>) -> Self {
        Self {
            disposition,
            language: String::new(),
            part: Part::Multi(MultiPart { semantics, parts }),
        }
    }

    /// Appends this part and those in it, depth first.
    pub(super) fn collect<'a>(&'a self, all: &mut Vec<&'a Self>) {
        all.push(self);
        if let Part::Multi(multi) = &self.part {
            for part in &multi.parts {
                part.collect(all);
            }
        }
    }
}

/// The URI by which a part refers to the part with an index.
pub fn cid(part_index: usize) -> String {
    format!("cid:{part_index}@local.invalid")
}

/// The part index in such a URI.
pub fn parse_cid(uri: &str) -> Option<usize> {
    let index = uri.strip_prefix("cid:")?.strip_suffix("@local.invalid")?;
    if index.is_empty() || !index.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    index.parse().ok()
}
