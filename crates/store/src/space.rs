//! Kinds of records.

use std::fmt;

macro_rules! spaces {
    ($($(#[$doc:meta])+ $name:ident = $code:literal, $text:literal;)+) => {
        /// The kind of a record. Code and name are stable: they are in the database and in exports.
        ///
        /// A new kind gets a new line with the next free code; a code is never used for anything else again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Space {
            $($(#[$doc])+ $name = $code,)+
        }

        impl Space {
            /// All kinds, by code.
            pub const ALL: &'static [Space] = &[$(Space::$name),+];

            /// The kind with this code, if there is one.
            pub const fn from_code(code: u8) -> Option<Space> {
                match code {
                    $($code => Some(Space::$name),)+
                    _ => None,
                }
            }

            /// The stable name, as used in exports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Space::$name => $text,)+
                }
            }
        }
    };
}

spaces! {
    /// Facts about the node as a whole. Keys that begin with `store.` are the store's own.
    Meta = 1, "meta";
    /// Lease number and version of each owner. Written by the store alone.
    Lease = 2, "lease";
    /// A room as its owner last left it.
    Room = 3, "room";
    /// Other names of a room (aliases, MLS group ids, graph and portal room ids) to the room.
    RoomIndex = 4, "room_index";
    /// Events of graphs, by event id.
    Event = 5, "event";
    /// Position in a room's timeline to event id.
    Timeline = 6, "timeline";
    /// Current state of a graph: room, type and state key to event id.
    StateKey = 7, "state_key";
    /// The handshake log: room and seq to entry.
    Handshake = 8, "handshake";
    /// Snapshots of a hub's MLS group, by room and epoch.
    Snapshot = 9, "snapshot";
    /// The ordered feed a client resumes from: room and position to entry.
    Feed = 10, "feed";
    /// Which devices may read which part of a feed.
    FeedAccess = 11, "feed_access";
    /// Local accounts, by user.
    Account = 12, "account";
    /// Devices of local accounts.
    Device = 13, "device";
    /// Signed-in sessions, by hash of the token.
    Session = 14, "session";
    /// Unused key packages of local devices.
    KeyPackage = 15, "key_package";
    /// References of key packages that were given out, so that none is given twice.
    KeyPackageRef = 16, "key_package_ref";
    /// What is still to be sent: destination and position to entry.
    Outbox = 17, "outbox";
    /// How far each destination's sender has come.
    Cursor = 18, "cursor";
    /// The first outcome of each request that changed something: peer, owner and request hash to outcome.
    Outcome = 19, "outcome";
    /// Notify messages already taken in, by peer and hash.
    NotifySeen = 20, "notify_seen";
    /// Transactions of the homeserver already taken in.
    HsTransaction = 21, "hs_transaction";
    /// Events the homeserver has delivered and we have acknowledged but not yet worked off.
    HsInbox = 22, "hs_inbox";
    /// Portals: MIMI room, graph and portal room of the homeserver.
    Portal = 23, "portal";
    /// The journal that links a carrier event and its portal event.
    PortalEvent = 24, "portal_event";
    /// Messages a local client has submitted through a portal, and what became of them.
    Submission = 25, "submission";
    /// Open sign-in challenges.
    Challenge = 26, "challenge";
    /// Evidence of misbehaviour: two entries for one seq, wrong signatures.
    Evidence = 27, "evidence";
    /// What could not be delivered or worked off, with the reason, for the operator.
    DeadLetter = 28, "dead_letter";
    /// Consent between users, asked for, given or refused: user, direction, the other user and room.
    Consent = 29, "consent";
    /// What a user shows of itself and whose requests need its consent.
    UserSettings = 30, "user_settings";
    /// Searchable profile fields: field and value to user.
    SearchIndex = 31, "search_index";
    /// As follower: commits of own clients that the hub has accepted and not sent back yet, by room and epoch.
    OwnCommit = 32, "own_commit";
    /// Reports of abuse, for the operator, by time.
    AbuseReport = 34, "abuse_report";
    /// Assets (attachments) of local users, by id: the blobs they consist of.
    Asset = 35, "asset";
    /// How far each room has come: what every entry of it moves.
    RoomHead = 37, "room_head";
    /// Who takes part in a room, a record each: room and user.
    Participant = 38, "participant";
    /// The sessions of each device.
    DeviceSession = 39, "device_session";
    /// What users asked for on the Matrix side that only a client of theirs can do: user and id to wish.
    Wish = 40, "wish";
    /// Conversations with the bot: Matrix room to the user whose it is.
    BotRoom = 41, "bot_room";
    /// How a client wants to be woken: user and client to the Matrix device.
    Wake = 42, "wake";
    /// Up to which event a portal's timeline has been compared with what the homeserver pushed.
    PortalCheck = 45, "portal_check";
    /// The newest events of the homeserver that could not be acted on, with the reason: a ring of fixed size.
    HsSetAside = 46, "hs_set_aside";
    /// Signing keys of other Matrix servers, by server name.
    ServerKeys = 50, "server_keys";
    /// Rooms of other Matrix servers that this node takes part in.
    GraphRoom = 51, "graph_room";
    /// Events that wait for others before they can enter their graph.
    HeldEvent = 52, "held_event";
    /// Invitations of the node user by other Matrix servers.
    GraphInvite = 53, "graph_invite";
    /// The node's part of the provider's replicated log: index and part to entry. Local to the node.
    RaftLog = 60, "raft_log";
    /// The node's vote, how far its log goes, and what of it is applied. Local to the node.
    RaftState = 61, "raft_state";
    /// A snapshot of another node that is being taken in. Local to the node.
    RaftStaged = 62, "raft_staged";
    /// Messages that this node accepted while it reached no majority, until they are distributed. Local to the node.
    PendingMessage = 63, "pending_message";
    /// Take-overs without a majority, by number, as the operator stated them; and why the order stands still, if it does.
    ClusterStatement = 64, "cluster_statement";
}

impl Space {
    /// Whether the records belong to one node alone, where a provider has several: they are never replicated.
    pub const fn is_local(self) -> bool {
        matches!(
            self,
            Space::RaftLog | Space::RaftState | Space::RaftStaged | Space::PendingMessage
        )
    }

    /// The stable code, as used in the database.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Space> {
        Space::ALL.iter().copied().find(|space| space.name() == name)
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Space;

    #[test]
    fn codes_and_names_are_unique_and_come_back() {
        let codes: HashSet<u8> = Space::ALL.iter().map(|space| space.code()).collect();
        let names: HashSet<&str> = Space::ALL.iter().map(|space| space.name()).collect();
        assert_eq!(codes.len(), Space::ALL.len());
        assert_eq!(names.len(), Space::ALL.len());
        for space in Space::ALL {
            assert_eq!(Space::from_code(space.code()), Some(*space));
            assert_eq!(Space::from_name(space.name()), Some(*space));
        }
        // 0 and 255 stay free: the end of the last space must be a code of its own.
        assert!(!codes.contains(&0) && !codes.contains(&255));
        assert_eq!(Space::from_code(0), None);
        assert_eq!(Space::from_name("nothing"), None);
    }
}
