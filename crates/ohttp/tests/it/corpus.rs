//! The fuzz targets' corpus, replayed on the stable compiler.

#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../../mimi-wire/tests/it/replay.rs"]
mod replay;

use ohttp::Sender;
use ohttp::bhttp::{Request, Response};

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[test]
fn bhttp() {
    replay::replay(FUZZ, "bhttp", checks::bhttp);
}

#[test]
fn oblivious() {
    replay::replay(FUZZ, "oblivious", checks::oblivious);
}

/// Writes the corpus anew when asked to.
#[test]
fn update() {
    if !replay::updates() {
        return;
    }
    let write = |target: &str, name: &str, input: &[u8]| replay::write(FUZZ, target, name, input);
    let request = Request {
        fields: vec![(b"accept".to_vec(), b"*/*".to_vec())],
        content: b"content".to_vec(),
        ..Request::get("a.example", "/v1/asset/x")
    };
    let response = Response {
        status: 200,
        fields: request.fields.clone(),
        content: b"content".to_vec(),
    };
    write("bhttp", "request", &request.encode());
    write("bhttp", "response", &response.encode());
    // Of indeterminate length, with an informational response before it (RFC 9292 section 3.2).
    let chunked = [&[3, 0x40, 100, 0, 0x40, 200, 0][..], b"\x02ab\x01c\0\0\0\0"].concat();
    write("bhttp", "chunked", &chunked);
    let keys = checks::GATEWAY.keys();
    write("oblivious", "keys", &keys);
    let sender = Sender::from_keys(&keys).unwrap();
    write("oblivious", "request", &sender.seal(&request.encode()).unwrap().0);
}
