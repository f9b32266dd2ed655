//! A hub with one room and its clients.

use crate::client::{Plan, SUITE, TestClient, domain, uri};
use delivery_service::{Group, HubIdentity, Judged, JudgedCommit, RoleIndex, UpdateRefusal, View};
use mimi_wire::components::{ParticipantListUpdate, UserRolePair};
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{HandshakeBundle, RatchetTreeOption};
use mimi_wire::{Domain, Encode as _, MimiUri};
use openmls::prelude::Ciphersuite;

pub const NOW: u64 = 1_800_000_000_000;

pub fn hub() -> HubIdentity {
    HubIdentity::from_seeds(domain("a.example"), [1; 32], [2; 32], [3; 32])
}

pub fn add(users: &[&MimiUri]) -> Option<ParticipantListUpdate> {
    let added = users.iter().map(|user| UserRolePair {
        user: (*user).clone(),
        role_index: RoleIndex(2),
    });
    Some(ParticipantListUpdate {
        added_participants: added.collect(),
        ..Default::default()
    })
}

pub fn remove(indices: &[u32]) -> Option<ParticipantListUpdate> {
    Some(ParticipantListUpdate {
        removed_indices: indices.to_vec(),
        ..Default::default()
    })
}

/// A group that begins in the epoch of another, with what that serves.
pub fn begun_at(hub: &HubIdentity, group: &Group) -> Group {
    let RatchetTreeOption::Full(tree) = group.ratchet_tree_option() else {
        panic!("no tree")
    };
    Group::rebuild(hub, group.room_uri(), group.group_info(), &tree.to_bytes()).unwrap()
}

pub struct Room {
    pub hub: HubIdentity,
    pub group: Group,
    /// Everybody with a group; the creator first.
    pub clients: Vec<TestClient>,
}

impl Room {
    /// Alice's room on a.example.
    pub fn new() -> Self {
        Self::of(SUITE)
    }

    /// The same, of this suite.
    pub fn of(suite: Ciphersuite) -> Self {
        let hub = hub();
        let mut alice = TestClient::of(suite, "mimi://a.example/d/alice/phone");
        let group = alice.found(&hub, &uri("mimi://a.example/r/club"));
        let room = Self {
            hub,
            group,
            clients: vec![alice],
        };
        room.check();
        room
    }

    /// Alice's room with Bob (b.example) and Carol (c.example).
    pub fn of_three() -> Self {
        Self::of_three_and(SUITE)
    }

    /// The same, of this suite.
    pub fn of_three_and(suite: Ciphersuite) -> Self {
        let mut room = Self::of(suite);
        room.add_user(0, "mimi://b.example/d/bob/phone");
        room.add_user(0, "mimi://c.example/d/carol/phone");
        room
    }

    pub fn suite(&self) -> Ciphersuite {
        Ciphersuite::try_from(self.group.cipher_suite().0).unwrap()
    }

    pub fn judge(&self, actor: &Domain, bundle: &HandshakeBundle) -> Result<Judged, UpdateRefusal> {
        // What is refused or only judged changes nothing, and judging twice says the same.
        let before = self.group.snapshot().unwrap();
        let judged = self.group.judge(&self.hub, actor, bundle, NOW);
        assert!(self.group.snapshot().unwrap() == before);
        judged
    }

    pub fn refuse(&self, who: usize, bundle: &HandshakeBundle) -> UpdateRefusal {
        self.judge(&self.clients[who].domain(), bundle)
            .expect_err("accepted")
    }

    pub fn judge_commit(&self, actor: &Domain, bundle: &HandshakeBundle) -> JudgedCommit {
        let Judged::Commit(commit) = self.judge(actor, bundle).unwrap() else {
            panic!("no commit")
        };
        *commit
    }

    /// The hub's restart: nothing but the snapshot is left.
    pub fn restart(&mut self) {
        let snapshot = self.group.snapshot().unwrap();
        self.group = Group::restore(&snapshot).unwrap();
        assert!(self.group.snapshot().unwrap() == snapshot);
    }

    /// Sends a client's bundle to the hub, which accepts it and sends it around.
    pub fn accept(&mut self, who: usize, bundle: &HandshakeBundle) {
        let actor = self.clients[who].domain();
        let judged = self.judge(&actor, bundle).unwrap();
        self.apply(Some(who), bundle, judged);
    }

