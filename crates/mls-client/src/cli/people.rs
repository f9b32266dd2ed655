//! Consent, profile, search.

use super::output::{Output, plain, time};
use super::{CliError, HttpClient};
use crate::api::{
    Consent, ConsentAct, ConsentRequiredOf, ConsentState, ConsentVerb, Consents, FoundUser, NewSettings,
    ProfileField, SearchBy, SearchElement, SearchRequest, SearchResult, Searchable, Settings, Vocabulary,
};
use crate::error::ClientError;
use crate::transport::People as _;
use clap::{Args, Subcommand, ValueEnum};
use mimi_wire::MimiUri;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Say who may add you to rooms, and ask others for the same.
///
/// A refusal is not told to the other unless you say so; whether somebody has seen your request is told to nobody.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway client consent                         what was asked and answered
  causeway client consent request bob@b.example   ask Bob to let you add him to rooms
  causeway client consent grant mimi://a.example/u/alice")]
pub(super) struct ConsentArgs {
    #[command(subcommand)]
    command: Option<ConsentCommand>,
}

#[derive(Debug, Subcommand)]
enum ConsentCommand {
    /// Show what was asked and answered (the default).
    List,
    /// Ask a user for consent to add it to rooms.
    Request(Scope),
    /// Take a request back.
    Cancel(Scope),
    /// Let a user add you to rooms, asked or not.
    Grant(Scope),
    /// Don't let a user add you, or not any more.
    Refuse {
        #[command(flatten)]
        scope: Scope,
        /// Tell the other.
        #[arg(long)]
        tell: bool,
    },
    /// Forget what a user asked and what you answered.
    Forget(Scope),
    /// Whose requests need your consent: users of other providers, everybody, nobody; or as your provider says.
    Require {
        /// Whose.
        of: Require,
    },
}

