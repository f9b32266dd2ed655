//! Coming into a room: by Welcome, or by external commit (mimi-protocol-06 section 5.6).

use super::{Engine, dictionary};
use crate::api::{GroupInfoQuery, UpdateRequest};
use crate::error::ClientError;
use crate::mls;
use crate::state::{Change, GroupInfoKey, Hash, Intent, Membership, Pending};
use crate::wire::{self, GroupState};
use mimi_wire::MimiUri;
use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::{
    ExternalSender, LeafNodeParameters, MlsGroup, MlsMessageBodyIn, StagedWelcome, Welcome,
};
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::crypto::OpenMlsCrypto as _;
use openmls_traits::random::OpenMlsRand as _;
use openmls_traits::storage::StorageProvider as _;
use tls_codec::DeserializeBytes as _;

impl Engine {
    /// Starts to bring this device in by external commit; the answer goes to [`Engine::join`]. An unanswered
    /// request is handed out again.
    pub fn ask_group_info(&mut self, uri: &str) -> Result<GroupInfoQuery, ClientError> {
        let room = self.room(uri)?;
        match room.membership {
            Membership::Outside | Membership::Left | Membership::Broken { .. } => {}
            Membership::Joining => {
                return Err(ClientError::NotMember {
                    room: uri.into(),
                    why: "it is joining already; run `sync`",
                });
            }
            _ => {
                return Err(ClientError::NotMember {
                    room: uri.into(),
                    why: "it is a member already",
                });
            }
        }
        if let Some(key) = &room.group_info_key {
            return Ok(GroupInfoQuery {
                request: key.request.clone(),
            });
        }
        self.saving(|engine| {
            // It need not be the room's suite, which nobody but members may know; but with the room's own the hub signs
            // by the key that the room names.
            let suite = match engine.group(uri)? {
                Some(group) => group.ciphersuite(),
                None => super::founding::suite_of(&engine.provider()?.cipher_suites, None)?,
            };
            engine.need_signer(suite)?;
            let account = engine.account()?;
            let seed = engine
                .mls
                .rand()
                .random_vec(suite.hash_length())
                .map_err(ClientError::mls("random octets"))?;
            let pair = engine
                .mls
                .crypto()
                .derive_hpke_keypair(suite.hpke_config(), &seed)
                .map_err(ClientError::mls("make an HPKE key"))?;
            let request = wire::group_info_request(account, suite, pair.public)?;
            let key = GroupInfoKey {
                private: pair.private.to_vec(),
                request: request.into(),
            };
            let query = GroupInfoQuery {
                request: key.request.clone(),
            };
            engine.room_mut(uri)?.group_info_key = Some(key);
            Ok(query)
        })
    }

    /// Opens the hub's answer and builds the external commit. A leaf of ours with the same key is replaced.
    pub fn join(&mut self, uri: &str, answer: &[u8]) -> Result<UpdateRequest, ClientError> {
        self.saving(|engine| {
            let pending = engine.build_join(uri, answer)?;
            let request = UpdateRequest {
                bundle: pending.bundle.clone(),
            };
            let room = engine.room_mut(uri)?;
            room.group_info_key = None;
            room.future.clear();
            room.intent = Some(Intent::Join);
            room.pending = Some(pending);
            room.membership = Membership::Joining;
            Ok(request)
        })
    }

    /// The answer wasn't a GroupInfo: the next attempt asks anew.
    pub fn join_failed(&mut self, uri: &str) -> Result<(), ClientError> {
        self.saving(|engine| {
            engine.room_mut(uri)?.group_info_key = None;
            Ok(())
        })
    }

    fn build_join(&mut self, uri: &str, answer: &[u8]) -> Result<Pending, ClientError> {
        let room = self.room(uri)?;
        let key = room.group_info_key.as_ref().ok_or(ClientError::Mls {
            what: "join",
            why: "no GroupInfo was asked for".into(),
        })?;
        let state = wire::group_info_answer(self.mls.crypto(), uri, &key.private, answer)?;
        if let Some(mut old) = self.group(uri)? {
            old.delete(self.mls.storage())
                .map_err(ClientError::mls("delete group"))?;
        }
        let group_info = VerifiableGroupInfo::tls_deserialize_exact_bytes(&state.group_info)
            .map_err(ClientError::malformed("GroupInfo"))?;
        self.need_signer(group_info.ciphersuite())?;
        let account = self.account()?;
        let signer = account.signer(group_info.ciphersuite())?;
        let proposals = state
            .pending
            .iter()
            .filter_map(|octets| match wire::message(octets) {
                Ok(MlsMessageBodyIn::PublicMessage(message)) => Some(message),
                _ => None,
            })
            .collect();
        let leaf = LeafNodeParameters::builder()
            .with_capabilities(mls::capabilities())
            .with_extensions(mls::leaf_extensions()?)
            .build();
        let (group, bundle) = MlsGroup::external_commit_builder()
            .with_proposals(proposals)
            .with_ratchet_tree(wire::tree_in(&state.tree)?)
            .with_config(mls::join_config())
            .skip_lifetime_validation()
            .build_group(
                &self.mls,
                group_info,
                mls::credential(&account.session.client, signer),
            )
            .map_err(ClientError::mls("build the external commit"))?
            .leaf_node_parameters(leaf)
            .load_psks(self.mls.storage())
            .map_err(ClientError::mls("build the external commit"))?
            .create_group_info(true)
            .use_ratchet_tree_extension(false)
            .build(self.mls.rand(), self.mls.crypto(), signer, |_| true)
            .map_err(ClientError::mls("build the external commit"))?
            .finalize(&self.mls)
            .map_err(ClientError::mls("build the external commit"))?;
        self.check_joined(uri, &group)?;
        check_hub(&group, &state)?;
        let tree = group.export_ratchet_tree();
        let epoch = group.epoch().as_u64();
        let hash = Hash::of(&wire::octets(bundle.commit())?);
        let bundle = wire::commit_bundle(&bundle, &tree)?;
        let group_id = group.group_id().to_vec();
        // The list is the same in both epochs: an external commit of ours doesn't touch it.
        let departing = super::plan::leaving_by(&state.pending, &dictionary::participants(&group)?);
        let room = self.room_mut(uri)?;
        (room.joined_epoch, room.group_id, room.departing) = (epoch, group_id.into(), departing);
        Ok(Pending {
            bundle: bundle.into(),
            hash,
            epoch: epoch.saturating_sub(1),
            merge: false,
        })
    }

