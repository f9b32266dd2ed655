//! Check 2 on receipt, the signatures, and check 3, the content hash.

use super::{Pdu, UnverifiedPdu};
use crate::{
    ids::server_of_user,
    json::Raw,
    keys::{KeyLookup, decode_signature},
};

/// Why an event's signatures don't count. Such an event is dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A server that has to sign did not.
    #[error("no signature by {server}")]
    Unsigned {
        /// Who should have signed.
        server: String,
    },
    /// Signatures are there, but the lookup knows none of their keys for the event's time. The caller may
    /// fetch keys and try again.
    #[error("no known key of {server} valid at the time of the event")]
    UnknownKey {
        /// Whose keys are wanted.
        server: String,
    },
    /// A signature by a known key is wrong.
    #[error("wrong signature by {server}")]
    WrongSignature {
        /// Who is said to have signed.
        server: String,
    },
    /// The user who is said to have authorised a restricted join is no user id.
    #[error("join_authorised_via_users_server is no user id")]
    BadAuthorisingUser,
}

impl UnverifiedPdu {
    /// The servers whose signature the event needs (server-server API, "Validating hashes and signatures on
    /// received events"): the sender's, except for an invite that came of a third-party invite, and the
    /// authorising user's for a restricted join.
    pub fn required_signers(&self) -> Result<Vec<&str>, VerifyError> {
        let mut servers = Vec::with_capacity(1);
        let member = self.event_type() == "m.room.member";
        let membership = member.then(|| self.content().get("membership")).flatten();
        let membership = membership.and_then(Raw::as_escaped_str);
        let by_third_party = membership == Some("invite")
            && self
                .content()
                .get("third_party_invite")
                .is_some_and(Raw::is_object);
        if !by_third_party {
            servers.extend(server_of_user(self.sender()));
        }
        if self.room_version().rules().restricted
            && membership == Some("join")
            && let Some(user) = self.content().get("join_authorised_via_users_server")
        {
            let server = user.as_escaped_str().and_then(server_of_user);
            let server = server.ok_or(VerifyError::BadAuthorisingUser)?;
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        Ok(servers)
    }

    /// Checks the signatures that the event needs; gives the event, redacted if its content hash is wrong.
    /// Every signature of a needed server by a key the lookup knows has to be right, and one has to be there.
    pub fn verify(self, keys: &impl KeyLookup) -> Result<Pdu, VerifyError> {
        for server in self.required_signers()? {
            self.verify_server(server, keys)?;
        }
        Ok(self.assume_verified())
    }

    fn verify_server(&self, server: &str, keys: &impl KeyLookup) -> Result<(), VerifyError> {
        let signatures = self.raw().get("signatures");
        // A server name needs no escapes, or it would not be one.
        let signatures = signatures.and_then(|s| s.get(server)?.entries());
        let (mut seen, mut verified) = (false, false);
        for entry in signatures.into_iter().flatten() {
            let key_id = entry.key.escaped();
            if !key_id.starts_with("ed25519:") {
                continue;
            }
            seen = true;
            let Some(key) = keys.key(server, key_id, self.origin_server_ts()) else {
                continue;
            };
            let signature = entry.value.as_escaped_str().and_then(decode_signature);
            let right = signature.is_some_and(|s| key.verifies(self.message().as_bytes(), &s));
            if !right {
                return Err(VerifyError::WrongSignature {
                    server: server.to_owned(),
                });
            }
            verified = true;
        }
        let server = || server.to_owned();
        match (verified, seen) {
            (true, _) => Ok(()),
            (false, true) => Err(VerifyError::UnknownKey { server: server() }),
            (false, false) => Err(VerifyError::Unsigned { server: server() }),
        }
    }
}
