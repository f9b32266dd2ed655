//! Every number of the drafts, in one place. None is final: the registries are being created.

/// Component identifiers (`ComponentID`).
pub mod component_id {
    /// List of components that a client supports (leaf) or a group requires (group context).
    pub const APP_COMPONENTS: u16 = 0x0001;
    /// List of components that may put data into the Safe AAD.
    pub const SAFE_AAD: u16 = 0x0002;
    /// Media types of application messages.
    pub const CONTENT_MEDIA_TYPES: u16 = 0x0003;
    /// Marks a KeyPackage that may be used more than once; no data.
    pub const LAST_RESORT_KEY_PACKAGE: u16 = 0x0004;
    /// Acknowledgements.
    pub const APP_ACK: u16 = 0x0005;
    /// Receivers of SemiPrivateMessages outside the group (suggested number).
    pub const EXTERNAL_RECEIVERS: u16 = 0x0008;
    /// Franking tag in the Safe AAD.
    pub const FRANK_AAD: u16 = 0x0020;
    /// The hub's franking key (`franking_agent`, `franking_signature_key`).
    pub const FRANKING_AGENT: u16 = 0x0021;
    /// Participants and their roles.
    pub const PARTICIPANT_LIST: u16 = 0x0022;
    /// Name, topic and so on of the room.
    pub const ROOM_METADATA: u16 = 0x0023;
    /// Operational parameters of MLS (room policy).
    pub const MLS_OPERATIONAL_POLICY: u16 = 0x0024;
    /// Roles and their capabilities (room policy).
    pub const ROLES_LIST: u16 = 0x0025;
    /// Preauthorized users (room policy).
    pub const PREAUTH_LIST: u16 = 0x0026;
    /// Base policy (room policy).
    pub const BASE_ROOM_POLICY: u16 = 0x0027;
    /// Delivery and read receipts (room policy).
    pub const STATUS_NOTIFICATION_POLICY: u16 = 0x0028;
    /// How join links are made (room policy).
    pub const JOIN_LINK_POLICY: u16 = 0x0029;
    /// Join links (room policy).
    pub const JOIN_LINKS: u16 = 0x002a;
    /// Link previews (room policy).
    pub const LINK_PREVIEW_POLICY: u16 = 0x002b;
    /// Up- and download of assets (room policy).
    pub const ASSET_POLICY: u16 = 0x002c;
    /// Logging (room policy).
    pub const LOGGING_POLICY: u16 = 0x002d;
    /// Sharing of history (room policy).
    pub const CHAT_HISTORY_POLICY: u16 = 0x002e;
    /// Bots (room policy).
    pub const BOT_POLICY: u16 = 0x002f;
    /// Expiring messages (room policy).
    pub const MESSAGE_EXPIRATION_POLICY: u16 = 0x0030;
    /// Message identifier in the Safe AAD (suggested number).
    pub const MESSAGE_ID: u16 = 0x0040;

    /// Whether a number is reserved to test that unknown ones are ignored.
    pub const fn is_grease(id: u16) -> bool {
        let [high, low] = id.to_be_bytes();
        high == low && low & 0x0f == 0x0a && high <= 0x7a
    }
}

/// `ProposalType`.
pub mod proposal_type {
    /// `add`
    pub const ADD: u16 = 1;
    /// `update`
    pub const UPDATE: u16 = 2;
    /// `remove`
    pub const REMOVE: u16 = 3;
    /// `psk`
    pub const PSK: u16 = 4;
    /// `reinit`
    pub const REINIT: u16 = 5;
    /// `external_init`
    pub const EXTERNAL_INIT: u16 = 6;
    /// `group_context_extensions`
    pub const GROUP_CONTEXT_EXTENSIONS: u16 = 7;
    /// `app_data_update` (suggested number)
    pub const APP_DATA_UPDATE: u16 = 8;
    /// `app_ephemeral` (suggested number)
    pub const APP_EPHEMERAL: u16 = 9;
    /// `self_remove` (suggested number)
    pub const SELF_REMOVE: u16 = 0x000a;
}

/// `ExtensionType`.
pub mod extension_type {
    /// `application_id`
    pub const APPLICATION_ID: u16 = 1;
    /// `ratchet_tree`
    pub const RATCHET_TREE: u16 = 2;
    /// `required_capabilities`
    pub const REQUIRED_CAPABILITIES: u16 = 3;
    /// `external_pub`
    pub const EXTERNAL_PUB: u16 = 4;
    /// `external_senders`
    pub const EXTERNAL_SENDERS: u16 = 5;
    /// `app_data_dictionary` (suggested number)
    pub const APP_DATA_DICTIONARY: u16 = 6;
    /// `supported_wire_formats` (suggested number)
    pub const SUPPORTED_WIRE_FORMATS: u16 = 7;
    /// `required_wire_formats` (suggested number)
    pub const REQUIRED_WIRE_FORMATS: u16 = 8;
    /// `ratchet_tree_source_domains`: no number assigned, this one is of the private range
    pub const RATCHET_TREE_SOURCE_DOMAINS: u16 = 0xf4c0;
}

/// `WireFormat`.
pub mod wire_format {
    /// `mls_public_message`
    pub const PUBLIC_MESSAGE: u16 = 1;
    /// `mls_private_message`
    pub const PRIVATE_MESSAGE: u16 = 2;
    /// `mls_welcome`
    pub const WELCOME: u16 = 3;
    /// `mls_group_info`
    pub const GROUP_INFO: u16 = 4;
    /// `mls_key_package`
    pub const KEY_PACKAGE: u16 = 5;
    /// `mls_semiprivate_message`: no number assigned, this one is of the private range
    pub const SEMI_PRIVATE_MESSAGE: u16 = 0xfafe;
}

/// `CredentialType`.
pub mod credential_type {
    /// `basic`
    pub const BASIC: u16 = 1;
    /// `x509`
    pub const X509: u16 = 2;
    /// `multi` (suggested number)
    pub const MULTI: u16 = 3;
    /// `weak-multi` (suggested number)
    pub const WEAK_MULTI: u16 = 4;
}