    /// Whether the group is this room's and lists us.
    fn check_joined(&self, uri: &str, group: &MlsGroup) -> Result<(), ClientError> {
        let wrong = |why: &str| ClientError::Malformed {
            what: "group",
            why: why.into(),
        };
        let metadata = dictionary::metadata(group)?.ok_or_else(|| wrong("it has no room metadata"))?;
        if metadata.room_uri != uri {
            return Err(wrong("its metadata name another room"));
        }
        let user = MimiUri::parse(&self.session()?.user).map_err(ClientError::malformed("user URI"))?;
        match dictionary::participants(group)?.find(&user) {
            Some(_) => Ok(()),
            None => Err(ClientError::NotParticipant(user.as_str().into())),
        }
    }

    /// Takes in a Welcome. `None` if it isn't for this device.
    pub(super) fn welcome(
        &mut self,
        uri: &str,
        welcome: Welcome,
        tree: &[u8],
    ) -> Result<Option<Change>, ClientError> {
        let storage = self.mls.storage();
        let ours = welcome.secrets().iter().any(|secret| {
            let stored: Result<Option<openmls::prelude::KeyPackageBundle>, _> =
                storage.key_package(&secret.new_member());
            matches!(stored, Ok(Some(_)))
        });
        if !ours {
            return Ok(None);
        }
        let mut builder = StagedWelcome::build_from_welcome(&self.mls, &mls::join_config(), welcome)
            .map_err(ClientError::mls("open the Welcome"))?
            .with_ratchet_tree(wire::ratchet_tree(tree)?)
            .skip_lifetime_validation();
        if self.group(uri)?.is_some() {
            builder = builder.replace_old_group();
        }
        let staged = builder.build().map_err(ClientError::mls("open the Welcome"))?;
        let by = staged
            .welcome_sender()
            .map_err(ClientError::mls("open the Welcome"))
            .and_then(|leaf| mls::client_of(leaf.credential()))?;
        if let Some(mut old) = self.group(uri)? {
            // Its records have the same names; what is left of them (proposals) would be taken for ours.
            old.delete(self.mls.storage())
                .map_err(ClientError::mls("delete group"))?;
        }
        let mut group = staged
            .into_group(&self.mls)
            .map_err(ClientError::mls("join by Welcome"))?;
        if let Err(error) = self.check_joined(uri, &group) {
            group
                .delete(self.mls.storage())
                .map_err(ClientError::mls("delete group"))?;
            return Err(error);
        }
        let roster = dictionary::roster(&group)?;
        let session = self.session()?.clone();
        let room = self.room_mut(uri)?;
        room.membership = Membership::Member;
        room.group_id = group.group_id().to_vec().into();
        room.joined_epoch = group.epoch().as_u64();
        room.departing.clear();
        (room.intent, room.pending, room.group_info_key) = (None, None, None);
        super::change::advanced(room, &group)?;
        tracing::debug!(
            room = uri,
            epoch = room.joined_epoch,
            clients = roster.clients.len(),
            "joined by Welcome"
        );
        Ok(Some(Change {
            by,
            epoch: room.joined_epoch,
            added_users: vec![session.user],
            added_clients: vec![session.client],
            ..Change::default()
        }))
    }
}

/// The hub that answered has to be one that the group itself lists (specs: "should"; a group made elsewhere by
/// someone who isn't the hub must not be joined by mistake).
///
/// The group lists the hub with a key of the group's own scheme. If the answer was signed with another one, there is only
/// the name to compare.
fn check_hub(group: &MlsGroup, answer: &GroupState) -> Result<(), ClientError> {
    let same_scheme = group.ciphersuite().signature_algorithm() == answer.suite.signature_algorithm();
    let is_hub = |sender: &ExternalSender| {
        let sender = wire::external_sender(sender);
        sender.is_ok_and(|sender| {
            sender.credential == answer.hub.credential
                && (!same_scheme || sender.signature_key == answer.hub.signature_key)
        })
    };
    let senders = group.extensions().external_senders();
    let listed = senders.is_some_and(|senders| senders.iter().any(is_hub));
    if listed {
        Ok(())
    } else {
        Err(ClientError::HubSignature)
    }
}
