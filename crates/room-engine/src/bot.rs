//! The bot's words: commands read, replies put together. Pure.
//!
//! Any Matrix client can talk to it: a command is an ordinary text message, a reply an `m.notice` with a plain and a
//! formatted body. In a conversation with the bot alone the command stands by itself; elsewhere it follows `!mimi`.

use mimi_wire::uri::{MimiUri, UriKind};
use serde_json::{Value, json};

mod reply;
pub use reply::Reply;

/// What a command begins with in rooms with others.
pub const PREFIX: &str = "!mimi";
/// Longest message that is read as a command, in octets.
const LONGEST: usize = 4_096;
/// Users in one `chat`.
const MOST_USERS: usize = 50;

/// What somebody says to the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// What it can do.
    Help,
    /// Start a chat.
    Chat {
        /// With whom.
        users: Vec<MimiUri>,
        /// The room's name.
        name: Option<String>,
    },
    /// The user's rooms.
    List,
    /// Everything about a room.
    Info {
        /// URI, name, or the last part of the URI; none for the only one.
        room: Option<String>,
    },
    /// How a message stands.
    Status {
        /// The client's id of it.
        id: String,
    },
    /// What waits for the user's clients.
    Wishes,
    /// Take a wish back.
    Cancel {
        /// Its id, or its beginning.
        id: String,
    },
    /// Requests for consent that wait for an answer.
    Requests,
    /// Say yes to a request for consent.
    Accept {
        /// Who asks.
        user: MimiUri,
    },
    /// Say no to one.
    Refuse {
        /// Who asks.
        user: MimiUri,
    },
    /// For admins.
    Admin(Admin),
}

/// Commands for admins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// All rooms of this provider.
    Rooms,
    /// What waits to be sent.
    Queues,
    /// Replace a portal by a room of another version.
    Upgrade {
        /// Its room.
        room: String,
        /// The room version.
        version: String,
    },
    /// Compare a portal with its room and put it right.
    Sync {
        /// URI or the last part of it.
        room: String,
    },
    /// Give a portal up.
    Unbridge {
        /// URI or the last part of it.
        room: String,
    },
    /// Make a portal again.
    Bridge {
        /// URI or the last part of it.
        room: String,
    },
}

/// Why a message is no command, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Not one of the words.
    #[error("I don't know {0:?}. Say help to see what I can do.")]
    Unknown(String),
    /// A word that needs more.
    #[error("{0}")]
    Usage(&'static str),
    /// Not a user.
    #[error("{0:?} is no MIMI user: write mimi://provider/u/name or name@provider")]
    User(String),
    /// Too many at once.
    #[error("at most {MOST_USERS} users at once")]
    TooMany,
    /// Too long to be a command.
    #[error("that is too long for a command")]
    TooLong,
}

/// Reads a message. `direct`: whether the user and the bot are alone. `None`: not meant for the bot.
pub fn read(body: &str, direct: bool) -> Option<Result<Command, CommandError>> {
    let text = body.trim();
    let rest = text
        .strip_prefix(PREFIX)
        .filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
    let text = match rest {
        Some(rest) => rest.trim(),
        None if direct => text,
        None => return None,
    };
    if text.len() > LONGEST {
        return Some(Err(CommandError::TooLong));
    }
    Some(parse(text))
}

fn parse(text: &str) -> Result<Command, CommandError> {
    let mut words = text.split_whitespace();
    let Some(first) = words.next() else {
        return Ok(Command::Help);
    };
    let rest = text.get(first.len()..).unwrap_or_default().trim();
    let one = |usage: &'static str| -> Result<String, CommandError> {
        if rest.is_empty() {
            return Err(CommandError::Usage(usage));
        }
        Ok(rest.to_owned())
    };
    Ok(match first.to_ascii_lowercase().trim_start_matches(['!', '/']) {
        "help" | "hello" | "hi" | "start" | "?" => Command::Help,
        "chat" | "dm" => chat(rest)?,
        "list" | "ls" | "rooms" => Command::List,
        "info" | "show" => Command::Info {
            room: (!rest.is_empty()).then(|| rest.to_owned()),
        },
        "status" => Command::Status {
            id: one("Say: status ID, with the id of a message")?,
        },
        "wishes" => Command::Wishes,
        "cancel" => Command::Cancel {
            id: one("Say: cancel ID, with an id that wishes shows")?,
        },
        "requests" | "consents" => Command::Requests,
        "accept" => Command::Accept {
            user: user(&one("Say: accept USER, with a user that requests shows")?)?,
        },
        "refuse" | "decline" => Command::Refuse {
            user: user(&one("Say: refuse USER, with a user that requests shows")?)?,
        },
        "admin" => Command::Admin(admin(rest)?),
        _ => return Err(CommandError::Unknown(first.chars().take(40).collect())),
    })
}

