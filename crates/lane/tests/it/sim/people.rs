//! Who talks in a story: real MLS clients, each at a provider's face.

use super::provider::Sim;
use super::twice::Twice;
use crate::faces::{A, B, ctx, sign_in_at, uri};
use mls_client::client::Options;
use mls_client::engine::Sent;
use mls_client::state::{Hash, Membership, What};
use mls_client::transport::Backoff;
use mls_client::{Client, ClientError};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// KeyPackages that a client keeps at its provider.
const STOCK: u32 = 4;
/// Users who come and go; they say nothing.
const GUESTS: [&str; 2] = ["mimi://a.example/u/dave", "mimi://b.example/u/carol"];

/// A message as a client got it.
pub(super) struct Read {
    pub(super) hash: Hash,
    /// Its text, or why it can't be read.
    pub(super) said: Result<String, String>,
}

/// A user's client.
pub(super) struct Person {
    pub(super) name: &'static str,
    client: Client<Twice>,
    /// Whether it was added before the trouble began.
    pub(super) from_the_beginning: bool,
    guest: bool,
}

async fn person(sim: &Arc<Sim>, provider: &str, name: &'static str, user: &str, secret: &str) -> Person {
    let options = Options {
        commit_jitter: Duration::ZERO,
        attempts: 3,
        backoff: Backoff {
            first: Duration::ZERO,
            most: Duration::ZERO,
            attempts: 1,
        },
    };
    let home = sim.outside(if provider == B { B } else { "clients" });
    let engine = mls_client::Engine::ephemeral();
    let client = sign_in_at(&home, provider, (user, secret), name, engine, options).await;
    let transport = Twice::new(client.transport().clone(), sim, name);
    let client = Client::new(client.into_engine(), transport, None, options);
    let mut person = Person {
        name,
        client,
        from_the_beginning: false,
        guest: false,
    };
    person.client.refill(Some(STOCK)).await.unwrap();
    person
}

/// All of them, and the rooms that Alice, Amy and Bob are in.
pub(super) async fn everybody(sim: &Arc<Sim>) -> (Vec<String>, Vec<Person>) {
    let account = async |provider: &str, user: &str| {
        let engine = if provider == B { sim.follower() } else { sim.hub() };
        let (_, secret) = engine.add_account(ctx(), user).await.unwrap();
        secret.to_string()
    };
    let mut people = Vec::new();
    for (provider, name) in [(A, "alice"), (A, "amy"), (B, "bob"), (A, "dave"), (B, "carol")] {
        let secret = account(provider, name).await;
        people.push(person(sim, provider, name, name, &secret).await);
        if name == "amy" {
            people.push(person(sim, provider, "tablet", name, &secret).await);
        }
    }
    for person in &mut people {
        person.guest = matches!(person.name, "dave" | "carol");
        person.from_the_beginning = !person.guest;
    }
    let two = sim.more && sim.drawn("rooms").random_range(0..4) == 0;
    let mut rooms = Vec::new();
    for name in ["club", "den"].iter().take(1 + usize::from(two)) {
        let room = people[0].client.create(name).await.unwrap();
        let members = ["mimi://a.example/u/amy", "mimi://b.example/u/bob"].map(uri);
        people[0].client.add(&room, &members).await.unwrap();
        for person in &mut people {
            while person.from_the_beginning && person.epoch(&room) != Some(1) {
                person.catch_up(&room).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        rooms.push(room);
    }
    (rooms, people)
}

impl Person {
    /// Does what is to be done; returns how much there was to read.
    pub(super) async fn catch_up(&mut self, room: &str) -> Result<usize, ClientError> {
        self.client.refill(Some(STOCK)).await?;
        self.client.refresh().await?;
        if self.client.engine().room(room).is_err() {
            return Ok(0);
        }
        Ok(self.client.follow(room, Duration::ZERO).await?.len())
    }

    /// What keeps it busy.
    pub(super) fn unsettled(&self, room: &str) -> Option<String> {
        let engine = self.client.engine();
        let known = engine.room(room).ok()?;
        if engine.busy(room).unwrap() && known.membership == Membership::Member {
            return Some("something is under way".to_owned());
        }
        if known.membership == Membership::Member && !engine.outgoing(room).unwrap().is_empty() {
            return Some("something is not accepted yet".to_owned());
        }
        match &known.membership {
            Membership::Member => None,
            other if self.from_the_beginning => Some(format!("it is {other:?}")),
            _ => None,
        }
    }

    /// Own messages that were refused for good.
    pub(super) fn refused(&self, room: &str) -> Vec<String> {
        let engine = self.client.engine();
        let Ok(known) = engine.room(room) else {
            return Vec::new();
        };
        let unplaced = known.ordered().into_iter().filter(|entry| entry.pos.is_none());
        let said = unplaced.filter_map(|entry| match &entry.what {
            What::Message(message) => Some(format!(
                "{}: {:?}",
                message.text,
                message.id.as_ref().map(|id| engine.sent(room, id))
            )),
            _ => None,
        });
        said.collect()
    }

    pub(super) fn epoch(&self, room: &str) -> Option<u64> {
        self.client.engine().epoch(room).ok().flatten()
    }

    /// The messages that it has read, in the feed's order.
    pub(super) fn read(&self, room: &str) -> Vec<Read> {
        let known = self.client.engine().room(room).unwrap();
        let placed = known.ordered().into_iter().filter(|entry| entry.pos.is_some());
        let entries = placed.filter_map(|entry| {
            let said = match &entry.what {
                What::Message(message) => Ok(message.text.clone()),
                What::Problem { what, reason } => Err(format!("{what}: {reason}")),
                What::Change(_) => return None,
            };
            let hash = entry.hash;
            Some(Read { hash, said })
        });
        entries.collect()
    }

    /// Talks until it is stopped.
    pub(super) async fn talk(
        mut self,
        sim: Arc<Sim>,
        rooms: Vec<String>,
        mut rng: SmallRng,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let mut said = 0;
        let mut which = sim.drawn(&format!("{} in which room", self.name));
        while !*stop.borrow() {
            tokio::time::sleep(Duration::from_millis(rng.random_range(100..3000))).await;
            let room = &rooms[which.random_range(0..rooms.len())];
            let guest = uri(GUESTS[rng.random_range(0..GUESTS.len())]);
            let (what, done) = match rng.random_range(0..10) {
                _ if self.guest => ("reads", self.catch_up(room).await.map(drop)),
                0..=5 => {
                    said += 1;
                    ("says", self.say(&sim, room, said).await)
                }
                6 => ("adds", self.client.add(room, &[guest]).await.map(drop)),
                7 => ("removes", self.client.remove(room, &[guest]).await.map(drop)),
                _ => ("reads", self.catch_up(room).await.map(drop)),
            };
            sim.note(self.name, what, done.is_ok());
        }
        self
    }

    async fn say(&mut self, sim: &Sim, room: &str, number: u32) -> Result<(), ClientError> {
        let text = format!("{} {number}", self.name);
        let sent = self
            .client
            .send(room, &text, "text/plain;charset=utf-8", Duration::ZERO)
            .await?;
        if let (_, Sent::Accepted(_), _) = sent {
            sim.history().acknowledged.insert((room.to_owned(), text));
        }
        Ok(())
    }
}
