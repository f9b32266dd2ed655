//! Random walks of a room: legal and illegal steps in any order.
//!
//! Checked at every step: what is legal is accepted and what is not is refused; a refusal changes nothing; an
//! accepted commit is one epoch; list, tree and all clients agree; and a hub that was restored from a snapshot
//! judges as the one that kept running.

use crate::client::{Plan, TestClient, domain, uri};
use crate::room::{NOW, Room, add};
use delivery_service::{Group, Judged, MessageRefusal, MessageSettings, UpdateRefusal, View};
use mimi_wire::components::ParticipantListUpdate;
use mimi_wire::mls::{AppDataOperation, Content, Proposal};
use mimi_wire::protocol::HandshakeBundle;
use mimi_wire::{Decode, MimiUri};
use openmls::group::MlsGroup;
use proptest::prelude::*;

const USERS: u8 = 5;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody commits what is pending.
    Commit(u8),
    /// Somebody adds this user with so many devices.
    Add(u8, u8, u8),
    /// A new device of this user joins from outside.
    Join(u8),
    /// This client leaves with all of its user's clients.
    Leave(u8),
    /// This client takes itself out and nobody else.
    SelfRemove(u8),
    /// The hub takes this user out.
    HubRemoves(u8),
    /// One user takes out another.
    Remove(u8, u8),
    /// The same in halves: only the list, or only the tree.
    RemoveHalf(u8, u8, bool),
    /// A commit that leaves out what is pending.
    Negligent(u8),
    /// Two commits for one epoch.
    Race(u8, u8),
    /// A commit through somebody else's provider.
    Impostor(u8),
    /// An application message.
    Message(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let id = any::<u8>;
    prop_oneof![
        3 => id().prop_map(Step::Commit),
        4 => (id(), 1..USERS, 1..3u8).prop_map(|(by, user, devices)| Step::Add(by, user, devices)),
        2 => (0..USERS).prop_map(Step::Join),
        2 => id().prop_map(Step::Leave),
        1 => id().prop_map(Step::SelfRemove),
        1 => (1..USERS).prop_map(Step::HubRemoves),
        1 => (id(), 0..USERS).prop_map(|(by, user)| Step::Remove(by, user)),
        1 => (id(), 0..USERS, any::<bool>()).prop_map(|(by, user, list)| Step::RemoveHalf(by, user, list)),
        1 => id().prop_map(Step::Negligent),
        1 => (id(), id()).prop_map(|(a, b)| Step::Race(a, b)),
        1 => id().prop_map(Step::Impostor),
        1 => id().prop_map(Step::Message),
    ]
}

fn user(index: u8) -> MimiUri {
    uri(&format!("mimi://{}/u/user{index}", provider(index)))
}

fn provider(index: u8) -> &'static str {
    ["a.example", "b.example", "c.example"][usize::from(index % 3)]
}

/// A room of which one hub keeps running and another one is restored after each step.
struct Walk {
    room: Room,
    live: Group,
    devices: u32,
}

impl Walk {
    fn new() -> Self {
        let hub = crate::room::hub();
        let mut creator = TestClient::new(&format!("mimi://{}/d/user0/dev0", provider(0)));
        let group = creator.found(&hub, &uri("mimi://a.example/r/club"));
        let live = Group::restore(&group.snapshot().unwrap()).unwrap();
        let room = Room {
            hub,
            group,
            clients: vec![creator],
        };
        Self {
            room,
            live,
            devices: 1,
        }
    }

    /// Clients that can commit: in the room, and not on the way out.
    fn committers(&self) -> Vec<usize> {
        let leaving: Vec<u32> = self.pending().filter_map(|(_, leaf)| leaf).collect();
        (0..self.room.clients.len())
            .filter(|index| {
                let client = &self.room.clients[*index];
                client.group.as_ref().is_some_and(|group| {
                    group.is_active()
                        && self.room.group.is_participant(&client.user(), View::Effective)
                        && !leaving.contains(&group.own_leaf_index().u32())
                })
            })
            .collect()
    }

    fn pick(&self, by: u8) -> Option<usize> {
        let committers = self.committers();
        (!committers.is_empty()).then(|| committers[usize::from(by) % committers.len()])
    }

