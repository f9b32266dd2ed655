//! Rooms and their messages.

use super::output::{Output, entry_json, line, plain, with};
use super::{CliError, HttpClient, Place};
use crate::engine::{NewRoom, Sent, parse_user};
use crate::error::ClientError;
use crate::state::{Entry, Membership, What};
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// How long a long poll waits.
const FOLLOW_WAIT: Duration = Duration::from_secs(20);
/// How long between two rounds of `sync --follow`.
const SYNC_PAUSE: Duration = Duration::from_secs(1);

/// A room.
#[derive(Debug, Args)]
pub(super) struct RoomArg {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
}

/// Found a room.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Its name, readable for all providers that take part.
    name: String,
    /// Let it be searched for, and be listed in the directory of the hub's homeserver.
    #[arg(long)]
    discoverable: bool,
    /// The number of its MLS cipher suite: 1, 2 or 3 [default: the provider's best].
    #[arg(long, value_name = "N")]
    cipher_suite: Option<u16>,
}

/// Users of a room.
#[derive(Debug, Args)]
pub(super) struct UsersArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
    /// Users: mimi://provider/u/name, name@provider, or @name:provider.
    #[arg(required = true)]
    users: Vec<String>,
}

/// A user's role.
#[derive(Debug, Args)]
pub(super) struct RoleArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
    /// The user: mimi://provider/u/name, name@provider, or @name:provider.
    user: String,
    /// The role's index.
    role: u32,
}

/// A text of a room.
#[derive(Debug, Args)]
pub(super) struct TextArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
    /// The text.
    text: String,
}

/// Send a message and wait until the hub has accepted it.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
    /// The text; `-` reads standard input.
    text: String,
    /// The text is Markdown (GFM-MIMI).
    #[arg(long)]
    markdown: bool,
    /// Do not wait for the acceptance.
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the acceptance, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Print a room's messages.
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
    /// Stay and print what comes.
    #[arg(long, conflicts_with = "offline")]
    follow: bool,
    /// Only what this profile already holds.
    #[arg(long)]
    offline: bool,
    /// Only messages, no changes of membership and no problems.
    #[arg(long)]
    messages: bool,
    /// Only what is at this position of the feed or after it.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    since: u64,
}

/// Read all feeds, finish what was begun, refill KeyPackages, commit others' proposals.
#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// Stay and go on.
    #[arg(long)]
    follow: bool,
}

/// The room's URI, asking the provider where this device doesn't know it yet.
pub(super) async fn find(client: &mut HttpClient, text: &str) -> Result<String, CliError> {
    if let Ok(uri) = client.engine().find_room(text) {
        return Ok(uri);
    }
    client.refresh().await?;
    // A room's name is in its group: a Welcome that waits in the feed tells it.
    if client.engine().find_room(text).is_err() {
        let unread: Vec<_> = client
            .engine()
            .rooms()
            .filter(|r| r.name.is_none())
            .map(|r| r.uri.clone())
            .collect();
        for uri in unread {
            client.catch_up(&uri).await?;
        }
    }
    Ok(client.engine().find_room(text)?)
}

fn standing(membership: &Membership) -> &'static str {
    match membership {
        Membership::Outside => "outside",
        Membership::Founding(_) => "founding",
        Membership::Joining => "joining",
        Membership::Member => "member",
        Membership::Leaving => "leaving",
        Membership::Left => "left",
        Membership::Broken { .. } => "broken",
    }
}

pub(super) async fn list(client: &mut HttpClient, out: Output) -> Result<(), CliError> {
    for uri in client.refresh().await? {
        client.catch_up(&uri).await?;
    }
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for room in client.engine().rooms() {
        let epoch = client.engine().epoch(&room.uri)?;
        rows.push([
            plain(room.name.as_deref().unwrap_or_default()),
            standing(&room.membership).into(),
            epoch.map_or("-".into(), |e| e.to_string()),
            room.hub.clone(),
            room.uri.clone(),
        ]);
        values.push(json!({
            "room": room.uri, "name": room.name, "hub": room.hub, "membership": standing(&room.membership),
            "epoch": epoch, "portal": room.portal, "next": room.next, "waiting": room.outgoing.len(),
        }));
    }
    out.table(["NAME", "DEVICE IS", "EPOCH", "HUB", "ROOM"], &rows, values)
}