#[derive(Debug, Args)]
struct Scope {
    /// The user: mimi://provider/u/name, name@provider or @name:provider.
    user: String,
    /// For this room only (its URI).
    #[arg(long, value_name = "URI")]
    room: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Require {
    Foreign,
    Everybody,
    Nobody,
    /// As the provider says.
    Default,
}

pub(super) async fn consent(client: &HttpClient, args: ConsentArgs, out: Output) -> Result<(), CliError> {
    let (verb, scope, tell) = match args.command {
        None | Some(ConsentCommand::List) => {
            let consents = client.transport().consents().await.map_err(ClientError::from)?;
            return show_consents(&consents, out);
        }
        Some(ConsentCommand::Require { of }) => return require(client, of, out).await,
        Some(ConsentCommand::Request(scope)) => (ConsentVerb::Request, scope, false),
        Some(ConsentCommand::Cancel(scope)) => (ConsentVerb::Cancel, scope, false),
        Some(ConsentCommand::Grant(scope)) => (ConsentVerb::Grant, scope, false),
        Some(ConsentCommand::Refuse { scope, tell }) => (ConsentVerb::Refuse, scope, tell),
        Some(ConsentCommand::Forget(scope)) => (ConsentVerb::Forget, scope, false),
    };
    let room = scope.room.as_deref().map(MimiUri::parse).transpose();
    let room =
        room.map_err(|e| CliError::usage(format!("the room's URI: {e}"), "write mimi://provider/r/name"))?;
    let act = ConsentAct {
        act: verb,
        user: crate::engine::parse_user(&scope.user)?.to_string(),
        room: room.map(|uri| uri.to_string()),
        tell,
    };
    let consents = client
        .transport()
        .consent(&act)
        .await
        .map_err(ClientError::from)?;
    show_consents(&consents, out)
}

async fn require(client: &HttpClient, of: Require, out: Output) -> Result<(), CliError> {
    let required = match of {
        Require::Foreign => Some(ConsentRequiredOf::Foreign),
        Require::Everybody => Some(ConsentRequiredOf::Everybody),
        Require::Nobody => Some(ConsentRequiredOf::Nobody),
        Require::Default => None,
    };
    change(client, out, |new| new.consent_required_of = required).await
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

fn show_consents(consents: &Consents, out: Output) -> Result<(), CliError> {
    if out.json {
        return out.show(&value(consents), String::new);
    }
    let of_me = consents.of_me.iter().map(|consent| row("adds me", consent));
    let of_others = consents.of_others.iter().map(|consent| row("I add", consent));
    let rows: Vec<_> = of_me.chain(of_others).collect();
    out.table(["WHO", "USER", "ROOM", "STATE", "SINCE"], &rows, Vec::new())
}

fn row(who: &str, consent: &Consent) -> [String; 5] {
    let state = match consent.state {
        ConsentState::Asked => "asked",
        ConsentState::Delivered => "delivered",
        ConsentState::Failed => "not taken",
        ConsentState::Granted => "granted",
        ConsentState::Refused => "refused",
    };
    let state = match &consent.reason {
        Some(reason) => format!("{state}: {}", plain(reason)),
        None => state.to_owned(),
    };
    [
        who.to_owned(),
        consent.user.clone(),
        consent.room.clone().unwrap_or_else(|| "any".to_owned()),
        state,
        time(consent.at),
    ]
}

pub(super) async fn notices(client: &HttpClient, out: Output) -> Result<(), CliError> {
    let notices = client.transport().notices(None, Duration::ZERO).await;
    let notices = notices.map_err(ClientError::from)?;
    if out.json {
        return out.show(&value(&notices), String::new);
    }
    let stock = notices.key_packages;
    let low = if stock.low { ", low: run `sync`" } else { "" };
    out.show(&Value::Null, || format!("{} KeyPackages{low}", stock.available))?;
    show_consents(
        &Consents {
            of_me: notices.consent_requests,
            of_others: notices.consents_of_others,
        },
        out,
    )
}

/// Show and change what others can find of you. Nothing is found or shown that you did not set so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway client profile set vcard:IMPP im:alice@a.example --search exact   found by this handle
  causeway client profile set oidc:name \"Alice Adams\" --shown              shown to whoever has found you
  causeway client profile unset vcard:IMPP")]
pub(super) struct ProfileArgs {
    #[command(subcommand)]
    command: Option<ProfileCommand>,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Show the profile (the default).
    Show,
    /// Set a field.
    Set {
        /// oidc:CLAIM (name, nickname, email, phone_number, ...) or vcard:PROPERTY (IMPP for a handle, ORG, ...).
        #[arg(value_parser = field_name)]
        field: FieldName,
        /// Its value.
        value: String,
        /// Whether others find you by it.
        #[arg(long, value_enum, default_value_t = Search::No)]
        search: Search,
        /// Whether others see it once they have found you.
        #[arg(long)]
        shown: bool,
    },
    /// Remove a field.
    Unset {
        /// As in `set`.
        #[arg(value_parser = field_name)]
        field: FieldName,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Search {
    No,
    /// By the whole value.
    Exact,
    /// Also by part of it.
    Partial,
}

#[derive(Clone, Debug)]
struct FieldName {
    vocabulary: Vocabulary,
    name: String,
}

fn field_name(text: &str) -> Result<FieldName, String> {
    let (vocabulary, name) = match text.split_once(':') {
        Some(("oidc", name)) => (Vocabulary::Oidc, name.to_owned()),
        Some(("vcard", name)) => (Vocabulary::Vcard, name.to_ascii_uppercase()),
        _ => return Err("write oidc:CLAIM or vcard:PROPERTY".into()),
    };
    Ok(FieldName { vocabulary, name })
}

pub(super) async fn profile(client: &HttpClient, args: ProfileArgs, out: Output) -> Result<(), CliError> {
    match args.command {
        None | Some(ProfileCommand::Show) => {
            let settings = client.transport().settings().await.map_err(ClientError::from)?;
            show_settings(&settings, out)
        }
        Some(ProfileCommand::Set {
            field,
            value,
            search,
            shown,
        }) => {
            let set = ProfileField {
                vocabulary: field.vocabulary,
                name: field.name.clone(),
                value,
                search: match search {
                    Search::No => Searchable::No,
                    Search::Exact => Searchable::Exact,
                    Search::Partial => Searchable::Partial,
                },
                shown,
            };
            change(client, out, |new| {
                new.profile.retain(|one| !field.names(one));
                new.profile.push(set);
            })
            .await
        }
        Some(ProfileCommand::Unset { field }) => {
            change(client, out, |new| new.profile.retain(|one| !field.names(one))).await
        }
    }
}

impl FieldName {
    fn names(&self, field: &ProfileField) -> bool {
        field.vocabulary == self.vocabulary && field.name == self.name
    }
}

/// Reads the settings, changes them, writes them.
async fn change(
    client: &HttpClient,
    out: Output,
    change: impl FnOnce(&mut NewSettings),
) -> Result<(), CliError> {
    let people = client.transport();
    let now = people.settings().await.map_err(ClientError::from)?;
    let mut new = NewSettings {
        consent_required_of: now.consent_required_of,
        profile: now.profile,
    };
    change(&mut new);
    let settings = people.set_settings(&new).await.map_err(ClientError::from)?;
    show_settings(&settings, out)
}

fn show_settings(settings: &Settings, out: Output) -> Result<(), CliError> {
    if out.json {
        return out.show(&value(settings), String::new);
    }
    let of = match settings
        .consent_required_of
        .unwrap_or(settings.provider_requires_of)
    {
        ConsentRequiredOf::Foreign => "users of other providers",
        ConsentRequiredOf::Everybody => "everybody",
        ConsentRequiredOf::Nobody => "nobody",
    };
    let by = if settings.consent_required_of.is_none() {
        " (as the provider says)"
    } else {
        ""
    };
    out.show(&Value::Null, || format!("your consent is needed by: {of}{by}"))?;
    let rows: Vec<_> = settings
        .profile
        .iter()
        .map(|field| {
            let search = match field.search {
                Searchable::No => "not found by it",
                Searchable::Exact => "found by the whole",
                Searchable::Partial => "found by part of it",
            };
            let shown = if field.shown { "shown" } else { "hidden" };
            let name = name_of(field.vocabulary, &field.name);
            [name, plain(&field.value), search.to_owned(), shown.to_owned()]
        })
        .collect();
    out.table(["FIELD", "VALUE", "SEARCH", "SHOWN"], &rows, Vec::new())
}

fn name_of(vocabulary: Vocabulary, name: &str) -> String {
    let vocabulary = match vocabulary {
        Vocabulary::Oidc => "oidc",
        Vocabulary::Vcard => "vcard",
    };
    format!("{vocabulary}:{}", plain(name))
}

/// Look for users at a provider. Everything given has to match.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  causeway client find b.example --handle im:bob@b.example
  causeway client find b.example --field oidc:given_name=Bob --field vcard:ORG=Example")]
pub(super) struct FindArgs {
    /// The provider's domain.
    provider: String,
    /// A whole handle URI.
    #[arg(long, value_name = "URI")]
    handle: Option<String>,
    /// A nickname, or the user part of a handle.
    #[arg(long, value_name = "NAME")]
    nick: Option<String>,
    /// A mail address.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A telephone number with `+`.
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
    /// Part of a name; few providers answer that.
    #[arg(long, value_name = "TEXT")]
    name_part: Option<String>,
    /// Part of any field; few providers answer that.
    #[arg(long, value_name = "TEXT")]
    any_part: Option<String>,
    /// A claim or property and its value, oidc:CLAIM=VALUE or vcard:PROPERTY=VALUE. May be repeated.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = field_value)]
    field: Vec<(FieldName, String)>,
}

fn field_value(text: &str) -> Result<(FieldName, String), String> {
    let (name, value) = text.split_once('=').ok_or("write FIELD=VALUE")?;
    Ok((field_name(name)?, value.to_owned()))
}

pub(super) async fn find(client: &HttpClient, args: FindArgs, out: Output) -> Result<(), CliError> {
    let given = [
        (SearchBy::Handle, args.handle),
        (SearchBy::Nick, args.nick),
        (SearchBy::Email, args.email),
        (SearchBy::Phone, args.phone),
        (SearchBy::PartialName, args.name_part),
        (SearchBy::WholeProfile, args.any_part),
    ];
    let simple = given.into_iter().filter_map(|(by, value)| {
        Some(SearchElement {
            by,
            name: None,
            value: value?,
        })
    });
    let fields = args.field.into_iter().map(|(field, value)| SearchElement {
        by: match field.vocabulary {
            Vocabulary::Oidc => SearchBy::OidcClaim,
            Vocabulary::Vcard => SearchBy::VcardField,
        },
        name: Some(field.name),
        value,
    });
    let elements: Vec<_> = simple.chain(fields).collect();
    if elements.is_empty() {
        return Err(CliError::usage(
            "nothing to look for",
            "add --handle, --nick, --email, --phone or --field",
        ));
    }
    let request = SearchRequest {
        provider: args.provider,
        elements,
    };
    let answer = client
        .transport()
        .search(&request)
        .await
        .map_err(ClientError::from)?;
    if answer.result == SearchResult::Success {
        let rows: Vec<_> = answer.found.iter().map(found_row).collect();
        let values = answer.found.iter().map(value).collect();
        return out.table(["USER", "SHOWS"], &rows, values);
    }
    let (cause, remedy) = match answer.result {
        SearchResult::Ambiguous => (
            "too many match, or only whole values are compared there",
            "search for something more exact",
        ),
        SearchResult::Forbidden => (
            "the provider doesn't answer such a search",
            "ask the user for its URI",
        ),
        SearchResult::UnsupportedField => ("the provider has no such field", "search by another field"),
        _ => (
            "nobody found, or nobody who wants to be found so",
            "ask the user for its URI",
        ),
    };
    Err(CliError::nothing(cause, remedy))
}

fn found_row(user: &FoundUser) -> [String; 2] {
    let fields: Vec<_> = user
        .fields
        .iter()
        .map(|field| {
            format!(
                "{}: {}",
                name_of(field.vocabulary, &field.name),
                plain(&field.value)
            )
        })
        .collect();
    [plain(&user.user), fields.join(", ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_with_their_vocabulary() {
        assert!(field_name("email").is_err());
        assert!(matches!(field_name("vcard:org"), Ok(FieldName { name, .. }) if name == "ORG"));
        assert!(matches!(field_value("oidc:name=a=b"), Ok((_, value)) if value == "a=b"));
        assert_eq!(value(&ConsentState::Delivered), "delivered");
    }
}
