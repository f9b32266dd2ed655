//! Handing the group to somebody who wants to join by external commit (draft-ietf-mimi-protocol-06 section 5.6).

use super::Group;
use super::policy::takes_part;
use crate::crypto;
use crate::hub::HubIdentity;
use crate::signing::Scheme;
use mimi_wire::codec::UnixMillis;
use mimi_wire::mls::{Credential, GroupInfo, HpkeCiphertext, RatchetTree};
use mimi_wire::policy::Capability;
use mimi_wire::protocol::{
    GroupInfoRatchetTreeTbe, GroupInfoRequest, GroupInfoResponse, GroupInfoSuccess, PendingProposal,
    RatchetTreeOption,
};
use mimi_wire::{Decode, Domain, Encode, MimiUri, Opaque, UriKind, labels};
use tls_codec::Serialize as _;

/// The user a credential speaks for: its own URI if that is a user's, else that of its client.
fn user_of(credential: &Credential) -> Option<MimiUri> {
    let uri = MimiUri::try_from(credential.identity()?).ok()?;
    match uri.kind() {
        UriKind::User | UriKind::Pseudonym => Some(uri),
        _ => uri.client_user(),
    }
}

impl Group {
    /// The ratchet tree of this epoch, as it goes to joiners and with a Welcome.
    pub fn ratchet_tree_option(&self) -> RatchetTreeOption {
        let bytes = self
            .mls
            .export_ratchet_tree()
            .tls_serialize_detached()
            .unwrap_or_default();
        // openmls encodes what it holds, so this does not fail; a joiner would ask the hub then.
        RatchetTree::from_bytes(&bytes)
            .map_or(RatchetTreeOption::DistributionService, RatchetTreeOption::Full)
    }

    /// Answers a request by the provider `actor`, authenticated. GroupInfo, tree and pending proposals are
    /// sealed to the key in the request, which must be signed by a client whose user takes part and may add clients.
    pub fn group_info_response(
        &self,
        hub: &HubIdentity,
        actor: &Domain,
        request: &GroupInfoRequest,
    ) -> GroupInfoResponse {
        self.sealed_group_info(hub, actor, request).map_or_else(
            || GroupInfoResponse::NotAuthorized {
                room_id: self.room.as_bytes().into(),
            },
            GroupInfoResponse::Success,
        )
    }

    fn sealed_group_info(
        &self,
        hub: &HubIdentity,
        actor: &Domain,
        request: &GroupInfoRequest,
    ) -> Option<GroupInfoSuccess> {
        let user = user_of(&request.requesting_credential)?;
        let allowed = user.domain() == *actor
            && takes_part(self.effective_role(&user))
            && self.has_capability(&user, Capability::ADD_OWN_CLIENT);
        let suite = crypto::supported(request.cipher_suite.0)?;
        let scheme = Scheme::of(request.cipher_suite)?;
        let verified = crypto::verify_with_label(
            scheme.mls(),
            &request.requesting_signature_key,
            labels::GROUP_INFO_REQUEST,
            &request.tbs(),
            &request.signature,
        );
        if !allowed || !verified {
            return None;
        }
        // Signed with the key that the group names: a joiner can compare. But the suite of the request "merely needs to be
        // one in common with the hub" and says how the answer is signed; if its scheme is another one than the group's,
        // the group names no key of it.
        let (_, mut signer) = self.hub_signer(hub)?;
        if Scheme::of(self.cipher_suite()) != Some(scheme) {
            signer = hub.newest_signer(scheme);
        }
        let plaintext = GroupInfoRatchetTreeTbe {
            group_info: GroupInfo::from_bytes(&self.served_group_info).ok()?,
            ratchet_tree_option: self.ratchet_tree_option(),
            pending_proposals: self
                .pending
                .iter()
                .map(|pending| PendingProposal {
                    proposal: pending.message.clone(),
                    hub_accepted_time: UnixMillis(pending.accepted_ms),
                })
                .collect(),
        };
        let room_id: Opaque = self.room.as_bytes().into();
        let sealed = crypto::encrypt_with_label(
            suite,
            &request.group_info_public_key,
            labels::GROUP_INFO_ENCRYPTION,
            &room_id,
            &plaintext.to_bytes(),
        )?;
        let mut success = GroupInfoSuccess {
            room_id,
            cipher_suite: request.cipher_suite,
            hub_sender: signer.wire_sender(),
            encrypted_groupinfo_and_tree: HpkeCiphertext {
                kem_output: sealed.kem_output.as_slice().into(),
                ciphertext: sealed.ciphertext.as_slice().into(),
            },
            signature: Opaque::default(),
        };
        success.signature = signer.sign(labels::GROUP_INFO_RESPONSE, &success.tbs()).into();
        Some(success)
    }
}
