//! `/.well-known/mimi-protocol-directory`: where a provider's endpoints are (draft-ietf-mimi-protocol-06
//! section 5.1), and how identifiers travel in their paths.

use crate::uri::{Domain, MimiUri, UriError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Path of the directory at the provider's domain.
pub const WELL_KNOWN_PATH: &str = "/.well-known/mimi-protocol-directory";

/// RFC 3986 unreserved characters stay.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The directory. Keys that are not known are ignored; endpoints a provider lacks are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Variable: the target user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_material: Option<UriTemplate>,
    /// Variable: the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UriTemplate>,
    /// Variable: the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<UriTemplate>,
    /// Variable: the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit_message: Option<UriTemplate>,
    /// Variable: the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_info: Option<UriTemplate>,
    /// Variable: the target user, or their domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_consent: Option<UriTemplate>,
    /// Variable: the requesting user, or their domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_consent: Option<UriTemplate>,
    /// Variable: the domain asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier_query: Option<UriTemplate>,
    /// Variable: the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_abuse: Option<UriTemplate>,
    /// Variable: the URL to download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_download: Option<UriTemplate>,
    /// Our own extension: the newest epoch of a room that the provider knows. Variable: the room.
    #[serde(
        default,
        rename = "org.causeway.roomHead",
        skip_serializing_if = "Option::is_none"
    )]
    pub room_head: Option<UriTemplate>,
    /// Our own key, since the draft names none: the OHTTP gateway, no variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ohttp_gateway: Option<String>,
    /// Our own key: the hosts that serve the assets of this provider's users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_hosts: Option<Vec<String>>,
}

/// An endpoint of the provider protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `keyMaterial`
    KeyMaterial,
    /// `update`
    Update,
    /// `notify`
    Notify,
    /// `submitMessage`
    SubmitMessage,
    /// `groupInfo`
    GroupInfo,
    /// `requestConsent`
    RequestConsent,
    /// `updateConsent`
    UpdateConsent,
    /// `identifierQuery`
    IdentifierQuery,
    /// `reportAbuse`
    ReportAbuse,
    /// `proxyDownload`
    ProxyDownload,
    /// Our own extension: `org.causeway.roomHead`
    RoomHead,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 11] = [
        Self::KeyMaterial,
        Self::Update,
        Self::Notify,
        Self::SubmitMessage,
        Self::GroupInfo,
        Self::RequestConsent,
        Self::UpdateConsent,
        Self::IdentifierQuery,
        Self::ReportAbuse,
        Self::ProxyDownload,
        Self::RoomHead,
    ];

    /// Its key in the directory (an extension's without its prefix), also the name in the paths we serve.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyMaterial => "keyMaterial",
            Self::Update => "update",
            Self::Notify => "notify",
            Self::SubmitMessage => "submitMessage",
            Self::GroupInfo => "groupInfo",
            Self::RequestConsent => "requestConsent",
            Self::UpdateConsent => "updateConsent",
            Self::IdentifierQuery => "identifierQuery",
            Self::ReportAbuse => "reportAbuse",
            Self::ProxyDownload => "proxyDownload",
            Self::RoomHead => "roomHead",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::KeyMaterial | Self::RequestConsent => "targetUser",
            Self::UpdateConsent => "requesterUser",
            Self::IdentifierQuery => "domain",
            Self::ProxyDownload => "downloadUrl",
            _ => "roomId",
        }
    }
}

impl Directory {
    /// The directory of a provider that serves all endpoints under `base`, such as `https://mimi.example.com`,
    /// with the paths of the draft's example.
    pub fn for_base(base: &str) -> Result<Self, TemplateError> {
        let base = base.trim_end_matches('/');
        let make = |e: Endpoint| {
            UriTemplate::parse(&format!("{base}/v1/{}/{{{}}}", e.name(), e.variable())).map(Some)
        };
        Ok(Self {
            key_material: make(Endpoint::KeyMaterial)?,
            update: make(Endpoint::Update)?,
            notify: make(Endpoint::Notify)?,
            submit_message: make(Endpoint::SubmitMessage)?,
            group_info: make(Endpoint::GroupInfo)?,
            request_consent: make(Endpoint::RequestConsent)?,
            update_consent: make(Endpoint::UpdateConsent)?,
            identifier_query: make(Endpoint::IdentifierQuery)?,
            report_abuse: make(Endpoint::ReportAbuse)?,
            proxy_download: make(Endpoint::ProxyDownload)?,
            room_head: make(Endpoint::RoomHead)?,
            ohttp_gateway: None,
            asset_hosts: None,
        })
    }

