//! The GroupInfo and ratchet tree that come with a commit.
//!
//! openmls makes no GroupInfo for a public observer and checks none outside its own joining code. The hub builds
//! or checks it here, so that it can hand it to joiners: the context must be the one the commit leads to, the
//! confirmation tag the commit's, the signature the committer's.

use super::{Group, tree_hash::tree_hash};
use crate::crypto;
use crate::refusal::{GroupInfoFault, NotAllowed};
use mimi_wire::components::extension_type;
use mimi_wire::mls::{Extension, GroupContext as WireContext, GroupInfo, GroupInfoContent};
use mimi_wire::protocol::{GroupInfoOption, RatchetTreeOption, RatchetTreePresence};
use mimi_wire::{Decode, Encode};
use openmls::group::GroupContext;

/// What a GroupInfo has to agree with.
pub(super) struct Expected<'a> {
    pub(super) context: &'a GroupContext,
    pub(super) confirmation_tag: &'a [u8],
    pub(super) signer: u32,
    pub(super) signature_key: &'a [u8],
}

impl Expected<'_> {
    /// Takes a full GroupInfo or completes a partial one, and checks it. Gives the full one's octets.
    pub(super) fn check(&self, given: &GroupInfoOption) -> Result<Vec<u8>, GroupInfoFault> {
        let full = match given {
            GroupInfoOption::Full(full) => GroupInfo::clone(full),
            GroupInfoOption::Partial(partial) => {
                if partial.ratchet_tree_presence != RatchetTreePresence::NoRatchetTree {
                    return Err(GroupInfoFault::EmbeddedTree);
                }
                let context = Group::encoded_context(self.context);
                GroupInfo::new(GroupInfoContent {
                    group_context: WireContext::from_bytes(&context)
                        .map_err(|_| GroupInfoFault::Malformed)?,
                    extensions: partial.group_info_extensions.clone(),
                    confirmation_tag: self.confirmation_tag.into(),
                    signer: self.signer,
                    signature: partial.signature.clone(),
                })
            }
        };
        self.check_full(&full)?;
        Ok(full.as_bytes().to_vec())
    }

    pub(super) fn check_full(&self, full: &GroupInfo) -> Result<(), GroupInfoFault> {
        let content = full.content();
        // The context comes first, and its encoding ends where it ends.
        if !full.as_bytes().starts_with(&Group::encoded_context(self.context)) {
            return Err(GroupInfoFault::Context);
        }
        if content.confirmation_tag.as_bytes() != self.confirmation_tag {
            return Err(GroupInfoFault::ConfirmationTag);
        }
        if content.signer != self.signer {
            return Err(GroupInfoFault::Signer);
        }
        if full.has_ratchet_tree() {
            return Err(GroupInfoFault::EmbeddedTree);
        }
        if Extension::find(full.extensions(), extension_type::EXTERNAL_PUB).is_none() {
            return Err(GroupInfoFault::NoExternalPub);
        }
        let signature_len = content.signature.to_bytes().len();
        let signed = full.as_bytes().len().checked_sub(signature_len);
        let tbs = signed
            .and_then(|len| full.as_bytes().get(..len))
            .ok_or(GroupInfoFault::Malformed)?;
        let scheme = self.context.ciphersuite().signature_algorithm();
        if crypto::verify_with_label(
            scheme,
            self.signature_key,
            "GroupInfoTBS",
            tbs,
            &content.signature,
        ) {
            Ok(())
        } else {
            Err(GroupInfoFault::Signature)
        }
    }
}

/// A tree that comes along must be the one after the commit. Any other way to come by it concerns others: the
/// hub serves its own.
pub(super) fn check_tree(context: &GroupContext, given: &RatchetTreeOption) -> Result<(), NotAllowed> {
    let RatchetTreeOption::Full(tree) = given else {
        return Ok(());
    };
    let hash = mimi_wire::mls::CipherSuite(context.ciphersuite().into())
        .hash()
        .and_then(|algorithm| tree_hash(algorithm, tree));
    if hash.as_deref() == Some(context.tree_hash()) {
        Ok(())
    } else {
        Err(NotAllowed::RatchetTree)
    }
}
