//! Reports of abuse.

use super::Client;
use crate::api::ReportAbuse;
use crate::error::ClientError;
use crate::transport::Transport;

impl<T: Transport> Client<T> {
    /// Reports messages of one sender to the room's hub, by their MIMI message ids (hex, or the beginning). The hub gets
    /// to see what they say.
    pub async fn report(
        &mut self,
        uri: &str,
        ids: &[String],
        note: &str,
        anonymous: bool,
    ) -> Result<(), ClientError> {
        let report = self.engine.abuse_report(uri, ids, note, anonymous)?;
        let report = ReportAbuse {
            report: report.into(),
        };
        Ok(self.transport.report(uri, &report).await?)
    }
}
