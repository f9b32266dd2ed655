//! Consents, settings, searches.

use mimi_wire::protocol::{FieldSource, IdentifierQueryCode, IdentifierResponse, SearchIdentifierType};
use mls_client::api;
use room_engine::{
    ConsentBook, ConsentView, ProfileField, RequiredOf, SearchMode, Searchable, Sent, UserSettings,
    Vocabulary,
};

pub(in super::super) fn consents(book: ConsentBook) -> api::Consents {
    api::Consents {
        of_me: book.of_me.into_iter().map(consent).collect(),
        of_others: book.of_others.into_iter().map(consent).collect(),
    }
}

fn consent(view: ConsentView) -> api::Consent {
    use api::ConsentState as State;
    let (state, at, reason) = match (view.asked_at, view.sent, view.answer) {
        (Some(at), Some(Sent::Failed { reason }), _) => (State::Failed, at, Some(reason)),
        (Some(at), Some(Sent::Delivered), _) => (State::Delivered, at, None),
        (Some(at), Some(Sent::Waiting) | None, _) => (State::Asked, at, None),
        (None, _, Some(answer)) if answer.granted => (State::Granted, answer.at, None),
        (None, _, answer) => (State::Refused, answer.map_or(0, |answer| answer.at), None),
    };
    api::Consent {
        user: view.other.to_string(),
        room: view.room.map(|room| room.to_string()),
        state,
        at,
        reason,
    }
}

pub(in super::super) fn settings(settings: UserSettings) -> api::Settings {
    api::Settings {
        consent_required_of: settings.consent_required_of.map(required_of_out),
        provider_requires_of: required_of_out(settings.provider_requires_of),
        provider_search: match settings.search {
            SearchMode::Off => api::SearchMode::Off,
            SearchMode::Exact => api::SearchMode::Exact,
            SearchMode::Partial => api::SearchMode::Partial,
        },
        profile: settings.profile.into_iter().map(field_out).collect(),
    }
}

pub(in super::super) fn required_of(required: api::ConsentRequiredOf) -> RequiredOf {
    match required {
        api::ConsentRequiredOf::Foreign => RequiredOf::Foreign,
        api::ConsentRequiredOf::Everybody => RequiredOf::Everybody,
        api::ConsentRequiredOf::Nobody => RequiredOf::Nobody,
    }
}

fn required_of_out(required: RequiredOf) -> api::ConsentRequiredOf {
    match required {
        RequiredOf::Foreign => api::ConsentRequiredOf::Foreign,
        RequiredOf::Everybody => api::ConsentRequiredOf::Everybody,
        RequiredOf::Nobody => api::ConsentRequiredOf::Nobody,
    }
}

pub(in super::super) fn field_in(field: api::ProfileField) -> ProfileField {
    ProfileField {
        vocabulary: match field.vocabulary {
            api::Vocabulary::Oidc => Vocabulary::Oidc,
            api::Vocabulary::Vcard => Vocabulary::Vcard,
        },
        name: field.name,
        value: field.value,
        search: match field.search {
            api::Searchable::No => Searchable::No,
            api::Searchable::Exact => Searchable::Exact,
            api::Searchable::Partial => Searchable::Partial,
        },
        shown: field.shown,
    }
}

fn field_out(field: ProfileField) -> api::ProfileField {
    api::ProfileField {
        vocabulary: match field.vocabulary {
            Vocabulary::Oidc => api::Vocabulary::Oidc,
            Vocabulary::Vcard => api::Vocabulary::Vcard,
        },
        name: field.name,
        value: field.value,
        search: match field.search {
            Searchable::No => api::Searchable::No,
            Searchable::Exact => api::Searchable::Exact,
            Searchable::Partial => api::Searchable::Partial,
        },
        shown: field.shown,
    }
}

pub(in super::super) fn search_type(by: api::SearchBy) -> SearchIdentifierType {
    match by {
        api::SearchBy::Handle => SearchIdentifierType::Handle,
        api::SearchBy::Nick => SearchIdentifierType::Nick,
        api::SearchBy::Email => SearchIdentifierType::Email,
        api::SearchBy::Phone => SearchIdentifierType::Phone,
        api::SearchBy::PartialName => SearchIdentifierType::PartialName,
        api::SearchBy::WholeProfile => SearchIdentifierType::WholeProfile,
        api::SearchBy::OidcClaim => SearchIdentifierType::OidcStdClaim,
        api::SearchBy::VcardField => SearchIdentifierType::VcardField,
    }
}

/// The draft doesn't say how its two lists go together: whoever is in either was found.
pub(in super::super) fn found(response: IdentifierResponse) -> api::SearchAnswer {
    let mut found: Vec<api::FoundUser> = response
        .found_profiles
        .into_iter()
        .map(|profile| api::FoundUser {
            user: profile.stable_uri.to_string(),
            fields: profile
                .fields
                .into_iter()
                .map(|field| api::FoundField {
                    vocabulary: match field.field_source {
                        FieldSource::OidcStdClaim => api::Vocabulary::Oidc,
                        FieldSource::VcardField => api::Vocabulary::Vcard,
                    },
                    name: field.field_name,
                    value: String::from_utf8_lossy(&field.field_value.0).into_owned(),
                })
                .collect(),
        })
        .collect();
    for uri in response.uri {
        if !found.iter().any(|one| one.user == uri.as_str()) {
            found.push(api::FoundUser {
                user: uri.to_string(),
                fields: Vec::new(),
            });
        }
    }
    api::SearchAnswer {
        result: match response.response_code {
            IdentifierQueryCode::Success => api::SearchResult::Success,
            IdentifierQueryCode::NotFound => api::SearchResult::NotFound,
            IdentifierQueryCode::Ambiguous => api::SearchResult::Ambiguous,
            IdentifierQueryCode::Forbidden => api::SearchResult::Forbidden,
            IdentifierQueryCode::UnsupportedField => api::SearchResult::UnsupportedField,
        },
        found,
    }
}
