//! What commands print: lines and tables for people, JSON for programs.

use super::CliError;
use crate::state::{Change, Entry, What};
use serde_json::{Value, json};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) json: bool,
}

/// One line of standard output; a reader that went away ends the command.
pub(super) fn line(text: &str) -> Result<(), CliError> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(|e| CliError::failed(format!("standard output: {e}"), "keep the reader open"))
}

impl Output {
    /// The JSON where that is wanted, else the text.
    pub(super) fn show(self, value: &Value, text: impl FnOnce() -> String) -> Result<(), CliError> {
        if self.json {
            line(&value.to_string())
        } else {
            line(&text())
        }
    }

    /// A listing.
    pub(super) fn table<const N: usize>(
        self,
        head: [&str; N],
        rows: &[[String; N]],
        values: Vec<Value>,
    ) -> Result<(), CliError> {
        if self.json {
            return line(&Value::Array(values).to_string());
        }
        let mut widths = head.map(|h| h.chars().count());
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let print = |cells: [&str; N]| {
            let padded: Vec<_> = cells
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            line(padded.join("  ").trim_end())
        };
        print(head)?;
        rows.iter()
            .try_for_each(|row| print(row.each_ref().map(String::as_str)))
    }

    /// Lines of a room's history, one JSON object or text line each.
    pub(super) fn entries<'a>(self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), CliError> {
        for entry in entries {
            self.show(&entry_json(entry), || entry_text(entry))?;
        }
        Ok(())
    }
}

/// The same object with more fields.
pub(super) fn with<const N: usize>(mut value: Value, more: [(&str, Value); N]) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.extend(more.map(|(name, field)| (name.to_owned(), field)));
    }
    value
}

/// An entry for programs.
pub(super) fn entry_json(entry: &Entry) -> Value {
    let value = match &entry.what {
        What::Message(m) => json!({
            "kind": "message", "sender": m.sender, "client": m.client, "own": m.own, "id": m.id,
            "message_id": hex::encode(&m.message_id.0), "content_type": m.content_type, "text": m.text,
            "epoch": m.epoch, "franked": m.frank.is_some(),
        }),
        What::Change(c) => json!({
            "kind": "change", "by": c.by, "epoch": c.epoch, "added_users": c.added_users,
            "removed_users": c.removed_users, "added_clients": c.added_clients,
            "removed_clients": c.removed_clients, "strangers": c.strangers,
        }),
        What::Problem { what, reason } => json!({"kind": "problem", "what": what, "reason": reason}),
    };
    with(
        value,
        [
            ("pos", json!(entry.pos)),
            ("at", json!(entry.at)),
            ("time", json!(time(entry.at))),
            ("event_id", json!(entry.event_id)),
            ("mls_message", json!(entry.hash.to_string())),
        ],
    )
}

/// An entry for people.
pub(super) fn entry_text(entry: &Entry) -> String {
    let event = entry.event_id.as_deref().unwrap_or("-");
    let said = match &entry.what {
        What::Message(m) => {
            let id = hex::encode(&m.message_id.0);
            format!("{}: {}   [event {event}, message {id}]", m.sender, plain(&m.text))
        }
        What::Change(c) => format!("* {}   [event {event}, epoch {}]", change_text(c), c.epoch),
        What::Problem { what, reason } => {
            format!("! {what} not shown: {}   [event {event}]", plain(reason))
        }
    };
    format!("{}  {said}", time(entry.at))
}

fn change_text(c: &Change) -> String {
    let mut parts = Vec::new();
    for (list, what) in [
        (&c.added_users, "added"),
        (&c.removed_users, "took out"),
        (&c.added_clients, "brought in device"),
        (&c.removed_clients, "took out device"),
        (&c.strangers, "WARNING, devices of no participant:"),
    ] {
        if !list.is_empty() {
            parts.push(format!("{what} {}", list.join(", ")));
        }
    }
    let what = if parts.is_empty() {
        "renewed the group's keys".into()
    } else {
        parts.join("; ")
    };
    plain(&format!("{} {what}", c.by))
}

/// Text from elsewhere without what would move the cursor or change the terminal.
pub(super) fn plain(text: &str) -> String {
    let clean = |c: char| match c {
        '\n' => '\n',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars()
        .map(clean)
        .collect::<String>()
        .replace('\n', "\n    ")
}

/// Unix milliseconds as RFC 3339 in UTC; `-` for none.
pub(super) fn time(ms: u64) -> String {
    if ms == 0 {
        return "-".into();
    }
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    // Civil date from days (proleptic Gregorian, era of 400 years).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z",
        of_day % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::{plain, time};

    #[test]
    fn times_are_utc() {
        assert_eq!(time(0), "-");
        assert_eq!(time(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(time(1_644_387_225_019), "2022-02-09T06:13:45.019Z");
    }

    #[test]
    fn nobody_writes_to_our_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\r"), "a\u{fffd}[2Jb\n    c\u{fffd}");
    }
}
