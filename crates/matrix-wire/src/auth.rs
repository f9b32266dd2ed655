//! Request authentication (server-server API, "Request Authentication"): the `X-Matrix` scheme.
//!
//! The signature covers the request target byte for byte as it was sent. A percent sign more or less makes another
//! request, so nothing here parses and rebuilds a target.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use event_graph::json::{JsonError, canonicalize, write_string};
use event_graph::{SigningIdentity, VerifyKey};

use crate::server_name::ServerName;

/// Longest `Authorization` value taken, in bytes.
const MAX_HEADER: usize = 2048;

/// What an `Authorization: X-Matrix` header claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XMatrix {
    /// Who is said to have signed.
    pub origin: ServerName,
    /// Whom the request is for; absent in requests of old servers.
    pub destination: Option<String>,
    /// The key, for example `ed25519:1`.
    pub key_id: String,
    /// The signature, 64 octets.
    pub signature: [u8; 64],
}

/// Why a request is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// No `X-Matrix` authorization.
    #[error("no X-Matrix authorization")]
    Missing,
    /// The header can't be read.
    #[error("malformed X-Matrix authorization")]
    Malformed,
    /// It is for another server.
    #[error("the request is for another server")]
    OtherDestination,
    /// The origin is this server.
    #[error("the origin is this server")]
    OwnOrigin,
    /// The key is unknown or not valid now.
    #[error("no valid key of the origin with this id")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    WrongSignature,
    /// The body is not JSON that Matrix accepts.
    #[error("the body is not canonical JSON: {0}")]
    Body(JsonError),
}

/// Reads a header's value (RFC 9110 auth-params: tokens or quoted strings, with white space around; unquoted values
/// may hold a colon, as old servers send key ids).
pub fn parse(header: &str) -> Result<XMatrix, AuthError> {
    if header.len() > MAX_HEADER {
        return Err(AuthError::Malformed);
    }
    let (scheme, rest) = header.split_once(' ').ok_or(AuthError::Missing)?;
    if !scheme.eq_ignore_ascii_case("X-Matrix") {
        return Err(AuthError::Missing);
    }
    let (mut origin, mut destination, mut key_id, mut signature) = (None, None, None, None);
    for (name, value) in parameters(rest)? {
        let slot = match name.to_ascii_lowercase().as_str() {
            "origin" => &mut origin,
            "destination" => &mut destination,
            "key" => &mut key_id,
            "sig" => &mut signature,
            // Unknown parameters are for later versions.
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(AuthError::Malformed);
        }
    }
    let origin = ServerName::parse(&origin.ok_or(AuthError::Malformed)?).map_err(|_| AuthError::Malformed)?;
    let key_id = key_id.filter(|k| is_key_id(k)).ok_or(AuthError::Malformed)?;
    let signature = signature
        .and_then(|s| STANDARD_NO_PAD.decode(s.trim_end_matches('=')).ok())
        .and_then(|s| s.try_into().ok())
        .ok_or(AuthError::Malformed)?;
    Ok(XMatrix {
        origin,
        destination,
        key_id,
        signature,
    })
}

/// True for `ed25519:` and a version of letters, digits and underscores.
pub fn is_key_id(text: &str) -> bool {
    text.len() <= 128
        && text.strip_prefix("ed25519:").is_some_and(|version| {
            !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}

fn parameters(text: &str) -> Result<Vec<(&str, String)>, AuthError> {
    let mut out = Vec::with_capacity(4);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(AuthError::Malformed)?;
        let name = name.trim();
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        {
            return Err(AuthError::Malformed);
        }
        let after = after.trim_start();
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)?
        } else {
            let end = after.find(',').unwrap_or(after.len());
            let (value, after) = after.split_at(end);
            (value.trim_end().to_owned(), after)
        };
        out.push((name, value));
        if out.len() > 16 {
            return Err(AuthError::Malformed);
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(AuthError::Malformed),
        };
    }
    Ok(out)
}

fn unquote(text: &str) -> Result<(String, &str), AuthError> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(chars.next().ok_or(AuthError::Malformed)?.1),
            _ => value.push(c),
        }
    }
    Err(AuthError::Malformed)
}

/// The octets that are signed: canonical JSON of method, target, origin, destination and, where there is a body, its
/// canonical content.
pub fn message(method: &str, uri: &str, origin: &str, destination: &str, content: Option<&str>) -> String {
    let mut out = String::with_capacity(content.map_or(0, str::len) + uri.len() + 160);
    out.push('{');
    if let Some(content) = content {
        out.push_str("\"content\":");
        out.push_str(content);
        out.push(',');
    }
    for (name, value) in [
        ("\"destination\":", destination),
        (",\"method\":", method),
        (",\"origin\":", origin),
        (",\"uri\":", uri),
    ] {
        out.push_str(name);
        write_string(value, &mut out);
    }
    out.push('}');
    out
}

/// The header's value for a request of ours. `uri` is the target exactly as it goes out; `content` the canonical
/// JSON that is sent.
pub fn sign(
    identity: &SigningIdentity,
    method: &str,
    uri: &str,
    destination: &str,
    content: Option<&str>,
) -> String {
    let origin = identity.server_name();
    let message = message(method, uri, origin, destination, content);
    let signature = STANDARD_NO_PAD.encode(identity.sign_bytes(message.as_bytes()));
    format!(
        "X-Matrix origin=\"{origin}\",destination=\"{destination}\",key=\"{}\",sig=\"{signature}\"",
        identity.key_id()
    )
}

/// Checks whom a request is for and who it says it is from.
pub fn check_names(claim: &XMatrix, own: &str) -> Result<(), AuthError> {
    if claim.destination.as_deref().is_some_and(|d| d != own) {
        return Err(AuthError::OtherDestination);
    }
    if claim.origin.as_str() == own {
        return Err(AuthError::OwnOrigin);
    }
    Ok(())
}

/// Checks the signature with the key that `claim` names. `body` is what came over the wire; an empty one is none.
pub fn verify(
    claim: &XMatrix,
    key: &VerifyKey,
    own: &str,
    method: &str,
    uri: &str,
    body: &[u8],
) -> Result<(), AuthError> {
    let content = if body.is_empty() {
        None
    } else {
        Some(canonicalize(body).map_err(AuthError::Body)?)
    };
    let message = message(method, uri, claim.origin.as_str(), own, content.as_deref());
    if key.verifies(message.as_bytes(), &claim.signature) {
        Ok(())
    } else {
        Err(AuthError::WrongSignature)
    }
}

#[cfg(test)]
mod tests;
