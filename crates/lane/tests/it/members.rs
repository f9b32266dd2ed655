//! Nodes are added and removed, and one lets another order.

use crate::world::{World, holds, until, write};
use lane::{Cluster, ClusterError, ClusterSettings, NodeName};
use room_engine::Sequencer as _;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

fn cluster(world: &World, at: usize) -> Cluster {
    world.nodes[at].cluster.clone().unwrap()
}

/// All nodes but one, which is the one that orders.
async fn others(world: &World, count: usize) -> (usize, Vec<usize>) {
    let first = world.leader().await;
    (first, (0..count).filter(|at| *at != first).collect())
}

/// The nodes that a node counts for the majority, and those that it doesn't.
fn members(world: &World, at: usize) -> [BTreeSet<String>; 2] {
    let nodes = cluster(world, at).view().nodes;
    [true, false].map(|voter| {
        let of = nodes.iter().filter(|node| node.voter == voter);
        of.map(|node| node.name.clone()).collect()
    })
}

fn names(world: &World, of: &[usize]) -> BTreeSet<String> {
    of.iter().map(|at| world.nodes[*at].name.to_string()).collect()
}

/// How long a node without a sign of life from the one that orders waits at least before it stands for election.
fn election(world: &World) -> Duration {
    ClusterSettings::new(world.nodes[0].name.clone(), world.member(0)).election
}

/// Waits until another node than this one orders.
async fn another(world: &World, than: usize) -> usize {
    let orders = || {
        let orders = |at: &usize| {
            let cluster = world.nodes[*at].cluster.as_ref();
            *at != than && cluster.is_some_and(|cluster| cluster.term().is_ok())
        };
        (0..world.nodes.len()).find(orders)
    };
    until("another one orders", async || orders().is_some()).await;
    orders().unwrap()
}

#[tokio::test(start_paused = true)]
async fn without_a_node_that_was_removed_a_majority_of_the_rest_goes_on() {
    let mut world = World::new(1, 4).await;
    let (first, rest) = others(&world, 4).await;
    let leader = cluster(&world, first);
    leader.remove(world.nodes[rest[0]].name.clone()).await.unwrap();
    assert_eq!(
        members(&world, first),
        [names(&world, &[first, rest[1], rest[2]]), BTreeSet::new()]
    );
    // It still runs, hears of nothing any more, and disturbs nobody.
    let term = leader.term().unwrap();
    tokio::time::sleep(20 * election(&world)).await;
    write(&world, first, "without it").await.unwrap();
    assert_eq!(leader.term().unwrap(), term);
    assert!(cluster(&world, rest[0]).term().is_err());
    assert!(!holds(&world, rest[0], "without it").await);
    // Two of three, where two of four would be none.
    world.crash(rest[0], 1000).await;
    world.crash(rest[1], 1000).await;
    write(&world, first, "two of three").await.unwrap();
    // With an empty store it may come back.
    world.start(rest[1]).await;
    world.empty(rest[0]).await;
    world.start_joining(rest[0]).await;
    leader
        .add(world.nodes[rest[0]].name.clone(), world.member(rest[0]))
        .await
        .unwrap();
    world.converged().await;
    assert!(holds(&world, rest[0], "without it").await);
}

