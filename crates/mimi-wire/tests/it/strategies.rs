//! Random values of every structure.

use mimi_wire::codec::UnixMillis;
use mimi_wire::components::{
    AppDataDictionary, ParticipantListData, ParticipantListUpdate, RoleIndex, SafeAad, UserIndexRolePair,
    UserRolePair,
};
use mimi_wire::mls::{
    AppDataOperation, AppDataUpdate, AppEphemeral, Capabilities, CipherSuite, Commit, Credential, Epoch,
    Extension, ExternalSender, GroupContext, GroupId, GroupInfo, GroupInfoContent, HpkeCiphertext,
    KeyPackage, LeafNode, LeafNodeSource, Lifetime, MlsMessage, Node, ParentNode, PreSharedKeyId, Proposal,
    ProposalOrRef, ProposalRef, Psk, RatchetTree, ReInit, RequiredCapabilities, UpdatePath, UpdatePathNode,
    Welcome,
};
use mimi_wire::{Decode, Encode, MimiUri, Opaque};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

pub(crate) fn opaque() -> BoxedStrategy<Opaque> {
    // Lengths on both sides of the first header boundary.
    prop_oneof![4 => vec(any::<u8>(), 0..8), 1 => vec(any::<u8>(), 60..70)]
        .prop_map(Opaque)
        .boxed()
}

pub(crate) fn uri() -> BoxedStrategy<MimiUri> {
    "mimi://[a-z]{1,8}(\\.example)?(/[a-z]/[a-zA-Z0-9.=+-]{1,12}){0,2}"
        .prop_filter_map("a URI", |text| MimiUri::parse(&text).ok())
        .boxed()
}

pub(crate) fn suite() -> BoxedStrategy<CipherSuite> {
    any::<u16>().prop_map(CipherSuite).boxed()
}

pub(crate) fn millis() -> BoxedStrategy<UnixMillis> {
    any::<u64>().prop_map(UnixMillis).boxed()
}

fn numbers() -> BoxedStrategy<Vec<u16>> {
    vec(any::<u16>(), 0..5).boxed()
}

pub(crate) fn credential() -> BoxedStrategy<Credential> {
    let x509 = vec(opaque(), 0..3).prop_map(|certificates| {
        let mut body = Vec::new();
        for certificate in certificates {
            certificate.encode(&mut body);
        }
        Credential {
            credential_type: 2,
            body: Opaque(body),
        }
    });
    prop_oneof![opaque().prop_map(|identity| Credential::basic(identity.0)), x509].boxed()
}

pub(crate) fn capabilities() -> BoxedStrategy<Capabilities> {
    (numbers(), vec(suite(), 0..4), numbers(), numbers(), numbers())
        .prop_map(
            |(versions, cipher_suites, extensions, proposals, credentials)| Capabilities {
                versions,
                cipher_suites,
                extensions,
                proposals,
                credentials,
            },
        )
        .boxed()
}

pub(crate) fn required() -> BoxedStrategy<RequiredCapabilities> {
    (numbers(), numbers(), numbers())
        .prop_map(
            |(extension_types, proposal_types, credential_types)| RequiredCapabilities {
                extension_types,
                proposal_types,
                credential_types,
            },
        )
        .boxed()
}

pub(crate) fn extensions() -> BoxedStrategy<Vec<Extension>> {
    // Types of the private range: the other codec looks into the known ones.
    let one = (0xf000u16..0xf0ff, opaque()).prop_map(|(extension_type, extension_data)| Extension {
        extension_type,
        extension_data,
    });
    vec(one, 0..3).boxed()
}

fn lifetime() -> BoxedStrategy<LeafNodeSource> {
    any::<(u64, u64)>()
        .prop_map(|(not_before, not_after)| {
            LeafNodeSource::KeyPackage(Lifetime {
                not_before,
                not_after,
            })
        })
        .boxed()
}

