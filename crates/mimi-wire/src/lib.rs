//! MIMI bytes: what travels between MIMI providers, decoded, checked and encoded.
//!
//! The crate is pure: no I/O, no clock, no randomness. Every decoder takes hostile octets: it is bounded by
//! its input, never panics, and accepts one encoding of a value only, so that decoding and encoding again
//! gives the same octets.
//!
//! | module | what | specification |
//! |---|---|---|
//! | [`codec`] | TLS presentation language with variable-length vectors | RFC 9420 section 2.1 |
//! | [`uri`] | `mimi:` URIs and provider domains | draft-ietf-mimi-protocol-06 section 4.2 |
//! | [`mls`] | MLS structures, delimited and looked into, never changed | RFC 9420, draft-ietf-mls-extensions-10 |
//! | [`protocol`] | the bodies of the provider endpoints | draft-ietf-mimi-protocol-06 section 5 |
//! | [`components`] | component identifiers and the data of MIMI's own components | section 7 |
//! | [`directory`] | `/.well-known/mimi-protocol-directory` | section 5.1 |
//! | [`content`] | messages: CBOR, identifiers, parts, JSON | draft-ietf-mimi-content-09 |
//! | [`franking`] | tags, franks, what is signed | section 5.4.1 |
//! | [`policy`] | room policy: components, presets, authorization | draft-ietf-mimi-room-policy-04 |
//! | [`view`] | any of these as JSON, for debugging | |
//! | [`labels`] | octets that are signed, sealed to or hashed under a label | RFC 9420 section 5 |
//!
//! Where the drafts contradict themselves, the choice made is in `docs/decisions/0001-mimi-wire-ambiguities.md`.

pub mod codec;
pub mod components;
pub mod content;
pub mod directory;
pub mod franking;
pub mod labels;
pub mod mls;
pub mod policy;
pub mod protocol;
pub mod uri;
pub mod view;

pub use codec::{Decode, DecodeError, DecodeErrorKind, Encode, Opaque, Reader};
pub use uri::{Domain, MimiUri, UriError, UriKind};
