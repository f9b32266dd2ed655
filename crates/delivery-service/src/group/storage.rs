//! What openmls wants of a storage for a public group, without a storage.
//!
//! [`PublicGroup`](openmls::group::PublicGroup) writes its whole tree after every merge. The group here lives
//! in memory and is kept as a [snapshot](super::snapshot), so writing does nothing ([`Discard`]); and a group is
//! loaded from the parts of a snapshot ([`Parts`]), which is the only way into openmls that does not judge
//! the lifetimes of old key packages again.

use openmls_traits::public_storage::PublicStorageProvider;
use openmls_traits::storage::{CURRENT_VERSION, traits};

/// A part of a snapshot does not decode.
#[derive(Debug, thiserror::Error)]
#[error("a part of the group's snapshot does not decode: {0}")]
pub(crate) struct PartError(#[from] postcard::Error);

/// Takes every write and keeps nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Discard;

/// The encoded parts of a group, each as openmls serialises it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) tree: &'a [u8],
    pub(crate) context: &'a [u8],
    pub(crate) interim_transcript_hash: &'a [u8],
    pub(crate) confirmation_tag: &'a [u8],
    /// `Vec<(ProposalRef, QueuedProposal)>`.
    pub(crate) proposals: &'a [u8],
}

/// Both providers write nowhere; they differ in what they can read.
macro_rules! write_nothing {
    () => {
        fn write_tree<G: traits::GroupId<CURRENT_VERSION>, T: traits::TreeSync<CURRENT_VERSION>>(
            &self,
            _: &G,
            _: &T,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn write_interim_transcript_hash<
            G: traits::GroupId<CURRENT_VERSION>,
            H: traits::InterimTranscriptHash<CURRENT_VERSION>,
        >(
            &self,
            _: &G,
            _: &H,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn write_context<G: traits::GroupId<CURRENT_VERSION>, C: traits::GroupContext<CURRENT_VERSION>>(
            &self,
            _: &G,
            _: &C,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn write_confirmation_tag<
            G: traits::GroupId<CURRENT_VERSION>,
            T: traits::ConfirmationTag<CURRENT_VERSION>,
        >(
            &self,
            _: &G,
            _: &T,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn queue_proposal<
            G: traits::GroupId<CURRENT_VERSION>,
            R: traits::ProposalRef<CURRENT_VERSION>,
            P: traits::QueuedProposal<CURRENT_VERSION>,
        >(
            &self,
            _: &G,
            _: &R,
            _: &P,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn delete_tree<G: traits::GroupId<CURRENT_VERSION>>(&self, _: &G) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn delete_confirmation_tag<G: traits::GroupId<CURRENT_VERSION>>(
            &self,
            _: &G,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn delete_context<G: traits::GroupId<CURRENT_VERSION>>(
            &self,
            _: &G,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn delete_interim_transcript_hash<G: traits::GroupId<CURRENT_VERSION>>(
            &self,
            _: &G,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn remove_proposal<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
            &self,
            _: &G,
            _: &R,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }

        fn clear_proposal_queue<
            G: traits::GroupId<CURRENT_VERSION>,
            R: traits::ProposalRef<CURRENT_VERSION>,
        >(
            &self,
            _: &G,
        ) -> Result<(), Self::PublicError> {
            Ok(())
        }
    };
}

impl PublicStorageProvider<CURRENT_VERSION> for Discard {
    type PublicError = std::convert::Infallible;

    write_nothing!();

    fn queued_proposals<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        P: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Vec<(R, P)>, Self::PublicError> {
        Ok(Vec::new())
    }

    fn tree<G: traits::GroupId<CURRENT_VERSION>, T: traits::TreeSync<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, Self::PublicError> {
        Ok(None)
    }

    fn group_context<G: traits::GroupId<CURRENT_VERSION>, C: traits::GroupContext<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Option<C>, Self::PublicError> {
        Ok(None)
    }

    fn interim_transcript_hash<
        G: traits::GroupId<CURRENT_VERSION>,
        H: traits::InterimTranscriptHash<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Option<H>, Self::PublicError> {
        Ok(None)
    }

    fn confirmation_tag<G: traits::GroupId<CURRENT_VERSION>, T: traits::ConfirmationTag<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, Self::PublicError> {
        Ok(None)
    }
}

impl PublicStorageProvider<CURRENT_VERSION> for Parts<'_> {
    type PublicError = PartError;

    write_nothing!();

    fn queued_proposals<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        P: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Vec<(R, P)>, Self::PublicError> {
        Ok(postcard::from_bytes(self.proposals)?)
    }

    fn tree<G: traits::GroupId<CURRENT_VERSION>, T: traits::TreeSync<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, Self::PublicError> {
        Ok(Some(postcard::from_bytes(self.tree)?))
    }

    fn group_context<G: traits::GroupId<CURRENT_VERSION>, C: traits::GroupContext<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Option<C>, Self::PublicError> {
        Ok(Some(postcard::from_bytes(self.context)?))
    }

    fn interim_transcript_hash<
        G: traits::GroupId<CURRENT_VERSION>,
        H: traits::InterimTranscriptHash<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Option<H>, Self::PublicError> {
        Ok(Some(postcard::from_bytes(self.interim_transcript_hash)?))
    }

    fn confirmation_tag<G: traits::GroupId<CURRENT_VERSION>, T: traits::ConfirmationTag<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, Self::PublicError> {
        Ok(Some(postcard::from_bytes(self.confirmation_tag)?))
    }
}