pub(super) async fn members(client: &mut HttpClient, args: &RoomArg, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    client.catch_up(&uri).await?;
    let roster = client.engine().members(&uri)?;
    let clients_of = |user: &str| -> Vec<String> {
        let of = |c: &&String| crate::engine::user_of(c).is_some_and(|u| u.as_str() == user);
        roster.clients.iter().filter(of).cloned().collect()
    };
    let rows: Vec<_> = roster
        .participants
        .iter()
        .map(|(user, role)| [user.clone(), role.to_string(), clients_of(user).join(" ")])
        .collect();
    let values = roster
        .participants
        .iter()
        .map(|(user, role)| json!({"user": user, "role": role, "clients": clients_of(user)}))
        .collect();
    out.table(["USER", "ROLE", "DEVICES"], &rows, values)
}

pub(super) async fn create(client: &mut HttpClient, args: &CreateArgs, out: Output) -> Result<(), CliError> {
    let new = NewRoom {
        discoverable: args.discoverable,
        suite: args.cipher_suite,
    };
    let uri = client.create_as(&args.name, new).await?;
    out.show(&json!({"room": uri, "name": args.name}), || uri.clone())
}

/// What a change of the group prints: the room, its epoch, and what the feed said meanwhile.
fn changed(client: &HttpClient, uri: &str, news: &[Entry], out: Output) -> Result<(), CliError> {
    let room = client.engine().room(uri)?;
    let epoch = client.engine().epoch(uri)?;
    let value = json!({
        "room": uri, "epoch": epoch, "membership": standing(&room.membership),
        "entries": news.iter().map(entry_json).collect::<Vec<_>>(),
    });
    if out.json {
        return line(&value.to_string());
    }
    out.entries(news)?;
    line(&format!(
        "{}: this device is {} (epoch {})",
        plain(room.title()),
        standing(&room.membership),
        epoch.unwrap_or_default()
    ))
}

