//! The search for what must not be there: plaintexts and private keys in databases, stores, files and logs.
//!
//! Octets hide behind encodings and behind being cut up. So every file is looked at as it is, without white space and
//! escapes, and as what its runs of base64 (both alphabets, every alignment), hexadecimal and decimal lists decode to,
//! several layers deep. And each octet string is looked for in all its pieces of twelve octets, so that a cut
//! through it, by a page of a database or a chunk of a store, leaves pieces whole.

use crate::{Context as _, Result};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Octets of a piece, and of the shortest thing that can be searched for: a shorter one would be found by chance.
pub const PIECE: usize = 12;
/// Octets of a piece by which it is recognized first.
const HEAD: usize = 8;
/// Encodings inside encodings that are looked into.
const DEPTH: u8 = 4;
/// Shortest run that is decoded: a piece's digits of base64.
const MIN_RUN: usize = PIECE / 3 * 4;

/// Something was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Which of the things looked for.
    pub label: String,
    /// Where.
    pub file: PathBuf,
    /// Behind which encodings, outermost first; empty: as it is.
    pub through: String,
}

/// What is looked for.
#[derive(Debug, Default)]
pub struct Audit {
    labels: Vec<String>,
    /// By the first octets: the whole piece and whose it is.
    pieces: HashMap<[u8; HEAD], Vec<(Vec<u8>, usize)>>,
    /// Which first two octets there are at all.
    first: Vec<bool>,
}

/// How much was searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Files.
    pub files: u64,
    /// Their octets.
    pub octets: u64,
    /// Octets that came out of encodings.
    pub decoded: u64,
}

impl Audit {
    /// Looks for nothing yet.
    pub fn new() -> Self {
        Self {
            first: vec![false; 1 << 16],
            ..Self::default()
        }
    }

    /// Adds something to look for. Too short ones are a failure: they would go unnoticed.
    pub fn look_for(&mut self, label: impl Into<String>, octets: &[u8]) -> Result<()> {
        let label = label.into();
        if octets.len() < PIECE {
            return None.context(&format!(
                "{label} has {} octets, too few to be searched for",
                octets.len()
            ));
        }
        let index = self.labels.len();
        self.labels.push(label);
        for piece in octets.windows(PIECE) {
            let Some(head) = piece.first_chunk::<HEAD>() else {
                continue;
            };
            // A piece of one octet repeated (zeros) says nothing about whose it is.
            if piece.iter().all(|b| b == &head[0]) {
                continue;
            }
            self.pieces
                .entry(*head)
                .or_default()
                .push((piece.to_vec(), index));
            if let Some(entry) = self
                .first
                .get_mut(usize::from(u16::from_be_bytes([head[0], head[1]])))
            {
                *entry = true;
            }
        }
        Ok(())
    }

    /// How many things are looked for.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Searches files and folders, all the way down.
    pub fn search(&self, places: &[PathBuf]) -> Result<(BTreeSet<Finding>, Searched)> {
        let (mut found, mut searched) = (BTreeSet::new(), Searched::default());
        let mut left: Vec<PathBuf> = places.to_vec();
        while let Some(place) = left.pop() {
            let doing = format!("searching {}", place.display());
            let kind = std::fs::symlink_metadata(&place).context(&doing)?.file_type();
            if kind.is_dir() {
                for entry in std::fs::read_dir(&place).context(&doing)? {
                    left.push(entry.context(&doing)?.path());
                }
            } else if kind.is_file() {
                let octets = std::fs::read(&place).context(&doing)?;
                searched.files += 1;
                searched.octets += octets.len() as u64;
                self.search_file(&place, &octets, &mut found, &mut searched);
            }
        }
        Ok((found, searched))
    }

