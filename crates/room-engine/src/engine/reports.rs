//! Abuse: reports of participants, and what the operator reads.

use bytes::Bytes;
use mimi_wire::codec::Decode as _;
use mimi_wire::protocol::AbuseReport;
use mimi_wire::uri::MimiUri;
use store::{Scan, Space, StoreError};

use super::{Engine, EngineError, unexpected};
use crate::carrier::Payload;
use crate::command::{Actor, Reply, RequestContext, RoomCommand};
use crate::records::{AbuseRecord, parse};
use crate::refusal::Refusal;
use crate::views::{AbuseReportView, ReportedMessageView};

impl Engine {
    /// A report about a room whose hub this is (protocol-06 section 5.9). `Ok`: it is kept for the operator.
    pub async fn report_abuse(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        actor: Actor,
        report: Vec<u8>,
    ) -> Result<(), Refusal> {
        self.own(room)?;
        match self
            .room_command(ctx, room, RoomCommand::Report { actor, report })
            .await?
        {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The newest reports, newest first, without the messages' contents.
    pub async fn abuse_reports(&self, limit: usize) -> Result<Vec<AbuseReportView>, EngineError> {
        // Keys begin with the time, and there is no reverse scan: the newest keys are kept while going through all.
        let mut newest: std::collections::VecDeque<(Bytes, Bytes)> = std::collections::VecDeque::new();
        let mut after: Option<Bytes> = None;
        loop {
            let mut scan = Scan::prefix(Space::AbuseReport, b"").limit(500);
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let rows = self.env.store.scan(scan).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            for row in rows {
                newest.push_back(row);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
        }
        let view = |(key, value): &(Bytes, Bytes)| -> Result<AbuseReportView, StoreError> {
            Ok(view(key, parse(Space::AbuseReport, key, value)?, None))
        };
        Ok(newest.iter().rev().map(view).collect::<Result<_, _>>()?)
    }

    /// One report, with the contents of its messages.
    pub async fn abuse_report(&self, id: &str) -> Result<Option<AbuseReportView>, EngineError> {
        let Ok(key) = hex::decode(id) else { return Ok(None) };
        let Some(value) = self.env.store.get(Space::AbuseReport, &key).await? else {
            return Ok(None);
        };
        let record: AbuseRecord = parse(Space::AbuseReport, &key, &value)?;
        let octets = match &record.octets {
            Payload::Inline { data } => data.0.clone(),
            Payload::ByHash { sha256, .. } => self.env.blob(sha256).await?.to_vec(),
        };
        let report = AbuseReport::from_bytes(&octets).map_err(|e| StoreError::Corrupt {
            space: Some(Space::AbuseReport),
            key: key.clone(),
            why: e.to_string(),
        })?;
        Ok(Some(view(&key, record, Some(&report))))
    }
}

fn view(key: &[u8], record: AbuseRecord, report: Option<&AbuseReport>) -> AbuseReportView {
    let contents = |at: usize| {
        let message = report?.messages.get(at)?;
        Some(message.message_content.0.clone())
    };
    AbuseReportView {
        id: hex::encode(key),
        at: record.at,
        room: record.room,
        provider: record.provider,
        reporting_user: record.reporting_user,
        accused: record.accused,
        reason: record.reason,
        note: record.note,
        messages: record
            .messages
            .into_iter()
            .enumerate()
            .map(|(at, message)| ReportedMessageView {
                accepted_at: message.accepted_at,
                message_id: message.message_id.map(|id| id.0),
                fault: message.fault,
                content: contents(at),
            })
            .collect(),
    }
}
