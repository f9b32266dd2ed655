//! Fetching by Oblivious HTTP (RFC 9458): the own provider passes on octets that it can't read, the hub's gateway doesn't
//! learn whose they are.

use super::Client;
use crate::error::ClientError;
use crate::transport::Transport;
use ohttp::Sender;
use ohttp::bhttp::{Request, Response};

impl<T: Transport> Client<T> {
    pub(super) async fn fetch_obliviously(&self, uri: &str, url: &str) -> Result<Vec<u8>, ClientError> {
        let failed = |why: String| ClientError::Attachment(why);
        let rest = url
            .strip_prefix("https://")
            .ok_or_else(|| failed("its address is no https URL".into()))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let keys = self.transport.ohttp_keys(uri).await?;
        let sender = Sender::from_keys(&keys).map_err(|e| failed(format!("the gateway's keys: {e}")))?;
        let request = Request::get(authority, path).encode();
        let (sealed, opener) = sender.seal(&request).map_err(|e| failed(e.to_string()))?;
        let answer = self.transport.ohttp(uri, &sealed).await?;
        let opened = opener
            .open(&answer)
            .map_err(|e| failed(format!("the gateway's answer: {e}")))?;
        let response = Response::decode(&opened).map_err(|e| failed(e.to_string()))?;
        if response.status != 200 {
            return Err(failed(format!("the gateway answered {}", response.status)));
        }
        Ok(response.content)
    }
}
