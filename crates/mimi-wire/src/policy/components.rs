//! The other policy components (draft-ietf-mimi-room-policy-04 sections 5 and 6). The update of each has the
//! form of its data and replaces the whole, except that of the join links.

use crate::codec::{Decode, DecodeError, Encode, Opaque, Reader, wire_codes, wire_fields};
use crate::components::{MediaType, RoleIndex};
use serde::Serialize;

/// `BaseRoomPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct BaseRoomPolicy {
    /// Nobody is added or leaves after creation: direct messages.
    pub fixed_membership: bool,
    /// Participants are a strict subset of the parent room's.
    pub parent_dependent: bool,
    /// The parent room: a list in the draft's layout, one at most in its text.
    pub parent_room: Vec<String>,
    /// Users may have several clients in the room.
    pub multi_device: bool,
    /// Greatest number of clients.
    pub max_clients: Option<u32>,
    /// Greatest number of participants who are not banned.
    pub max_users: Option<u32>,
    /// Credentials may show pseudonyms.
    pub pseudonyms_allowed: bool,
    /// The room outlives its group.
    pub persistent_room: bool,
    /// The room can be searched for.
    pub discoverable: bool,
    /// Identifiers of the policy components in force.
    pub policy_component_ids: Vec<u16>,
}

wire_fields!(BaseRoomPolicy {
    fixed_membership,
    parent_dependent,
    parent_room,
    multi_device,
    max_clients,
    max_users,
    pseudonyms_allowed,
    persistent_room,
    discoverable,
    policy_component_ids,
});

impl Default for BaseRoomPolicy {
    /// What holds in a room without this component: no limits, several devices.
    fn default() -> Self {
        Self {
            fixed_membership: false,
            parent_dependent: false,
            parent_room: Vec::new(),
            multi_device: true,
            max_clients: None,
            max_users: None,
            pseudonyms_allowed: false,
            persistent_room: true,
            discoverable: false,
            policy_component_ids: Vec::new(),
        }
    }
}

wire_codes! {
    /// `Optionality`. Where the draft selects by `mandatory` it means `required`.
    Optionality, "optionality" {
        /// As each client likes.
        Optional = 0,
        /// Must be.
        Required = 1,
        /// Must not be.
        Forbidden = 2,
    }
}

/// `StatusNotificationPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct StatusNotificationPolicy {
    /// Delivery reports.
    pub delivery_notifications: Optionality,
    /// Read reports.
    pub read_receipts: Optionality,
}

wire_fields!(StatusNotificationPolicy {
    delivery_notifications,
    read_receipts
});

/// `JoinLinkPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct JoinLinkPolicy {
    /// At most one link is kept; clients ask for it.
    pub on_request: bool,
    /// Where to ask.
    pub join_link: Opaque,
    /// A link may serve several users.
    pub multiuser: bool,
    /// Seconds that a new link is valid.
    pub expiration: u32,
}

wire_fields!(JoinLinkPolicy {
    on_request,
    join_link,
    multiuser,
    expiration
});

/// `JoinLinksData`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct JoinLinks {
    /// The links in force.
    pub links: Vec<Opaque>,
}

wire_fields!(JoinLinks { links });

impl JoinLinks {
    /// The links after an update; `None` if an index is beyond the list or named twice.
    pub fn apply(&self, update: &JoinLinksUpdate) -> Option<Self> {
        let mut kept: Vec<Option<&Opaque>> = self.links.iter().map(Some).collect();
        for &index in &update.removed_indices {
            kept.get_mut(usize::try_from(index).ok()?)?.take()?;
        }
        let links = kept
            .into_iter()
            .flatten()
            .chain(&update.added_links)
            .cloned()
            .collect();
        Some(Self { links })
    }
}

/// `JoinLinksUpdate`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct JoinLinksUpdate {
    /// Places in the list.
    pub removed_indices: Vec<u32>,
    /// Appended.
    pub added_links: Vec<Opaque>,
}

