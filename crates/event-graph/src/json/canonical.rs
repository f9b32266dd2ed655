//! Rewriting text that is valid but not canonical.

use std::borrow::Cow;

use super::{
    JsonError, JsonErrorKind as Kind,
    raw::unescape,
    scan::{Sink, scan},
};

enum Tree<'a> {
    Atom(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Tree<'a>>),
    Object(Vec<(Cow<'a, str>, Tree<'a>)>),
}

enum Open<'a> {
    Array(Vec<Tree<'a>>),
    Object(Vec<(Cow<'a, str>, Tree<'a>)>, Option<Cow<'a, str>>),
}

#[derive(Default)]
struct Builder<'a> {
    open: Vec<Open<'a>>,
    done: Option<Tree<'a>>,
}

impl<'a> Builder<'a> {
    fn value(&mut self, value: Tree<'a>) {
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Object(members, key)) => {
                if let Some(key) = key.take() {
                    members.push((key, value));
                }
            }
        }
    }
}

impl<'a> Sink<'a> for Builder<'a> {
    fn begin_object(&mut self) {
        self.open.push(Open::Object(Vec::with_capacity(8), None));
    }

    fn end_object(&mut self) -> Result<(), Kind> {
        if let Some(Open::Object(mut members, _)) = self.open.pop() {
            members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            if members.windows(2).any(|w| matches!(w, [a, b] if a.0 == b.0)) {
                return Err(Kind::DuplicateKey);
            }
            self.value(Tree::Object(members));
        }
        Ok(())
    }

    fn begin_array(&mut self) {
        self.open.push(Open::Array(Vec::new()));
    }

    fn end_array(&mut self) {
        if let Some(Open::Array(items)) = self.open.pop() {
            self.value(Tree::Array(items));
        }
    }

    fn key(&mut self, raw: &'a str, escaped: bool) {
        if let Some(Open::Object(_, key)) = self.open.last_mut() {
            *key = Some(if escaped {
                unescape(raw)
            } else {
                Cow::Borrowed(raw)
            });
        }
    }

    fn string(&mut self, raw: &'a str, escaped: bool) {
        self.value(Tree::Text(if escaped {
            unescape(raw)
        } else {
            Cow::Borrowed(raw)
        }));
    }

    fn atom(&mut self, raw: &'a str) {
        self.value(Tree::Atom(raw));
    }
}

pub(super) fn rewrite(text: &str) -> Result<String, JsonError> {
    let mut builder = Builder::default();
    scan(text, &mut builder)?;
    let mut out = String::with_capacity(text.len());
    if let Some(tree) = builder.done {
        write(&tree, &mut out);
    }
    Ok(out)
}

/// Recursion is bounded by [`crate::limits::MAX_NESTING`], which the scanner enforced.
fn write(tree: &Tree<'_>, out: &mut String) {
    match tree {
        Tree::Atom(raw) => out.push_str(raw),
        Tree::Text(text) => write_string(text, out),
        Tree::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Tree::Object(members) => {
            out.push('{');
            for (i, (key, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

pub(super) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut clean = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(clean..i).unwrap_or_default());
        clean = i + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x09 => out.push_str("\\t"),
            0x0a => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            0x0d => out.push_str("\\r"),
            other => {
                out.push_str("\\u00");
                for nibble in [other >> 4, other & 15] {
                    out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
                }
            }
        }
    }
    out.push_str(text.get(clean..).unwrap_or_default());
    out.push('"');
}
