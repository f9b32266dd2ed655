//! Commands: what faces ask of an owner's worker, and what they get back.

use mimi_wire::mls::KeyPackageRef;
use mimi_wire::protocol::{
    ConsentEntry, GroupInfoResponse, KeyMaterialRequest, KeyMaterialResponse, SubmitMessageResponse,
    UpdateRoomResponse,
};
use mimi_wire::uri::{Domain, MimiUri};
use zeroize::Zeroizing;

use crate::carrier::SubmissionState;
use crate::consent::{RequiredOf, Sent};
use crate::records::AssetRecord;
use crate::room::PortalRequest;
use crate::search::ProfileField;
use crate::user::ConsentAnswer;
use crate::views::{ConsentBook, Device, KeyPackageStock, RoomCard, RoomView, Session, UserSettings};
use crate::wish::{Wish, WishOutcome};

/// What a request brings along besides itself.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// Follows the request through every log line and outbox entry that it causes.
    pub request_id: String,
}

/// A client of this provider, signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientActor {
    /// Its user.
    pub user: MimiUri,
    /// The identity of its MLS credential.
    pub client: MimiUri,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Another provider, authenticated by its certificate.
    Peer(Domain),
    /// A client of this provider.
    Client(ClientActor),
}

impl Actor {
    /// The provider that answers for the actor.
    pub fn provider(&self) -> Domain {
        match self {
            Self::Peer(domain) => domain.clone(),
            Self::Client(client) => client.user.domain(),
        }
    }

    /// Who it is in the memory of requests: the same octets from somebody else are another request.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Peer(domain) => format!("peer:{}", domain.as_str()),
            Self::Client(client) => format!("client:{}", client.client.as_str()),
        }
    }
}

/// A message that a user of this provider hands in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The client's id for it; one id is accepted once.
    pub id: String,
    /// TLS MLSMessage holding a PrivateMessage.
    pub message: Vec<u8>,
    /// The portal event that it came in, when it came that way: the inbox entry to be consumed.
    pub from_portal: Option<InboxKey>,
}

/// The key of an entry of the homeserver inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboxKey(pub u64);

/// A command to a room.
#[derive(Debug)]
pub(crate) enum RoomCommand {
    /// Make the room again from a graph that this node has joined; `dry`: only say what would come of it.
    Rebuild {
        graph: String,
        dry: bool,
    },
    Create {
        who: ClientActor,
        group_info: Vec<u8>,
        ratchet_tree: Vec<u8>,
    },
    Update {
        actor: Actor,
        bundle: Vec<u8>,
    },
    Deliver {
        peer: Domain,
        request: Vec<u8>,
    },
    Submit {
        user: MimiUri,
        submission: Submission,
    },
    SubmissionOutcome {
        submission: String,
        response: SubmitMessageResponse,
    },
    Notify {
        peer: Domain,
        body: Vec<u8>,
    },
    FollowerUpdated {
        who: ClientActor,
        bundle: Vec<u8>,
        accepted_at: u64,
    },
    RouteClaim {
        actor: Actor,
        requesting_user: MimiUri,
        target: MimiUri,
    },
    RecordClaim {
        claimed: Vec<Claimed>,
    },
    GroupInfo {
        actor: Actor,
        request: Vec<u8>,
    },
    PortalCreated {
        portal: String,
    },
    /// The portal follows to a room that took its place.
    PortalMoved {
        old: String,
        new: String,
    },
    /// Everybody is out of the portal that was to be given up.
    PortalClosed {
        portal: String,
    },
    /// A member's card of a room whose hub is elsewhere.
    Card {
        who: ClientActor,
        card: RoomCard,
    },
    /// A submission in the portal that could not even be judged: its sender is told.
    RefuseSubmission {
        user: MimiUri,
        id: String,
        refusal: SubmissionState,
        entry: InboxKey,
    },
    PortalRequest(PortalRequest),
    /// Look at the portal and put it right.
    SyncPortal {
        why: Option<String>,
        audit: bool,
    },
    Unbridge,
    /// Replace the portal by a room of this version.
    UpgradePortal {
        version: String,
    },
    Bridge,
    TakeIn(Box<crate::aside::PendingRecord>),
    Report {
        actor: Actor,
        report: Vec<u8>,
    },
    /// All peers of a fenced room have told their newest epoch.
    Compared {
        newest: u64,
    },
    /// An operator gives up what happened since the backup.
    AcceptRollback,
}

/// A KeyPackage that was handed out for a room through its hub.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) reference: KeyPackageRef,
    pub(crate) provider: Domain,
    pub(crate) client: MimiUri,
    /// When it expires, Unix ms.
    pub(crate) until: u64,
}

