//! What befalls the nodes: cuts in one direction or both, storms, crashes, full disks, hand-overs.

use crate::net::Weather;
use crate::world::World;
use lane::NodeName;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use std::time::Duration;
use tokio::time::Instant;

/// Simulated seconds of it.
const LASTS: u64 = 60;

/// A source of it.
pub(super) struct Trouble {
    pub(super) rng: SmallRng,
    count: usize,
    end: Instant,
    /// Others than nodes, who may be cut off from them.
    pub(super) outside: Vec<NodeName>,
}

/// What happened that others have to know.
#[derive(Default)]
pub(super) struct Happened {
    /// These nodes run again.
    pub(super) started: Vec<usize>,
}

impl Trouble {
    pub(super) fn new(rng: SmallRng, count: usize) -> Self {
        Self {
            rng,
            count,
            end: Instant::now() + Duration::from_secs(LASTS),
            outside: Vec::new(),
        }
    }

    pub(super) fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// Waits for the next, and lets it happen. A node that is about to die is named to `dies` before.
    pub(super) async fn next(&mut self, world: &mut World, mut dies: impl FnMut(usize)) -> Happened {
        let rng = &mut self.rng;
        let mut happened = Happened::default();
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..3000))).await;
        let (at, other) = (rng.random_range(0..self.count), rng.random_range(0..self.count));
        let names = (world.nodes[at].name.clone(), world.nodes[other].name.clone());
        let kinds = if self.outside.is_empty() { 12 } else { 13 };
        match rng.random_range(0..kinds) {
            0 | 1 => {
                // This node from all the others.
                for node in world.nodes.iter().filter(|node| node.name != names.0) {
                    world.net.cut(&names.0, &node.name);
                    world.net.cut(&node.name, &names.0);
                }
            }
            2 => world.net.cut(&names.0, &names.1),
            3 => {
                // Two sides.
                let side: Vec<bool> = (0..self.count).map(|_| rng.random()).collect();
                for (a, one) in world.nodes.iter().enumerate() {
                    for (b, two) in world.nodes.iter().enumerate() {
                        if side[a] != side[b] {
                            world.net.cut(&one.name, &two.name);
                        }
                    }
                }
            }
            4 | 5 => world.net.heal(),
            6 | 7 => {
                if world.nodes[at].cluster.is_some() {
                    dies(at);
                    world.crash(at, rng.random_range(0..=1000)).await;
                }
            }
            8 => {
                for at in 0..self.count {
                    if world.nodes[at].cluster.is_none() {
                        world.start(at).await;
                        happened.started.push(at);
                    }
                }
            }
            // Where there is an engine the octets of a batch differ a little each time a story is told.
            9 if !self.outside.is_empty() => world.nodes[at].disk.fill(rng.random::<bool>().then_some(0)),
            9 => world.nodes[at]
                .disk
                .fill(rng.random::<bool>().then(|| rng.random_range(0..4000))),
            10 => {
                if let Some(cluster) = &world.nodes[at].cluster {
                    let _ = cluster.hand_over(None).await;
                }
            }
            11 => world.net.weather(Weather {
                delay: rng.random_range(0..150),
                lost: rng.random_range(0..100),
                twice: rng.random_range(0..100),
            }),
            _ => {
                for outside in &self.outside {
                    world.net.cut(outside, &names.0);
                    if rng.random() {
                        world.net.cut(&names.0, outside);
                    }
                }
            }
        }
        happened
    }
}
