//! Reports of abuse.

use room_engine::{AbuseReportView, ReportedMessageView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A report of abuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Names it.
    pub id: String,
    /// When it came, Unix ms.
    pub at: u64,
    /// The room URI.
    pub room: String,
    /// The provider that it came from.
    pub provider: String,
    /// Who reported, unless anonymously.
    pub reporting_user: Option<String>,
    /// Who is reported.
    pub accused: String,
    /// The reason's code; the draft has no taxonomy yet.
    pub reason: u8,
    /// What the reporter wrote.
    pub note: String,
    /// The evidence.
    pub messages: Vec<ReportedMessage>,
}

/// A message of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedMessage {
    /// When this hub accepted it, Unix ms, as reported.
    pub accepted_at: u64,
    /// Whether this hub's frank proves message, sender, room and time.
    pub proved: bool,
    /// Why it proves nothing.
    pub fault: Option<String>,
    /// MIMI message id, hex, of a proved message.
    pub message_id: Option<String>,
    /// The application data as reported, hex; only where one report is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The text in it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl From<AbuseReportView> for Report {
    fn from(view: AbuseReportView) -> Self {
        let message = |m: ReportedMessageView| ReportedMessage {
            accepted_at: m.accepted_at,
            proved: m.fault.is_none(),
            fault: m.fault,
            message_id: m.message_id.map(hex::encode),
            text: m.content.as_deref().and_then(text),
            content: m.content.map(hex::encode),
        };
        Self {
            id: view.id,
            at: view.at,
            room: view.room.to_string(),
            provider: view.provider,
            reporting_user: view.reporting_user.map(|u| u.to_string()),
            accused: view.accused.to_string(),
            reason: view.reason,
            note: view.note,
            messages: view.messages.into_iter().map(message).collect(),
        }
    }
}

/// The first text part of application data, framed or not.
fn text(data: &[u8]) -> Option<String> {
    use mimi_wire::Decode as _;
    use mimi_wire::components::ApplicationFraming;
    use mimi_wire::content::MimiContent;
    let content = MimiContent::decode(data).ok().or_else(|| {
        let framing = ApplicationFraming::from_bytes(data).ok()?;
        MimiContent::decode(&framing.inner_application_content.0).ok()
    })?;
    content
        .parts()
        .iter()
        .find_map(|part| part.text())
        .map(str::to_owned)
}
