//! Requests for those who look for what is wrong: the answer as it is, whatever it says.

use super::{Homeserver, chain};
use crate::HomeserverError;
use serde_json::Value;

/// An answer, good or not.
#[derive(Clone, Debug)]
pub struct Probed {
    /// HTTP status.
    pub status: u16,
    /// The header `Date`, where there is one.
    pub date: Option<String>,
    /// The body; null if it isn't JSON.
    pub body: Value,
}

impl Probed {
    /// The Matrix error code; empty without one.
    pub fn errcode(&self) -> &str {
        self.body
            .get("errcode")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The homeserver's own words.
    pub fn error(&self) -> &str {
        self.body.get("error").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Homeserver {
    /// GETs a path of the client-server API, as the application service or as nobody.
    pub async fn look(&self, path: &str, as_service: bool) -> Result<Probed, HomeserverError> {
        let settings = &self.0.settings;
        let mut request = self
            .0
            .http
            .get(format!("{}{path}", settings.url.trim_end_matches('/')));
        if as_service {
            request = request.bearer_auth(settings.tokens.as_token().expose());
        }
        let request = request
            .build()
            .map_err(|e| HomeserverError::Setup(chain(&e.without_url())))?;
        let answer = self.exchange(request).await?;
        Ok(Probed {
            status: answer.status().as_u16(),
            date: answer
                .headers()
                .get(http::header::DATE)
                .and_then(|date| date.to_str().ok())
                .map(ToOwned::to_owned),
            body: serde_json::from_slice(answer.body()).unwrap_or_default(),
        })
    }
}
