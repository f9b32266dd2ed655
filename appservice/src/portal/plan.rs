//! What a portal lacks: the difference between what it has to show and what the homeserver's room holds. Pure.
//!
//! The plan is made anew from the room's state each time, so an interrupted one goes on where it stopped, a portal that
//! somebody changed is put back, and one whose homeserver was restored from a backup is made whole by the same code.

use crate::homeserver::StateEvent;
use crate::pictures::SOURCE_FIELD;
use room_engine::{PortalWanted, carrier};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the bot alone may do.
const NOBODY: i64 = 100;
/// Type of the state event that holds a room's picture.
pub(super) const AVATAR: &str = "m.room.avatar";

/// One thing to be done in a portal.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Set a state event with an empty state key.
    State {
        /// Its type.
        event_type: &'static str,
        /// Its content.
        content: Value,
    },
    /// Show the picture at this `https` address.
    Picture(String),
    /// Lift a user's ban.
    Unban(String),
    /// Invite a user of the homeserver.
    Invite(String),
    /// Make a ghost and bring it in.
    BringIn {
        /// Matrix user id.
        ghost: String,
        /// Its MIMI URI.
        uri: String,
        /// Whether it is invited already.
        invited: bool,
    },
    /// Show a user out.
    Remove {
        /// Matrix user id.
        user: String,
        /// Shown to them.
        reason: &'static str,
    },
    /// A ghost leaves.
    TakeOut(String),
    /// Ban a user.
    Ban(String),
}

/// A member as the room has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member<'a> {
    membership: &'a str,
    /// Whether it is so by the user's own act.
    own_act: bool,
}

/// What there is to do, in the order in which to do it: first what concerns everybody, then people, then ghosts.
pub fn plan(wanted: &PortalWanted, bot: &str, state: &[StateEvent]) -> Vec<Step> {
    let content = |event_type: &str| {
        state
            .iter()
            .find(|event| event.event_type == event_type && event.state_key.is_empty())
            .map(|event| &event.content)
    };
    let mut steps = Vec::new();
    let mut set = |event_type: &'static str, now: Option<&Value>, content: Value| {
        if now != Some(&content) {
            steps.push(Step::State { event_type, content });
        }
    };
    set(carrier::ROOM, content(carrier::ROOM), wanted.info.clone());
    let now = content("m.room.power_levels");
    set("m.room.power_levels", now, power_levels(wanted, bot, now));
    // Whoever finds a room that can be searched for may ask to be let in; Synapse's directory shows no other rooms.
    let join_rule = if wanted.published { "knock" } else { "invite" };
    let now = content("m.room.join_rules");
    set("m.room.join_rules", now, json!({ "join_rule": join_rule }));
    let text = |event_type: &str, field: &str| {
        content(event_type)
            .and_then(|content| content.get(field))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    for (event_type, field, wish) in [
        ("m.room.name", "name", &wanted.name),
        ("m.room.topic", "topic", &wanted.topic),
    ] {
        let wish = wish.as_deref().unwrap_or_default();
        if text(event_type, field) != wish {
            steps.push(Step::State {
                event_type,
                content: json!({ field: wish }),
            });
        }
    }
    steps.extend(picture(wanted, bot, state));
    steps.extend(members(wanted, bot, state));
    steps
}

/// The room's picture: it is the right one if the bot set it and says that it came from the right address.
fn picture(wanted: &PortalWanted, bot: &str, state: &[StateEvent]) -> Option<Step> {
    let now = state
        .iter()
        .find(|event| event.event_type == AVATAR && event.state_key.is_empty());
    let field = |name: &str| now?.content.get(name)?.as_str();
    let shown = field("url").is_some_and(|url| !url.is_empty());
    let Some(address) = &wanted.picture else {
        return shown.then(|| Step::State {
            event_type: AVATAR,
            content: json!({}),
        });
    };
    let ours = now.is_some_and(|event| event.sender == bot);
    let right = ours && shown && field(SOURCE_FIELD) == Some(address);
    (!right).then(|| Step::Picture(address.clone()))
}

