//! A survivor takes over, and those that were given up come back.

use crate::world::{World, holds, until, write};
use lane::{ClusterError, NodeName, Statement};
use room_engine::Sequencer as _;
use std::collections::BTreeSet;
use store::{Scan, Space, Store as _, StoreError};

async fn take_over(world: &World, at: usize, lost: &[usize]) -> Result<Statement, ClusterError> {
    let lost: BTreeSet<NodeName> = lost.iter().map(|at| world.nodes[*at].name.clone()).collect();
    let cluster = world.nodes[at].cluster.clone().unwrap();
    cluster.take_over(lost, "fire".to_owned(), 7).await
}

async fn nobody_orders(world: &World, at: usize) {
    let cluster = world.nodes[at].cluster.clone().unwrap();
    until("it orders no more", async || cluster.term().is_err()).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_over_while_there_is_no_need_or_nobody_said_what_is_lost() {
    let mut world = World::new(1, 3).await;
    let first = world.leader().await;
    let others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    let refused = |done: Result<Statement, ClusterError>| match done {
        Err(ClusterError::TakeOver(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(take_over(&world, first, &others).await);
    assert!(why.contains("orders already"), "{why}");
    let why = refused(take_over(&world, others[0], &[first]).await);
    assert!(why.contains("is a majority"), "{why}");
    for at in &others {
        world.crash(*at, 1000).await;
    }
    nobody_orders(&world, first).await;
    let why = refused(take_over(&world, first, &others[..1]).await);
    assert!(why.contains("name exactly these"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn who_has_more_takes_over() {
    let mut world = World::new(2, 5).await;
    let first = world.leader().await;
    let others: Vec<usize> = (0..5).filter(|at| *at != first).collect();
    write(&world, first, "old").await.unwrap();
    world.converged().await;
    // One node is behind when three are lost.
    world.crash(others[0], 1000).await;
    write(&world, first, "new").await.unwrap();
    until("the other survivor has it", async || {
        holds(&world, others[1], "new").await
    })
    .await;
    world.start(others[0]).await;
    for node in &world.nodes {
        world.net.cut(&world.nodes[others[0]].name, &node.name);
        world.net.cut(&node.name, &world.nodes[others[0]].name);
    }
    for at in [first, others[2], others[3]] {
        world.crash(at, 1000).await;
    }
    world.net.heal();
    let behind = world.nodes[others[0]].cluster.clone().unwrap();
    until("it runs", async || !behind.view().nodes.is_empty()).await;
    let lost = [first, others[2], others[3]];
    let one = take_over(&world, others[0], &lost).await;
    let two = take_over(&world, others[1], &lost).await;
    match (one, two) {
        (Err(ClusterError::TakeOver(why)), Ok(statement)) => {
            assert!(why.contains("has more"), "{why}");
            assert_eq!(statement.answered.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    write(&world, others[1], "newest").await.unwrap();
    assert!(holds(&world, others[1], "new").await);
}

#[tokio::test(start_paused = true)]
async fn the_survivor_goes_on_and_those_given_up_take_no_part() {
    let mut world = World::new(3, 3).await;
    let first = world.leader().await;
    let others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    write(&world, first, "before").await.unwrap();
    world.converged().await;
    for at in &others {
        world.crash(*at, 1000).await;
    }
    nobody_orders(&world, first).await;
    assert!(matches!(
        write(&world, first, "lost").await,
        Err(StoreError::Unavailable { .. })
    ));
    let statement = take_over(&world, first, &others).await.unwrap();
    assert_eq!((statement.lineage, statement.at, statement.lost.len()), (1, 7, 2));
    write(&world, first, "after").await.unwrap();
    assert!(holds(&world, first, "before").await);

    // A lost node comes back: it learns that it was given up, and says so.
    world.start(others[0]).await;
    let back = world.nodes[others[0]].cluster.clone().unwrap();
    until("it knows", async || back.view().given_up.is_some()).await;
    assert_eq!(back.view().given_up, Some(statement.clone()));
    assert!(back.term().is_err() && back.accepts_aside().is_err());
    assert_eq!(
        back.leader().map(|(name, _)| name),
        Some(world.nodes[first].name.clone())
    );
    assert!(!holds(&world, others[0], "after").await);
    // Also after a restart, and the survivor is not disturbed.
    world.crash(others[0], 1000).await;
    world.start(others[0]).await;
    assert!(
        world.nodes[others[0]]
            .cluster
            .clone()
            .unwrap()
            .view()
            .given_up
            .is_some()
    );
    let survivor = world.nodes[first].cluster.clone().unwrap();
    assert!(survivor.term().is_ok() && !survivor.view().frozen);
    assert_eq!(survivor.view().taken_over, Some(statement));

    // With an empty store it joins the new lineage, and counts.
    world.crash(others[0], 1000).await;
    world.empty(others[0]).await;
    world.start_joining(others[0]).await;
    survivor
        .add(world.nodes[others[0]].name.clone(), world.member(others[0]))
        .await
        .unwrap();
    write(&world, first, "with two").await.unwrap();
    until("it has all", async || holds(&world, others[0], "with two").await).await;
    assert!(holds(&world, others[0], "before").await);
    assert!(
        world.nodes[others[0]]
            .cluster
            .clone()
            .unwrap()
            .view()
            .taken_over
            .is_some()
    );
}

/// Of three nodes one loses sight of the others, which go on: nobody is lost at all. It takes over nevertheless, and both
/// sides decide. Returns which it is, and its statement.
async fn two_sides(world: &World) -> (usize, Statement) {
    let first = world.leader().await;
    let others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    write(world, first, "before").await.unwrap();
    until("all have it", async || {
        holds(world, others[0], "before").await && holds(world, others[1], "before").await
    })
    .await;
    for at in &others {
        world.net.cut(&world.nodes[first].name, &world.nodes[*at].name);
        world.net.cut(&world.nodes[*at].name, &world.nodes[first].name);
    }
    nobody_orders(world, first).await;
    let elected = async || {
        others
            .iter()
            .copied()
            .find(|at| world.nodes[*at].cluster.as_ref().unwrap().term().is_ok())
    };
    until("the others elect one", async || elected().await.is_some()).await;
    write(world, elected().await.unwrap(), "there").await.unwrap();
    let statement = take_over(world, first, &others).await.unwrap();
    write(world, first, "here").await.unwrap();
    (first, statement)
}

#[tokio::test(start_paused = true)]
async fn two_entries_for_one_place_are_kept_and_freeze_the_lane() {
    let world = World::new(4, 3).await;
    let (first, statement) = two_sides(&world).await;
    let others: Vec<usize> = (0..3).filter(|at| *at != first).collect();
    world.net.heal();

    let survivor = world.nodes[first].cluster.clone().unwrap();
    // They speak to the one that took over when they think that it is theirs; a new election does it.
    until("evidence", async || survivor.view().frozen).await;
    assert!(matches!(
        write(&world, first, "frozen").await,
        Ok(()) | Err(StoreError::Unavailable { .. })
    ));
    assert!(survivor.term().is_err());
    survivor.accepts_aside().unwrap();
    let kept = world.nodes[first]
        .disk
        .scan(Scan::all(Space::Evidence))
        .await
        .unwrap();
    let kept: Vec<lane::Evidence> = kept
        .iter()
        .map(|(_, value)| serde_json::from_slice(value).unwrap())
        .collect();
    assert!(!kept.is_empty());
    for evidence in &kept {
        assert!(evidence.index > statement.after.index);
        assert_ne!(
            evidence.ours.as_ref().map(|ours| &ours.sha256),
            Some(&evidence.theirs.sha256)
        );
    }
    assert!(kept.iter().any(|evidence| {
        let written = (Space::Room.name().to_owned(), hex::encode("there"));
        evidence.theirs.writes.contains(&written)
    }));
    for at in &others {
        assert!(world.nodes[*at].cluster.as_ref().unwrap().term().is_err());
    }
    // An operator says which side counts.
    survivor.release().await.unwrap();
    until("it orders again", async || survivor.term().is_ok()).await;
    write(&world, first, "released").await.unwrap();
    let kept = world.nodes[first]
        .disk
        .scan(Scan::all(Space::Evidence))
        .await
        .unwrap();
    assert!(!kept.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_node_says_that_the_lane_is_frozen_until_it_is_released() {
    let mut world = World::founded_by(5, 4, 3).await;
    let (first, _) = two_sides(&world).await;
    let survivor = world.nodes[first].cluster.clone().unwrap();
    world.start_joining(3).await;
    let joined = (world.nodes[3].name.clone(), world.member(3));
    survivor.add(joined.0.clone(), joined.1).await.unwrap();
    assert!(
        matches!(survivor.release().await, Err(ClusterError::TakeOver(why)) if why.contains("not frozen"))
    );
    world.net.heal();

    let view = |world: &World, at: usize| world.nodes[at].cluster.as_ref().unwrap().view();
    until("both say it", async || {
        view(&world, first).frozen && view(&world, 3).frozen
    })
    .await;
    // It doesn't pass by itself, nor by a restart.
    world.crash(3, 1000).await;
    world.start(3).await;
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    for at in [first, 3] {
        let view = view(&world, at);
        assert!(view.frozen && !view.orders, "{view:?}");
        let cluster = world.nodes[at].cluster.as_ref().unwrap();
        let why = cluster.term().unwrap_err().to_string();
        assert!(why.contains("frozen"), "{why}");
        cluster.accepts_aside().unwrap();
        assert!(cluster.hand_over(None).await.is_err());
    }
    // Whoever leads is told; the other one says who that is.
    let released = world.nodes[3].cluster.as_ref().unwrap().release().await;
    let ClusterError::NotLeading { leader } = released.unwrap_err() else {
        panic!("it doesn't lead")
    };
    assert_eq!(leader, Some(world.nodes[first].name.clone()));
    survivor.release().await.unwrap();
    until("both know", async || {
        !view(&world, first).frozen && !view(&world, 3).frozen
    })
    .await;
    until("it orders again", async || survivor.term().is_ok()).await;
    write(&world, first, "released").await.unwrap();
    until("both have it", async || holds(&world, 3, "released").await).await;
}
