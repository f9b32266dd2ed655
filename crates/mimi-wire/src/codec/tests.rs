#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::{Decode, DecodeErrorKind, Encode, MAX_VECTOR, Opaque, Reader, encode_length};
use proptest::prelude::*;

fn kind<T: Decode + std::fmt::Debug>(bytes: &[u8]) -> DecodeErrorKind {
    T::from_bytes(bytes).expect_err("should be refused").kind
}

#[test]
fn headers_are_the_shortest() {
    for (len, header) in [
        (0, "00"),
        (63, "3f"),
        (64, "4040"),
        (16383, "7fff"),
        (16384, "80004000"),
        (MAX_VECTOR, "bfffffff"),
    ] {
        let mut out = Vec::new();
        encode_length(len, &mut out);
        assert_eq!(hex::encode(&out), header);
        assert_eq!(Reader::new(&out).length().unwrap(), len);
    }
}

#[test]
fn longer_headers_are_refused() {
    assert_eq!(kind::<Opaque>(&[0x40, 0x00]), DecodeErrorKind::NonMinimalLength);
    assert_eq!(
        kind::<Opaque>(&[0x80, 0x00, 0x3f, 0xff]),
        DecodeErrorKind::NonMinimalLength
    );
    assert_eq!(kind::<Opaque>(&[0xc0]), DecodeErrorKind::ReservedLength);
    assert_eq!(kind::<Opaque>(&[2, 1]), DecodeErrorKind::Truncated { missing: 1 });
    assert_eq!(kind::<Opaque>(&[1, 1, 1]), DecodeErrorKind::Trailing { extra: 1 });
    assert_eq!(kind::<Opaque>(&[]), DecodeErrorKind::Truncated { missing: 1 });
}

#[test]
fn an_oversized_vector_can_not_be_read_back() {
    let mut out = Vec::new();
    encode_length(MAX_VECTOR + 1, &mut out);
    assert_eq!(
        Reader::new(&out).length().unwrap_err().kind,
        DecodeErrorKind::ReservedLength
    );
}

#[test]
fn elements_stay_within_their_vector() {
    // Three octets of payload are no list of 16-bit numbers, whatever follows.
    let error = <Vec<u16>>::from_bytes(&[3, 0, 1, 0, 2]).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::Truncated { missing: 1 });
    assert_eq!(error.offset, 3);
}

#[test]
fn presence_is_zero_or_one() {
    assert_eq!(<Option<u8>>::from_bytes(&[0]).unwrap(), None);
    assert_eq!(<Option<u8>>::from_bytes(&[1, 7]).unwrap(), Some(7));
    assert_eq!(
        kind::<Option<u8>>(&[2, 7]),
        DecodeErrorKind::Unknown {
            what: "presence octet",
            value: 2
        }
    );
}

#[test]
fn strings_are_utf8() {
    assert_eq!(kind::<String>(&[1, 0xff]), DecodeErrorKind::Utf8);
}

proptest! {
    #[test]
    fn vectors_round_trip(value: Vec<u16>, text: String, bytes: Vec<u8>) {
        prop_assert_eq!(&<Vec<u16>>::from_bytes(&value.to_bytes()).unwrap(), &value);
        prop_assert_eq!(&String::from_bytes(&text.to_bytes()).unwrap(), &text);
        let opaque = Opaque(bytes);
        prop_assert_eq!(Opaque::from_bytes(&opaque.to_bytes()).unwrap(), opaque);
    }

    #[test]
    fn what_decodes_encodes_to_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(value) = <Vec<Option<u16>>>::from_bytes(&bytes) {
            prop_assert_eq!(value.to_bytes(), bytes);
        }
    }
}