#[tokio::test(start_paused = true)]
async fn the_node_that_orders_hands_over_before_it_is_removed() {
    let mut world = World::new(2, 4).await;
    let (first, _) = others(&world, 4).await;
    let name = world.nodes[first].name.clone();
    match cluster(&world, first).remove(name.clone()).await {
        Err(ClusterError::NotLeading { .. }) => {}
        other => panic!("{other:?}"),
    }
    let next = another(&world, first).await;
    cluster(&world, next).remove(name).await.unwrap();
    let rest: Vec<usize> = (0..4).filter(|at| *at != first).collect();
    assert_eq!(members(&world, next), [names(&world, &rest), BTreeSet::new()]);
    world.crash(first, 1000).await;
    let lost = rest.iter().copied().find(|at| *at != next).unwrap();
    world.crash(lost, 1000).await;
    write(&world, next, "two of three").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_node_stays() {
    let mut world = World::new(3, 2).await;
    let (first, rest) = others(&world, 2).await;
    let leader = cluster(&world, first);
    leader.remove(world.nodes[rest[0]].name.clone()).await.unwrap();
    world.crash(rest[0], 1000).await;
    match leader.remove(world.nodes[first].name.clone()).await {
        Err(ClusterError::Last(name)) => assert_eq!(name, world.nodes[first].name),
        other => panic!("{other:?}"),
    }
    write(&world, first, "alone").await.unwrap();
    assert_eq!(members(&world, first), [names(&world, &[first]), BTreeSet::new()]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_none_is_not_removed_and_one_that_is_one_not_added() {
    let world = World::new(4, 3).await;
    let (first, rest) = others(&world, 3).await;
    let (leader, stranger) = (cluster(&world, first), NodeName::from("cw9.a.example"));
    match leader.remove(stranger.clone()).await {
        Err(ClusterError::Unknown(name)) => assert_eq!(name, stranger),
        other => panic!("{other:?}"),
    }
    let there = world.nodes[rest[0]].name.clone();
    match leader.add(there.clone(), world.member(rest[0])).await {
        Err(ClusterError::Exists(name)) => assert_eq!(name, there),
        other => panic!("{other:?}"),
    }
    // Only the one that orders changes the members.
    let asked = cluster(&world, rest[0])
        .remove(world.nodes[rest[1]].name.clone())
        .await;
    match asked {
        Err(ClusterError::NotLeading { leader }) => assert_eq!(leader, Some(world.nodes[first].name.clone())),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        members(&world, first),
        [names(&world, &[0, 1, 2]), BTreeSet::new()]
    );
}

#[tokio::test(start_paused = true)]
async fn changes_that_are_asked_for_at_once_are_made_one_after_the_other() {
    let mut world = World::founded_by(5, 5, 3).await;
    let (first, rest) = others(&world, 3).await;
    write(&world, first, "before").await.unwrap();
    world.start_joining(3).await;
    world.start_joining(4).await;
    let leader = cluster(&world, first);
    let add = |at: usize| leader.add(world.nodes[at].name.clone(), world.member(at));
    let (one, two, gone) = tokio::join!(add(3), add(4), leader.remove(world.nodes[rest[0]].name.clone()));
    one.unwrap();
    two.unwrap();
    gone.unwrap();
    let there = [first, rest[1], 3, 4];
    assert_eq!(members(&world, first), [names(&world, &there), BTreeSet::new()]);
    write(&world, first, "after").await.unwrap();
    for at in there {
        until("it has all", async || holds(&world, at, "after").await).await;
        assert!(holds(&world, at, "before").await);
    }
}

/// The node that orders dies while it adds one: the one that follows it can take that one out, or go on adding it.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_half_added_can_be_removed() {
    let mut world = World::founded_by(6, 4, 3).await;
    let (first, _) = others(&world, 3).await;
    let (leader, half, member) = (
        cluster(&world, first),
        world.nodes[3].name.clone(),
        world.member(3),
    );
    // It doesn't run.
    let adding = tokio::spawn(async move { leader.add(half, member).await });
    let known = || members(&world, first)[1] == names(&world, &[3]);
    until("it is being added", async || known()).await;
    world.crash(first, 1000).await;
    let next = another(&world, first).await;
    adding.abort();
    assert_eq!(members(&world, next)[1], names(&world, &[3]));
    cluster(&world, next)
        .remove(world.nodes[3].name.clone())
        .await
        .unwrap();
    assert_eq!(
        members(&world, next),
        [names(&world, &[0, 1, 2]), BTreeSet::new()]
    );
    world.start(first).await;
    world.start_joining(3).await;
    cluster(&world, next)
        .add(world.nodes[3].name.clone(), world.member(3))
        .await
        .unwrap();
    write(&world, next, "with four").await.unwrap();
    world.converged().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_removed_without_a_majority() {
    let world = World::new(7, 3).await;
    let (first, rest) = others(&world, 3).await;
    for at in &rest {
        world.net.cut(&world.nodes[first].name, &world.nodes[*at].name);
        world.net.cut(&world.nodes[*at].name, &world.nodes[first].name);
    }
    let leader = cluster(&world, first);
    let asked = leader.remove(world.nodes[rest[0]].name.clone());
    let asked = tokio::time::timeout(Duration::from_mins(1), asked).await;
    assert!(matches!(asked, Ok(Err(ClusterError::Failed(_)))), "{asked:?}");
    world.net.heal();
    world.converged().await;
    assert_eq!(members(&world, rest[0])[0], names(&world, &[0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn after_an_orderly_stop_another_one_orders_without_an_election_timeout() {
    for seed in 1..=10 {
        let mut world = World::new(seed, 3).await;
        let (first, _) = others(&world, 3).await;
        write(&world, first, "before").await.unwrap();
        let began = Instant::now();
        let leader = world.nodes[first].cluster.take().unwrap();
        leader.stop().await;
        world.net.down(leader.name());
        let next = world.leader().await;
        write(&world, next, "after").await.unwrap();
        assert!(began.elapsed() < election(&world), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_node_that_is_named_orders_next() {
    let world = World::new(8, 5).await;
    let (first, rest) = others(&world, 5).await;
    let leader = cluster(&world, first);
    for stranger in ["cw9.a.example", world.nodes[first].name.as_str()] {
        let stranger = NodeName::from(stranger);
        match leader.hand_over(Some(stranger.clone())).await {
            Err(ClusterError::Unknown(name)) => assert_eq!(name, stranger),
            other => panic!("{other:?}"),
        }
    }
    let began = Instant::now();
    let name = world.nodes[rest[2]].name.clone();
    assert_eq!(leader.hand_over(Some(name.clone())).await.unwrap(), name);
    assert_eq!(another(&world, first).await, rest[2]);
    assert!(began.elapsed() < election(&world), "{:?}", began.elapsed());
    write(&world, rest[2], "there").await.unwrap();
    until("the former one follows", async || {
        leader.view().leader.as_deref() == Some(name.as_str())
    })
    .await;
    // Who doesn't order has nothing to hand over.
    match leader.hand_over(None).await {
        Err(ClusterError::NotLeading { leader }) => assert_eq!(leader, Some(name)),
        other => panic!("{other:?}"),
    }
}
