//! Oblivious HTTP (RFC 9458) and binary HTTP messages (RFC 9292), as far as assets need them: one suite, whole
//! messages.
//!
//! ```text
//! client                      relay                  gateway                target
//! Sender::seal(request) ----> passes octets on ----> Gateway::open
//!                                                    request ------------->
//! Opener::open <------------- passes octets on <---- Sealer::seal <--------- response
//! ```
//!
//! The relay knows who asks, the gateway what is asked; neither knows both. The suite is DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256, AES-128-GCM, which RFC 9458 section 4.1 wants from everybody.

pub mod bhttp;
mod oblivious;

pub use oblivious::{Gateway, KEYS_TYPE, OhttpError, Opener, REQUEST_TYPE, RESPONSE_TYPE, Sealer, Sender};
