//! The capabilities of roles (draft-ietf-mimi-room-policy-04 section 11.2).

use crate::codec::wire_fields;
use serde::{Deserialize, Serialize};

/// A role's permission to do one thing, by its number. Unknown and private numbers are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capability(pub u16);

wire_fields!(Capability { 0 });

/// Names the registry's numbers.
macro_rules! registry {
    ($($constant:ident = $value:literal, $name:literal;)*) => {
        impl Capability {
            $(
                #[doc = concat!("`", $name, "`")]
                pub const $constant: Self = Self($value);
            )*

            /// The whole registry.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// The name in the registry.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

registry! {
    ADD_PARTICIPANT = 0x0000, "canAddParticipant";
    REMOVE_PARTICIPANT = 0x0001, "canRemoveParticipant";
    ADD_OWN_CLIENT = 0x0002, "canAddOwnClient";
    REMOVE_OWN_CLIENT = 0x0003, "canRemoveOwnClient";
    OPEN_JOIN = 0x0004, "canOpenJoin";
    JOIN_IF_PREAUTHORIZED = 0x0005, "canJoinIfPreauthorized";
    REMOVE_SELF = 0x0006, "canRemoveSelf";
    CREATE_JOIN_CODE = 0x0007, "canCreateJoinCode";
    DELETE_JOIN_CODE = 0x0008, "canDeleteJoinCode";
    USE_JOIN_CODE = 0x0009, "canUseJoinCode";
    BAN = 0x000a, "canBan";
    UNBAN = 0x000b, "canUnBan";
    KICK = 0x000c, "canKick";
    KNOCK = 0x000d, "canKnock";
    ACCEPT_KNOCK = 0x000e, "canAcceptKnock";
    CHANGE_USER_ROLE = 0x000f, "canChangeUserRole";
    CHANGE_OWN_ROLE = 0x0010, "canChangeOwnRole";
    CREATE_SUBGROUP = 0x0011, "canCreateSubgroup";
    SEND_MESSAGE = 0x0100, "canSendMessage";
    RECEIVE_MESSAGE = 0x0101, "canReceiveMessage";
    COPY_MESSAGE = 0x0102, "canCopyMessage";
    REPORT_ABUSE = 0x0103, "canReportAbuse";
    REPLY_TO_MESSAGE = 0x0104, "canReplyToMessage";
    REACT_TO_MESSAGE = 0x0105, "canReactToMessage";
    EDIT_REACTION = 0x0106, "canEditReaction";
    DELETE_OWN_REACTION = 0x0107, "canDeleteOwnReaction";
    DELETE_OTHER_REACTION = 0x0108, "canDeleteOtherReaction";
    EDIT_OWN_MESSAGE = 0x0109, "canEditOwnMessage";
    DELETE_OWN_MESSAGE = 0x010a, "canDeleteOwnMessage";
    DELETE_OTHER_MESSAGE = 0x010b, "canDeleteOtherMessage";
    START_TOPIC = 0x010c, "canStartTopic";
    REPLY_IN_TOPIC = 0x010d, "canReplyInTopic";
    EDIT_OWN_TOPIC = 0x010e, "canEditOwnTopic";
    EDIT_OTHER_TOPIC = 0x010f, "canEditOtherTopic";
    SEND_DIRECT_MESSAGE = 0x0110, "canSendDirectMessage";
    TARGET_MESSAGE = 0x0111, "canTargetMessage";
    UPLOAD_IMAGE = 0x0200, "canUploadImage";
    UPLOAD_AUDIO = 0x0201, "canUploadAudio";
    UPLOAD_VIDEO = 0x0202, "canUploadVideo";
    UPLOAD_ATTACHMENT = 0x0203, "canUploadAttachment";
    DOWNLOAD_IMAGE = 0x0204, "canDownloadImage";
    DOWNLOAD_AUDIO = 0x0205, "canDownloadAudio";
    DOWNLOAD_VIDEO = 0x0206, "canDownloadVideo";
    DOWNLOAD_ATTACHMENT = 0x0207, "canDownloadAttachment";
    SEND_LINK = 0x0208, "canSendLink";
    SEND_LINK_PREVIEW = 0x0209, "canSendLinkPreview";
    FOLLOW_LINK = 0x020a, "canFollowLink";
    COPY_LINK = 0x020b, "canCopyLink";
    CHANGE_ROOM_NAME = 0x0300, "canChangeRoomName";
    CHANGE_ROOM_DESCRIPTION = 0x0301, "canChangeRoomDescription";
    CHANGE_ROOM_AVATAR = 0x0302, "canChangeRoomAvatar";
    CHANGE_ROOM_SUBJECT = 0x0303, "canChangeRoomSubject";
    CHANGE_ROOM_MOOD = 0x0304, "canChangeRoomMood";
    CHANGE_OWN_NAME = 0x0380, "canChangeOwnName";
    CHANGE_OWN_PRESENCE = 0x0381, "canChangeOwnPresence";
    CHANGE_OWN_MOOD = 0x0382, "canChangeOwnMood";
    CHANGE_OWN_AVATAR = 0x0383, "canChangeOwnAvatar";
    START_CALL = 0x0400, "canStartCall";
    JOIN_CALL = 0x0401, "canJoinCall";
    SEND_AUDIO = 0x0402, "canSendAudio";
    RECEIVE_AUDIO = 0x0403, "canReceiveAudio";
    SEND_VIDEO = 0x0404, "canSendVideo";
    RECEIVE_VIDEO = 0x0405, "canReceiveVideo";
    SHARE_SCREEN = 0x0406, "canShareScreen";
    VIEW_SHARED_SCREEN = 0x0407, "canViewSharedScreen";
    CREATE_ROOM = 0x0500, "canCreateRoom";
    DESTROY_ROOM = 0x0501, "canDestroyRoom";
    CHANGE_ROOM_MEMBERSHIP_STYLE = 0x0502, "canChangeRoomMembershipStyle";
    CHANGE_ROLE_DEFINITIONS = 0x0503, "canChangeRoleDefinitions";
    CHANGE_PREAUTHORIZED_USER_LIST = 0x0504, "canChangePreauthorizedUserList";
    CHANGE_OTHER_POLICY_ATTRIBUTE = 0x0505, "canChangeOtherPolicyAttribute";
    CHANGE_MLS_OPERATIONAL_POLICIES = 0x0600, "canChangeMlsOperationalPolicies";
    SEND_MLS_REINIT_PROPOSAL = 0x0601, "canSendMLSReinitProposal";
    SEND_MLS_UPDATE_PROPOSAL = 0x0602, "canSendMLSUpdateProposal";
    SEND_MLS_PSK_PROPOSAL = 0x0603, "canSendMLSPSKProposal";
    SEND_MLS_EXTERNAL_PROPOSAL = 0x0604, "canSendMLSExternalProposal";
    SEND_MLS_EXTERNAL_COMMIT = 0x0605, "canSendMLSExternalCommit";
}

impl Capability {
    /// The capability with a registry name; `canUnban` is taken for `canUnBan`, the draft has both.
    pub fn by_name(name: &str) -> Option<Self> {
        let name = if name == "canUnban" { "canUnBan" } else { name };
        Self::ALL.iter().copied().find(|c| c.name() == Some(name))
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "capability {:#06x}", self.0),
        }
    }
}
