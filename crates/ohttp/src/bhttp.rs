//! Binary HTTP messages (RFC 9292). Written with known lengths; both forms are read.

/// Field lines of one section taken at most.
const MAX_FIELDS: usize = 256;

/// A field line.
pub type Field = (Vec<u8>, Vec<u8>);

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Vec<u8>,
    /// `https`.
    pub scheme: Vec<u8>,
    /// Host, with port where it isn't the scheme's.
    pub authority: Vec<u8>,
    /// Path and query.
    pub path: Vec<u8>,
    /// Header fields, names in lower case.
    pub fields: Vec<Field>,
    /// Content.
    pub content: Vec<u8>,
}

/// A response. Informational responses before it are passed over, trailers are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Header fields, names in lower case.
    pub fields: Vec<Field>,
    /// Content.
    pub content: Vec<u8>,
}

/// Octets that are no binary HTTP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a binary HTTP {0}")]
pub struct Malformed(&'static str);

fn put(n: usize, out: &mut Vec<u8>) {
    let n = n as u64;
    // Variable-length integers of QUIC (RFC 9000 section 16).
    match n {
        0..0x40 => out.push(low(n, 0)),
        0x40..0x4000 => out.extend([0x40 | low(n, 1), low(n, 0)]),
        0x4000..0x4000_0000 => out.extend([0x80 | low(n, 3), low(n, 2), low(n, 1), low(n, 0)]),
        _ => {
            out.push(0xc0 | (low(n, 7) & 0x3f));
            out.extend((0..7).rev().map(|at| low(n, at)));
        }
    }
}

/// The octet at a place, the lowest being 0.
fn low(n: u64, at: u32) -> u8 {
    u8::try_from((n >> (8 * at)) & 0xff).unwrap_or_default()
}

fn put_octets(octets: &[u8], out: &mut Vec<u8>) {
    put(octets.len(), out);
    out.extend(octets);
}

fn put_fields(fields: &[Field], out: &mut Vec<u8>) {
    let mut section = Vec::new();
    for (name, value) in fields {
        put_octets(name, &mut section);
        put_octets(value, &mut section);
    }
    put_octets(&section, out);
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn integer(&mut self) -> Option<usize> {
        let first = *self.0.first()?;
        let length = 1 << (first >> 6);
        let octets = self.take(length)?;
        let n = octets.iter().enumerate().fold(0_u64, |n, (at, octet)| {
            let octet = if at == 0 { octet & 0x3f } else { *octet };
            (n << 8) | u64::from(octet)
        });
        usize::try_from(n).ok()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn octets(&mut self) -> Option<&'a [u8]> {
        let length = self.integer()?;
        self.take(length)
    }

    /// A section of field lines; one that is missing at the end of the message is empty (section 3.8).
    fn fields(&mut self, known_length: bool) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        if self.0.is_empty() {
            return Some(fields);
        }
        let mut section = if known_length {
            Reader(self.octets()?)
        } else {
            Reader(self.0)
        };
        while !(known_length && section.0.is_empty()) {
            let name = section.octets()?;
            if name.is_empty() {
                if known_length {
                    return None;
                }
                break;
            }
            let value = section.octets()?;
            if fields.len() >= MAX_FIELDS {
                return None;
            }
            fields.push((name.to_vec(), value.to_vec()));
        }
        if !known_length {
            self.0 = section.0;
        }
        Some(fields)
    }

    fn content(&mut self, known_length: bool) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return Some(Vec::new());
        }
        if known_length {
            return self.octets().map(<[u8]>::to_vec);
        }
        let mut content = Vec::new();
        loop {
            let chunk = self.octets()?;
            if chunk.is_empty() {
                return Some(content);
            }
            content.extend(chunk);
        }
    }

    /// Trailers, then padding of zeros.
    fn end(&mut self, known_length: bool) -> Option<()> {
        self.fields(known_length)?;
        self.0.iter().all(|octet| *octet == 0).then_some(())
    }
}

impl Request {
    /// A GET without fields.
    pub fn get(authority: &str, path: &str) -> Self {
        Self {
            method: b"GET".to_vec(),
            scheme: b"https".to_vec(),
            authority: authority.as_bytes().to_vec(),
            path: path.as_bytes().to_vec(),
            ..Self::default()
        }
    }

