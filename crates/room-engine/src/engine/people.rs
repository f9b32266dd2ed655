//! What users say to each other outside of any room: consent, and how they are found.

use mimi_wire::components::AppDataDictionary;
use mimi_wire::protocol::{
    ConsentEntry, ConsentOperation, IdentifierQueryCode, IdentifierRequest, IdentifierResponse,
    ProfileField as WireField, UserProfile,
};
use mimi_wire::uri::{Domain, MimiUri};
use store::{Scan, Space};
use tokio::sync::{broadcast, watch};

use super::{Engine, EngineError, unexpected};
use crate::command::{Reply, RequestContext, UserCommand};
use crate::consent::{self, ConsentRecord, Direction, RequiredOf, Sent};
use crate::owner::UriKey;
use crate::records::{parse, read};
use crate::refusal::Refusal;
use crate::search::{ProfileField, Query, SearchPolicy};
use crate::user::{ConsentAnswer, SettingsRecord};
use crate::views::{ConsentBook, ConsentView, UserNotice, UserSettings};

/// What users of this provider are open to, unless they decide otherwise themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserPolicies {
    /// Whose requests for KeyPackages need consent.
    pub consent_required_of: RequiredOf,
    /// How others may search.
    pub search: SearchPolicy,
}

impl Engine {
    /// Tells of everything that concerns single users: a consent asked for, answered or sent, KeyPackages running low.
    /// What was told while nobody listened is in [`Engine::consents`] and [`Engine::open_consent_requests`].
    pub fn notices(&self) -> broadcast::Receiver<UserNotice> {
        self.env.notices.subscribe()
    }

    /// `requestConsent` (protocol-06 section 5.7) of a peer. `Ok` is the 201, whoever is meant.
    pub async fn request_consent(
        &self,
        ctx: RequestContext,
        peer: &Domain,
        entry: ConsentEntry,
    ) -> Result<(), Refusal> {
        let fits = consent::is_request(entry.consent_operation);
        self.consent_entry(ctx, peer, entry, fits).await
    }

    /// `updateConsent` (protocol-06 section 5.7) of a peer. `Ok` is the 201, whoever is meant.
    pub async fn update_consent(
        &self,
        ctx: RequestContext,
        peer: &Domain,
        entry: ConsentEntry,
    ) -> Result<(), Refusal> {
        let fits = !consent::is_request(entry.consent_operation);
        self.consent_entry(ctx, peer, entry, fits).await
    }

    async fn consent_entry(
        &self,
        ctx: RequestContext,
        peer: &Domain,
        entry: ConsentEntry,
        fits: bool,
    ) -> Result<(), Refusal> {
        if !fits {
            return Err(Refusal::malformed(
                "ConsentEntry",
                "the operation belongs to the other endpoint",
            ));
        }
        let (from, to) = if consent::is_request(entry.consent_operation) {
            (&entry.requester_uri, &entry.target_uri)
        } else {
            (&entry.target_uri, &entry.requester_uri)
        };
        if from.domain() != *peer {
            return Err(Refusal::forbidden("the acting user belongs to another provider"));
        }
        if to.domain() != self.env.config.provider {
            return Err(Refusal::forbidden("the user belongs to another provider"));
        }
        let to = to.clone();
        self.user_command(ctx, &to, UserCommand::ConsentEntry(Box::new(entry)))
            .await
            .map(drop)
    }

    /// An own user asks another one, here or elsewhere, for consent to add it to a room or to any. What becomes of it is
    /// in [`Engine::consents`].
    pub async fn ask_consent(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        target: &MimiUri,
        room: Option<&MimiUri>,
    ) -> Result<(), Refusal> {
        // Its worker first: if the process dies in between, the repeat of the request does the rest.
        self.directly(&ctx, ConsentOperation::Request, user, target, room)
            .await?;
        let command = UserCommand::AskConsent {
            target: target.clone(),
            room: room.cloned(),
        };
        self.user_command(ctx.clone(), user, command).await?;
        Ok(())
    }

