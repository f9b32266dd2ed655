//! A reply, in plain text and in HTML.

use serde_json::{Value, json};

/// Lines of a reply. What comes from outside is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    plain: String,
    html: String,
    list: bool,
}

/// A reply ends here; an event holds 64 KiB with both bodies.
const LONGEST: usize = 12_000;

impl Reply {
    /// A reply that begins with a line of text.
    pub fn new(text: &str) -> Self {
        let mut reply = Self::default();
        reply.line(text);
        reply
    }

    /// A line of text.
    pub fn line(&mut self, text: &str) -> &mut Self {
        if self.full() {
            return self;
        }
        self.end_list();
        self.plain.push_str(text);
        self.plain.push('\n');
        self.html.push_str("<p>");
        self.html.push_str(&escaped(text));
        self.html.push_str("</p>");
        self
    }

    /// An item of a list: a term, and what there is to say about it.
    pub fn item(&mut self, term: &str, text: &str) -> &mut Self {
        if self.full() {
            return self;
        }
        if !self.list {
            self.html.push_str("<ul>");
            self.list = true;
        }
        self.plain.push_str("- ");
        self.plain.push_str(term);
        self.html.push_str("<li><code>");
        self.html.push_str(&escaped(term));
        self.html.push_str("</code>");
        if !text.is_empty() {
            self.plain.push_str(": ");
            self.plain.push_str(text);
            self.html.push_str(": ");
            self.html.push_str(&escaped(text));
        }
        self.plain.push('\n');
        self.html.push_str("</li>");
        self
    }

    /// Content of an `m.room.message`.
    pub fn content(mut self) -> Value {
        if self.full() {
            self.end_list();
            self.plain.push_str("...\n");
            self.html.push_str("<p>...</p>");
        }
        self.end_list();
        json!({
            "msgtype": "m.notice",
            "body": self.plain.trim_end(),
            "format": "org.matrix.custom.html",
            "formatted_body": self.html,
        })
    }

    fn full(&self) -> bool {
        self.html.len() > LONGEST
    }

    fn end_list(&mut self) {
        if self.list {
            self.html.push_str("</ul>");
            self.list = false;
        }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("<br>"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
