//! SemiPrivateMessage (draft-mahy-mls-semiprivatemessage-07 section 3): a handshake message that only the
//! members and listed outsiders, such as the hub, can read. Decoded and carried, not opened.

use super::{ContentType, Epoch, GroupId, HpkeCiphertext};
use crate::codec::{Opaque, wire_fields};
use serde::Serialize;

/// `SemiPrivateMessage`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SemiPrivateMessage {
    /// Group identifier.
    pub group_id: GroupId,
    /// Epoch it was made in.
    pub epoch: Epoch,
    /// Proposal or commit.
    pub content_type: ContentType,
    /// Authenticated, not encrypted.
    pub authenticated_data: Opaque,
    /// Hash of the sender's leaf index and a nonce.
    pub partial_context_hash: Opaque,
    /// The content's key, sealed to each external receiver.
    pub keys_for_external_receivers: Vec<KeyForExternalReceiver>,
    /// Hash of the signed content.
    pub framed_content_tbs_hash: Opaque,
    /// As in a PrivateMessage.
    pub encrypted_sender_data: Opaque,
    /// As in a PrivateMessage.
    pub ciphertext: Opaque,
}

wire_fields!(SemiPrivateMessage {
    group_id,
    epoch,
    content_type,
    authenticated_data,
    partial_context_hash,
    keys_for_external_receivers,
    framed_content_tbs_hash,
    encrypted_sender_data,
    ciphertext,
});

/// `KeyForExternalReceiver`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct KeyForExternalReceiver {
    /// Hash of the receiver's entry in the group.
    pub external_receiver_ref: Opaque,
    /// Sealed `PerMessageKeyAndNonces`.
    pub encrypted_keys_and_nonces: HpkeCiphertext,
}

wire_fields!(KeyForExternalReceiver {
    external_receiver_ref,
    encrypted_keys_and_nonces
});