    /// What is pending: list updates and leaves to go.
    fn pending(&self) -> impl Iterator<Item = (Option<ParticipantListUpdate>, Option<u32>)> {
        self.room.group.pending_proposals().iter().map(|pending| {
            let public = pending.message().public_message().unwrap();
            let Content::Proposal(proposal) = public.content else {
                panic!()
            };
            match (*proposal, public.sender) {
                (Proposal::AppDataUpdate(update), _) => {
                    let AppDataOperation::Update(update) = update.operation else {
                        panic!()
                    };
                    (Some(ParticipantListUpdate::from_bytes(&update).unwrap()), None)
                }
                (Proposal::Remove { removed }, _) => (None, Some(removed)),
                (Proposal::SelfRemove, mimi_wire::mls::Sender::Member { leaf_index }) => {
                    (None, Some(leaf_index))
                }
                other => panic!("{other:?}"),
            }
        })
    }

    /// Who is out but has no pending update to go: the next committer has to write it.
    fn owed(&self, by: usize) -> Vec<u32> {
        let covered: Vec<u32> = self
            .pending()
            .filter_map(|(list, _)| list)
            .flat_map(|list| list.removed_indices)
            .collect();
        let departing = self
            .room
            .group
            .departing()
            .map(|user| self.room.clients[by].index_of(user));
        departing.filter(|index| !covered.contains(index)).collect()
    }

    fn plan(&self, by: usize) -> Plan {
        let owed = self.owed(by);
        let list = (!owed.is_empty()).then(|| ParticipantListUpdate {
            removed_indices: owed,
            ..Default::default()
        });
        Plan {
            list,
            ..Plan::default()
        }
    }

