//! What the owner of rooms asks of a graph: history and auth chains for others, gaps, servers, waiting events.

use event_graph::{Arrival, EventId, Graph, Pdu, RoomVersion, Verdict};
use serde_json::json;

use crate::world::{USERS, World};

/// A room of version 12 with a chain of messages on top; gives the messages.
fn chain(n: usize) -> (World, Vec<EventId>) {
    let mut world = World::new(RoomVersion::V12);
    let mut tip = world.graph.extremities()[0];
    let mut out = Vec::new();
    for i in 0..n {
        tip = world.event(&[tip], "m.room.message", None, USERS[1], json!({"n": i}), &[], 1);
        out.push(tip);
    }
    (world, out)
}

#[test]
fn history_goes_by_depth() {
    let (world, messages) = chain(6);
    let back = world.graph.backfill(&[messages[4]], 4);
    let newest_first: Vec<EventId> = messages[1..5].iter().rev().copied().collect();
    assert_eq!(back, newest_first);
    assert_eq!(world.graph.backfill(&[EventId::from_hash([1; 32])], 4), vec![]);
    let all = world.graph.backfill(&[messages[5]], 1_000);
    assert_eq!(all.len(), world.pdus.len());
}

#[test]
fn missing_events_lie_between() {
    let (world, messages) = chain(6);
    let graph = &world.graph;
    let (first, last) = ([messages[0]], [messages[5]]);
    assert_eq!(graph.missing_events(&last, &first, 10, 0), messages[1..5]);
    assert_eq!(graph.missing_events(&last, &first, 2, 0), messages[3..5]);
    let depth = world.pdu(messages[3]).unwrap().depth();
    assert_eq!(graph.missing_events(&last, &first, 10, depth), messages[3..5]);
    assert_eq!(
        graph.missing_events(&last, &last, 100, 0).len(),
        world.pdus.len() - 1
    );
}

#[test]
fn auth_chains_are_closed_and_in_order() {
    for version in [RoomVersion::V11, RoomVersion::V12] {
        let world = World::new(version);
        let state: Vec<EventId> = world.pdus.iter().map(Pdu::event_id).collect();
        let chain = world.graph.auth_chain(&state);
        assert_eq!(chain[0], world.pdus[0].event_id(), "the create event comes first");
        for (i, id) in chain.iter().enumerate() {
            for cited in world.pdu(*id).unwrap().auth_events() {
                assert!(chain[..i].contains(cited));
            }
        }
    }
}

#[test]
fn servers_of_a_room() {
    let (mut world, messages) = chain(1);
    let at = messages[0];
    assert_eq!(
        world.graph.joined_servers().into_iter().collect::<Vec<_>>(),
        ["a.test", "b.test", "c.test"]
    );
    let leave = json!({"membership": "leave"});
    world.event(&[at], "m.room.member", Some(USERS[2]), USERS[2], leave, &[], 1);
    assert!(world.graph.has_member_of("b.test") && world.graph.has_member_of("a.test"));
    assert!(!world.graph.has_member_of("c.test"));
    assert!(!world.graph.joined_servers().contains("c.test"));
    assert!(world.graph.joined_servers_before(at).unwrap().contains("c.test"));
    assert_eq!(
        world.graph.joined_servers_before(EventId::from_hash([1; 32])),
        None
    );
}

/// A graph that knows the room as of its last event but one as outliers.
fn joining(world: &World) -> (Graph, Vec<EventId>) {
    let mut graph = Graph::in_room(world.version, world.pdus[0].room_id());
    let base = &world.pdus[..6];
    for pdu in base {
        assert_eq!(graph.admit_outlier(pdu)[0].verdict, Verdict::Outlier);
    }
    (graph, base.iter().map(Pdu::event_id).collect())
}

#[test]
fn an_event_taken_at_a_state_lets_go_who_waited_for_it() {
    let (world, messages) = chain(3);
    let (mut graph, state) = joining(&world);
    let pdu = |i: usize| world.pdu(messages[i]).unwrap();
    assert!(matches!(graph.admit(pdu(2))[0].verdict, Verdict::Held { .. }));
    assert!(matches!(graph.admit(pdu(1))[0].verdict, Verdict::Held { .. }));
    assert_eq!(
        graph.verdict(messages[2]),
        Some(Verdict::Held {
            missing: vec![messages[1]]
        })
    );
    // The first message can't be had: the second is taken at the state there.
    let outcomes = graph.admit_at_state(pdu(1), &state, Arrival::New);
    let ids: Vec<EventId> = outcomes.iter().map(|o| o.event_id).collect();
    assert_eq!(ids, messages[1..3]);
    assert!(outcomes.iter().all(|o| o.verdict.is_accepted()));
    assert_eq!(graph.held(), 0);
    assert_eq!(graph.extremities(), messages[2..]);
    assert_eq!(graph.backward_extremities(), messages[..1]);
    // It turns up after all: behind what is there, so no extremity, and the hole is closed.
    let late = graph.admit_at_state(pdu(0), &state, Arrival::New);
    assert!(late[0].verdict.is_accepted());
    assert_eq!(graph.extremities(), messages[2..]);
    assert_eq!(graph.backward_extremities(), [world.pdus[5].event_id()]);
    assert_eq!(
        graph.backfill(&[messages[2]], 3),
        [messages[2], messages[1], messages[0]]
    );
}

