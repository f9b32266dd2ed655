//! Requests between nodes are signed by the node that makes them.
//!
//! The signature covers method, target, both nodes' names and the SHA-256 of the body, each on a line of its own. It
//! says who asks; that nobody else reads or repeats it is TLS's to see to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use event_graph::{SigningIdentity, VerifyKey};
use sha2::{Digest as _, Sha256};

use crate::types::{Member, NodeName};

const SCHEME: &str = "Causeway-Node";
/// Longest header value taken.
const LONGEST: usize = 1024;

/// What a request says of who makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node.
    pub origin: NodeName,
    /// The key, for example `ed25519:1`.
    key_id: String,
    signature: [u8; 64],
}

fn message(method: &str, target: &str, origin: &str, destination: &str, body: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(body));
    format!("{SCHEME}\n{method}\n{target}\n{origin}\n{destination}\n{digest}")
}

/// The value of the `Authorization` header of a request to another node.
pub fn sign(identity: &SigningIdentity, method: &str, target: &str, to: &NodeName, body: &[u8]) -> String {
    let origin = identity.server_name();
    let message = message(method, target, origin, to.as_str(), body);
    let signature = STANDARD_NO_PAD.encode(identity.sign_bytes(message.as_bytes()));
    format!("{SCHEME} {origin} {} {signature}", identity.key_id())
}

/// Reads such a value.
pub fn claim(header: &str) -> Option<Claim> {
    if header.len() > LONGEST {
        return None;
    }
    let words: Vec<&str> = header.split(' ').collect();
    let [SCHEME, origin, key_id, signature] = words.as_slice() else {
        return None;
    };
    Some(Claim {
        origin: NodeName::from(*origin),
        key_id: (*key_id).to_owned(),
        signature: STANDARD_NO_PAD.decode(signature).ok()?.try_into().ok()?,
    })
}

impl Claim {
    /// Whether it is true: `member` is the node that it names, `own` the node that was asked.
    pub fn holds(&self, member: &Member, own: &NodeName, method: &str, target: &str, body: &[u8]) -> bool {
        let Some((key_id, key)) = member.verify_key() else {
            return false;
        };
        let message = message(method, target, self.origin.as_str(), own.as_str(), body);
        key_id == self.key_id && self.origin != *own && key.verifies(message.as_bytes(), &self.signature)
    }
}

impl Member {
    /// Its key, by id.
    pub fn verify_key(&self) -> Option<(&str, VerifyKey)> {
        let (id, key) = self.key.split_once(' ')?;
        Some((id, VerifyKey::from_base64(key).ok()?))
    }

    /// The member with this key at this address.
    pub fn new(address: impl Into<String>, identity: &SigningIdentity) -> Self {
        Self {
            address: address.into(),
            key: format!("{} {}", identity.key_id(), identity.verify_key().to_base64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_request_of_one_node_to_one_node() {
        let one = SigningIdentity::from_seed("cw1.a.example", "ed25519:1", &[1; 32]);
        let other = SigningIdentity::from_seed("cw3.a.example", "ed25519:1", &[3; 32]);
        let to = NodeName::from("cw2.a.example");
        let member = Member::new("127.0.0.1:1", &one);
        let header = sign(&one, "POST", "/x?y", &to, b"body");
        let claim = claim(&header).unwrap();
        assert_eq!(claim.origin.as_str(), "cw1.a.example");
        assert!(claim.holds(&member, &to, "POST", "/x?y", b"body"));
        assert!(!claim.holds(&member, &to, "GET", "/x?y", b"body"));
        assert!(!claim.holds(&member, &to, "POST", "/x", b"body"));
        assert!(!claim.holds(&member, &to, "POST", "/x?y", b"other"));
        assert!(!claim.holds(&member, &NodeName::from("cw4.a.example"), "POST", "/x?y", b"body"));
        assert!(!claim.holds(&Member::new("127.0.0.1:1", &other), &to, "POST", "/x?y", b"body"));
    }

    #[test]
    fn other_headers_are_no_claims() {
        for header in [
            "",
            "Bearer x",
            "Causeway-Node a b",
            "Causeway-Node a b c",
            "Causeway-Node a b c d",
        ] {
            assert_eq!(claim(header), None);
        }
        assert_eq!(claim(&"x".repeat(5000)), None);
    }
}
