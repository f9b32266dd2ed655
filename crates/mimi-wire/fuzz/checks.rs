//! What must hold for any input. Used by the fuzz targets and, on the corpus, by the crate's own tests.

use mimi_wire::content::json::{from_json, to_json};
use mimi_wire::content::{MessageStatusReport, MimiContent, Value};
use mimi_wire::directory::{self, Directory, UriTemplate};
use mimi_wire::view::KINDS;
use mimi_wire::{Domain, MimiUri};

/// The first octet picks a structure; the rest is refused, or read and written back unchanged.
pub(crate) fn wire(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else {
        return;
    };
    let kind = &KINDS[usize::from(first) % KINDS.len()];
    match kind.read(bytes) {
        Ok(view) => assert_eq!(view.octets, bytes, "{kind:?}"),
        Err(error) => assert!(error.offset <= bytes.len(), "{kind:?}: {error}"),
    }
}

/// Content is refused, or it is the same after any way through the encodings.
pub(crate) fn content(data: &[u8]) {
    if let Ok(value) = Value::decode(data) {
        assert_eq!(Value::decode(&value.encode()).unwrap(), value);
    }
    if let Ok(report) = MessageStatusReport::decode(data) {
        assert_eq!(MessageStatusReport::decode(&report.encode()).unwrap(), report);
    }
    let Ok(content) = MimiContent::decode(data) else {
        return;
    };
    let encoded = content.encode().unwrap();
    assert_eq!(MimiContent::decode(&encoded).unwrap(), content);
    let text = to_json(&content).to_string();
    assert_eq!(from_json(&serde_json::from_str(&text).unwrap()).unwrap(), content);
    let _ = (
        content.kind(),
        content.mentions(),
        content.parts().len(),
        content.sender(),
        content.room(),
    );
    let _ = (
        content.extensions.external_message_id(),
        MessageStatusReport::in_content(&content),
    );
}

/// Texts: URIs keep their octets, templates expand to paths that lead back.
pub(crate) fn text(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let _ = Domain::parse(text);
    let _ = directory::parse_path_domain(text);
    let _ = directory::parse_path_url(text);
    let _ = serde_json::from_str::<Directory>(text);
    if let Ok(json) = serde_json::from_str(text)
        && let Ok(content) = from_json(&json)
        && let Ok(encoded) = content.encode()
    {
        assert_eq!(MimiContent::decode(&encoded).unwrap(), content);
    }
    if let Ok(template) = UriTemplate::parse(text) {
        assert_eq!(template.to_string(), text);
        let _ = template.expand(text);
    }
    if let Ok(uri) = directory::parse_path_uri(text) {
        assert_eq!(MimiUri::parse(uri.as_str()).unwrap(), uri);
    }
    if let Ok(uri) = MimiUri::parse(text) {
        assert_eq!(uri.as_str(), text);
        let template = UriTemplate::parse("https://a.example/v1/update/{roomId}").unwrap();
        let path = template.expand(text);
        assert_eq!(
            directory::parse_path_uri(path.rsplit('/').next().unwrap()).unwrap(),
            uri
        );
        assert_eq!(Domain::parse(uri.domain().as_str()).unwrap(), uri.domain());
        let _ = (
            uri.kind(),
            uri.local_id(),
            uri.client_user(),
            uri.client_device(),
            uri.segments().count(),
        );
    }
}