    pub fn apply(&mut self, who: Option<usize>, bundle: &HandshakeBundle, judged: Judged) {
        let stapled = match &judged {
            Judged::Commit(commit) => commit.external_proposals.clone(),
            Judged::Proposals(_) => Vec::new(),
        };
        let is_commit = matches!(judged, Judged::Commit(_));
        let rebuilt = self.rebuilt(bundle, &stapled);
        self.group.apply(judged).unwrap();
        if let Some(rebuilt) = rebuilt {
            assert!(rebuilt.snapshot().unwrap() == self.group.snapshot().unwrap());
        }
        self.restart();
        for (index, client) in self.clients.iter_mut().enumerate() {
            if client.group.as_ref().is_none_or(|group| !group.is_active()) {
                continue;
            }
            if Some(index) == who {
                if is_commit && client.group().pending_commit().is_some() {
                    client.merge();
                }
            } else {
                for message in bundle.messages() {
                    client.receive(message);
                }
            }
            if client.group().is_active() {
                for message in &stapled {
                    client.receive(message);
                }
            }
        }
        self.check();
    }

    /// The group as the log alone gives it: begun at what the hub serves now, and this bundle judged again.
    fn rebuilt(&self, bundle: &HandshakeBundle, stapled: &[MlsMessage]) -> Option<Group> {
        if !self.group.pending_proposals().is_empty() || self.group.departing().next().is_some() {
            return None;
        }
        let mut rebuilt = begun_at(&self.hub, &self.group);
        assert!(rebuilt.snapshot().unwrap() == self.group.snapshot().unwrap());
        let judged = rebuilt.judge_again(&self.hub, bundle, stapled.to_vec(), NOW);
        rebuilt.apply(judged.unwrap()).unwrap();
        Some(rebuilt)
    }

    /// The hub takes a user with one client out; everybody is told. Gives its proposal.
    pub fn remove_by_hub(&mut self, user: &MimiUri) -> MlsMessage {
        let judged = self.group.propose_removal(&self.hub, user, NOW).unwrap();
        let Judged::Proposals(proposals) = &judged else {
            panic!("no proposals")
        };
        let removal = proposals.proposals[0].message().clone();
        self.group.apply(judged).unwrap();
        for client in &mut self.clients {
            client.receive(&removal);
        }
        removal
    }

    /// Adds a user with one client.
    pub fn add_user(&mut self, by: usize, client: &str) -> usize {
        let client = TestClient::of(self.suite(), client);
        let plan = Plan {
            adds: vec![client.key_package()],
            list: add(&[&client.user()]),
            ..Plan::default()
        };
        let bundle = self.clients[by].commit(plan);
        self.accept_with_newcomer(by, &bundle, client)
    }

    pub fn accept_with_newcomer(
        &mut self,
        by: usize,
        bundle: &HandshakeBundle,
        mut client: TestClient,
    ) -> usize {
        let actor = self.clients[by].domain();
        let commit = self.judge_commit(&actor, bundle);
        let welcome = commit.welcome.clone().unwrap();
        self.apply(Some(by), bundle, Judged::Commit(Box::new(commit)));
        client.join(&welcome, &self.group.ratchet_tree_option());
        self.clients.push(client);
        self.check();
        self.clients.len() - 1
    }

    /// A new client joins by external commit.
    pub fn join_externally(&mut self, client: &str) -> usize {
        let mut client = TestClient::of(self.suite(), client);
        let from = client.ask_group_info(&self.hub, &self.group).unwrap();
        let bundle = client.join_externally(&from, None);
        self.accept_joiner(client, &bundle)
    }

    pub fn accept_joiner(&mut self, client: TestClient, bundle: &HandshakeBundle) -> usize {
        self.clients.push(client);
        let who = self.clients.len() - 1;
        self.accept(who, bundle);
        who
    }

    /// What holds between any two steps: everybody is in the hub's epoch with the hub's tree and list, and each
    /// client's user takes part.
    pub fn check(&self) {
        let list: Vec<(MimiUri, RoleIndex)> = self
            .group
            .participants(View::Committed)
            .map(|(user, role)| (user.clone(), role))
            .collect();
        for client in self.group.clients() {
            assert!(
                self.group.is_participant(client.user(), View::Committed),
                "{:?}",
                client.uri()
            );
        }
        for client in &self.clients {
            let Some(group) = client.group.as_ref().filter(|group| group.is_active()) else {
                continue;
            };
            assert_eq!(group.epoch().as_u64(), self.group.epoch().0, "{}", client.uri);
            let own: Vec<_> = client
                .participants()
                .participants
                .into_iter()
                .map(|p| (p.user, p.role_index))
                .collect();
            assert_eq!(own, list);
            let mut members: Vec<Vec<u8>> = group
                .members()
                .map(|m| m.credential.serialized_content().to_vec())
                .collect();
            let mut known: Vec<Vec<u8>> = self
                .group
                .clients()
                .map(|c| c.uri().as_bytes().to_vec())
                .collect();
            members.sort_unstable();
            known.sort_unstable();
            assert_eq!(members, known);
        }
    }
}