fn leaf_of(source: BoxedStrategy<LeafNodeSource>) -> BoxedStrategy<LeafNode> {
    (
        opaque(),
        opaque(),
        credential(),
        capabilities(),
        source,
        extensions(),
        opaque(),
    )
        .prop_map(
            |(encryption_key, signature_key, credential, capabilities, source, extensions, signature)| {
                LeafNode {
                    encryption_key,
                    signature_key,
                    credential,
                    capabilities,
                    source,
                    extensions,
                    signature,
                }
            },
        )
        .boxed()
}

pub(crate) fn leaf() -> BoxedStrategy<LeafNode> {
    let commit = opaque().prop_map(|parent_hash| LeafNodeSource::Commit { parent_hash });
    leaf_of(prop_oneof![lifetime(), Just(LeafNodeSource::Update), commit].boxed())
}

pub(crate) fn key_package() -> BoxedStrategy<KeyPackage> {
    (suite(), opaque(), leaf_of(lifetime()), extensions(), opaque())
        .prop_map(|(suite, init_key, leaf, extensions, signature)| {
            let mut bytes = 1u16.to_bytes();
            suite.encode(&mut bytes);
            init_key.encode(&mut bytes);
            leaf.encode(&mut bytes);
            extensions.encode(&mut bytes);
            signature.encode(&mut bytes);
            KeyPackage::from_bytes(&bytes).unwrap()
        })
        .boxed()
}

pub(crate) fn ciphertext() -> BoxedStrategy<HpkeCiphertext> {
    (opaque(), opaque())
        .prop_map(|(kem_output, ciphertext)| HpkeCiphertext {
            kem_output,
            ciphertext,
        })
        .boxed()
}

pub(crate) fn external_sender() -> BoxedStrategy<ExternalSender> {
    (opaque(), credential())
        .prop_map(|(signature_key, credential)| ExternalSender {
            signature_key,
            credential,
        })
        .boxed()
}

fn group_id() -> BoxedStrategy<GroupId> {
    opaque().prop_map(GroupId).boxed()
}

fn psk() -> BoxedStrategy<PreSharedKeyId> {
    let which = prop_oneof![
        opaque().prop_map(|psk_id| Psk::External { psk_id }),
        (1u8..4, group_id(), any::<u64>()).prop_map(|(usage, psk_group_id, epoch)| Psk::Resumption {
            usage,
            psk_group_id,
            psk_epoch: Epoch(epoch)
        }),
        (any::<u16>(), opaque()).prop_map(|(component_id, psk_id)| Psk::Application { component_id, psk_id }),
    ];
    (which, opaque())
        .prop_map(|(psk, psk_nonce)| PreSharedKeyId { psk, psk_nonce })
        .boxed()
}

pub(crate) fn proposal() -> BoxedStrategy<Proposal> {
    let reinit =
        (group_id(), suite(), extensions()).prop_map(|(group_id, cipher_suite, extensions)| ReInit {
            group_id,
            version: 1,
            cipher_suite,
            extensions,
        });
    let operation = prop_oneof![
        opaque().prop_map(AppDataOperation::Update),
        Just(AppDataOperation::Remove)
    ];
    prop_oneof![
        key_package().prop_map(|k| Proposal::Add(Box::new(k))),
        leaf().prop_map(|l| Proposal::Update(Box::new(l))),
        any::<u32>().prop_map(|removed| Proposal::Remove { removed }),
        psk().prop_map(Proposal::PreSharedKey),
        reinit.prop_map(Proposal::ReInit),
        opaque().prop_map(|kem_output| Proposal::ExternalInit { kem_output }),
        extensions().prop_map(Proposal::GroupContextExtensions),
        (any::<u16>(), operation)
            .prop_map(|(component_id, operation)| AppDataUpdate {
                component_id,
                operation
            })
            .prop_map(Proposal::AppDataUpdate),
        (any::<u16>(), opaque())
            .prop_map(|(component_id, data)| Proposal::AppEphemeral(AppEphemeral { component_id, data })),
        Just(Proposal::SelfRemove),
    ]
    .boxed()
}

