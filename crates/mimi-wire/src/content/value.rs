//! CBOR (RFC 8949): a bounded decoder into a tree, and a deterministic encoder.

use super::ContentError;

/// How deep values nest before the decoder gives up; content needs ten levels.
const MAX_DEPTH: usize = 16;

/// A CBOR value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A number from 0.
    Unsigned(u64),
    /// The number `-1 - n`.
    Negative(u64),
    /// Octets.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// A list.
    Array(Vec<Value>),
    /// Pairs of key and value, in the order of the deterministic encoding.
    Map(Vec<(Value, Value)>),
    /// A tagged value.
    Tag(u64, Box<Value>),
    /// `false`, `true`, `null`, `undefined` and other simple values, by number.
    Simple(u8),
    /// A floating point number.
    Float(Float),
}

/// A floating point number that compares by its bits.
#[derive(Debug, Clone, Copy)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Value {
    /// `null`
    pub const NULL: Self = Self::Simple(22);

    /// `false` or `true`.
    pub const fn bool(value: bool) -> Self {
        Self::Simple(if value { 21 } else { 20 })
    }

    /// A number.
    pub fn int(value: i64) -> Self {
        match u64::try_from(value) {
            Ok(positive) => Self::Unsigned(positive),
            Err(_) => Self::Negative(value.unsigned_abs().saturating_sub(1)),
        }
    }

    /// Reads one value that takes up all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let mut decoder = Decoder { bytes, offset: 0 };
        let value = decoder.value(MAX_DEPTH)?;
        if decoder.offset == bytes.len() {
            Ok(value)
        } else {
            Err(decoder.error("octets left over"))
        }
    }

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Levels of lists, maps and tags; nothing else counts.
    pub(super) fn depth(&self) -> usize {
        let inner = match self {
            Self::Array(items) => items.iter().map(Self::depth).max(),
            Self::Map(pairs) => pairs
                .iter()
                .map(|(key, value)| key.depth().max(value.depth()))
                .max(),
            Self::Tag(_, value) => Some(value.depth()),
            _ => return 0,
        };
        inner.unwrap_or(0).saturating_add(1)
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Unsigned(n) => head(0, *n, out),
            Self::Negative(n) => head(1, *n, out),
            Self::Bytes(bytes) => {
                head(2, bytes.len() as u64, out);
                out.extend_from_slice(bytes);
            }
            Self::Text(text) => {
                head(3, text.len() as u64, out);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Array(items) => {
                head(4, items.len() as u64, out);
                for item in items {
                    item.write(out);
                }
            }
            Self::Map(pairs) => {
                head(5, pairs.len() as u64, out);
                let mut encoded: Vec<_> = pairs.iter().map(|(key, value)| (key.encode(), value)).collect();
                encoded.sort_by(|a, b| a.0.cmp(&b.0));
                for (key, value) in encoded {
                    out.extend_from_slice(&key);
                    value.write(out);
                }
            }
            Self::Tag(tag, value) => {
                head(6, *tag, out);
                value.write(out);
            }
            Self::Simple(number @ 0..=23) => out.push(0xe0 | number),
            Self::Simple(number) => out.extend_from_slice(&[0xf8, *number]),
            Self::Float(Float(number)) => write_float(*number, out),
        }
    }
}

/// Major type and argument in the fewest octets.
fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    // The casts cannot lose bits: each range is below the width written.
    #[allow(clippy::cast_possible_truncation)]
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend_from_slice(&[major | 0x18, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 0x19);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 0x1a);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 0x1b);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

fn write_float(number: f64, out: &mut Vec<u8>) {
    if number.is_nan() {
        out.extend_from_slice(&[0xf9, 0x7e, 0x00]);
        return;
    }
    #[allow(clippy::cast_possible_truncation)] // whether something was lost is checked right away
    let single = number as f32;
    if f64::from(single).to_bits() != number.to_bits() {
        out.push(0xfb);
        out.extend_from_slice(&number.to_be_bytes());
    } else if let Some(half) = half_from_single(single) {
        out.push(0xf9);
        out.extend_from_slice(&half.to_be_bytes());
    } else {
        out.push(0xfa);
        out.extend_from_slice(&single.to_be_bytes());
    }
}

/// The half-precision bits of a number, if there are any that mean exactly it.
fn half_from_single(single: f32) -> Option<u16> {
    let bits = single.to_bits();
    let sign = u16::try_from(bits >> 31).ok()? << 15;
    let exponent = i32::try_from((bits >> 23) & 0xff).ok()?;
    let fraction = bits & 0x7f_ffff;
    let magnitude = match exponent {
        0xff if fraction == 0 => 0x7c00,
        0 if fraction == 0 => 0,
        // Normal half: exponent -14..=15, ten bits of fraction.
        113..=142 if fraction.trailing_zeros() >= 13 => {
            u16::try_from(((exponent - 112) << 10) | i32::try_from(fraction >> 13).ok()?).ok()?
        }
        // Subnormal half: multiples of 2^-24.
        103..=112 => {
            let shift = u32::try_from(126 - exponent).ok()?;
            let significand = fraction | 0x80_0000;
            if significand.trailing_zeros() < shift {
                return None;
            }
            u16::try_from(significand >> shift).ok()?
        }
        _ => return None,
    };
    Some(sign | magnitude)
}