    /// Where an endpoint is, if the provider has it.
    pub fn get(&self, endpoint: Endpoint) -> Option<&UriTemplate> {
        match endpoint {
            Endpoint::KeyMaterial => &self.key_material,
            Endpoint::Update => &self.update,
            Endpoint::Notify => &self.notify,
            Endpoint::SubmitMessage => &self.submit_message,
            Endpoint::GroupInfo => &self.group_info,
            Endpoint::RequestConsent => &self.request_consent,
            Endpoint::UpdateConsent => &self.update_consent,
            Endpoint::IdentifierQuery => &self.identifier_query,
            Endpoint::ReportAbuse => &self.report_abuse,
            Endpoint::ProxyDownload => &self.proxy_download,
            Endpoint::RoomHead => &self.room_head,
        }
        .as_ref()
    }
}

/// An `https` URI with exactly one `{variable}` in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UriTemplate {
    before: String,
    variable: String,
    after: String,
}

/// Why a text is no usable template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Not an `https` URI.
    #[error("not an https URI")]
    Scheme,
    /// Not exactly one `{variable}`, after the host.
    #[error("not exactly one variable in the path")]
    Variable,
    /// A space or control character.
    #[error("a character that a URI may not have")]
    Character,
}

impl UriTemplate {
    /// Checks a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let rest = text.strip_prefix("https://").ok_or(TemplateError::Scheme)?;
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TemplateError::Character);
        }
        let path = rest.find('/').ok_or(TemplateError::Variable)?;
        let (before, tail) = text.split_once('{').ok_or(TemplateError::Variable)?;
        let (variable, after) = tail.split_once('}').ok_or(TemplateError::Variable)?;
        let name_is_plain = !variable.is_empty() && variable.bytes().all(|b| b.is_ascii_alphanumeric());
        if before.len() <= "https://".len() + path || !name_is_plain || after.contains(['{', '}']) {
            return Err(TemplateError::Variable);
        }
        if before.contains('}') {
            return Err(TemplateError::Variable);
        }
        Ok(Self {
            before: before.to_owned(),
            variable: variable.to_owned(),
            after: after.to_owned(),
        })
    }

    /// The template with its variable replaced by `value`, percent-encoded as a whole.
    ///
    /// The draft's own example has `/v1/update{roomId}`: where the slash before the variable is missing it is
    /// put in, as section 5.3 of the draft has it.
    pub fn expand(&self, value: &str) -> String {
        let slash = if self.before.ends_with(['/', '=', '?', '&', '.', '-', '_']) {
            ""
        } else {
            "/"
        };
        format!(
            "{}{slash}{}{}",
            self.before,
            utf8_percent_encode(value, VALUE),
            self.after
        )
    }

    /// The variable's name.
    pub fn variable(&self) -> &str {
        &self.variable
    }
}

impl std::fmt::Display for UriTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{{{}}}{}", self.before, self.variable, self.after)
    }
}

