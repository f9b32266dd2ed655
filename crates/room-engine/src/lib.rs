//! Workers, lanes, sequencing, carrier events and the outbox. Knows no HTTP.
//!
//! Every piece of state has an owner (a room, a user, the homeserver's inbox, a destination) with one worker, its only writer. A command becomes a decision, the decision becomes records, events and outbox entries, and
//! all of them land in one atomic, synced batch before anybody is told. Faces translate and call [`Engine`]; what leaves goes through the [outbox].

mod aside;
pub mod bot;
pub mod carrier;
mod clock;
mod command;
mod consent;
mod decision;
mod engine;
mod fence;
pub mod ghost;
pub mod graphs;
mod homeserver;
mod migrate;
pub mod outbox;
mod owner;
mod records;
mod refusal;
mod room;
mod search;
mod sequencer;
mod user;
mod views;
pub mod wake;
pub mod wish;
mod worker;

pub use aside::PendingMessage;
pub use clock::{Clock, SystemClock};
pub use command::{Actor, ClaimRoute, ClientActor, InboxKey, RequestContext, Submission};
pub use consent::{Answer, RequiredOf, Sent};
pub use engine::{
    Engine, EngineConfig, EngineError, HomeserverInfo, Hub, Keys, LONGEST_POLL, Limits, Swept, UpdateFate,
    UserPolicies,
};
pub use fence::{FencedRoom, raise_fence};
pub use homeserver::{InboundEvent, InboundTransaction, SetAside, Taken};
pub use refusal::Refusal;
pub use room::{PortalAct, Thresholds};
pub use search::{
    FIELD_VALUE, OIDC_CLAIMS, PROFILE_FIELDS, ProfileField, SearchMode, SearchPolicy, Searchable,
    VCARD_PROPERTIES, Vocabulary,
};
pub use sequencer::{LocalSequencer, Sequencer};
pub use user::ConsentAnswer;
pub use views::{
    AbuseReportView, AccountView, AssetView, ConsentBook, ConsentView, Device, FeedEntry, FeedItem, FeedPage,
    GraphView, KeyPackageStock, Notice, PictureKept, PortalMember, PortalWanted, QueueView, RebuiltRoom,
    ReportedMessageView, RoomCard, RoomLag, RoomView, Session, SignIn, SuiteStock, UserNotice, UserRoom,
    UserSettings,
};