fn half_to_double(bits: u16) -> f64 {
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

struct Decoder<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Decoder<'a> {
    fn error(&self, problem: &'static str) -> ContentError {
        ContentError::Cbor {
            offset: self.offset,
            problem,
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], ContentError> {
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| self.offset.checked_add(len));
        let taken = end.and_then(|end| self.bytes.get(self.offset..end));
        let taken = taken.ok_or_else(|| self.error("truncated"))?;
        self.offset = self.offset.saturating_add(taken.len());
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ContentError> {
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_| self.error("truncated"))
    }

    /// Major type, additional information and argument; no argument for an indefinite length.
    fn head(&mut self) -> Result<(u8, u8, Option<u64>), ContentError> {
        let [first] = self.array()?;
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24 => Some(u64::from(u8::from_be_bytes(self.array()?))),
            25 => Some(u64::from(u16::from_be_bytes(self.array()?))),
            26 => Some(u64::from(u32::from_be_bytes(self.array()?))),
            27 => Some(u64::from_be_bytes(self.array()?)),
            31 => None,
            _ => return Err(self.error("reserved additional information")),
        };
        Ok((major, info, argument))
    }

    fn at_break(&mut self) -> bool {
        let found = self.bytes.get(self.offset) == Some(&0xff);
        if found {
            self.offset = self.offset.saturating_add(1);
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, ContentError> {
        let Some(inner) = depth.checked_sub(1) else {
            return Err(ContentError::TooDeep("values"));
        };
        let (major, info, argument) = self.head()?;
        match (major, argument) {
            (0, Some(n)) => Ok(Value::Unsigned(n)),
            (1, Some(n)) => Ok(Value::Negative(n)),
            (2, _) => self.string(2, argument).map(Value::Bytes),
            (3, _) => {
                let start = self.offset;
                let bytes = self.string(3, argument)?;
                String::from_utf8(bytes)
                    .map(Value::Text)
                    .map_err(|_| ContentError::Cbor {
                        offset: start,
                        problem: "text is not UTF-8",
                    })
            }
            (4, _) => {
                let mut items = Vec::new();
                // The length is not believed: memory grows with what is there.
                while self.more(argument, items.len())? {
                    items.push(self.value(inner)?);
                }
                Ok(Value::Array(items))
            }
            (5, _) => self.map(argument, inner),
            (6, Some(tag)) => Ok(Value::Tag(tag, Box::new(self.value(inner)?))),
            (7, Some(argument)) => self.simple(info, argument),
            _ => Err(self.error("indefinite length where there is none")),
        }
    }

    /// Whether another item follows in a list of a length, or until the break.
    fn more(&mut self, length: Option<u64>, have: usize) -> Result<bool, ContentError> {
        match length {
            Some(length) => Ok((have as u64) < length),
            None if self.offset >= self.bytes.len() => Err(self.error("truncated")),
            None => Ok(!self.at_break()),
        }
    }

    fn string(&mut self, major: u8, length: Option<u64>) -> Result<Vec<u8>, ContentError> {
        if let Some(length) = length {
            return self.take(length).map(<[u8]>::to_vec);
        }
        let mut whole = Vec::new();
        while self.more(None, 0)? {
            match self.head()? {
                (m, _, Some(length)) if m == major => whole.extend_from_slice(self.take(length)?),
                _ => return Err(self.error("a chunk of another kind")),
            }
        }
        Ok(whole)
    }

    fn map(&mut self, length: Option<u64>, inner: usize) -> Result<Value, ContentError> {
        let mut pairs = Vec::new();
        while self.more(length, pairs.len())? {
            let key = self.value(inner)?;
            pairs.push((key.encode(), key, self.value(inner)?));
        }
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(ContentError::DuplicateKey);
        }
        Ok(Value::Map(
            pairs.into_iter().map(|(_, key, value)| (key, value)).collect(),
        ))
    }

    fn simple(&mut self, info: u8, argument: u64) -> Result<Value, ContentError> {
        let number = match info {
            25 => half_to_double(u16::try_from(argument).unwrap_or_default()),
            26 => f64::from(f32::from_bits(u32::try_from(argument).unwrap_or_default())),
            27 => f64::from_bits(argument),
            _ => {
                return match u8::try_from(argument) {
                    // RFC 8949 section 3.3: in two octets only from 32.
                    Ok(number) if info < 24 || number >= 32 => Ok(Value::Simple(number)),
                    _ => Err(self.error("a simple value in too many octets")),
                };
            }
        };
        if number.is_nan() {
            return if info == 25 && argument == 0x7e00 {
                Ok(Value::Float(Float(f64::NAN)))
            } else {
                Err(ContentError::NotANumber)
            };
        }
        Ok(Value::Float(Float(number)))
    }
}