wire_fields!(JoinLinksUpdate {
    removed_indices,
    added_links
});

/// `LinkPreviewPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct LinkPreviewPolicy {
    /// Composers turn text that looks like a link into one; never required.
    pub autodetect_hyperlinks_in_text: Optionality,
    /// Senders make previews.
    pub send_link_previews: Optionality,
    /// Receivers make previews.
    pub automatic_link_previews: Optionality,
    /// Receivers use a proxy for that.
    pub link_preview_proxy_use: Optionality,
    /// The proxies; not on the wire if their use is forbidden.
    pub link_preview_proxy: Vec<String>,
}

impl Encode for LinkPreviewPolicy {
    fn encode(&self, out: &mut Vec<u8>) {
        self.autodetect_hyperlinks_in_text.encode(out);
        self.send_link_previews.encode(out);
        self.automatic_link_previews.encode(out);
        self.link_preview_proxy_use.encode(out);
        if self.link_preview_proxy_use != Optionality::Forbidden {
            self.link_preview_proxy.encode(out);
        }
    }
}

impl Decode for LinkPreviewPolicy {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.field("LinkPreviewPolicy.autodetect_hyperlinks_in_text").clone();
        let autodetect_hyperlinks_in_text = Optionality::decode(r)?;
        if autodetect_hyperlinks_in_text == Optionality::Required {
            return Err(at.invalid("detecting links can't be required"));
        }
        let send_link_previews = Optionality::decode(r.field("LinkPreviewPolicy.send_link_previews"))?;
        let automatic_link_previews =
            Optionality::decode(r.field("LinkPreviewPolicy.automatic_link_previews"))?;
        let link_preview_proxy_use =
            Optionality::decode(r.field("LinkPreviewPolicy.link_preview_proxy_use"))?;
        let link_preview_proxy = if link_preview_proxy_use == Optionality::Forbidden {
            Vec::new()
        } else {
            Vec::decode(r.field("LinkPreviewPolicy.link_preview_proxy"))?
        };
        Ok(Self {
            autodetect_hyperlinks_in_text,
            send_link_previews,
            automatic_link_previews,
            link_preview_proxy_use,
            link_preview_proxy,
        })
    }
}

wire_codes! {
    /// `AssetUploadLocation`.
    AssetUploadLocation, "asset upload location" {
        /// Anywhere.
        Unspecified = 0,
        /// At each client's own provider; recommended.
        LocalProvider = 1,
        /// At the hub.
        Hub = 2,
    }
}

wire_codes! {
    /// `DownloadPrivacyType`.
    DownloadPrivacyType, "download privacy type" {
        /// By the client from where the asset is.
        Direct = 0,
        /// Through the hub.
        HubProxy = 1,
        /// Through Oblivious HTTP.
        Ohttp = 2,
    }
}

/// `DownloadPrivacy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DownloadPrivacy {
    /// Allowed ways.
    pub allowed_download_types: Vec<DownloadPrivacyType>,
    /// Forbidden ways.
    pub forbidden_download_types: Vec<DownloadPrivacyType>,
    /// Suggested way.
    pub default_download_type: DownloadPrivacyType,
}

wire_fields!(DownloadPrivacy {
    allowed_download_types,
    forbidden_download_types,
    default_download_type
});

/// `ProviderAssetUploadDomains`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ProviderAssetUploadDomains {
    /// A provider's domain.
    pub provider: String,
    /// Domains where its users' assets may be.
    pub asset_upload_destinations: Vec<String>,
}

wire_fields!(ProviderAssetUploadDomains {
    provider,
    asset_upload_destinations
});

