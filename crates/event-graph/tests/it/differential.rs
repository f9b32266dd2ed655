//! ruma-state-res does the same work on generated rooms: verdicts and states have to be the same.

use std::collections::{HashMap, HashSet};

use event_graph::{Pdu, Verdict};
use proptest::prelude::*;
use ruma::{
    OwnedEventId, RoomVersionId,
    room_version_rules::RoomVersionRules,
    state_res::{
        self, StateMap, check_state_dependent_auth_rules, check_state_independent_auth_rules,
        utils::event_id_set::EventIdSet,
    },
};
use serde_json::value::RawValue;

use crate::{
    cases,
    theirs::Theirs,
    world::{World, steps, version},
};

type Map = StateMap<OwnedEventId>;

/// A room as ruma sees it.
struct Room {
    rules: RoomVersionRules,
    events: HashMap<OwnedEventId, Theirs>,
    after: HashMap<OwnedEventId, Map>,
    create: Option<OwnedEventId>,
}

impl Room {
    fn chain(&self, from: &Map) -> EventIdSet<OwnedEventId> {
        let mut set = EventIdSet::new();
        let mut stack: Vec<_> = from.values().cloned().collect();
        while let Some(id) = stack.pop() {
            if set.insert(id.clone()) {
                stack.extend(self.events[&id].auth_events.iter().cloned());
            }
        }
        set
    }

    fn below(&self, from: &OwnedEventId) -> HashSet<OwnedEventId> {
        let mut set = HashSet::new();
        let mut stack = vec![from.clone()];
        while let Some(id) = stack.pop() {
            if set.insert(id.clone()) {
                stack.extend(self.events[&id].auth_events.iter().cloned());
            }
        }
        set
    }

    /// Events on a path between two conflicted ones, by the definition.
    fn subgraph(&self, conflicted: &StateMap<Vec<OwnedEventId>>) -> EventIdSet<OwnedEventId> {
        let set: HashSet<_> = conflicted.values().flatten().cloned().collect();
        let mut out = EventIdSet::new();
        for top in &set {
            for id in self.below(top) {
                if !self.below(&id).is_disjoint(&set) {
                    out.insert(id);
                }
            }
        }
        out
    }

    fn resolve(&self, maps: &[Map]) -> Map {
        match maps {
            [] => return Map::new(),
            [only] => return only.clone(),
            _ => {}
        }
        let chains = maps.iter().map(|m| self.chain(m)).collect();
        state_res::resolve(
            &self.rules.authorization,
            self.rules.state_res.v2_rules().unwrap(),
            maps,
            chains,
            |id| self.events.get(id).cloned(),
            |conflicted| Some(self.subgraph(conflicted)),
        )
        .unwrap()
    }