    /// Both hubs judge; both verdicts are the same.
    fn judge(&self, actor: &str, bundle: &HandshakeBundle) -> Result<(Judged, Judged), UpdateRefusal> {
        let one = self.room.judge(&domain(actor), bundle);
        let other = self.live.judge(&self.room.hub, &domain(actor), bundle, NOW);
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (Err(one), Err(other)) => {
                assert_eq!(one, other);
                Err(one)
            }
            (one, other) => panic!("{one:?} but {other:?}"),
        }
    }

    fn accept(&mut self, by: Option<usize>, actor: &str, bundle: &HandshakeBundle) -> Option<Vec<u8>> {
        let before = self.room.group.epoch().0;
        let (judged, other) = self.judge(actor, bundle).expect("a legal step is refused");
        if matches!(judged, Judged::Commit(_)) {
            self.check_tree(actor, bundle);
        }
        let (welcome, epochs) = match &judged {
            Judged::Commit(commit) => (commit.welcome.clone(), 1),
            Judged::Proposals(_) => (None, 0),
        };
        self.live.apply(other).unwrap();
        self.room.apply(by, bundle, judged);
        assert_eq!(self.room.group.epoch().0, before + epochs);
        self.agree();
        welcome
    }

    /// The tree after the commit is known by its hash before the commit is merged.
    fn check_tree(&self, actor: &str, bundle: &HandshakeBundle) {
        let before = self.room.group.ratchet_tree_option();
        let mut ahead = Group::restore(&self.room.group.snapshot().unwrap()).unwrap();
        let judged = ahead.judge(&self.room.hub, &domain(actor), bundle, NOW).unwrap();
        ahead.apply(judged).unwrap();
        let after = ahead.ratchet_tree_option();
        let same = before == after;
        for (tree, right) in [(after, true), (before, same)] {
            let sent = crate::bundles::change(bundle, |_, _, option| *option = tree);
            let verdict = self.room.judge(&domain(actor), &sent);
            assert_eq!(verdict.is_ok(), right);
        }
    }

    fn agree(&self) {
        assert!(self.live.is_consistent());
        assert!(self.live.snapshot().unwrap() == self.room.group.snapshot().unwrap());
        for view in [View::Committed, View::Effective] {
            assert_eq!(self.live.providers(view), self.room.group.providers(view));
            let participants = |group: &Group| {
                group
                    .participants(view)
                    .map(|(user, role)| (user.clone(), role))
                    .collect::<Vec<_>>()
            };
            assert_eq!(participants(&self.live), participants(&self.room.group));
        }
        assert_eq!(self.live.receivers(), self.room.group.receivers());
        for client in self.live.clients() {
            assert!(self.live.is_participant(client.user(), View::Committed));
        }
    }

    fn device(&mut self, index: u8) -> TestClient {
        self.devices += 1;
        TestClient::new(&format!(
            "mimi://{}/d/user{index}/dev{}",
            provider(index),
            self.devices
        ))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Commit(by) => {
                let Some(by) = self.pick(by) else { return };
                let plan = self.plan(by);
                self.commit(by, plan);
            }
            Step::Add(by, index, devices) => self.add(by, index, devices),
            Step::Join(index) => self.join(index),
            Step::Leave(by) => {
                let Some(by) = self.pick(by) else { return };
                // Own devices that are going already can't be taken out again.
                let own = self.room.clients[by].user();
                let going: Vec<u32> = self.pending().filter_map(|(_, leaf)| leaf).collect();
                let own_going = self.room.clients[by].group().members().any(|member| {
                    let client = MimiUri::try_from(member.credential.serialized_content()).unwrap();
                    client.client_user() == Some(own.clone()) && going.contains(&member.index.u32())
                });
                if own_going {
                    return;
                }
                let bundle = self.room.clients[by].leave();
                let actor = self.room.clients[by].domain();
                self.accept(Some(by), actor.as_str(), &bundle);
                assert!(!self.room.group.is_participant(&own, View::Effective));
            }
            Step::SelfRemove(by) => {
                let Some(by) = self.pick(by) else { return };
                let message = self.room.clients[by].self_remove();
                let bundle = HandshakeBundle::proposals(message, vec![]).unwrap();
                let actor = self.room.clients[by].domain();
                self.accept(Some(by), actor.as_str(), &bundle);
            }
            Step::HubRemoves(index) => self.hub_removes(&user(index)),
            Step::Remove(by, index) => self.remove(by, index),
            Step::RemoveHalf(by, index, list) => self.remove_half(by, index, list),
            Step::Negligent(by) => {
                let Some(by) = self.pick(by) else { return };
                let owes = self.pending().next().is_some() || self.room.group.departing().next().is_some();
                let bundle = self.room.clients[by].commit(Plan {
                    ignore_pending: true,
                    ..Plan::default()
                });
                let actor = self.room.clients[by].domain();
                let verdict = self.judge(actor.as_str(), &bundle);
                assert_eq!(verdict.is_err(), owes);
                self.room.clients[by].discard();
            }
            Step::Race(a, b) => {
                let (Some(a), Some(b)) = (self.pick(a), self.pick(b)) else {
                    return;
                };
                if a == b {
                    return;
                }
                let (late, plan) = (self.plan(a), self.plan(b));
                let late = self.room.clients[a].commit(late);
                // The loser drops its commit, takes the winner's in, and would have to make a new one.
                self.room.clients[a].discard();
                self.commit(b, plan);
                let actor = self.room.clients[a].domain();
                let current = self.room.group.epoch();
                let refusal = self
                    .judge(actor.as_str(), &late)
                    .expect_err("two commits in one epoch");
                assert_eq!(refusal, UpdateRefusal::WrongEpoch { current });
            }
            Step::Impostor(by) => {
                let Some(by) = self.pick(by) else { return };
                let plan = self.plan(by);
                let bundle = self.room.clients[by].commit(plan);
                self.judge("evil.example", &bundle).expect_err("an impostor");
                self.room.clients[by].discard();
            }
            Step::Message(by) => self.message(by),
        }
    }

    fn commit(&mut self, by: usize, plan: Plan) -> Option<Vec<u8>> {
        let bundle = self.room.clients[by].commit(plan);
        let actor = self.room.clients[by].domain();
        self.accept(Some(by), actor.as_str(), &bundle)
    }

    fn add(&mut self, by: u8, index: u8, devices: u8) {
        let Some(by) = self.pick(by) else { return };
        let user = user(index);
        if self.room.group.departing().any(|other| *other == user) {
            return;
        }
        let new: Vec<TestClient> = (0..devices).map(|_| self.device(index)).collect();
        let mut plan = self.plan(by);
        if !self.room.group.is_participant(&user, View::Committed) {
            let list = plan.list.get_or_insert_with(ParticipantListUpdate::default);
            list.added_participants = add(&[&user]).unwrap().added_participants;
        }
        plan.adds = new.iter().map(TestClient::key_package).collect();
        let welcome = self.commit(by, plan).unwrap();
        for mut client in new {
            client.join(&welcome, &self.room.group.ratchet_tree_option());
            self.room.clients.push(client);
        }
        self.room.check();
    }

    fn join(&mut self, index: u8) {
        let mut client = self.device(index);
        let from = client.ask_group_info(&self.room.hub, &self.room.group);
        assert_eq!(
            from.is_some(),
            self.room.group.is_participant(&client.user(), View::Effective)
        );
        let Some(from) = from else { return };
        let bundle = client.join_externally(&from, None);
        let actor = client.domain();
        self.room.clients.push(client);
        let by = self.room.clients.len() - 1;
        self.accept(Some(by), actor.as_str(), &bundle);
    }

    fn hub_removes(&mut self, user: &MimiUri) {
        let present = self.room.group.is_participant(user, View::Effective);
        let one = self.room.group.propose_removal(&self.room.hub, user, NOW);
        let other = self.live.propose_removal(&self.room.hub, user, NOW);
        assert_eq!(one.is_ok(), present);
        let (Ok(Judged::Proposals(one)), Ok(other)) = (one, other) else {
            return;
        };
        let messages: Vec<_> = one.proposals.iter().map(|p| p.message().clone()).collect();
        self.room.group.apply(Judged::Proposals(one)).unwrap();
        self.room.restart();
        self.live.apply(other).unwrap();
        for client in &mut self.room.clients {
            if client.group.as_ref().is_some_and(MlsGroup::is_active) {
                for message in &messages {
                    client.receive(message);
                }
            }
        }
        self.agree();
    }

    /// The leaves of a user that no pending proposal takes out.
    fn leaves_to_remove(&self, by: usize, user: &MimiUri) -> Vec<u32> {
        let going: Vec<u32> = self.pending().filter_map(|(_, leaf)| leaf).collect();
        let members = self.room.clients[by].group().members();
        members
            .filter(|member| {
                let client = MimiUri::try_from(member.credential.serialized_content()).unwrap();
                client.client_user().as_ref() == Some(user) && !going.contains(&member.index.u32())
            })
            .map(|member| member.index.u32())
            .collect()
    }

    fn remove(&mut self, by: u8, index: u8) {
        let Some(by) = self.pick(by) else { return };
        let user = user(index);
        if !self.room.group.is_participant(&user, View::Effective) || self.room.clients[by].user() == user {
            return;
        }
        let mut plan = self.plan(by);
        let list = plan.list.get_or_insert_with(ParticipantListUpdate::default);
        list.removed_indices.push(self.room.clients[by].index_of(&user));
        plan.removes = self.leaves_to_remove(by, &user);
        if index == 0 {
            // User 0 is super admin and everybody else an ordinary user.
            let bundle = self.room.clients[by].commit(plan);
            let actor = self.room.clients[by].domain();
            self.judge(actor.as_str(), &bundle)
                .expect_err("an ordinary user removes the super admin");
            self.room.clients[by].discard();
        } else {
            self.commit(by, plan);
            assert!(!self.room.group.is_participant(&user, View::Committed));
        }
    }

    fn remove_half(&mut self, by: u8, index: u8, only_list: bool) {
        let Some(by) = self.pick(by) else { return };
        let user = user(index);
        let leaves = self.leaves_to_remove(by, &user);
        let own = self.room.clients[by].user() == user;
        if !self.room.group.is_participant(&user, View::Effective) || leaves.is_empty() || own {
            return;
        }
        let mut plan = self.plan(by);
        let actor = self.room.clients[by].domain();
        let is_admin = self.room.clients[by].user() == self::user(0);
        if only_list {
            let list = plan.list.get_or_insert_with(ParticipantListUpdate::default);
            list.removed_indices.push(self.room.clients[by].index_of(&user));
        } else {
            plan.removes = leaves;
        }
        let bundle = self.room.clients[by].commit(plan);
        if !only_list && is_admin {
            // That is a kick, and the super admin may.
            self.accept(Some(by), actor.as_str(), &bundle);
            assert!(self.room.group.is_participant(&user, View::Committed));
        } else {
            self.judge(actor.as_str(), &bundle).expect_err("half a removal");
            self.room.clients[by].discard();
        }
    }

    fn message(&mut self, by: u8) {
        let count = self.room.clients.len();
        let client = &mut self.room.clients[usize::from(by) % count];
        // openmls does not let a client speak while proposals are pending.
        let silent = client
            .group
            .as_ref()
            .is_none_or(|group| !group.is_active() || group.pending_proposals().next().is_some());
        if silent {
            return;
        }
        let request = client.message(b"hello", None);
        let actor = client.domain();
        let present = self
            .room
            .group
            .is_participant(&request.sending_uri, View::Effective);
        let verdict = self
            .room
            .group
            .judge_message(&actor, &request, MessageSettings::default());
        let expected = if present {
            Ok(())
        } else {
            Err(MessageRefusal::NotAParticipant(request.sending_uri.clone()))
        };
        assert_eq!(verdict, expected);
        assert_eq!(
            self.live
                .judge_message(&actor, &request, MessageSettings::default()),
            verdict
        );
    }
}

proptest! {
    #[test]
    fn rooms_stay_consistent(steps in proptest::collection::vec(step(), 1..25)) {
        let mut walk = Walk::new();
        for step in steps {
            walk.take(step);
        }
    }
}