/// `AssetPolicy`. Sizes are in octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct AssetPolicy {
    /// Where assets are put.
    pub asset_upload_location: AssetUploadLocation,
    /// Where they may be, by provider.
    pub upload_domains: Vec<ProviderAssetUploadDomains>,
    /// How they may be fetched.
    pub download_privacy: DownloadPrivacy,
    /// Greatest image.
    pub max_image: u64,
    /// Greatest audio.
    pub max_audio: u64,
    /// Greatest video.
    pub max_video: u64,
    /// Greatest attachment.
    pub max_attachment: u64,
    /// Types that are not allowed.
    pub forbidden_media_types: Vec<MediaType>,
    /// If present, the only types that are.
    pub permitted_media_types: Option<Vec<MediaType>>,
}

wire_fields!(AssetPolicy {
    asset_upload_location,
    upload_domains,
    download_privacy,
    max_image,
    max_audio,
    max_video,
    max_attachment,
    forbidden_media_types,
    permitted_media_types,
});

/// A policy that is `Optionality`, and its details unless it is forbidden.
macro_rules! optional_rules {
    ($(#[$meta:meta])* $name:ident { $field:literal } $rules:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            /// Allowed.
            Optional($rules),
            /// Demanded.
            Required($rules),
            /// Not allowed.
            Forbidden,
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                let (optionality, rules) = match self {
                    Self::Optional(rules) => (Optionality::Optional, Some(rules)),
                    Self::Required(rules) => (Optionality::Required, Some(rules)),
                    Self::Forbidden => (Optionality::Forbidden, None),
                };
                optionality.encode(out);
                if let Some(rules) = rules {
                    rules.encode(out);
                }
            }
        }

        impl Decode for $name {
            fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(match Optionality::decode(r.field(concat!(stringify!($name), ".", $field)))? {
                    Optionality::Optional => Self::Optional($rules::decode(r)?),
                    Optionality::Required => Self::Required($rules::decode(r)?),
                    Optionality::Forbidden => Self::Forbidden,
                })
            }
        }
    };
}

optional_rules! {
    /// `LoggingPolicy`.
    LoggingPolicy { "logging" } LoggingRules
}

/// How messages are logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct LoggingRules {
    /// Clients that log; one per provider at most.
    pub logging_clients: Vec<String>,
    /// URI, may be empty.
    pub machine_readable_policy: String,
    /// URI, may be empty.
    pub human_readable_policy: String,
}

wire_fields!(LoggingRules {
    logging_clients,
    machine_readable_policy,
    human_readable_policy
});

optional_rules! {
    /// `HistoryPolicy`.
    HistoryPolicy { "history_sharing" } HistoryRules
}

/// How history is shared with those who join.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HistoryRules {
    /// Who may share it.
    pub roles_that_can_share: Vec<RoleIndex>,
    /// Without asking.
    pub automatically_share: bool,
    /// How far back, in seconds.
    pub max_time_period: u32,
}

wire_fields!(HistoryRules {
    roles_that_can_share,
    automatically_share,
    max_time_period
});

/// `BotPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct BotPolicy {
    /// The bots.
    pub allowed_bots: Vec<Bot>,
}

wire_fields!(BotPolicy { allowed_bots });

/// `Bot`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Bot {
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// URI.
    pub homepage: String,
    /// Works within a user's client, is no participant.
    pub local_client_bot: bool,
    /// Its role; 0 if it is no active participant.
    pub bot_role_index: RoleIndex,
    /// May write to single participants.
    pub can_target_message_in_group: bool,
    /// May show each participant something else.
    pub per_user_content: bool,
}

wire_fields!(Bot {
    name,
    description,
    homepage,
    local_client_bot,
    bot_role_index,
    can_target_message_in_group,
    per_user_content,
});

optional_rules! {
    /// `MessageExpiration`.
    MessageExpiration { "expiring_messages" } MessageExpirationRules
}

/// How long expiring messages last, in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct MessageExpirationRules {
    /// At least.
    pub min_expiration_duration: u32,
    /// At most.
    pub max_expiration_duration: u32,
    /// Suggested.
    pub default_expiration_duration: Option<u32>,
}

wire_fields!(MessageExpirationRules {
    min_expiration_duration,
    max_expiration_duration,
    default_expiration_duration,
});
