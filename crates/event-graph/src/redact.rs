//! The redaction algorithm, applied to canonical text.

use crate::{
    json::{Entry, Raw},
    version::Rules,
};

/// True if redaction keeps the member `key` of the event itself.
fn keeps_top(rules: &Rules, key: &str) -> bool {
    match key {
        "event_id" | "type" | "room_id" | "sender" | "state_key" | "content" | "hashes" | "signatures"
        | "depth" | "prev_events" | "auth_events" | "origin_server_ts" => true,
        "origin" | "membership" | "prev_state" => !rules.redaction_v11,
        _ => false,
    }
}

/// What redaction leaves of one member of the content.
enum Keep {
    Whole,
    /// Of the object `third_party_invite` only the member `signed`.
    SignedOnly,
    Nothing,
}

fn keeps_content(rules: &Rules, event_type: &str, key: &str) -> Keep {
    let keep = match event_type {
        "m.room.member" => match key {
            "membership" => true,
            "join_authorised_via_users_server" => rules.keep_authorised_via,
            "third_party_invite" if rules.redaction_v11 => return Keep::SignedOnly,
            _ => false,
        },
        "m.room.create" => rules.redaction_v11 || key == "creator",
        "m.room.join_rules" => key == "join_rule" || (key == "allow" && rules.restricted),
        "m.room.power_levels" => match key {
            "ban" | "events" | "events_default" | "kick" | "redact" | "state_default" | "users"
            | "users_default" => true,
            "invite" => rules.redaction_v11,
            _ => false,
        },
        "m.room.history_visibility" => key == "history_visibility",
        "m.room.redaction" => key == "redacts" && rules.redaction_v11,
        _ => false,
    };
    if keep { Keep::Whole } else { Keep::Nothing }
}

/// Writes an object member by member, keeping track of commas.
struct ObjectWriter<'a>(&'a mut String, bool);

impl<'a> ObjectWriter<'a> {
    fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self(out, false)
    }

    fn comma(&mut self) -> &mut String {
        if std::mem::replace(&mut self.1, true) {
            self.0.push(',');
        }
        self.0
    }

    fn end(self) {
        self.0.push('}');
    }
}

/// Writes the redacted event. `signing` also drops `signatures`, which gives the octets that are hashed for
/// the event id and signed. `unsigned` and `age_ts` never survive redaction.
pub(crate) fn write_redacted<'a>(
    top: impl IntoIterator<Item = Entry<'a>>,
    event_type: &str,
    rules: &Rules,
    signing: bool,
    out: &mut String,
) {
    let mut event = ObjectWriter::new(out);
    for entry in top {
        let key = entry.key.escaped();
        if !keeps_top(rules, key) || (signing && key == "signatures") {
            continue;
        }
        if key == "content" {
            let out = event.comma();
            out.push_str("\"content\":");
            write_content(entry.value, event_type, rules, out);
        } else {
            event.comma().push_str(entry.whole);
        }
    }
    event.end();
}

fn write_content(content: Raw<'_>, event_type: &str, rules: &Rules, out: &mut String) {
    if event_type == "m.room.create" && rules.redaction_v11 {
        out.push_str(content.text());
        return;
    }
    let mut object = ObjectWriter::new(out);
    for entry in content.entries().into_iter().flatten() {
        match keeps_content(rules, event_type, entry.key.escaped()) {
            Keep::Whole => object.comma().push_str(entry.whole),
            // An object without `signed` stays as an empty object; what is no object goes. The text says
            // neither; this is what the reference homeserver does (docs/decisions/0012).
            Keep::SignedOnly if entry.value.is_object() => {
                let out = object.comma();
                out.push_str("\"third_party_invite\":{");
                if let Some(signed) = entry.value.get("signed") {
                    out.push_str("\"signed\":");
                    out.push_str(signed.text());
                }
                out.push('}');
            }
            Keep::SignedOnly | Keep::Nothing => {}
        }
    }
    object.end();
}
