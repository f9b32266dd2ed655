//! A peer's directory: `https://<domain>/.well-known/mimi-protocol-directory` (draft-ietf-mimi-protocol-06 section
//! 5.1), kept as long as HTTP says. That a peer has none is kept for a while, too.

use super::link::Link;
use super::{LinkError, MimiClient, headers};
use http::header::{DATE, LOCATION};
use http::{HeaderMap, StatusCode};
use mimi_wire::directory::{Directory, WELL_KNOWN_PATH};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a directory is kept where the peer doesn't say.
const USUAL_AGE: Duration = Duration::from_mins(10);
/// The longest a directory is kept, whatever the peer says.
const LONGEST_AGE: Duration = Duration::from_hours(24);
/// How long it is kept that a peer answers, but not with a directory.
const BAD_AGE: Duration = Duration::from_secs(30);
/// Largest directory taken.
const DIRECTORY_SIZE: usize = 64 * 1024;
/// Redirects followed.
const REDIRECTS: usize = 3;

/// What a peer said when asked for its directory.
pub(super) struct Asked {
    /// The directory, or why the answer is none.
    pub(super) outcome: Result<Directory, String>,
    /// How long that holds.
    age: Duration,
    /// The header `Date` that came with it.
    pub(super) date: Option<String>,
}

impl Asked {
    fn bad(reason: String) -> Self {
        Self {
            outcome: Err(reason),
            age: BAD_AGE,
            date: None,
        }
    }
}

/// What is known of a peer's directory.
pub(super) enum Known {
    Good(Arc<Directory>),
    /// It answers, but not with a directory.
    Bad(String),
}

/// [`Known`], and until when.
pub(super) type Remembered = tokio::sync::Mutex<Option<(Known, Instant)>>;

impl MimiClient {
    /// The peer's directory, from memory or asked for.
    pub(super) async fn directory(&self, link: &Link, request_id: &str) -> Result<Arc<Directory>, LinkError> {
        // Held over the request: whoever else wants it waits for this one.
        let mut known = link.directory.lock().await;
        let bad = |reason: String| LinkError::Directory {
            peer: link.peer.clone(),
            reason,
        };
        match known.as_ref() {
            Some((known, until)) if *until > Instant::now() => {
                return match known {
                    Known::Good(directory) => Ok(directory.clone()),
                    Known::Bad(reason) => Err(bad(reason.clone())),
                };
            }
            _ => {}
        }
        let asked = match self.fetch_directory(link, request_id).await {
            Ok(asked) => asked,
            // Not there now: no statement about its directory.
            Err(error) => {
                *known = None;
                return Err(error);
            }
        };
        let until = Instant::now() + asked.age;
        match asked.outcome {
            Ok(directory) => {
                let directory = Arc::new(directory);
                *known = Some((Known::Good(directory.clone()), until));
                Ok(directory)
            }
            Err(reason) => {
                metrics::counter!("causeway_peer_directory_bad_total", "peer" => link.peer.to_string())
                    .increment(1);
                *known = Some((Known::Bad(reason.clone()), until));
                Err(bad(reason))
            }
        }
    }

    /// Asks for the directory, past what is remembered.
    pub(super) async fn fetch_directory(&self, link: &Link, request_id: &str) -> Result<Asked, LinkError> {
        let mut url = format!("https://{}{WELL_KNOWN_PATH}", link.peer);
        for _ in 0..=REDIRECTS {
            let parsed = match link.url(&url) {
                Ok(parsed) => parsed,
                Err(reason) => return Ok(Asked::bad(reason)),
            };
            let request = link.http.get(parsed.clone());
            let (answer, answered) = self.exchange(link, request, request_id, DIRECTORY_SIZE).await?;
            let age = headers::freshness(&answered);
            match answer.status {
                StatusCode::OK => {
                    let outcome = serde_json::from_slice(&answer.body)
                        .map_err(|e| format!("it is not a directory: {e}"));
                    let age = match &outcome {
                        Ok(_) => age.unwrap_or(USUAL_AGE).min(LONGEST_AGE),
                        Err(_) => BAD_AGE,
                    };
                    let date = answered.get(DATE).and_then(|v| v.to_str().ok());
                    return Ok(Asked {
                        outcome,
                        age,
                        date: date.map(ToOwned::to_owned),
                    });
                }
                status if status.is_redirection() => match redirected(&parsed, &answered) {
                    Some(next) => url = next,
                    None => return Ok(Asked::bad(format!("HTTP status {status} that leads nowhere"))),
                },
                status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                    return Ok(Asked::bad(format!("HTTP status {status}")));
                }
                // It may be better in a moment.
                status => {
                    return Err(LinkError::Unreachable {
                        peer: link.peer.clone(),
                        reason: format!("HTTP status {status} for its directory"),
                    });
                }
            }
        }
        Ok(Asked::bad("it redirects too often".into()))
    }
}

fn redirected(from: &reqwest::Url, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    from.join(location).ok().map(String::from)
}