fn chat(rest: &str) -> Result<Command, CommandError> {
    let (mut users, mut name) = (Vec::new(), Vec::new());
    for word in rest.split_whitespace() {
        // Users first; what follows the word "named" is the name.
        if !name.is_empty() || word.eq_ignore_ascii_case("named") {
            name.push(word);
        } else {
            let user = user(word)?;
            if !users.contains(&user) {
                users.push(user);
            }
        }
    }
    if users.is_empty() {
        return Err(CommandError::Usage(
            "Say: chat mimi://b.example/u/bob, or several users; then, if you like, named NAME",
        ));
    }
    if users.len() > MOST_USERS {
        return Err(CommandError::TooMany);
    }
    let name = name.get(1..).unwrap_or_default().join(" ");
    Ok(Command::Chat {
        users,
        name: (!name.is_empty()).then_some(name),
    })
}

fn admin(rest: &str) -> Result<Admin, CommandError> {
    let mut words = rest.split_whitespace();
    let what = words.next().unwrap_or_default();
    let room = words.next().map(ToOwned::to_owned);
    let room = room.ok_or(CommandError::Usage(
        "Say: admin sync|unbridge|bridge ROOM, admin upgrade ROOM VERSION, or admin rooms|queues",
    ));
    Ok(match what {
        "rooms" => Admin::Rooms,
        "queues" => Admin::Queues,
        "sync" => Admin::Sync { room: room? },
        "upgrade" => Admin::Upgrade {
            room: room?,
            version: words
                .next()
                .ok_or(CommandError::Usage("Say: admin upgrade ROOM VERSION"))?
                .to_owned(),
        },
        "unbridge" => Admin::Unbridge { room: room? },
        "bridge" => Admin::Bridge { room: room? },
        _ => {
            return Err(CommandError::Usage(
                "Say: admin rooms|queues, admin sync|unbridge|bridge ROOM, or admin upgrade ROOM VERSION",
            ));
        }
    })
}

/// A user as people write one: a URI, `name@provider` or `@name:provider`.
fn user(text: &str) -> Result<MimiUri, CommandError> {
    let wrong = || CommandError::User(text.chars().take(200).collect());
    let text = text.trim_matches(['<', '>', ',']);
    let uri = if text.starts_with("mimi:") {
        MimiUri::parse(text).map_err(|_| wrong())?
    } else {
        let (name, provider) = match text.strip_prefix('@') {
            Some(rest) => rest.split_once(':'),
            None => text.rsplit_once('@'),
        }
        .ok_or_else(wrong)?;
        let provider = mimi_wire::Domain::parse(provider).map_err(|_| wrong())?;
        MimiUri::user(&provider, name).map_err(|_| wrong())?
    };
    (uri.kind() == UriKind::User).then_some(uri).ok_or_else(wrong)
}

/// What the bot can do.
pub fn help(admin: bool) -> Reply {
    let mut reply = Reply::new(
        "I connect this homeserver with other messaging providers over MIMI. Messages are end-to-end encrypted: your own MIMI client (`causeway client`) encrypts, I pass on.",
    );
    for (command, what) in [
        (
            "chat USER...",
            "start a chat, with mimi://b.example/u/bob or bob@b.example; add: named NAME",
        ),
        ("list", "your rooms"),
        (
            "info ROOM",
            "a room's encryption, policy, participants and providers",
        ),
        ("status ID", "how a message of yours stands"),
        ("wishes", "what waits for your client to do it"),
        ("cancel ID", "take such a wish back"),
        ("requests", "who asks for your consent to write to you"),
        ("accept USER", "consent"),
        ("refuse USER", "don't"),
    ] {
        reply.item(command, what);
    }
    if admin {
        reply.item("admin rooms", "all rooms of this provider");
        reply.item("admin queues", "what waits to be sent");
        reply.item(
            "admin sync ROOM",
            "compare a portal with its room and put it right",
        );
        reply.item(
            "admin upgrade ROOM VERSION",
            "replace a portal by a room of that version",
        );
        reply.item(
            "admin unbridge ROOM",
            "give a portal up; admin bridge ROOM makes one again",
        );
    }
    reply
}

/// What a message says, if it is one for people: its text.
pub fn text_of(content: &Value) -> Option<&str> {
    // A bot doesn't answer to notices: two of them would never end.
    match content.get("msgtype").and_then(Value::as_str) {
        Some("m.text") => content.get("body").and_then(Value::as_str),
        _ => None,
    }
}

/// The answer to an encrypted message: the bot has no key, on purpose.
pub fn cannot_read() -> Value {
    json!({
        "msgtype": "m.notice",
        "body": "I can't read encrypted messages: I hold no keys. Make an unencrypted room with me for commands; \
                 what you write to others goes through your MIMI client and stays end-to-end encrypted.",
    })
}

#[cfg(test)]
mod tests;