    /// The message, with known lengths.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0];
        for part in [&self.method, &self.scheme, &self.authority, &self.path] {
            put_octets(part, &mut out);
        }
        put_fields(&self.fields, &mut out);
        put_octets(&self.content, &mut out);
        put_fields(&[], &mut out);
        out
    }

    /// Reads a message.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        Self::read(octets).ok_or(Malformed("request"))
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let mut reader = Reader(octets);
        let known = match reader.integer()? {
            0 => true,
            2 => false,
            _ => return None,
        };
        let request = Self {
            method: reader.octets()?.to_vec(),
            scheme: reader.octets()?.to_vec(),
            authority: reader.octets()?.to_vec(),
            path: reader.octets()?.to_vec(),
            fields: reader.fields(known)?,
            content: reader.content(known)?,
        };
        reader.end(known)?;
        Some(request)
    }
}

impl Response {
    /// The message, with known lengths.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        put(self.status.into(), &mut out);
        put_fields(&self.fields, &mut out);
        put_octets(&self.content, &mut out);
        put_fields(&[], &mut out);
        out
    }

    /// Reads a message.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        Self::read(octets).ok_or(Malformed("response"))
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let mut reader = Reader(octets);
        let known = match reader.integer()? {
            1 => true,
            3 => false,
            _ => return None,
        };
        loop {
            let status = u16::try_from(reader.integer()?).ok()?;
            let fields = reader.fields(known)?;
            match status {
                100..200 => {}
                200..600 => {
                    let content = reader.content(known)?;
                    reader.end(known)?;
                    return Some(Self {
                        status,
                        fields,
                        content,
                    });
                }
                _ => return None,
            }
        }
    }
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
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfcs() {
        let get = hex::decode("00034745540568747470730b6578616d706c652e636f6d012f").unwrap();
        assert_eq!(Request::decode(&get).unwrap(), Request::get("example.com", "/"));
        let ok = Response::decode(&hex::decode("0140c8").unwrap()).unwrap();
        assert_eq!((ok.status, ok.content), (200, Vec::new()));
        // RFC 9292 section 5.1, indeterminate length.
        let long = "02034745540568747470730 00a2f68656c6c6f2e747874".replace(' ', "");
        let fields = [
            (
                "user-agent",
                "curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3",
            ),
            ("host", "www.example.com"),
        ];
        let mut octets = hex::decode(long).unwrap();
        for (name, value) in fields {
            put_octets(name.as_bytes(), &mut octets);
            put_octets(value.as_bytes(), &mut octets);
        }
        octets.extend([0, 0, 0]);
        let request = Request::decode(&octets).unwrap();
        assert_eq!(request.path, b"/hello.txt");
        assert_eq!(request.fields.len(), 2);
        let chunked = [&[3, 0x40, 100, 0, 0x40, 200, 0][..], b"\x02ab\x01c\0\0"].concat();
        let response = Response::decode(&chunked).unwrap();
        assert_eq!((response.status, response.content), (200, b"abc".to_vec()));
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..100)
    }

    fn fields() -> impl Strategy<Value = Vec<Field>> {
        let name = proptest::collection::vec(any::<u8>(), 1..20);
        proptest::collection::vec((name, octets()), 0..5)
    }

    proptest! {
        #[test]
        fn messages_come_back(parts in [octets(), octets(), octets(), octets()], fields in fields(),
            content in proptest::collection::vec(any::<u8>(), 0..20_000), status in 200_u16..600) {
            let [method, scheme, authority, path] = parts;
            let request = Request { method, scheme, authority, path, fields, content };
            prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request.clone());
            let response = Response { status, fields: request.fields, content: request.content };
            let mut padded = response.encode();
            padded.extend([0; 5]);
            prop_assert_eq!(Response::decode(&padded).unwrap(), response);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(octets in octets(), kind in 0_u8..5) {
            let octets = [&[kind][..], &octets].concat();
            let _ = Request::decode(&octets);
            let _ = Response::decode(&octets);
        }
    }
}