pub(super) async fn add(client: &mut HttpClient, args: &UsersArgs, out: Output) -> Result<(), CliError> {
    let users = args
        .users
        .iter()
        .map(|u| parse_user(u))
        .collect::<Result<Vec<_>, _>>()?;
    let uri = find(client, &args.room).await?;
    let news = client.add(&uri, &users).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn remove(client: &mut HttpClient, args: &UsersArgs, out: Output) -> Result<(), CliError> {
    let users = args
        .users
        .iter()
        .map(|u| parse_user(u))
        .collect::<Result<Vec<_>, _>>()?;
    let uri = find(client, &args.room).await?;
    let news = client.remove(&uri, &users).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn role(client: &mut HttpClient, args: &RoleArgs, out: Output) -> Result<(), CliError> {
    let user = parse_user(&args.user)?;
    let uri = find(client, &args.room).await?;
    let news = client
        .set_roles(&uri, vec![(user.as_str().into(), args.role)])
        .await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn ban(client: &mut HttpClient, args: &UsersArgs, out: Output) -> Result<(), CliError> {
    let mut changes = Vec::new();
    for user in &args.users {
        changes.push((parse_user(user)?.as_str().into(), 1));
    }
    let uri = find(client, &args.room).await?;
    let news = client.set_roles(&uri, changes).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn rename(client: &mut HttpClient, args: &TextArgs, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    let news = client.describe(&uri, Some(args.text.clone()), None).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn topic(client: &mut HttpClient, args: &TextArgs, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    let news = client.describe(&uri, None, Some(args.text.clone())).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn renew_keys(client: &mut HttpClient, args: &RoomArg, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    let news = client.renew_keys(&uri).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn picture(client: &mut HttpClient, args: &TextArgs, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    let news = client.set_picture(&uri, args.text.clone()).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn join(client: &mut HttpClient, args: &RoomArg, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    let news = client.join(&uri).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn leave(client: &mut HttpClient, args: &RoomArg, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    let news = client.leave(&uri).await?;
    changed(client, &uri, &news, out)
}

pub(super) async fn send(client: &mut HttpClient, args: &SendArgs, out: Output) -> Result<(), CliError> {
    use mimi_wire::content::text_type;
    let text = if args.text == "-" {
        std::io::read_to_string(std::io::stdin())
            .map_err(|e| CliError::usage(format!("standard input: {e}"), "send UTF-8 text"))?
    } else {
        args.text.clone()
    };
    let uri = find(client, &args.room).await?;
    let kind = if args.markdown {
        text_type::GFM_MIMI
    } else {
        text_type::PLAIN
    };
    let wait = if args.no_wait {
        Duration::ZERO
    } else {
        Duration::from_secs(args.timeout)
    };
    let (id, sent, _) = client.send(&uri, &text, kind, wait).await?;
    if matches!(sent, Sent::Accepted(_)) {
        // The feed tells which event carries it.
        client.catch_up(&uri).await?;
    }
    match client.engine().sent(&uri, &id)? {
        Sent::Accepted(entry) => {
            let value = with(
                entry_json(&entry),
                [("state", json!("accepted")), ("room", json!(uri))],
            );
            out.show(&value, || {
                format!("accepted: {}", super::output::entry_text(&entry))
            })
        }
        Sent::Refused(why) => Err(ClientError::MessageRefused { id, why }.into()),
        Sent::Waiting { .. } | Sent::Again if !args.no_wait => Err(ClientError::Pending {
            seconds: args.timeout,
        }
        .into()),
        Sent::Waiting { .. } | Sent::Again => out
            .show(&json!({"state": "queued", "id": id, "room": uri}), || {
                format!("queued: {id}")
            }),
    }
}

pub(super) async fn read(place: &Place<'_>, args: &ReadArgs, out: Output) -> Result<(), CliError> {
    let wanted = |e: &&Entry| {
        (!args.messages || matches!(e.what, What::Message(_))) && e.pos.is_none_or(|p| p >= args.since)
    };
    if args.offline {
        let engine = place.engine()?;
        let uri = engine.find_room(&args.room)?;
        return history(engine.room(&uri)?.ordered().into_iter().filter(wanted), out);
    }
    let mut client = place.client()?;
    let uri = find(&mut client, &args.room).await?;
    client.catch_up(&uri).await?;
    let room = client.engine().room(&uri)?;
    if !args.follow {
        return history(room.ordered().into_iter().filter(wanted), out);
    }
    // What has no place in the feed yet is printed when it gets one.
    out.entries(
        room.ordered()
            .into_iter()
            .filter(wanted)
            .filter(|e| e.pos.is_some()),
    )?;
    loop {
        match client.follow(&uri, FOLLOW_WAIT).await {
            Ok(news) => out.entries(news.iter().filter(wanted))?,
            Err(error) => again(error).await?,
        }
    }
}

fn history<'a>(entries: impl Iterator<Item = &'a Entry>, out: Output) -> Result<(), CliError> {
    if out.json {
        return line(&serde_json::Value::Array(entries.map(entry_json).collect()).to_string());
    }
    out.entries(entries)
}

/// Goes on after what passes by itself.
pub(super) async fn again(error: ClientError) -> Result<(), CliError> {
    match &error {
        ClientError::Transport(e) if e.retry_after().is_some() => {
            tracing::warn!(%error, "will go on");
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(())
        }
        _ => Err(error.into()),
    }
}

pub(super) async fn sync(client: &mut HttpClient, args: &SyncArgs, out: Output) -> Result<(), CliError> {
    loop {
        match client.sync().await {
            Ok(news) => {
                for (uri, entries) in &news {
                    for entry in entries {
                        let value = with(entry_json(entry), [("room", json!(uri))]);
                        let title = plain(client.engine().room(uri)?.title());
                        out.show(&value, || {
                            format!("{title}: {}", super::output::entry_text(entry))
                        })?;
                    }
                }
            }
            Err(error) if args.follow => again(error).await?,
            Err(error) => return Err(error.into()),
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(SYNC_PAUSE).await;
    }
}