pub(crate) fn commit() -> BoxedStrategy<Commit> {
    let node = (opaque(), vec(ciphertext(), 0..2)).prop_map(|(encryption_key, encrypted_path_secret)| {
        UpdatePathNode {
            encryption_key,
            encrypted_path_secret,
        }
    });
    let path = (leaf(), vec(node, 0..3)).prop_map(|(leaf_node, nodes)| UpdatePath { leaf_node, nodes });
    let one = prop_oneof![
        proposal().prop_map(ProposalOrRef::Proposal),
        opaque().prop_map(|r| ProposalOrRef::Reference(ProposalRef(r))),
    ];
    (vec(one, 0..3), option::of(path))
        .prop_map(|(proposals, path)| Commit { proposals, path })
        .boxed()
}

/// A PublicMessage with this content type and content.
fn public(content_type: u8, content: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<MlsMessage> {
    (
        group_id(),
        any::<u64>(),
        1u8..5,
        any::<u32>(),
        opaque(),
        content,
        vec(opaque(), 3),
    )
        .prop_map(move |(group_id, epoch, sender, index, aad, content, tags)| {
            let mut bytes = vec![0, 1, 0, 1];
            group_id.encode(&mut bytes);
            epoch.encode(&mut bytes);
            sender.encode(&mut bytes);
            if sender <= 2 {
                index.encode(&mut bytes);
            }
            aad.encode(&mut bytes);
            content_type.encode(&mut bytes);
            bytes.extend_from_slice(&content);
            tags[0].encode(&mut bytes);
            if content_type == 3 {
                tags[1].encode(&mut bytes);
            }
            if sender == 1 {
                tags[2].encode(&mut bytes);
            }
            MlsMessage::from_bytes(&bytes).unwrap()
        })
        .boxed()
}

fn semi_private(content_type: u8) -> BoxedStrategy<MlsMessage> {
    let key = (opaque(), ciphertext()).prop_map(|(reference, ciphertext)| {
        let mut bytes = reference.to_bytes();
        ciphertext.encode(&mut bytes);
        bytes
    });
    (group_id(), any::<u64>(), vec(opaque(), 5), vec(key, 0..3))
        .prop_map(move |(group_id, epoch, fields, keys)| {
            let mut bytes = vec![0, 1, 0xfa, 0xfe];
            group_id.encode(&mut bytes);
            epoch.encode(&mut bytes);
            content_type.encode(&mut bytes);
            fields[0].encode(&mut bytes);
            fields[1].encode(&mut bytes);
            Opaque(keys.concat()).encode(&mut bytes);
            fields[2].encode(&mut bytes);
            fields[3].encode(&mut bytes);
            fields[4].encode(&mut bytes);
            MlsMessage::from_bytes(&bytes).unwrap()
        })
        .boxed()
}

pub(crate) fn proposal_message() -> BoxedStrategy<MlsMessage> {
    prop_oneof![3 => public(2, proposal().prop_map(|p| p.to_bytes()).boxed()), 1 => semi_private(2)].boxed()
}

pub(crate) fn commit_message() -> BoxedStrategy<MlsMessage> {
    prop_oneof![3 => public(3, commit().prop_map(|c| c.to_bytes()).boxed()), 1 => semi_private(3)].boxed()
}

pub(crate) fn application_message() -> BoxedStrategy<MlsMessage> {
    let tag = any::<[u8; 32]>().prop_map(|tag| Opaque(SafeAad::with_franking_tag(&tag).to_bytes()));
    (group_id(), any::<u64>(), tag, opaque(), opaque())
        .prop_map(|(group_id, epoch, aad, sender_data, ciphertext)| {
            let mut bytes = vec![0, 1, 0, 2];
            group_id.encode(&mut bytes);
            epoch.encode(&mut bytes);
            1u8.encode(&mut bytes);
            aad.encode(&mut bytes);
            sender_data.encode(&mut bytes);
            ciphertext.encode(&mut bytes);
            MlsMessage::from_bytes(&bytes).unwrap()
        })
        .boxed()
}

pub(crate) fn welcome() -> BoxedStrategy<Welcome> {
    let secret = (opaque(), ciphertext()).prop_map(|(reference, ciphertext)| {
        let mut bytes = reference.to_bytes();
        ciphertext.encode(&mut bytes);
        bytes
    });
    (suite(), vec(secret, 0..3), opaque())
        .prop_map(|(suite, secrets, info)| {
            let mut bytes = suite.to_bytes();
            Opaque(secrets.concat()).encode(&mut bytes);
            info.encode(&mut bytes);
            Welcome::from_bytes(&bytes).unwrap()
        })
        .boxed()
}

pub(crate) fn group_info() -> BoxedStrategy<GroupInfo> {
    let context = (
        suite(),
        group_id(),
        any::<u64>(),
        opaque(),
        opaque(),
        extensions(),
    )
        .prop_map(
            |(cipher_suite, group_id, epoch, tree_hash, confirmed_transcript_hash, extensions)| {
                GroupContext {
                    cipher_suite,
                    group_id,
                    epoch: Epoch(epoch),
                    tree_hash,
                    confirmed_transcript_hash,
                    extensions,
                }
            },
        );
    (context, extensions(), opaque(), any::<u32>(), opaque())
        .prop_map(
            |(group_context, extensions, confirmation_tag, signer, signature)| {
                GroupInfo::new(GroupInfoContent {
                    group_context,
                    extensions,
                    confirmation_tag,
                    signer,
                    signature,
                })
            },
        )
        .boxed()
}

pub(crate) fn ratchet_tree() -> BoxedStrategy<RatchetTree> {
    let parent = (opaque(), opaque(), btree_set(any::<u32>(), 0..3)).prop_map(
        |(encryption_key, parent_hash, unmerged_leaves)| {
            let unmerged_leaves = unmerged_leaves.into_iter().collect();
            Node::Parent(ParentNode {
                encryption_key,
                parent_hash,
                unmerged_leaves,
            })
        },
    );
    let node = prop_oneof![leaf().prop_map(|l| Node::Leaf(Box::new(l))), parent];
    vec(option::of(node), 0..4)
        .prop_map(|nodes| RatchetTree::from_bytes(&nodes.to_bytes()).unwrap())
        .boxed()
}

pub(crate) fn dictionary() -> BoxedStrategy<AppDataDictionary> {
    vec((any::<u16>(), opaque()), 0..3)
        .prop_map(|entries| {
            let mut dictionary = AppDataDictionary::new();
            for (id, data) in entries {
                dictionary.set(id, data.0);
            }
            dictionary
        })
        .boxed()
}

fn participant() -> BoxedStrategy<UserRolePair> {
    (uri(), any::<u32>())
        .prop_map(|(user, role)| UserRolePair {
            user,
            role_index: RoleIndex(role),
        })
        .boxed()
}

pub(crate) fn participants() -> BoxedStrategy<ParticipantListData> {
    vec(participant(), 0..5)
        .prop_map(|participants| ParticipantListData { participants })
        .boxed()
}

pub(crate) fn participants_update() -> BoxedStrategy<ParticipantListUpdate> {
    let change = any::<(u32, u32)>().prop_map(|(user_index, role)| UserIndexRolePair {
        user_index,
        role_index: RoleIndex(role),
    });
    (
        vec(change, 0..3),
        vec(any::<u32>(), 0..3),
        vec(participant(), 0..3),
    )
        .prop_map(
            |(changed_role_participants, removed_indices, added_participants)| ParticipantListUpdate {
                changed_role_participants,
                removed_indices,
                added_participants,
            },
        )
        .boxed()
}
