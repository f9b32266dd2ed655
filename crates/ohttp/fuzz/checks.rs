//! What must hold for any input. Used by the fuzz targets and, on the corpus, by the crate's own tests.

use ohttp::bhttp::{Request, Response};
use ohttp::{Gateway, Sender};
use std::sync::LazyLock;

/// The gateway that the corpus was sealed for.
pub(crate) static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| Gateway::derive(1, &[3; 32]).unwrap());

/// A binary HTTP message is refused, or the same after it was written and read once more.
pub(crate) fn bhttp(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        assert_eq!(Request::decode(&request.encode()).unwrap(), request);
    }
    if let Ok(response) = Response::decode(data) {
        assert!((200..600).contains(&response.status));
        assert_eq!(Response::decode(&response.encode()).unwrap(), response);
    }
}

/// What comes to a gateway, and what comes from one: key configurations and encapsulated messages.
pub(crate) fn oblivious(data: &[u8]) {
    if let Ok((request, sealer)) = GATEWAY.open(data) {
        bhttp(&request);
        assert_eq!(
            sealer.seal([7; 16], &request).unwrap().len(),
            16 + request.len() + 16
        );
    }
    // What is opened as a response was sealed as one, for this request.
    let own = Sender::from_keys(&GATEWAY.keys()).unwrap();
    let (_, opener) = own.seal(b"request").unwrap();
    assert!(opener.open(data).is_err());
    if let Ok(sender) = Sender::from_keys(data) {
        // A key of low order is refused by HPKE, every other will do.
        let _ = sender.seal(b"request");
    }
}