#[test]
fn an_outlier_serves_who_cites_it_and_not_who_follows_it() {
    let mut world = World::new(RoomVersion::V11);
    let at = world.graph.extremities()[0];
    let join = json!({"membership": "join"});
    let joined = world.event(&[at], "m.room.member", Some(USERS[3]), USERS[3], join, &[], 1);
    let said = world.event(&[joined], "m.room.message", None, USERS[3], json!({}), &[], 1);
    let mut graph = Graph::in_room(world.version, world.pdus[0].room_id());
    for pdu in &world.pdus[..6] {
        graph.admit(pdu);
    }
    let verdict = graph.admit(world.pdu(said).unwrap())[0].verdict.clone();
    assert_eq!(
        verdict,
        Verdict::Held {
            missing: vec![joined]
        }
    );
    // As an outlier it is no parent.
    let outcomes = graph.admit_outlier(world.pdu(joined).unwrap());
    assert_eq!(outcomes.len(), 1);
    assert_eq!(graph.held(), 1);
    assert_eq!(graph.missing(), [joined]);
    let outcomes = graph.admit(world.pdu(joined).unwrap());
    assert_eq!(outcomes.len(), 2);
    assert_eq!(graph.verdict(said), Some(Verdict::Accepted));
}

#[test]
fn what_closes_a_gap_takes_its_parents_out_of_the_extremities() {
    let (world, messages) = chain(3);
    let (_, state) = joining(&world);
    let pdu = |i: usize| world.pdu(messages[i]).unwrap();
    let mut graph = Graph::in_room(world.version, world.pdus[0].room_id());
    for pdu in &world.pdus[..6] {
        graph.admit(pdu);
    }
    graph.admit(pdu(0));
    // The one between can't be had for now.
    let outcomes = graph.admit_at_state(pdu(2), &state, Arrival::New);
    assert!(outcomes[0].verdict.is_accepted());
    assert_eq!(graph.extremities().len(), 2);
    let outcomes = graph.admit(pdu(1));
    assert!(outcomes[0].verdict.is_accepted());
    assert_eq!(graph.extremities(), messages[2..]);
    let now: Vec<EventId> = graph.current_state().iter().map(|e| e.event_id).collect();
    let then: Vec<EventId> = graph
        .state_after(messages[2])
        .unwrap()
        .iter()
        .map(|e| e.event_id)
        .collect();
    assert_eq!(now, then);
}

#[test]
fn what_comes_by_backfill_is_no_extremity() {
    let (world, messages) = chain(3);
    let (mut graph, state) = joining(&world);
    let pdu = |i: usize| world.pdu(messages[i]).unwrap();
    graph.admit_at_state(pdu(2), &state, Arrival::New);
    let old = graph.admit_at_state(pdu(0), &state, Arrival::Backfilled);
    assert!(old[0].verdict.is_accepted());
    assert_eq!(graph.extremities(), messages[2..]);
    let between = graph.admit_as(pdu(1), Arrival::Backfilled);
    assert!(between[0].verdict.is_accepted());
    assert_eq!(graph.extremities(), messages[2..]);
    assert_eq!(graph.backfill(&[messages[2]], 3).len(), 3);
}

/// Rule 5.3.1 lets the creator in behind the create event alone. It has to hold where that join is known as an outlier
/// only, as in a graph that joined later, and conflicts with another.
#[test]
fn the_creators_join_resolves_as_an_outlier_too() {
    for version in RoomVersion::ALL {
        let mut world = World::new(version);
        let tip = world.graph.extremities()[0];
        let invite_only = json!({"join_rule": "invite"});
        let closed = world.event(
            &[tip],
            "m.room.join_rules",
            Some(""),
            USERS[0],
            invite_only,
            &[],
            1,
        );
        let named = json!({"membership": "join", "displayname": "A"});
        let renamed = world.event(
            &[closed],
            "m.room.member",
            Some(USERS[0]),
            USERS[0],
            named,
            &[],
            1,
        );
        let state = |graph: &Graph, at: EventId| -> Vec<(String, String, EventId)> {
            let entries = graph.state_after(at).unwrap().into_iter();
            entries
                .map(|e| (e.event_type.to_owned(), e.state_key.to_owned(), e.event_id))
                .collect()
        };
        let early = world.pdus[1].event_id();
        let maps = [state(&world.graph, early), state(&world.graph, renamed)];
        let mut late = Graph::in_room(version, world.pdus[0].room_id());
        for pdu in &world.pdus {
            late.admit_outlier(pdu);
        }
        let ours: Vec<EventId> = late
            .resolve_maps(&maps)
            .unwrap()
            .state
            .iter()
            .map(|e| e.event_id)
            .collect();
        let whole = world.graph.resolve_maps(&maps).unwrap();
        assert_eq!(
            ours,
            whole.state.iter().map(|e| e.event_id).collect::<Vec<_>>(),
            "{version}"
        );
    }
}
