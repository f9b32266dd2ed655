//! A room for people: a timeline, a graph for `dot`, a picture.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;

use super::room::LoadedRoom;
use crate::{EventId, Pdu, Verdict};

/// The events so that parents come first, otherwise by claimed depth, time and id.
fn order(room: &LoadedRoom) -> Vec<&Pdu> {
    let known = |id: &EventId| room.pdus.contains_key(id);
    let mut waiting: BTreeMap<EventId, usize> = BTreeMap::new();
    let mut children: BTreeMap<EventId, Vec<EventId>> = BTreeMap::new();
    let mut free = BTreeSet::new();
    let key = |p: &Pdu| (p.depth(), p.origin_server_ts(), p.event_id());
    for (id, pdu) in &room.pdus {
        let parents: BTreeSet<_> = pdu.prev_events().iter().filter(|p| known(p)).collect();
        waiting.insert(*id, parents.len());
        for parent in &parents {
            children.entry(**parent).or_default().push(*id);
        }
        if parents.is_empty() {
            free.insert(key(pdu));
        }
    }
    let mut out = Vec::with_capacity(room.pdus.len());
    while let Some((.., id)) = free.pop_first() {
        out.extend(room.pdus.get(&id));
        for child in children.get(&id).into_iter().flatten() {
            let Some(count) = waiting.get_mut(child) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                free.extend(room.pdus.get(child).map(key));
            }
        }
    }
    out
}

fn short(id: EventId) -> String {
    id.to_string().chars().take(9).collect()
}

/// Type, state key and what matters of the content, without control characters.
fn title(pdu: &Pdu) -> String {
    let content = |key: &str| {
        pdu.content()
            .get(key)
            .and_then(|v| v.as_str().map(std::borrow::Cow::into_owned))
    };
    let detail = match pdu.event_type() {
        "m.room.member" => content("membership"),
        "m.room.join_rules" => content("join_rule"),
        "m.room.topic" => content("topic"),
        "m.room.name" => content("name"),
        "m.room.message" => content("body"),
        "m.room.redaction" => pdu.redacts().map(short),
        _ => None,
    };
    let mut out = pdu.event_type().to_owned();
    if let Some(key) = pdu.state_key() {
        let _ = write!(out, "[{key}]");
    }
    if let Some(detail) = detail {
        let _ = write!(out, " {}", detail.chars().take(40).collect::<String>());
    }
    out.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn verdict(room: &LoadedRoom, id: EventId) -> Verdict {
    room.verdict(id).unwrap_or(Verdict::Held { missing: Vec::new() })
}

/// An event as programs get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownEvent {
    /// The event.
    pub event_id: EventId,
    /// Its type.
    pub event_type: String,
    /// Its state key.
    pub state_key: Option<String>,
    /// Who sent it.
    pub sender: String,
    /// What it stands on.
    pub prev_events: Vec<EventId>,
    /// How it fared.
    pub verdict: String,
    /// The redaction that took effect on it.
    pub redacted_by: Option<EventId>,
}

/// A room as programs get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The events, parents first.
    pub events: Vec<ShownEvent>,
    /// The forward extremities.
    pub forward_extremities: Vec<EventId>,
    /// The current state, as (type, state key, event).
    pub current_state: Vec<(String, String, EventId)>,
}

/// What [`timeline`] tells, for programs.
pub fn overview(room: &mut LoadedRoom) -> Shown {
    let event = |pdu: &&Pdu| ShownEvent {
        event_id: pdu.event_id(),
        event_type: pdu.event_type().to_owned(),
        state_key: pdu.state_key().map(str::to_owned),
        sender: pdu.sender().to_owned(),
        prev_events: pdu.prev_events().to_vec(),
        verdict: verdict(room, pdu.event_id()).to_string(),
        redacted_by: room.graph.redacted_by(pdu.event_id()),
    };
    let events = order(room).iter().map(event).collect();
    let state = room.graph.current_state();
    Shown {
        events,
        current_state: state
            .iter()
            .map(|e| (e.event_type.to_owned(), e.state_key.to_owned(), e.event_id))
            .collect(),
        forward_extremities: room.graph.extremities(),
    }
}

/// One line an event: place, id, parents, sender, what, and how it fared where that is not "accepted".
pub fn timeline(room: &mut LoadedRoom) -> String {
    let mut out = String::new();
    let order = order(room);
    let places: BTreeMap<EventId, usize> = order.iter().enumerate().map(|(i, p)| (p.event_id(), i)).collect();
    for (i, pdu) in order.iter().enumerate() {
        let parents: Vec<String> = pdu
            .prev_events()
            .iter()
            .map(|p| places.get(p).map_or_else(|| "?".to_owned(), ToString::to_string))
            .collect();
        let id = pdu.event_id();
        let _ = write!(
            out,
            "{i:>5} {} <{}> {} {}",
            short(id),
            parents.join(","),
            pdu.sender(),
            title(pdu)
        );
        match verdict(room, id) {
            Verdict::Accepted => {}
            other => drop(write!(out, "  ** {other}")),
        }
        if let Some(at) = room.soft_failed.get(&id) {
            let servers: Vec<&str> = at.keys().map(String::as_str).collect();
            let _ = write!(out, " at {}", servers.join(", "));
        }
        if let Some(by) = room.graph.redacted_by(id) {
            let _ = write!(out, "  (redacted by {})", short(by));
        }
        out.push('\n');
    }
    let tips: Vec<String> = room.graph.extremities().into_iter().map(short).collect();
    let _ = writeln!(out, "forward extremities: {}", tips.join(" "));
    let state = room.graph.current_state();
    let _ = writeln!(out, "current state: {} entries", state.len());
    for entry in state {
        let _ = writeln!(
            out,
            "      {} {}[{}]",
            short(entry.event_id),
            entry.event_type,
            entry.state_key
        );
    }
    out
}