    /// An own user takes back what it asked for.
    pub async fn cancel_consent(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        target: &MimiUri,
        room: Option<&MimiUri>,
    ) -> Result<(), Refusal> {
        self.directly(&ctx, ConsentOperation::Cancel, user, target, room)
            .await?;
        let command = UserCommand::CancelConsent {
            target: target.clone(),
            room: room.cloned(),
        };
        self.user_command(ctx, user, command).await.map(drop)
    }

    /// An own user answers a request, or says unasked what somebody may.
    pub async fn answer_consent(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        requester: &MimiUri,
        room: Option<&MimiUri>,
        answer: ConsentAnswer,
    ) -> Result<(), Refusal> {
        let command = UserCommand::AnswerConsent {
            requester: requester.clone(),
            room: room.cloned(),
            answer,
        };
        self.user_command(ctx.clone(), user, command).await?;
        let operation = match answer {
            ConsentAnswer::Grant => ConsentOperation::Grant,
            ConsentAnswer::Refuse { tell: true } => ConsentOperation::Revoke,
            ConsentAnswer::Refuse { tell: false } | ConsentAnswer::Forget => return Ok(()),
        };
        self.directly(&ctx, operation, requester, user, room).await
    }

    /// Between two users of this provider nothing has to be sent.
    async fn directly(
        &self,
        ctx: &RequestContext,
        operation: ConsentOperation,
        requester: &MimiUri,
        target: &MimiUri,
        room: Option<&MimiUri>,
    ) -> Result<(), Refusal> {
        let own = &self.env.config.provider;
        if requester.domain() != *own || target.domain() != *own || requester == target {
            return Ok(());
        }
        let entry = ConsentEntry {
            consent_operation: operation,
            requester_uri: requester.clone(),
            target_uri: target.clone(),
            room_id: room.cloned(),
            client_key_packages: Vec::new(),
            consent_extensions: AppDataDictionary::default(),
        };
        self.consent_entry(ctx.clone(), &own.clone(), entry, true).await
    }

    /// What became of a request that was to be sent.
    pub async fn consent_sent(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        target: &MimiUri,
        room: Option<&MimiUri>,
        sent: Sent,
    ) -> Result<(), Refusal> {
        let command = UserCommand::ConsentSent {
            target: target.clone(),
            room: room.cloned(),
            sent,
        };
        self.user_command(ctx, user, command).await.map(drop)
    }

    /// Everything that a user was asked, answered, asked itself and was answered.
    pub async fn consents(&self, ctx: RequestContext, user: &MimiUri) -> Result<ConsentBook, Refusal> {
        match self.user_command(ctx, user, UserCommand::Consents).await? {
            Reply::Consents(book) => Ok(book),
            other => Err(unexpected(&other)),
        }
    }

    /// Requests that wait for a user's answer.
    pub async fn consent_requests(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
    ) -> Result<Vec<ConsentView>, Refusal> {
        let book = self.consents(ctx, user).await?;
        Ok(book
            .of_me
            .into_iter()
            .filter(|view| view.asked_at.is_some())
            .collect())
    }

    /// Every own user's requests that wait for an answer: for whoever shows them and was not there when they came.
    pub async fn open_consent_requests(&self) -> Result<Vec<(MimiUri, ConsentView)>, EngineError> {
        let mut open = Vec::new();
        self.each(Space::Consent, b"", |key, value| {
            let record: ConsentRecord = parse(Space::Consent, key, value)?;
            let of_me = key.get(16) == Some(&(Direction::OfMe as u8));
            if of_me && record.asked_at.is_some() {
                open.push((record.user.clone(), ConsentView::from(record)));
            }
            Ok(())
        })
        .await?;
        Ok(open)
    }

    /// What a user has decided about consent and about being found.
    pub async fn settings(&self, ctx: RequestContext, user: &MimiUri) -> Result<UserSettings, Refusal> {
        self.settings_command(ctx, user, UserCommand::Settings).await
    }