fn members(wanted: &PortalWanted, bot: &str, state: &[StateEvent]) -> Vec<Step> {
    let actual: BTreeMap<&str, Member<'_>> = state
        .iter()
        .filter(|event| event.event_type == "m.room.member")
        .filter_map(|event| {
            let member = Member {
                membership: event.content.get("membership")?.as_str()?,
                own_act: event.sender == event.state_key,
            };
            Some((event.state_key.as_str(), member))
        })
        .collect();
    let (mut people, mut ghosts, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for (mxid, member) in &wanted.members {
        let now = actual.get(mxid.as_str());
        let membership = now.map_or("leave", |now| now.membership);
        if member.banned {
            if membership != "ban" {
                out.push(Step::Ban(mxid.clone()));
            }
            continue;
        }
        let steps = if member.ghost { &mut ghosts } else { &mut people };
        if membership == "ban" {
            steps.push(Step::Unban(mxid.clone()));
        }
        match membership {
            "join" => {}
            "invite" if !member.ghost => {}
            _ if member.ghost => steps.push(Step::BringIn {
                ghost: mxid.clone(),
                uri: member.user.as_str().to_owned(),
                invited: membership == "invite",
            }),
            // Who left by their own will isn't called back; the room is told by way of the log.
            "leave" if now.is_some_and(|now| now.own_act) => {}
            _ => steps.push(Step::Invite(mxid.clone())),
        }
    }
    for (mxid, member) in &actual {
        let wanted_here = wanted.members.contains_key(*mxid);
        if wanted_here || *mxid == bot {
            continue;
        }
        let ghost = mxid
            .strip_prefix('@')
            .is_some_and(|s| s.starts_with(crate::NAMESPACE));
        match member.membership {
            // Whoever may invite them answers.
            "knock" if wanted.published && !ghost => {}
            "join" | "invite" | "knock" if ghost => out.push(Step::TakeOut((*mxid).to_owned())),
            "join" | "invite" | "knock" => out.push(Step::Remove {
                user: (*mxid).to_owned(),
                reason: "not a participant of the MIMI room",
            }),
            "ban" => out.push(Step::Unban((*mxid).to_owned())),
            _ => {}
        }
    }
    // Who goes, goes first: nobody is to read on for as long as a thousand ghosts take.
    out.extend(people);
    out.extend(ghosts);
    out
}

/// The bot, who made the room, is above everybody (by level 100 up to room version 11, as creator from 12 on, where
/// naming it would be an error). Users may submit messages; what an ordinary client would write in the clear reaches
/// nobody in the MIMI room, so it is not taken. Only levels that differ from the most frequent one are listed: a list of
/// everybody would not fit into an event in a large room.
fn power_levels(wanted: &PortalWanted, bot: &str, now: Option<&Value>) -> Value {
    let mut held: BTreeMap<i64, usize> = BTreeMap::new();
    for member in wanted.members.values().filter(|member| !member.banned) {
        let count = held.entry(member.level).or_default();
        *count = count.saturating_add(1);
    }
    // Of two that are equally frequent the lower one.
    let default = held
        .iter()
        .max_by_key(|(level, count)| (**count, -**level))
        .map_or(0, |(level, _)| *level);
    let mut users: Map<String, Value> = wanted
        .members
        .iter()
        // Who is banned never holds what most hold: Matrix lets nobody lift an equal's ban.
        .map(|(mxid, member)| {
            (
                mxid,
                if member.banned {
                    default.min(0)
                } else {
                    member.level
                },
            )
        })
        .filter(|(_, level)| *level != default)
        .map(|(mxid, level)| (mxid.clone(), level.into()))
        .collect();
    let bot_named = now.is_some_and(|now| {
        now.pointer("/users")
            .is_some_and(|users| users.get(bot).is_some())
    });
    if bot_named {
        users.insert(bot.to_owned(), NOBODY.into());
    }
    let t = wanted.thresholds;
    base_levels(
        default,
        &users,
        [t.invite, t.kick, t.ban],
        [t.roles, t.name, t.topic, t.avatar, t.send],
    )
}

/// Power levels of a portal.
pub(super) fn base_levels(
    default: i64,
    users: &Map<String, Value>,
    [invite, kick, ban]: [i64; 3],
    [roles, name, topic, avatar, send]: [i64; 5],
) -> Value {
    json!({
        "users_default": default,
        "users": users,
        "events_default": NOBODY,
        "state_default": NOBODY,
        "invite": invite,
        "kick": kick,
        "ban": ban,
        "redact": NOBODY,
        "events": {
            carrier::MESSAGE: send,
            "m.room.power_levels": roles,
            "m.room.name": name,
            "m.room.topic": topic,
            AVATAR: avatar,
        },
        "historical": NOBODY,
    })
}

#[cfg(test)]
mod tests;
