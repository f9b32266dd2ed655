//! The same events in any order, with duplicates and gaps, give the same verdicts and states.

use event_graph::{Graph, Pdu, Verdict};
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
        prop_assert_eq!(world.graph.state_before(merge.event_id()), other.state_before(merge.event_id()));
    }

    /// A graph loaded from a store with the recorded verdicts is the graph that was.
    #[test]
    fn restoring_gives_the_same_graph(version in version(), program in steps(30)) {
        let mut world = World::new(version);
        for step in &program {
            world.step(step);
        }
        let mut restored = Graph::in_room(version, world.pdus[0].room_id());
        for pdu in &world.pdus {
            let soft = match world.graph.verdict(pdu.event_id()) {
                Some(Verdict::SoftFailed { rule }) => Some(rule),
                _ => None,
            };
            let bytes = pdu.as_bytes();
            restored.restore(&Pdu::parse_trusted(bytes, version).unwrap(), soft);
        }
        prop_assert_eq!(restored.extremities(), world.graph.extremities());
        prop_assert_eq!(restored.current_state(), world.graph.current_state());
        for pdu in &world.pdus {
            let id = pdu.event_id();
            prop_assert_eq!(restored.verdict(id), world.graph.verdict(id));
            prop_assert_eq!(restored.state_after(id), world.graph.state_after(id));
        }
    }
}