    /// Replaces what a user has decided.
    pub async fn set_settings(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        consent_required_of: Option<RequiredOf>,
        profile: Vec<ProfileField>,
    ) -> Result<UserSettings, Refusal> {
        let command = UserCommand::SetSettings {
            consent_required_of,
            profile,
        };
        self.settings_command(ctx, user, command).await
    }

    async fn settings_command(
        &self,
        ctx: RequestContext,
        user: &MimiUri,
        command: UserCommand,
    ) -> Result<UserSettings, Refusal> {
        match self.user_command(ctx, user, command).await? {
            Reply::Settings(settings) => Ok(*settings),
            other => Err(unexpected(&other)),
        }
    }

    /// `identifierQuery` (protocol-06 section 5.8): own users whom the query matches and who may be found so.
    pub async fn identifier_query(
        &self,
        request: &IdentifierRequest,
    ) -> Result<IdentifierResponse, EngineError> {
        let policy = self.env.config.users.search;
        let found = match Query::new(&request.query_elements, &policy) {
            Ok(query) => self.find(&query, policy.results).await?,
            Err(code) => return Ok(found_none(code)),
        };
        if found.is_empty() {
            return Ok(found_none(IdentifierQueryCode::NotFound));
        }
        if found.len() > policy.results {
            return Ok(found_none(IdentifierQueryCode::Ambiguous));
        }
        let profiles: Vec<UserProfile> = found
            .into_iter()
            .map(|(user, profile)| UserProfile {
                stable_uri: user,
                fields: profile.into_iter().filter(|f| f.shown).map(wire_field).collect(),
            })
            .collect();
        Ok(IdentifierResponse {
            response_code: IdentifierQueryCode::Success,
            uri: profiles.iter().map(|p| p.stable_uri.clone()).collect(),
            found_profiles: profiles,
            id_response_extensions: AppDataDictionary::default(),
        })
    }

    /// One more than `most` at most: then there are too many.
    async fn find(
        &self,
        query: &Query,
        most: usize,
    ) -> Result<Vec<(MimiUri, Vec<ProfileField>)>, EngineError> {
        let store = self.env.store.as_ref();
        let mut found = Vec::new();
        if let Some(term) = query.indexed() {
            // A value that very many share is too many whatever else is asked.
            let rows = store
                .scan(Scan::prefix(Space::SearchIndex, term.key()).limit(CANDIDATES))
                .await?;
            for (key, value) in rows {
                let user: MimiUri = parse(Space::SearchIndex, &key, &value)?;
                let settings: Option<SettingsRecord> =
                    read(store, Space::UserSettings, &UriKey::of(&user).0).await?;
                let profile = settings.map(|settings| settings.profile).unwrap_or_default();
                if query.matches(&profile) {
                    found.push((user, profile));
                }
                if found.len() > most {
                    break;
                }
            }
            return Ok(found);
        }
        self.each(Space::UserSettings, b"", |key, value| {
            if found.len() <= most {
                let settings: SettingsRecord = parse(Space::UserSettings, key, value)?;
                if let Some(user) = settings.user
                    && query.matches(&settings.profile)
                {
                    found.push((user, settings.profile));
                }
            }
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// Changes whenever something is noticed that concerns a user. To be asked for before looking.
    pub fn watch_user(&self, user: &MimiUri) -> watch::Receiver<u64> {
        self.env.watch_user(user)
    }
}

/// Profiles looked at for one value.
const CANDIDATES: usize = 1000;

fn found_none(code: IdentifierQueryCode) -> IdentifierResponse {
    IdentifierResponse {
        response_code: code,
        uri: Vec::new(),
        found_profiles: Vec::new(),
        id_response_extensions: AppDataDictionary::default(),
    }
}

fn wire_field(field: ProfileField) -> WireField {
    WireField {
        field_source: field.vocabulary.source(),
        field_name: field.name,
        field_value: field.value.into_bytes().into(),
    }
}
