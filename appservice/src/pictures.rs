//! Pictures of users and rooms, from the MIMI side to the homeserver and back.
//!
//! A picture on the MIMI side is an `https` address (draft-ietf-mimi-protocol-06 section 5.10; room metadata; the `PHOTO` of
//! a user's profile); on the Matrix side it is an `mxc:` URI of the homeserver's own media. Each is fetched when it is first
//! to be shown and uploaded once: the event or profile that shows it says where it came from.

use crate::homeserver::{Homeserver, HomeserverError};
use async_trait::async_trait;
use mimi_wire::MimiUri;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Field of `m.room.avatar` and of a ghost's profile: where the picture came from.
pub const SOURCE_FIELD: &str = "org.causeway.picture";
/// Octets of a picture at most.
pub const LARGEST: usize = 4 << 20;
/// Pictures and users remembered at most; beyond that all are looked for anew.
const MOST_KNOWN: usize = 100_000;

/// What a user shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: Option<String>,
    /// The `https` address of its picture.
    pub picture: Option<String>,
}

/// Why a picture is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// Never: too large, none at all, from where nothing is taken.
    #[error("{0}")]
    Refused(String),
}

/// The way to the MIMI side's pictures.
#[async_trait]
pub trait Pictures: Send + Sync + 'static {
    /// What a user of another provider shows; `None` if that can't be told now.
    async fn shown(&self, user: &MimiUri) -> Option<Shown>;
    /// The octets at an address that a room, or a member of it, names. At most [`LARGEST`].
    async fn fetch(&self, room: &MimiUri, address: &str) -> Result<Vec<u8>, PictureError>;
    /// Keeps a picture that a user of this provider set for a room; answers with its address.
    async fn keep(&self, user: &MimiUri, octets: Vec<u8>) -> Result<String, PictureError>;
}

/// The pictures that the homeserver has. Cheap to clone.
#[derive(Clone, Default)]
pub struct Gallery {
    source: Option<Arc<dyn Pictures>>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// `mxc:` URIs by address.
    uploaded: HashMap<String, String>,
    users: HashMap<MimiUri, Shown>,
}

impl Gallery {
    /// With pictures from there. (The default has none.)
    pub fn new(source: Arc<dyn Pictures>) -> Self {
        Self {
            source: Some(source),
            known: Arc::default(),
        }
    }

    fn known<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the picture at an address is known to be on the homeserver.
    pub(crate) fn has(&self, address: &str) -> bool {
        self.known(|known| known.uploaded.contains_key(address))
    }

    /// What a user shows. Its provider is asked once.
    pub(crate) async fn shown(&self, user: &MimiUri) -> Shown {
        if let Some(shown) = self.known(|known| known.users.get(user).cloned()) {
            return shown;
        }
        let Some(source) = &self.source else {
            return Shown::default();
        };
        let Some(shown) = source.shown(user).await else {
            return Shown::default();
        };
        self.known(|known| {
            if known.users.len() >= MOST_KNOWN {
                known.users.clear();
            }
            known.users.insert(user.clone(), shown.clone());
        });
        shown
    }

    /// The picture at an address, on the homeserver. `None`: there is none to be had (now).
    pub(crate) async fn uploaded(
        &self,
        homeserver: &Homeserver,
        room: &MimiUri,
        address: &str,
    ) -> Result<Option<String>, HomeserverError> {
        if let Some(mxc) = self.known(|known| known.uploaded.get(address).cloned()) {
            return Ok(Some(mxc));
        }
        let Some(source) = &self.source else {
            return Ok(None);
        };
        let octets = match source.fetch(room, address).await {
            Ok(octets) => octets,
            Err(error) => {
                metrics::counter!("causeway_pictures_failed_total").increment(1);
                tracing::warn!(room = room.as_str(), address, %error, "a picture can't be had");
                return Ok(None);
            }
        };
        let Some(content_type) = content_type(&octets) else {
            metrics::counter!("causeway_pictures_failed_total").increment(1);
            tracing::warn!(room = room.as_str(), address, "what should be a picture is none");
            return Ok(None);
        };
        let mxc = match homeserver.upload(octets, content_type).await {
            Ok(mxc) => mxc,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::warn!(room = room.as_str(), address, %error, "the homeserver takes no picture");
                return Ok(None);
            }
        };
        metrics::counter!("causeway_pictures_uploaded_total").increment(1);
        self.remember(address, &mxc);
        Ok(Some(mxc))
    }

    /// Keeps a picture of the homeserver's for the MIMI side; answers with its address there.
    pub(crate) async fn keep(
        &self,
        homeserver: &Homeserver,
        user: &MimiUri,
        mxc: &str,
    ) -> Result<Result<String, PictureError>, HomeserverError> {
        let Some(source) = &self.source else {
            let why = "this provider keeps no pictures".to_owned();
            return Ok(Err(PictureError::Refused(why)));
        };
        let octets = match homeserver.download(mxc).await {
            Ok(octets) => octets,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => return Ok(Err(PictureError::Refused(error.to_string()))),
        };
        if octets.len() > LARGEST {
            let why = format!("a picture is at most {LARGEST} octets");
            return Ok(Err(PictureError::Refused(why)));
        }
        if content_type(&octets).is_none() {
            let why = "a picture is PNG, JPEG, GIF or WebP".to_owned();
            return Ok(Err(PictureError::Refused(why)));
        }
        let kept = source.keep(user, octets).await;
        if let Ok(address) = &kept {
            // What comes back by way of the log is there already.
            self.remember(address, mxc);
        }
        Ok(kept)
    }

    fn remember(&self, address: &str, mxc: &str) {
        self.known(|known| {
            if known.uploaded.len() >= MOST_KNOWN {
                known.uploaded.clear();
            }
            known.uploaded.insert(address.to_owned(), mxc.to_owned());
        });
    }
}

/// What kind of picture this is, by its first octets. Nothing else is uploaded: no markup that a browser would run.
fn content_type(octets: &[u8]) -> Option<&'static str> {
    match octets {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_pictures() {
        assert_eq!(content_type(b"\x89PNG\r\n\x1a\nrest"), Some("image/png"));
        assert_eq!(content_type(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(content_type(b"GIF89a"), Some("image/gif"));
        assert_eq!(content_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        for other in [&b"<svg xmlns='x'>"[..], b"", b"GIF8", b"RIFF\0\0\0\0WAVE"] {
            assert_eq!(content_type(other), None);
        }
    }
}
