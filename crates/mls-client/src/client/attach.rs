//! Sending files, and fetching them.

use super::Client;
use crate::api::AssetRef;
use crate::engine::{Attachment, Sent, attachment};
use crate::error::ClientError;
use crate::state::Entry;
use crate::transport::Transport;
use std::time::Duration;

/// By which way an attachment is fetched (protocol-06 section 5.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Through the own provider and the room's hub: the asset's provider learns nothing of this client.
    #[default]
    HubProxy,
    /// By Oblivious HTTP: the own provider learns no address either.
    Oblivious,
}

impl<T: Transport> Client<T> {
    /// Encrypts a file, has the own provider keep it, and sends a message that names it. The file is uploaded before the
    /// message is written; if that fails nothing was sent.
    pub async fn attach(
        &mut self,
        uri: &str,
        file: &Attachment,
        wait: Duration,
    ) -> Result<(String, Sent, Vec<Entry>), ClientError> {
        let mut news = self.catch_up(uri).await?;
        let sealed = attachment::seal(file)?;
        let kept = self.transport.put_asset(&sealed.octets).await?;
        let id = self.engine.compose_body(uri, sealed.at(&kept.url))?;
        let sent = self.push(uri, &id, wait, &mut news).await?;
        Ok((id, sent, news))
    }

    /// Has the own provider keep a file as it is, for whoever has its address.
    pub async fn upload(&self, octets: &[u8]) -> Result<AssetRef, ClientError> {
        Ok(self.transport.put_asset(octets).await?)
    }

    /// Fetches the attachment of a message: its `number`th, from 0 on.
    pub async fn fetch(
        &mut self,
        uri: &str,
        message: &str,
        number: usize,
        way: Way,
    ) -> Result<Attachment, ClientError> {
        let parts = self.engine.external_parts(uri, message)?;
        let part = parts
            .get(number)
            .ok_or_else(|| ClientError::Attachment("the message has no such attachment".into()))?;
        let octets = match way {
            Way::HubProxy => self.transport.get_asset(uri, &part.url).await?,
            Way::Oblivious => self.fetch_obliviously(uri, &part.url).await?,
        };
        attachment::open(part, &octets)
    }
}