/// Colour of an event: state, message, soft-failed, rejected, waiting.
fn colour(room: &LoadedRoom, pdu: &Pdu) -> &'static str {
    match verdict(room, pdu.event_id()) {
        Verdict::Rejected { .. } => "#d62728",
        Verdict::SoftFailed { .. } => "#ff7f0e",
        Verdict::Accepted | Verdict::Outlier if pdu.state_key().is_some() => "#1f77b4",
        Verdict::Accepted | Verdict::Outlier => "#7f7f7f",
        _ => "#e377c2",
    }
}

/// How often each event is a parent.
fn children(room: &LoadedRoom) -> BTreeMap<EventId, usize> {
    let mut out = BTreeMap::new();
    for parent in room.pdus.values().flat_map(Pdu::prev_events) {
        *out.entry(*parent).or_default() += 1;
    }
    out
}

/// The graph in the language of Graphviz. Boxes are state, thick borders forks.
pub fn dot(room: &LoadedRoom) -> String {
    let mut out =
        String::from("digraph room {\n  rankdir=BT;\n  node [fontname=\"sans-serif\",fontsize=10];\n");
    let children = children(room);
    for pdu in order(room) {
        let id = pdu.event_id();
        let label = format!("{}\n{}\n{}", short(id), title(pdu), pdu.sender());
        let shape = if pdu.state_key().is_some() {
            "box"
        } else {
            "ellipse"
        };
        let width = if children.get(&id).is_some_and(|n| *n > 1) {
            3
        } else {
            1
        };
        let _ = writeln!(
            out,
            "  \"{id}\" [label={label:?},shape={shape},color=\"{}\",penwidth={width}];",
            colour(room, pdu)
        );
        for parent in pdu.prev_events() {
            let _ = writeln!(out, "  \"{id}\" -> \"{parent}\";");
        }
    }
    out.push_str("}\n");
    out
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A picture: oldest above, forks side by side. Squares are state, rings forks; colours as [`dot`] has them.
pub fn svg(room: &LoadedRoom) -> String {
    const ROW: usize = 22;
    const LANE: usize = 26;
    let order = order(room);
    let mut places: BTreeMap<EventId, (usize, usize)> = BTreeMap::new();
    // The newest event of each lane: who stands on it continues the lane.
    let mut lanes: Vec<Option<EventId>> = Vec::new();
    let children = children(room);
    let mut seen: BTreeMap<EventId, usize> = BTreeMap::new();
    for (row, pdu) in order.iter().enumerate() {
        let id = pdu.event_id();
        let continued = pdu
            .prev_events()
            .iter()
            .find_map(|p| lanes.iter().position(|l| *l == Some(*p)));
        let lane = continued
            .or_else(|| lanes.iter().position(Option::is_none))
            .unwrap_or(lanes.len());
        if lane == lanes.len() {
            lanes.push(None);
        }
        if let Some(slot) = lanes.get_mut(lane) {
            *slot = Some(id);
        }
        places.insert(id, (row, lane));
        for parent in pdu.prev_events() {
            let count = seen.entry(*parent).or_default();
            *count += 1;
            // A lane whose tip has all its children is free.
            if Some(&*count) == children.get(parent) {
                lanes
                    .iter_mut()
                    .filter(|l| **l == Some(*parent))
                    .for_each(|l| *l = None);
            }
        }
    }
    let at = |(row, lane): (usize, usize)| (lane * LANE + 20, row * ROW + 20);
    let text_x = lanes.len() * LANE + 30;
    let (width, height) = (text_x + 760, order.len() * ROW + 30);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for pdu in &order {
        let Some(place) = places.get(&pdu.event_id()) else {
            continue;
        };
        let (x, y) = at(*place);
        for parent in pdu.prev_events() {
            let Some(parent) = places.get(parent) else {
                continue;
            };
            let (px, py) = at(*parent);
            let _ = writeln!(
                out,
                "<path d=\"M{px},{py} C{px},{y} {x},{py} {x},{y}\" fill=\"none\" stroke=\"#bbb\"/>"
            );
        }
    }
    for pdu in &order {
        let id = pdu.event_id();
        let Some(place) = places.get(&id) else { continue };
        let (x, y) = at(*place);
        let fill = colour(room, pdu);
        let fork = children.get(&id).is_some_and(|n| *n > 1);
        let ring = if fork {
            " stroke=\"black\" stroke-width=\"2\""
        } else {
            ""
        };
        if pdu.state_key().is_some() {
            let (x, y) = (x - 5, y - 5);
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"10\" height=\"10\" fill=\"{fill}\"{ring}/>"
            );
        } else {
            let _ = writeln!(
                out,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{fill}\"{ring}/>"
            );
        }
        let mut label = format!("{} {} {}", short(id), pdu.sender(), title(pdu));
        let verdict = verdict(room, id);
        if !verdict.is_accepted() {
            let _ = write!(label, " ({verdict})");
        }
        let _ = writeln!(out, "<text x=\"{text_x}\" y=\"{}\">{}</text>", y + 4, xml(&label));
    }
    out.push_str("</svg>\n");
    out
}
