//! Handshakes at the hub: judged once, recorded, sent around.

use delivery_service::{Group, Judged, JudgedCommit, JudgedProposals, UpdateRefusal, View};
use mimi_wire::codec::{Decode as _, Encode as _, UnixMillis};
use mimi_wire::mls::{MlsMessage, Welcome};
use mimi_wire::protocol::{
    BundleBody, FanoutMessage, HandshakeBundle, RatchetTreeOption, UpdateOutcome, UpdateRoomResponse,
};
use mimi_wire::uri::{Domain, MimiUri};
use std::collections::{BTreeMap, BTreeSet};
use store::Space;

use super::RoomState;
use super::scribe::{Entry, Scribe};
use crate::carrier::{HandshakeKind, INLINE_LIMIT, Octets};
use crate::command::{Actor, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::outbox::{Destination, OutboxBody};
use crate::records::{
    AccessRecord, Audience, FeedKind, KeyPackageRefRecord, OutcomeRecord, access_key, outcome_key, read,
    room_ref_key,
};
use crate::refusal::Refusal;

/// Octets that one message may take in the entries for all its receivers together; beyond that they share a blob.
const FANNED_OUT: usize = 2 * 1024 * 1024;

impl RoomState {
    /// `POST update` (protocol-06 section 5.3).
    pub(super) async fn update(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        actor: &Actor,
        octets: &[u8],
    ) -> Result<Decision, Refusal> {
        let remembered = outcome_key(self.id(), &actor.name(), octets);
        if let Some(outcome) = read::<OutcomeRecord>(env.store.as_ref(), Space::Outcome, &remembered).await? {
            let response = UpdateRoomResponse::from_bytes(&outcome.response.0).map_err(Refusal::internal)?;
            return Ok(Decision::reply(Reply::Update(response)));
        }
        let bundle =
            HandshakeBundle::from_bytes(octets).map_err(|e| Refusal::malformed("handshake bundle", e))?;
        let (Some(records), Some(group)) = (&self.records, &mut self.group) else {
            return Err(Refusal::Unknown { what: "room" });
        };
        let mut scribe = Scribe::new(env, ctx, records);
        let judged = match group.judge(&env.hub(), &actor.provider(), &bundle, scribe.at) {
            Ok(judged) => judged,
            Err(refusal) => return Ok(refused(&refusal, ctx)),
        };
        let response = UpdateRoomResponse {
            error_description: String::new(),
            outcome: UpdateOutcome::Success {
                accepted_timestamp: UnixMillis(scribe.at),
            },
        };
        match judged {
            Judged::Commit(commit) => {
                if let Some(refusal) = scribe.unclaimed(&commit).await? {
                    return Ok(Decision::reply(Reply::Update(refusal)));
                }
                let access = scribe.access_of_leaving(&commit).await?;
                scribe.commit(group, &bundle, *commit, access)?;
            }
            Judged::Proposals(proposals) => scribe.proposals(group, proposals)?,
        }
        let outcome = OutcomeRecord {
            at: scribe.at,
            response: Octets(response.to_bytes()),
        };
        scribe.decision.put(Space::Outcome, remembered, &outcome)?;
        let (decision, changes) = scribe.finish(Reply::Update(response))?;
        self.take(changes);
        Ok(decision)
    }
}

impl Scribe<'_> {
    /// A commit may add only clients whose KeyPackages were handed out through this hub for this room: nobody else
    /// can say that a KeyPackage is its user's.
    async fn unclaimed(&self, commit: &JudgedCommit) -> Result<Option<UpdateRoomResponse>, Refusal> {
        for added in &commit.added {
            let Some(reference) = &added.key_package else {
                continue;
            };
            let place = room_ref_key(self.id(), reference);
            let claimed: Option<KeyPackageRefRecord> =
                read(self.env.store.as_ref(), Space::KeyPackageRef, &place).await?;
            let known = claimed.is_some_and(|claimed| {
                claimed.client == *added.client.uri()
                    && claimed.provider == added.client.uri().domain().as_str()
            });
            if !known {
                metrics::counter!("causeway_updates_refused_total", "reason" => "unclaimed_key_package")
                    .increment(1);
                let why = format!(
                    "the KeyPackage of {} was not fetched through this hub",
                    added.client.uri().as_str()
                );
                return Ok(Some(UpdateRoomResponse {
                    error_description: why,
                    outcome: UpdateOutcome::NotAllowed,
                }));
            }
        }
        Ok(None)
    }

    async fn access_of_leaving(
        &self,
        commit: &JudgedCommit,
    ) -> Result<BTreeMap<MimiUri, AccessRecord>, Refusal> {
        let mut access = BTreeMap::new();
        for user in leaving_users(self.env, commit) {
            let place = access_key(&user, self.id());
            if let Some(record) = read(self.env.store.as_ref(), Space::FeedAccess, &place).await? {
                access.insert(user, record);
            }
        }
        Ok(access)
    }

    fn commit(
        &mut self,
        group: &mut Group,
        bundle: &HandshakeBundle,
        commit: JudgedCommit,
        mut access: BTreeMap<MimiUri, AccessRecord>,
    ) -> Result<(), Refusal> {
        let env = self.env;
        let own = env.config.provider.clone();
        let message = bundle.proposal_or_commit().clone();
        let BundleBody::Commit {
            welcome,
            ratchet_tree_option,
            ..
        } = bundle.body()
        else {
            return Err(Refusal::internal("a commit was judged in a bundle without one"));
        };
        let added: Vec<MimiUri> = commit
            .added
            .iter()
            .filter(|added| added.key_package.is_some())
            .map(|added| added.client.uri().clone())
            .collect();
        let joined: BTreeSet<MimiUri> = commit
            .added
            .iter()
            .map(|added| added.client.user().clone())
            .filter(|user| user.domain() == own)
            .collect();
        for added in commit
            .added
            .iter()
            .filter(|added| added.client.uri().domain() == own)
        {
            self.welcomed(added.key_package.as_ref())?;
        }
        let left = leaving_users(env, &commit);
        let providers_before = commit.providers_before.clone();
        let stapled = commit.external_proposals.clone();
        let previous_epoch = commit.previous_epoch.0;

        let touched: BTreeSet<MimiUri> = commit
            .participants
            .iter()
            .map(|change| &change.user)
            .chain(group.departing())
            .cloned()
            .collect();
        // From here on the group in memory is ahead of the store; a failure drops it (see the worker).
        group
            .apply(Judged::Commit(Box::new(commit)))
            .map_err(Refusal::internal)?;

        // Whoever joins needs the tree from somewhere; a committer that leaves that to us gets ours passed on.
        let tree = match ratchet_tree_option {
            RatchetTreeOption::Full(_) | RatchetTreeOption::HttpsUri { .. } => ratchet_tree_option.clone(),
            _ => group.ratchet_tree_option(),
        };
        let mut entry = Entry::new(HandshakeKind::Commit, previous_epoch, message.as_bytes().to_vec());
        entry.welcome = welcome
            .as_ref()
            .map(|welcome| MlsMessage::from(welcome).as_bytes().to_vec());
        entry.ratchet_tree = welcome.as_ref().map(|_| tree.to_bytes());
        entry.group_info = Some(group.group_info().to_vec());
        entry.external_proposals = (!stapled.is_empty()).then(|| concat(&stapled));
        let event_id = self.handshake(&entry)?;
        self.roles(group, &touched)?;
        self.face_of(group)?;

        let commit_pos = self.feed(Some(&event_id), Audience::All, FeedKind::Commit)?;
        let welcomed: BTreeSet<MimiUri> = added
            .iter()
            .filter(|client| client.domain() == own)
            .filter_map(MimiUri::client_user)
            .collect();
        if !welcomed.is_empty() {
            let audience = Audience::Users(welcomed);
            let pos = self.feed(Some(&event_id), audience.clone(), FeedKind::Welcome)?;
            self.wake(pos, &audience, entry.welcome.as_deref())?;
        }
        for user in &joined {
            if !self.is_here(user) {
                // The newcomer's feed starts with its Welcome, or after its own external commit.
                self.admit(user, commit_pos.saturating_add(1))?;
                self.want_portal(user)?;
            }
        }
        for user in &left {
            // Who was taken out on a request reads nothing since then.
            if self.is_here(user) {
                self.dismiss(user, access.remove(user), commit_pos.saturating_add(1))?;
            }
            self.leave_portal(user)?;
        }

        let fanout =
            FanoutMessage::commit(UnixMillis(self.at), message, stapled).map_err(Refusal::internal)?;
        self.fan_out(&providers_before, &fanout)?;
        if let Some(welcome) = welcome {
            self.welcome(welcome, &tree, &added)?;
        }
        self.snapshot(group)?;
        metrics::counter!("causeway_handshakes_total", "kind" => "commit").increment(1);
        Ok(())
    }

    pub(super) fn proposals(&mut self, group: &mut Group, judged: JudgedProposals) -> Result<(), Refusal> {
        let messages: Vec<MlsMessage> = judged.proposals.iter().map(|p| p.message().clone()).collect();
        let providers = judged.providers_before.clone();
        let epoch = judged.epoch.0;
        let touched: BTreeSet<MimiUri> = judged.departing.iter().cloned().collect();
        group
            .apply(Judged::Proposals(judged))
            .map_err(Refusal::internal)?;
        if !messages.is_empty() {
            let entry = Entry::new(HandshakeKind::Proposals, epoch, concat(&messages));
            let event_id = self.handshake(&entry)?;
            self.feed(Some(&event_id), Audience::All, FeedKind::Proposals)?;
            let mut rest = messages.into_iter();
            if let Some(first) = rest.next() {
                let fanout = FanoutMessage::proposals(UnixMillis(self.at), first, rest.collect())
                    .map_err(Refusal::internal)?;
                self.fan_out(&providers, &fanout)?;
            }
        }
        self.roles(group, &touched)?;
        self.face_of(group)?;
        self.snapshot(group)?;
        metrics::counter!("causeway_handshakes_total", "kind" => "proposals").increment(1);
        Ok(())
    }

    fn roles(&mut self, group: &Group, users: &BTreeSet<MimiUri>) -> Result<(), Refusal> {
        users
            .iter()
            .try_for_each(|user| self.role(user, group.role(user, View::Effective).0))
    }

    /// To every provider but this one.
    pub(super) fn fan_out(
        &mut self,
        providers: &BTreeSet<Domain>,
        message: &FanoutMessage,
    ) -> Result<(), Refusal> {
        let others: Vec<&Domain> = providers
            .iter()
            .filter(|provider| **provider != self.env.config.provider)
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        // The batch has to hold them all.
        let inline = INLINE_LIMIT.min(FANNED_OUT / others.len());
        let payload = self.decision.payload_up_to(inline, &message.to_bytes());
        for provider in others {
            let destination = Destination::Provider(provider.clone());
            self.queue(destination, OutboxBody::Notify, Some(payload.clone()))?;
        }
        Ok(())
    }

    /// The Welcome goes only to the providers of the clients it is for.
    fn welcome(
        &mut self,
        welcome: &Welcome,
        tree: &RatchetTreeOption,
        added: &[MimiUri],
    ) -> Result<(), Refusal> {
        let providers: BTreeSet<Domain> = added.iter().map(MimiUri::domain).collect();
        let message = FanoutMessage::welcome(UnixMillis(self.at), welcome, tree.clone());
        self.fan_out(&providers, &message)
    }
}

/// Users of this provider whom the commit takes out of the list.
fn leaving_users(env: &Env, commit: &JudgedCommit) -> Vec<MimiUri> {
    commit
        .participants
        .iter()
        .filter(|change| change.to.0 <= 1 && change.user.domain() == env.config.provider)
        .map(|change| change.user.clone())
        .collect()
}

fn concat(messages: &[MlsMessage]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| message.as_bytes().iter().copied())
        .collect()
}

fn refused(refusal: &UpdateRefusal, ctx: &RequestContext) -> Decision {
    let reason = match refusal {
        UpdateRefusal::WrongEpoch { .. } => "wrong_epoch",
        UpdateRefusal::NotAllowed { .. } => "not_allowed",
        UpdateRefusal::InvalidProposal { .. } => "invalid_proposal",
        _ => "malformed",
    };
    metrics::counter!("causeway_updates_refused_total", "reason" => reason).increment(1);
    tracing::info!(request_id = %ctx.request_id, %refusal, "update refused");
    Decision::reply(Reply::Update(refusal.to_response()))
}
