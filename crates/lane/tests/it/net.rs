//! A simulated network between nodes: delays, losses, repetitions, cuts in one direction or both.

use async_trait::async_trait;
use lane::{Answer, Call, Cluster, Link, LinkError, Member, NodeName};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Longest delay of a message in milliseconds.
    pub(crate) delay: u64,
    /// Messages of a thousand that are lost.
    pub(crate) lost: u32,
    /// Messages of a thousand that arrive twice.
    pub(crate) twice: u32,
}

impl Weather {
    pub(crate) const FAIR: Self = Self {
        delay: 0,
        lost: 0,
        twice: 0,
    };
}

struct State {
    rng: SmallRng,
    weather: Weather,
    nodes: BTreeMap<NodeName, (u64, Cluster)>,
    /// From, to.
    cut: BTreeSet<(NodeName, NodeName)>,
}

/// All of it. A clone is the same network.
#[derive(Clone)]
pub(crate) struct Net(Arc<Mutex<State>>);

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: SmallRng::seed_from_u64(seed),
            weather: Weather::FAIR,
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// The way in for a node's `life`th life.
    pub(crate) fn link(&self, name: &NodeName, life: u64) -> Arc<dyn Link> {
        Arc::new(Way {
            net: self.clone(),
            from: name.clone(),
            life,
        })
    }

    pub(crate) fn up(&self, life: u64, cluster: Cluster) {
        self.state().nodes.insert(cluster.name().clone(), (life, cluster));
    }

    pub(crate) fn down(&self, name: &NodeName) {
        self.state().nodes.remove(name);
    }

    /// No message gets from one to the other.
    pub(crate) fn cut(&self, from: &NodeName, to: &NodeName) {
        self.state().cut.insert((from.clone(), to.clone()));
    }

    pub(crate) fn heal(&self) {
        self.state().cut.clear();
    }

    fn draw(&self) -> (Duration, bool, bool) {
        let mut state = self.state();
        let weather = state.weather;
        let delay = state.rng.random_range(0..=weather.delay);
        let lost = state.rng.random_range(0..1000) < weather.lost;
        let twice = state.rng.random_range(0..1000) < weather.twice;
        (Duration::from_millis(delay), lost, twice)
    }

    fn passes(&self, from: &NodeName, to: &NodeName) -> bool {
        !self.state().cut.contains(&(from.clone(), to.clone()))
    }

    fn alive(&self, name: &NodeName, life: u64) -> bool {
        self.state().nodes.get(name).is_none_or(|(now, _)| *now == life)
    }
}

struct Way {
    net: Net,
    from: NodeName,
    life: u64,
}

impl Way {
    /// The message's way there and back; none where it or the answer gets lost.
    async fn exchange(&self, to: &NodeName, call: &Call) -> Option<Answer> {
        let (delay, lost, twice) = self.net.draw();
        tokio::time::sleep(delay).await;
        if lost || !self.net.passes(&self.from, to) {
            return None;
        }
        let (_, cluster) = self.net.state().nodes.get(to).cloned()?;
        if twice {
            let (again, call, from) = (cluster.clone(), call.clone(), self.from.clone());
            let (later, ..) = self.net.draw();
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                let _ = again.answer(&from, call.method, &call.path, call.body).await;
            });
        }
        let answer = cluster
            .answer(&self.from, call.method, &call.path, call.body.clone())
            .await?;
        let (delay, lost, _) = self.net.draw();
        tokio::time::sleep(delay).await;
        (!lost && self.net.passes(to, &self.from)).then_some(answer)
    }
}

#[async_trait]
impl Link for Way {
    async fn call(&self, to: &NodeName, _: &Member, call: Call) -> Result<Answer, LinkError> {
        let away = |why: &str| LinkError::Unreachable {
            node: to.clone(),
            why: why.to_owned(),
        };
        if !self.net.alive(&self.from, self.life) {
            return Err(away("the caller is dead"));
        }
        let exchange = async {
            match self.exchange(to, &call).await {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        };
        tokio::time::timeout(call.timeout, exchange)
            .await
            .map_err(|_| away("no answer in time"))
    }
}