/// A command to a user of this provider.
#[derive(Debug)]
pub(crate) enum UserCommand {
    AddAccount {
        token_hash: [u8; 32],
    },
    RemoveAccount,
    SignInLocal {
        device: String,
        secret: Zeroizing<String>,
    },
    SignInMatrix {
        device: String,
    },
    Confirm {
        nonce: String,
        from_portal: InboxKey,
    },
    SignOut {
        session: [u8; 32],
    },
    Devices,
    RemoveDevice {
        client: MimiUri,
    },
    UploadKeyPackages {
        client: MimiUri,
        packages: Vec<Vec<u8>>,
    },
    Stock {
        client: MimiUri,
    },
    ServeKeyMaterial {
        peer: Domain,
        request: Vec<u8>,
    },
    /// KeyPackages that came with a grant, for a request of this user.
    TakeGranted(Box<KeyMaterialRequest>),
    ConsentEntry(Box<ConsentEntry>),
    AskConsent {
        target: MimiUri,
        room: Option<MimiUri>,
    },
    CancelConsent {
        target: MimiUri,
        room: Option<MimiUri>,
    },
    AnswerConsent {
        requester: MimiUri,
        room: Option<MimiUri>,
        answer: ConsentAnswer,
    },
    ConsentSent {
        target: MimiUri,
        room: Option<MimiUri>,
        sent: Sent,
    },
    Consents,
    Settings,
    SetSettings {
        consent_required_of: Option<RequiredOf>,
        profile: Vec<ProfileField>,
    },
    /// Something was asked for on the Matrix side that one of the user's clients has to do. `answer` says so there.
    AddWish {
        wish: Box<Wish>,
        answer: Box<crate::outbox::OutboxBody>,
        /// The queue that the answer goes into: the Matrix room.
        lane: String,
        entry: InboxKey,
        request_id: String,
    },
    /// A client wants to be woken over the homeserver, or no more.
    SetWake {
        client: MimiUri,
        device: Option<String>,
    },
    /// A client did what was wished for, or declined.
    SettleWish {
        id: String,
        outcome: WishOutcome,
        request_id: String,
    },
    AddAsset {
        key: [u8; 32],
        record: AssetRecord,
    },
}

/// A command about what comes from the homeserver.
#[derive(Debug)]
pub(crate) enum HomeserverCommand {
    Transaction(crate::homeserver::InboundTransaction),
    /// A portal's timeline, read up to an event, with what it holds there. What was never pushed is taken in now.
    Compared {
        portal: String,
        up_to: String,
        events: Vec<crate::homeserver::InboundEvent>,
    },
    Discard {
        entry: InboxKey,
        /// Why nothing could be done with it; `None` if it is simply of no concern.
        why: Option<crate::homeserver::SetAside>,
    },
    JoinInvited {
        entry: InboxKey,
        room_id: String,
        /// Whose conversation with the bot it is, where it is one.
        direct: Option<String>,
    },
    /// The bot made a conversation with a user.
    Conversation {
        room_id: String,
        user: String,
    },
    /// The bot answers, or somebody acts, in a room that is no portal.
    Act {
        entry: InboxKey,
        room_id: String,
        body: crate::outbox::OutboxBody,
    },
}

/// Any command.
#[derive(Debug)]
pub(crate) enum Command {
    Room(RoomCommand),
    Graph(crate::graphs::GraphCommand),
    User(UserCommand),
    Homeserver(HomeserverCommand),
}

/// Octets of messages that are decided together.
const TOGETHER: usize = 256 * 1024;

impl Command {
    /// The octets of an application message, if this hands one in. Such are decided together when they wait together:
    /// what is decided of one depends on what is stored of it alone, and on the room as it is in memory.
    fn message(&self) -> Option<&[u8]> {
        match self {
            Self::Room(RoomCommand::Deliver { request, .. }) => Some(request),
            Self::Room(RoomCommand::Submit { submission, .. }) => Some(&submission.message),
            _ => None,
        }
    }

    /// Whether this can be decided before what was decided for `others` is written.
    pub(crate) fn goes_with<'a>(&self, others: impl Iterator<Item = &'a Self>) -> bool {
        let Some(message) = self.message() else {
            return false;
        };
        let mut octets = message.len();
        for other in others {
            // What is stored of a message is known by its octets, or by its sender's id for it.
            let repeats = match (self, other) {
                (
                    Self::Room(RoomCommand::Submit { user, submission }),
                    Self::Room(RoomCommand::Submit {
                        user: by,
                        submission: before,
                    }),
                ) => user == by && submission.id == before.id,
                _ => Some(message) == other.message(),
            };
            let Some(before) = other.message().filter(|_| !repeats) else {
                return false;
            };
            octets = octets.saturating_add(before.len());
        }
        octets <= TOGETHER
    }
}

/// What a command answers when it is not refused.
#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    /// Refused, and why was worth writing down.
    Fenced,
    Taken(crate::homeserver::Taken),
    Room(Box<RoomView>),
    Update(UpdateRoomResponse),
    Message(SubmitMessageResponse),
    Submission(SubmissionState),
    Route(ClaimRoute),
    GroupInfo(Box<GroupInfoResponse>),
    KeyMaterial(Box<KeyMaterialResponse>),
    Session(Session),
    Challenge {
        nonce: String,
    },
    Devices(Vec<Device>),
    Stock(KeyPackageStock),
    Consents(ConsentBook),
    Settings(Box<UserSettings>),
    Graph(Box<crate::graphs::GraphReply>),
    Rebuilt(Box<crate::views::RebuiltRoom>),
}

/// Where the KeyPackages for a room's new participant come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimRoute {
    /// The target is a user of this provider.
    Local,
    /// Ask this provider.
    Provider(Domain),
    /// They are here already: they came with a grant of consent.
    Granted(Box<KeyMaterialResponse>),
}
