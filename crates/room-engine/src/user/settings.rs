//! What a user decides: whose requests need its consent, what it shows of itself, and to whom.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use store::Space;

use super::UserState;
use crate::command::Reply;
use crate::consent::RequiredOf;
use crate::decision::Decision;
use crate::engine::Env;
use crate::records::key;
use crate::refusal::Refusal;
use crate::search::{self, FIELD_VALUE, PROFILE_FIELDS, ProfileField, Term};
use crate::views::UserSettings;
use mimi_wire::uri::MimiUri;

/// Space `UserSettings`, key: user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsRecord {
    pub(crate) v: u8,
    pub(crate) user: Option<MimiUri>,
    /// None: as the provider says.
    pub(crate) consent_required_of: Option<RequiredOf>,
    pub(crate) profile: Vec<ProfileField>,
    /// The newest position of the user's own queues.
    pub(crate) outbox_next: u64,
    /// The account was deleted: who may know that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<Deleted>,
}

/// An account that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deleted {
    /// When it was deleted, Unix ms.
    pub(crate) at: u64,
    /// Users of other providers who held a grant of its consent.
    pub(crate) known_to: Vec<MimiUri>,
}

impl UserState {
    pub(super) fn required_of(&self, env: &Env) -> RequiredOf {
        self.settings
            .consent_required_of
            .unwrap_or(env.config.users.consent_required_of)
    }

    pub(super) fn settings_view(&self, env: &Env) -> UserSettings {
        UserSettings {
            consent_required_of: self.settings.consent_required_of,
            provider_requires_of: env.config.users.consent_required_of,
            search: env.config.users.search.mode,
            profile: self.settings.profile.clone(),
        }
    }

    pub(super) fn write_settings(&self, decision: &mut Decision) -> Result<(), Refusal> {
        let record = SettingsRecord {
            v: 1,
            user: Some(self.user.clone()),
            ..self.settings.clone()
        };
        decision.put(Space::UserSettings, self.id().0.to_vec(), &record)
    }

    /// Replaces what the user decides.
    pub(super) fn set_settings(
        &mut self,
        env: &Env,
        consent_required_of: Option<RequiredOf>,
        profile: &[ProfileField],
    ) -> Result<Decision, Refusal> {
        if self.account.is_none() {
            return Err(Refusal::Unknown { what: "user" });
        }
        check_profile(profile)?;
        let mut decision = Decision::reply(Reply::Done);
        let (old, new) = (search::terms(&self.settings.profile), search::terms(profile));
        for term in old.difference(&new) {
            decision.delete(Space::SearchIndex, self.index_key(term));
        }
        for term in new.difference(&old) {
            decision.put(Space::SearchIndex, self.index_key(term), &self.user)?;
        }
        self.settings.consent_required_of = consent_required_of;
        self.settings.profile = profile.to_vec();
        self.write_settings(&mut decision)?;
        decision.reply = Reply::Settings(Box::new(self.settings_view(env)));
        Ok(decision)
    }

    /// With the account goes what it decided; that it was there is told to those whom it had let know.
    pub(super) fn forget_settings(
        &mut self,
        decision: &mut Decision,
        deleted: Deleted,
    ) -> Result<(), Refusal> {
        for term in search::terms(&self.settings.profile) {
            decision.delete(Space::SearchIndex, self.index_key(&term));
        }
        self.settings = SettingsRecord {
            v: 1,
            // What is still queued keeps its places, should the name be given away again.
            outbox_next: self.settings.outbox_next,
            deleted: Some(deleted),
            ..SettingsRecord::default()
        };
        decision.put(Space::UserSettings, self.id().0.to_vec(), &self.settings)
    }

    fn index_key(&self, term: &Term) -> Vec<u8> {
        key(&[&term.key(), &self.id().0])
    }
}

fn check_profile(profile: &[ProfileField]) -> Result<(), Refusal> {
    if profile.len() > PROFILE_FIELDS {
        return Err(Refusal::malformed(
            "profile",
            format!("{PROFILE_FIELDS} fields at most"),
        ));
    }
    let mut seen = BTreeSet::new();
    for field in profile {
        if !search::is_known(field.vocabulary, &field.name) {
            return Err(Refusal::malformed(
                "profile",
                format!(
                    "{} is no OpenID Connect claim or vCard property that is kept here",
                    field.name
                ),
            ));
        }
        if !(1..=FIELD_VALUE).contains(&field.value.len()) || field.value.chars().any(char::is_control) {
            return Err(Refusal::malformed(
                "profile",
                format!("the value of {}: 1 to {FIELD_VALUE} octets of text", field.name),
            ));
        }
        if !seen.insert((field.vocabulary, &field.name, &field.value)) {
            return Err(Refusal::malformed(
                "profile",
                format!("{} stands there twice", field.name),
            ));
        }
    }
    Ok(())
}
