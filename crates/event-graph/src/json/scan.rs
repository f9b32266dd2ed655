//! One strict pass over JSON text, without recursion.

use smallvec::SmallVec;

use super::{JsonError, JsonErrorKind as Kind, raw::unescape};
use crate::limits::{MAX_INTEGER, MAX_NESTING};

/// Receives what the scanner finds. Spans of strings are without quotes and still escaped.
pub(super) trait Sink<'a> {
    fn begin_object(&mut self) {}
    fn end_object(&mut self) -> Result<(), Kind> {
        Ok(())
    }
    fn begin_array(&mut self) {}
    fn end_array(&mut self) {}
    fn key(&mut self, _raw: &'a str, _escaped: bool) {}
    fn string(&mut self, _raw: &'a str, _escaped: bool) {}
    /// A number, `true`, `false` or `null`: canonical as it stands.
    fn atom(&mut self, _raw: &'a str) {}
}

/// Checks and keeps nothing.
pub(super) struct Check;
impl Sink<'_> for Check {}

enum Frame<'a> {
    Array,
    Object { previous: Option<(&'a str, bool)> },
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    canonical: bool,
}

/// Scans the one value in `text`; true if the text is in canonical form. In a text that isn't, duplicate
/// keys are left for the rewriter to find.
pub(super) fn scan<'a>(text: &'a str, sink: &mut impl Sink<'a>) -> Result<bool, JsonError> {
    let mut s = Scanner {
        text,
        bytes: text.as_bytes(),
        at: 0,
        canonical: true,
    };
    s.run(sink).map_err(|kind| JsonError { kind, offset: s.at })?;
    Ok(s.canonical)
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
            self.canonical = false;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Kind> {
        match self.peek() {
            Some(b) if b == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Kind::Syntax),
            None => Err(Kind::UnexpectedEnd),
        }
    }

    fn run(&mut self, sink: &mut impl Sink<'a>) -> Result<(), Kind> {
        let mut stack: SmallVec<[Frame<'a>; 16]> = SmallVec::new();
        'value: loop {
            self.space();
            match self.peek().ok_or(Kind::UnexpectedEnd)? {
                b'{' => {
                    self.at += 1;
                    sink.begin_object();
                    self.space();
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                        sink.end_object()?;
                    } else {
                        if stack.len() >= MAX_NESTING {
                            return Err(Kind::TooDeep);
                        }
                        let mut frame = Frame::Object { previous: None };
                        self.key(&mut frame, sink)?;
                        stack.push(frame);
                        continue 'value;
                    }
                }
                b'[' => {
                    self.at += 1;
                    sink.begin_array();
                    self.space();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                        sink.end_array();
                    } else {
                        if stack.len() >= MAX_NESTING {
                            return Err(Kind::TooDeep);
                        }
                        stack.push(Frame::Array);
                        continue 'value;
                    }
                }
                b'"' => {
                    let (raw, escaped) = self.string()?;
                    sink.string(raw, escaped);
                }
                b'-' | b'0'..=b'9' => sink.atom(self.number()?),
                b't' => sink.atom(self.literal("true")?),
                b'f' => sink.atom(self.literal("false")?),
                b'n' => sink.atom(self.literal("null")?),
                _ => return Err(Kind::Syntax),
            }
            // A value is complete: close what it closes.
            loop {
                self.space();
                let Some(frame) = stack.last_mut() else {
                    return if self.at == self.bytes.len() {
                        Ok(())
                    } else {
                        Err(Kind::TrailingBytes)
                    };
                };
                let byte = self.peek().ok_or(Kind::UnexpectedEnd)?;
                match (frame, byte) {
                    (Frame::Array, b',') => {
                        self.at += 1;
                        continue 'value;
                    }
                    (Frame::Array, b']') => {
                        self.at += 1;
                        sink.end_array();
                        stack.pop();
                    }
                    (frame @ Frame::Object { .. }, b',') => {
                        self.at += 1;
                        self.space();
                        self.key(frame, sink)?;
                        continue 'value;
                    }
                    (Frame::Object { .. }, b'}') => {
                        self.at += 1;
                        sink.end_object()?;
                        stack.pop();
                    }
                    _ => return Err(Kind::Syntax),
                }
            }
        }
    }

    fn key(&mut self, frame: &mut Frame<'a>, sink: &mut impl Sink<'a>) -> Result<(), Kind> {
        if self.peek().ok_or(Kind::UnexpectedEnd)? != b'"' {
            return Err(Kind::Syntax);
        }
        let (raw, escaped) = self.string()?;
        if let Frame::Object { previous } = frame {
            if let Some((before, before_escaped)) = *previous {
                // Bytes of UTF-8 sort as code points do; escapes don't, so those are undone first.
                let order = if escaped || before_escaped {
                    unescape(before).cmp(&unescape(raw))
                } else {
                    before.cmp(raw)
                };
                match order {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => return Err(Kind::DuplicateKey),
                    std::cmp::Ordering::Greater => self.canonical = false,
                }
            }
            *previous = Some((raw, escaped));
        }
        sink.key(raw, escaped);
        self.space();
        self.expect(b':')
    }

    /// The inside of a string and whether it holds escapes.
    fn string(&mut self) -> Result<(&'a str, bool), Kind> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.peek().ok_or(Kind::UnexpectedEnd)? {
                b'"' => {
                    let raw = self.text.get(start..self.at).ok_or(Kind::Syntax)?;
                    self.at += 1;
                    return Ok((raw, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                0..=0x1f => return Err(Kind::ControlCharacter),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), Kind> {
        match self.bytes.get(self.at + 1).copied().ok_or(Kind::UnexpectedEnd)? {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 2;
                Ok(())
            }
            b'/' => {
                self.canonical = false;
                self.at += 2;
                Ok(())
            }
            b'u' => {
                let unit = self.hex_unit()?;
                match unit {
                    0xd800..=0xdbff => {
                        if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                            return Err(Kind::LoneSurrogate);
                        }
                        if !(0xdc00..=0xdfff).contains(&self.hex_unit()?) {
                            return Err(Kind::LoneSurrogate);
                        }
                        self.canonical = false;
                    }
                    0xdc00..=0xdfff => return Err(Kind::LoneSurrogate),
                    0x08 | 0x09 | 0x0a | 0x0c | 0x0d | 0x20.. => self.canonical = false,
                    _ => {
                        // A control character without a short form: canonical if its digits are lower case.
                        let digits = self
                            .bytes
                            .get(self.at.saturating_sub(4)..self.at)
                            .unwrap_or_default();
                        if digits.iter().any(u8::is_ascii_uppercase) {
                            self.canonical = false;
                        }
                    }
                }
                Ok(())
            }
            _ => Err(Kind::InvalidEscape),
        }
    }

    /// Reads `\uXXXX` at the cursor.
    fn hex_unit(&mut self) -> Result<u16, Kind> {
        let digits = self
            .bytes
            .get(self.at + 2..self.at + 6)
            .ok_or(Kind::UnexpectedEnd)?;
        let mut unit = 0u16;
        for &d in digits {
            let v = char::from(d).to_digit(16).ok_or(Kind::InvalidEscape)?;
            unit = unit << 4 | u16::try_from(v).map_err(|_| Kind::InvalidEscape)?;
        }
        self.at += 6;
        Ok(unit)
    }

    fn literal(&mut self, word: &'static str) -> Result<&'a str, Kind> {
        let found = self.text.get(self.at..self.at + word.len()).ok_or(Kind::Syntax)?;
        if found != word {
            return Err(Kind::Syntax);
        }
        self.at += word.len();
        Ok(found)
    }

    fn number(&mut self) -> Result<&'a str, Kind> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        if negative {
            self.at += 1;
        }
        let first = self.at;
        let mut value: i64 = 0;
        while let Some(d @ b'0'..=b'9') = self.peek() {
            value = value.saturating_mul(10).saturating_add(i64::from(d - b'0'));
            self.at += 1;
        }
        let digits = self.at - first;
        match self.bytes.get(first) {
            _ if digits == 0 => return Err(Kind::Syntax),
            Some(b'0') if digits > 1 => return Err(Kind::Syntax),
            _ => {}
        }
        if let Some(b'.' | b'e' | b'E') = self.peek() {
            return Err(Kind::NotAnInteger);
        }
        if negative && value == 0 {
            return Err(Kind::NegativeZero);
        }
        if value > MAX_INTEGER {
            return Err(Kind::IntegerRange);
        }
        self.text.get(start..self.at).ok_or(Kind::Syntax)
    }
}