impl TryFrom<String> for UriTemplate {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

impl From<UriTemplate> for String {
    fn from(template: UriTemplate) -> Self {
        template.to_string()
    }
}

/// Reads the identifier out of a request path: what follows `/v1/update/`, not yet percent-decoded.
///
/// The draft's text percent-encodes the full URI, its figures drop the scheme and keep the slashes. Taken are
/// `mimi%3A%2F%2Fa.example%2Fr%2Fclub`, `a.example%2Fr%2Fclub`, `a.example/r/club` and `mimi://a.example/r/club`.
/// With a literal slash in it the rest is the URI as it is, so its own escapes are left alone.
pub fn parse_path_uri(raw: &str) -> Result<MimiUri, UriError> {
    let decoded;
    let text = if raw.contains('/') {
        raw
    } else {
        decoded = percent_decode_str(raw)
            .decode_utf8()
            .map_err(|_| UriError::Utf8)?;
        &*decoded
    };
    if text.starts_with("mimi:") {
        MimiUri::parse(text)
    } else {
        MimiUri::parse(&format!("mimi://{text}"))
    }
}

/// Reads a provider's domain out of a request path: a bare domain, or a URI whose authority counts.
pub fn parse_path_domain(raw: &str) -> Result<Domain, UriError> {
    parse_path_uri(raw).map(|uri| uri.domain())
}

/// Reads a percent-encoded URL out of a request path.
pub fn parse_path_url(raw: &str) -> Result<String, UriError> {
    percent_decode_str(raw)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| UriError::Utf8)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[test]
    fn templates_expand_with_the_full_uri() {
        let directory = Directory::for_base("https://mimi.a.example/").unwrap();
        let room = MimiUri::parse("mimi://b.example/r/club%20house").unwrap();
        assert_eq!(
            directory.get(Endpoint::Update).unwrap().expand(room.as_str()),
            "https://mimi.a.example/v1/update/mimi%3A%2F%2Fb.example%2Fr%2Fclub%2520house"
        );
        for endpoint in Endpoint::ALL {
            let expanded = directory.get(endpoint).unwrap().expand(room.as_str());
            let value = expanded.rsplit('/').next().unwrap();
            assert_eq!(parse_path_uri(value).unwrap(), room);
        }
    }

    #[test]
    fn the_draft_s_missing_slash() {
        let template = UriTemplate::parse("https://mimi.example.com/v1/update{roomId}").unwrap();
        assert_eq!(template.expand("x"), "https://mimi.example.com/v1/update/x");
        assert_eq!(template.variable(), "roomId");
    }

    #[test]
    fn bad_templates() {
        for (text, error) in [
            ("http://a.example/{x}", TemplateError::Scheme),
            ("https://a.example/x", TemplateError::Variable),
            ("https://a.example/{x}/{y}", TemplateError::Variable),
            ("https://{x}.example/", TemplateError::Variable),
            ("https://a.example{x}", TemplateError::Variable),
            ("https://a.example/{}", TemplateError::Variable),
            ("https://a.example/}{x}", TemplateError::Variable),
            ("https://a.example/ {x}", TemplateError::Character),
        ] {
            assert_eq!(UriTemplate::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn paths() {
        let room = MimiUri::parse("mimi://a.example/r/club").unwrap();
        for raw in [
            "mimi%3A%2F%2Fa.example%2Fr%2Fclub",
            "mimi%3a%2f%2fa.example%2fr%2fclub",
            "a.example%2Fr%2Fclub",
            "a.example/r/club",
            "mimi://a.example/r/club",
        ] {
            assert_eq!(parse_path_uri(raw).unwrap(), room, "{raw}");
        }
        assert_eq!(
            parse_path_uri("a.example/r/x%2Fy").unwrap().as_str(),
            "mimi://a.example/r/x%2Fy"
        );
        assert_eq!(parse_path_domain("a.example").unwrap(), room.domain());
        assert_eq!(
            parse_path_domain("mimi%3A%2F%2Fa.example").unwrap(),
            room.domain()
        );
        assert_eq!(
            parse_path_url("https%3A%2F%2Fx.example%2Fy").unwrap(),
            "https://x.example/y"
        );
        assert!(parse_path_uri("%ff").is_err());
        assert!(parse_path_uri("").is_err());
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let json = r#"{"update":"https://a.example/v1/update/{roomId}","provider":"x","endpoints":{}}"#;
        let directory: Directory = serde_json::from_str(json).unwrap();
        assert!(directory.update.is_some());
        assert!(directory.notify.is_none());
        assert_eq!(
            serde_json::to_string(&directory).unwrap(),
            r#"{"update":"https://a.example/v1/update/{roomId}"}"#
        );
    }
}