    /// Checks 4 and 5 and the states; true if accepted.
    fn admit(&mut self, pdu: &Pdu) -> (bool, Map) {
        let mut event = Theirs::new(pdu, false);
        let maps: Vec<Map> = event.prev_events.iter().map(|p| self.after[p].clone()).collect();
        let before = self.resolve(&maps);
        let rules = &self.rules.authorization;
        let independent =
            check_state_independent_auth_rules(rules, &event, |id| self.events.get(id).cloned());
        let mut cited: Map = event
            .auth_events
            .iter()
            .map(|id| (&self.events[id], id))
            .map(|(e, id)| {
                (
                    (
                        e.event_type.to_string().into(),
                        e.state_key.clone().unwrap_or_default(),
                    ),
                    id.clone(),
                )
            })
            .collect();
        if let (Some(create), true) = (&self.create, rules.room_create_event_id_as_room_id) {
            cited.insert(("m.room.create".into(), String::new()), create.clone());
        }
        // A state without join rules (resolution can drop them) reads as "invite" to Synapse and to us; ruma
        // refuses every join there. docs/decisions/0012.
        let rules_event = |map: &Map, t: &str| {
            let missing =
                t == "m.room.join_rules" && !map.keys().any(|(t, _)| t.to_string() == "m.room.join_rules");
            missing.then(|| Theirs {
                event_type: "m.room.join_rules".into(),
                content: RawValue::from_string(r#"{"join_rule":"invite"}"#.to_owned()).unwrap(),
                state_key: Some(String::new()),
                ..event.clone()
            })
        };
        let dependent = |map: &Map| {
            check_state_dependent_auth_rules(rules, &event, |t, k| {
                let found = map
                    .get(&(t.clone(), k.to_owned()))
                    .and_then(|id| self.events.get(id))
                    .cloned();
                found.or_else(|| rules_event(map, &t.to_string()))
            })
        };
        let accepted = independent
            .and_then(|()| dependent(&cited))
            .and_then(|()| dependent(&before))
            .is_ok();
        event.rejected = !accepted;
        let mut after = before.clone();
        if let (true, Some(key)) = (accepted, pdu.state_key()) {
            after.insert((pdu.event_type().into(), key.to_owned()), event.id.clone());
        }
        if pdu.event_type() == "m.room.create" {
            self.create = Some(event.id.clone());
        }
        self.after.insert(event.id.clone(), after);
        self.events.insert(event.id.clone(), event);
        (accepted, before)
    }
}

fn named(map: &Map) -> Vec<(String, String, String)> {
    let mut out: Vec<_> = map
        .iter()
        .map(|((t, k), id)| (t.to_string(), k.clone(), id.to_string()))
        .collect();
    out.sort();
    out
}

fn compare(world: &World) -> Result<(), TestCaseError> {
    let version: RoomVersionId = world.version.as_str().try_into().unwrap();
    let mut room = Room {
        rules: version.rules().unwrap(),
        events: HashMap::new(),
        after: HashMap::new(),
        create: None,
    };
    for pdu in &world.pdus {
        let (accepted, before) = room.admit(pdu);
        let id = pdu.event_id();
        let ours = world.graph.verdict(id).unwrap();
        prop_assert_eq!(
            accepted,
            matches!(ours, Verdict::Accepted | Verdict::SoftFailed { .. }),
            "{} {:?}: {:?}",
            id,
            pdu,
            ours
        );
        let state: Vec<_> = world
            .graph
            .state_before(id)
            .unwrap()
            .iter()
            .map(|e| {
                (
                    e.event_type.to_owned(),
                    e.state_key.to_owned(),
                    e.event_id.to_string(),
                )
            })
            .collect();
        prop_assert_eq!(state, named(&before), "state before {}", id);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2_000), failure_persistence: None, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn atk_22_atk_25_agrees_with_ruma_state_res(version in version(), program in steps(40)) {
        let mut world = World::new(version);
        for step in &program {
            world.step(step);
        }
        compare(&world)?;
    }
}

/// Found by the property: the state over the extremities has to be made anew when an event on an older one
/// adds an extremity, even if the event changes nothing.
#[test]
fn an_extremity_beside_the_others_counts_for_the_current_state() {
    let mut world = World::new(event_graph::RoomVersion::V12);
    let id = |w: &World, n: usize| w.pdus[n].event_id();
    let at = id(&world, 5);
    let rules = world.event(
        &[at],
        "m.room.join_rules",
        Some(""),
        crate::world::USERS[0],
        serde_json::json!({"join_rule": "knock_restricted"}),
        &[],
        0,
    );
    let before = id(&world, 4);
    let other = world.event(
        &[before],
        "m.room.message",
        None,
        crate::world::USERS[0],
        serde_json::json!({"x": 1}),
        &[],
        0,
    );
    world.event(
        &[rules, other],
        "m.room.message",
        None,
        crate::world::USERS[0],
        serde_json::json!({}),
        &[],
        0,
    );
    world.event(
        &[other, rules],
        "m.room.message",
        None,
        crate::world::USERS[0],
        serde_json::json!({}),
        &[],
        0,
    );
    compare(&world).unwrap();
}
