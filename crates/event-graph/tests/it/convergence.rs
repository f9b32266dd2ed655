//! The same events in any order, with duplicates and gaps, give the same verdicts and states.

use event_graph::{Arrival, Entry, EventId, Graph, Pdu, Standing, Verdict, graph::StateEntry};
use proptest::prelude::*;

use crate::{
    cases,
    world::{World, steps, version},
};

/// What may not depend on arrival: accepted or by which rule rejected. Soft failure may.
fn lasting(verdict: &Verdict) -> String {
    match verdict {
        Verdict::SoftFailed { .. } => Verdict::Accepted.to_string(),
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_delivery_converges(
        version in version(),
        program in steps(30),
        order in prop::collection::vec(any::<u32>(), 60),
        twice in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let mut world = World::new(version);
        for step in &program {
            world.step(step);
        }
        let mut delivery: Vec<&Pdu> = world.pdus.iter().collect();
        delivery.sort_by_key(|p| {
            let i = world.pdus.iter().position(|q| q.event_id() == p.event_id()).unwrap();
            order[i % order.len()]
        });
        let extra: Vec<&Pdu> = twice.iter().map(|i| &world.pdus[i.index(world.pdus.len())]).collect();
        let mut other = Graph::in_room(version, world.pdus[0].room_id());
        for pdu in extra.iter().chain(&delivery).chain(&extra) {
            other.admit(pdu);
        }
        prop_assert_eq!(other.held(), 0);
        prop_assert_eq!(other.missing(), vec![]);
        prop_assert_eq!(other.len(), world.graph.len());
        for pdu in &world.pdus {
            let id = pdu.event_id();
            let (a, b) = (world.graph.verdict(id).unwrap(), other.verdict(id).unwrap());
            prop_assert_eq!(lasting(&a), lasting(&b), "{}", id);
            prop_assert_eq!(world.graph.state_before(id), other.state_before(id));
            prop_assert_eq!(world.graph.state_after(id), other.state_after(id));
        }
        // One event on top of everything, and the room is the same everywhere.
        let mut tips: Vec<_> = world.graph.extremities();
        for id in other.extremities() {
            if !tips.contains(&id) {
                tips.push(id);
            }
        }
        tips.truncate(20);
        let merge = world.event(&tips, "m.room.message", None, crate::world::USERS[0], serde_json::json!({}), &[], 1);
        let merge = world.pdu(merge).unwrap().clone();
        other.admit(&merge);
        let id = merge.event_id();
        prop_assert_eq!(world.graph.state_before(id), other.state_before(id));
        let accepted = |graph: &Graph| graph.verdict(id) == Some(Verdict::Accepted);
        if tips.len() < 20 && accepted(&world.graph) && accepted(&other) {
            prop_assert_eq!(world.graph.extremities(), vec![id]);
            prop_assert_eq!(other.extremities(), vec![id]);
            prop_assert_eq!(world.graph.current_state(), other.current_state());
        }
    }

    /// A graph loaded from a store with what its owner kept is the graph that was.
    #[test]
    fn loading_gives_the_same_graph(version in version(), program in steps(30)) {
        let mut world = World::new(version);
        for step in &program {
            world.step(step);
        }
        let kept = world.pdus.iter().map(|pdu| {
            let entry = serde_json::to_vec(&world.graph.entry(pdu.event_id()).unwrap()).unwrap();
            (Pdu::parse_trusted(pdu.as_bytes(), version).unwrap(), serde_json::from_slice(&entry).unwrap())
        });
        let (mut loaded, unplaced) = Graph::load(version, world.pdus[0].room_id(), kept);
        prop_assert_eq!(unplaced, vec![]);
        prop_assert_eq!(loaded.extremities(), world.graph.extremities());
        prop_assert_eq!(loaded.current_state(), world.graph.current_state());
        for pdu in &world.pdus {
            let id = pdu.event_id();
            prop_assert_eq!(loaded.verdict(id), world.graph.verdict(id));
            prop_assert_eq!(loaded.state_after(id), world.graph.state_after(id));
        }
    }

    /// A server that joins late knows the past as outliers and takes its join on a given state. What follows has the
    /// states it has everywhere, backfill changes nothing of the present, and all of it survives a reload.
    #[test]
    fn joining_late_and_filling_back_gives_the_same_states(
        version in version(),
        program in steps(24),
        at in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(version);
        for step in &program {
            world.step(step);
        }
        let (n, base) = (world.pdus.len(), 5);
        let join = base + at.index(n - base);
        let state: Vec<EventId> = world.graph.state_before(world.pdus[join].event_id()).unwrap()
            .iter().map(|e| e.event_id).collect();
        let mut wanted = world.graph.auth_chain(&state);
        wanted.extend(&state);
        wanted.extend(world.graph.auth_chain(&[world.pdus[join].event_id()]));
        let mut late = Graph::in_room(version, world.pdus[0].room_id());
        let mut entries: Vec<EventId> = Vec::new();
        for pdu in world.pdus.iter().filter(|p| wanted.contains(&p.event_id())) {
            late.admit_outlier(pdu);
            entries.push(pdu.event_id());
        }
        late.admit_at_state(&world.pdus[join], &state, Arrival::New);
        entries.push(world.pdus[join].event_id());
        let is_above = |graph: &Graph, pdu: &Pdu| pdu.prev_events().iter().all(|p| graph.has_state(*p));
        for pdu in &world.pdus[join + 1..] {
            if is_above(&late, pdu) {
                late.admit(pdu);
                entries.push(pdu.event_id());
            }
        }
        let (mut heads, mut now) = (late.extremities(), owned(late.current_state()));
        // A new event that cites an auth event of the past waits for it, and is new still when the past is there.
        let waited = late.held() > 0;
        // The past, oldest first: the create event can be placed without a state.
        for pdu in &world.pdus[..join] {
            late.admit_as(pdu, Arrival::Backfilled);
            entries.push(pdu.event_id());
        }
        if waited {
            (heads, now) = (late.extremities(), owned(late.current_state()));
        }
        prop_assert_eq!(&late.extremities(), &heads);
        prop_assert_eq!(&owned(late.current_state()), &now);
        prop_assert_eq!(late.backward_extremities(), vec![]);
        for pdu in &world.pdus {
            let id = pdu.event_id();
            if late.has_state(id) {
                prop_assert_eq!(late.state_before(id), world.graph.state_before(id), "{}", id);
                prop_assert_eq!(lasting(&late.verdict(id).unwrap()), lasting(&world.graph.verdict(id).unwrap()));
            }
        }
        let mut once = Vec::new();
        for id in entries {
            // What cites an event that this server never came to know is still held.
            if late.contains(id) && !once.contains(&id) {
                once.push(id);
            }
        }
        let kept: Vec<_> = once.iter().filter_map(|id| Some((world.pdu(*id)?.clone(), late.entry(*id)?))).collect();
        let (mut loaded, unplaced) = Graph::load(version, world.pdus[0].room_id(), kept);
        prop_assert_eq!(unplaced, vec![]);
        let sorted = |mut ids: Vec<EventId>| { ids.sort_unstable(); ids };
        prop_assert_eq!(sorted(loaded.extremities()), sorted(heads));
        prop_assert_eq!(owned(loaded.current_state()), now);
        for id in once {
            prop_assert_eq!(loaded.verdict(id), late.verdict(id));
            prop_assert_eq!(loaded.state_after(id), late.state_after(id));
            prop_assert_eq!(loaded.entry(id).map(sorted_state), late.entry(id).map(sorted_state));
        }
    }
}

fn owned(state: Vec<StateEntry<'_>>) -> Vec<(String, String, EventId)> {
    let entry = |e: StateEntry<'_>| (e.event_type.to_owned(), e.state_key.to_owned(), e.event_id);
    state.into_iter().map(entry).collect()
}

fn sorted_state(mut entry: Entry) -> Entry {
    if let Standing::AtState(state) = &mut entry.standing {
        state.sort_unstable();
    }
    entry
}
