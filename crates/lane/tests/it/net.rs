//! A simulated network between nodes: delays, losses, repetitions, cuts in one direction or both.

use async_trait::async_trait;
use lane::{Answer, Call, Cluster, Link, LinkError, Member, NodeName, Pending};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use room_engine::Engine;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// What somebody draws in a story, whatever the others draw.
pub(crate) fn seeded(seed: u64, who: &str) -> SmallRng {
    // FNV-1a.
    let hash = who.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    SmallRng::seed_from_u64(hash)
}

/// How much more often requests arrive twice than the messages between nodes do, which are far more.
const OFTEN: u32 = 4;
/// How much later a request arrives a second time at most, in milliseconds.
const LATER: u64 = 5000;

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

/// What answers at a node.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) cluster: Cluster,
    /// Where the node has an engine, once it runs.
    pub(crate) engine: Arc<OnceLock<Engine>>,
}

impl From<Cluster> for Process {
    fn from(cluster: Cluster) -> Self {
        Self {
            cluster,
            engine: Arc::default(),
        }
    }
}

impl Process {
    async fn answer(&self, from: &NodeName, call: &Call) -> Option<Answer> {
        if let Some(engine) = self.engine.get()
            && let Some(answer) = Pending::answer(engine, call.method, &call.path, &call.body).await
        {
            return Some(answer);
        }
        self.cluster
            .answer(from, call.method, &call.path, call.body.clone())
            .await
    }
}

type Script = fn(&str) -> Option<Answer>;

struct State {
    seed: u64,
    /// Each way draws by itself: what goes at the same instant may go in any order.
    ways: BTreeMap<(NodeName, NodeName), SmallRng>,
    weather: Weather,
    nodes: BTreeMap<NodeName, (u64, Process)>,
    /// What nodes answer to requests for blobs instead of the truth.
    scripts: BTreeMap<NodeName, Script>,
    /// From, to.
    cut: BTreeSet<(NodeName, NodeName)>,
    /// Whether what others than nodes send may arrive twice, too.
    repeats: bool,
}

/// All of it. A clone is the same network.
#[derive(Clone)]
pub(crate) struct Net(Arc<Mutex<State>>);

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            seed,
            ways: BTreeMap::new(),
            weather: Weather::FAIR,
            nodes: BTreeMap::new(),
            scripts: BTreeMap::new(),
            cut: BTreeSet::new(),
            repeats: false,
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

    pub(crate) fn up(&self, life: u64, process: impl Into<Process>) {
        let process = process.into();
        let name = process.cluster.name().clone();
        self.state().nodes.insert(name, (life, process));
    }

    pub(crate) fn down(&self, name: &NodeName) {
        self.state().nodes.remove(name);
    }

    /// No message gets from one to the other.
    pub(crate) fn cut(&self, from: &NodeName, to: &NodeName) {
        self.state().cut.insert((from.clone(), to.clone()));
    }

    /// From now on a node answers so to requests for blobs, where the script says anything.
    pub(crate) fn script(&self, name: &NodeName, script: Script) {
        self.state().scripts.insert(name.clone(), script);
    }

    pub(crate) fn heal(&self) {
        self.state().cut.clear();
    }

    /// From now on also what others than nodes send may arrive twice.
    pub(crate) fn repeat(&self) {
        self.state().repeats = true;
    }

    /// Whether a request of somebody who draws from `rng` arrives a second time: how much later, and what its second way
    /// draws from.
    pub(crate) fn again(&self, rng: &mut SmallRng) -> Option<(Duration, SmallRng)> {
        let (twice, repeats) = {
            let state = self.state();
            (state.weather.twice, state.repeats)
        };
        let arrives = repeats && rng.random_range(0..1000) < OFTEN * twice;
        arrives.then(|| {
            let later = Duration::from_millis(rng.random_range(0..LATER));
            (later, SmallRng::seed_from_u64(rng.random()))
        })
    }

    fn draw(&self, from: &NodeName, to: &NodeName) -> (Duration, bool, bool) {
        let mut state = self.state();
        let (seed, weather) = (state.seed, state.weather);
        let way = state.ways.entry((from.clone(), to.clone()));
        let rng = way.or_insert_with(|| seeded(seed, &format!("{from} {to}")));
        let delay = rng.random_range(0..=weather.delay);
        let lost = rng.random_range(0..1000) < weather.lost;
        let twice = rng.random_range(0..1000) < weather.twice;
        (Duration::from_millis(delay), lost, twice)
    }

    pub(crate) fn passes(&self, from: &NodeName, to: &NodeName) -> bool {
        !self.state().cut.contains(&(from.clone(), to.clone()))
    }

    /// Whether a node has not died since.
    pub(crate) fn alive(&self, name: &NodeName, life: u64) -> bool {
        self.state().nodes.get(name).is_none_or(|(now, _)| *now == life)
    }
}

impl Net {
    /// A message's way of somebody to somebody else; where it gets lost, so much later nobody waits for it any more.
    pub(crate) async fn carry(
        &self,
        from: &NodeName,
        to: &NodeName,
        patience: Duration,
    ) -> Result<(), String> {
        // Who is carried knows what to repeat.
        let (delay, lost, _) = self.draw(from, to);
        tokio::time::sleep(delay).await;
        if lost || !self.passes(from, to) {
            tokio::time::sleep(patience).await;
            return Err("no answer in time".to_owned());
        }
        Ok(())
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
        let (delay, lost, twice) = self.net.draw(&self.from, to);
        tokio::time::sleep(delay).await;
        if lost || !self.net.passes(&self.from, to) {
            return None;
        }
        let (_, process) = self.net.state().nodes.get(to).cloned()?;
        let script = self.net.state().scripts.get(to).copied();
        if let Some(script) = script
            && (call.method, call.path.starts_with("/blob/")) == ("GET", true)
            && let Some(answer) = script(&call.path)
        {
            return Some(answer);
        }
        if twice {
            let (again, call, from) = (process.clone(), call.clone(), self.from.clone());
            let (later, ..) = self.net.draw(&self.from, to);
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                let _ = again.answer(&from, &call).await;
            });
        }
        let answer = process.answer(&self.from, call).await?;
        let (delay, lost, _) = self.net.draw(to, &self.from);
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