    fn search_file(
        &self,
        file: &Path,
        octets: &[u8],
        found: &mut BTreeSet<Finding>,
        searched: &mut Searched,
    ) {
        let mut report = |index: usize, through: &str| {
            if let Some(label) = self.labels.get(index) {
                found.insert(Finding {
                    label: label.clone(),
                    file: file.to_owned(),
                    through: through.to_owned(),
                });
            }
        };
        let mut decoded = 0_u64;
        self.search_octets(octets, "", DEPTH, &mut report, &mut decoded);
        // PEM, wrapped base64, and JSON inside JSON break runs up.
        let dense: Vec<u8> = unescaped(octets);
        if dense.len() != octets.len() {
            self.search_octets(
                &dense,
                "white space and escapes",
                DEPTH,
                &mut report,
                &mut decoded,
            );
        }
        searched.decoded += decoded;
    }

    fn search_octets(
        &self,
        octets: &[u8],
        through: &str,
        depth: u8,
        report: &mut impl FnMut(usize, &str),
        decoded: &mut u64,
    ) {
        self.find(octets, |index| report(index, through));
        if depth == 0 {
            return;
        }
        decodings(octets, |encoding, inner| {
            *decoded += inner.len() as u64;
            let path = if through.is_empty() {
                encoding.to_owned()
            } else {
                format!("{through}, {encoding}")
            };
            self.search_octets(inner, &path, depth - 1, report, decoded);
        });
    }

    fn find(&self, octets: &[u8], mut report: impl FnMut(usize)) {
        for (at, window) in octets.windows(HEAD).enumerate() {
            let &[a, b, ..] = window else { continue };
            if !self
                .first
                .get(usize::from(u16::from_be_bytes([a, b])))
                .copied()
                .unwrap_or(false)
            {
                continue;
            }
            let Some(head) = window.first_chunk::<HEAD>() else {
                continue;
            };
            for (piece, index) in self.pieces.get(head).into_iter().flatten() {
                if octets.get(at..at + piece.len()) == Some(piece.as_slice()) {
                    report(*index);
                }
            }
        }
    }
}

/// Without white space, backslashes, and the `n` or `r` of an escaped line break.
fn unescaped(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut bytes = octets.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b'\\' => {
                bytes.next_if(|next| matches!(next, b'n' | b'r' | b't'));
            }
            _ => out.push(byte),
        }
    }
    out
}

/// Everything that runs of digits in these octets decode to.
fn decodings(octets: &[u8], mut each: impl FnMut(&str, &[u8])) {
    for run in octets
        .split(|b| sextet(*b).is_none())
        .filter(|run| run.len() >= MIN_RUN)
    {
        // What stands before the value without a break shifts it.
        for offset in 0..4 {
            each("base64", &from_base64(run.get(offset..).unwrap_or_default()));
        }
    }
    for run in octets
        .split(|b| !b.is_ascii_hexdigit())
        .filter(|run| run.len() >= 2 * PIECE)
    {
        for offset in 0..2 {
            each("hex", &from_hex(run.get(offset..).unwrap_or_default()));
        }
    }
    for run in octets
        .split(|b| !(b.is_ascii_digit() || matches!(b, b',' | b' ')))
        .filter(|run| run.len() >= 2 * PIECE)
    {
        let list = from_decimals(run);
        if list.len() >= PIECE {
            each("decimals", &list);
        }
    }
}

fn sextet(byte: u8) -> Option<u32> {
    Some(match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

fn from_base64(run: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(run.len() / 4 * 3 + 3);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for value in run.iter().filter_map(|b| sextet(*b)) {
        buffer = (buffer << 6) | value;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.extend(u8::try_from((buffer >> bits) & 0xff));
            buffer &= (1 << bits) - 1;
        }
    }
    out
}

fn from_hex(run: &[u8]) -> Vec<u8> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
            .unwrap_or(0)
    };
    run.chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |value, b| (value << 4) | digit(*b)))
        .collect()
}

fn from_decimals(run: &[u8]) -> Vec<u8> {
    run.split(|b| matches!(b, b',' | b' '))
        .filter_map(|number| std::str::from_utf8(number).ok()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests;
