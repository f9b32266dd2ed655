//! A device of a person: a profile on disk and its connection.

use crate::hub::{Hub, Line};
use mls_client::api::Session;
use mls_client::state::{Entry, Message, What};
use mls_client::transport::Backoff;
use mls_client::{Client, ClientError, Engine, Options};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) struct Person {
    dir: TempDir,
    pub(crate) line: Line,
    client: Option<Client<Line>>,
}

pub(crate) fn options() -> Options {
    let backoff = Backoff {
        first: Duration::ZERO,
        most: Duration::ZERO,
        attempts: 1,
    };
    Options {
        commit_jitter: Duration::ZERO,
        attempts: 8,
        backoff,
    }
}

impl Person {
    pub(crate) fn new(hub: &Hub, user: &str, device: &str) -> Self {
        let line = hub.line(user, device);
        let dir = tempfile::tempdir().unwrap();
        let mut engine = Engine::create(dir.path(), None).unwrap();
        let session = Session {
            token: "t".into(),
            user: line.user.clone(),
            client: line.client.clone(),
        };
        engine
            .signed_in("http://nowhere", None, line.info(), session, None)
            .unwrap();
        let client = Client::new(engine, line.clone(), None, options());
        Self {
            dir,
            line,
            client: Some(client),
        }
    }

    /// Drops everything in memory and opens the profile again.
    pub(crate) fn restart(&mut self) {
        self.client = None;
        let engine = Engine::open(self.dir.path(), None, Duration::ZERO).unwrap();
        self.client = Some(Client::new(engine, self.line.clone(), None, options()));
    }

    /// The engine without its client, for what a test does by hand.
    pub(crate) fn engine(&mut self) -> Engine {
        self.client.take().unwrap().into_engine()
    }

    pub(crate) fn put_back(&mut self, engine: Engine) {
        self.client = Some(Client::new(engine, self.line.clone(), None, options()));
    }

    pub(crate) fn client(&mut self) -> &mut Client<Line> {
        self.client.as_mut().unwrap()
    }

    pub(crate) async fn sync(&mut self) {
        self.client().sync().await.unwrap();
    }

    pub(crate) async fn say(&mut self, room: &str, text: &str) -> Result<(), ClientError> {
        self.client()
            .send(room, text, "text/plain;charset=utf-8", Duration::ZERO)
            .await
            .map(drop)
    }

    pub(crate) fn history(&mut self, room: &str) -> Vec<Entry> {
        self.client()
            .engine()
            .room(room)
            .unwrap()
            .ordered()
            .into_iter()
            .cloned()
            .collect()
    }

    pub(crate) fn messages(&mut self, room: &str) -> Vec<Message> {
        let message = |e: Entry| match e.what {
            What::Message(m) => Some(*m),
            _ => None,
        };
        self.history(room).into_iter().filter_map(message).collect()
    }

    pub(crate) fn texts(&mut self, room: &str) -> Vec<String> {
        self.messages(room).into_iter().map(|m| m.text).collect()
    }

    pub(crate) fn problems(&mut self, room: &str) -> Vec<String> {
        let problem = |e: Entry| match e.what {
            What::Problem { reason, .. } => Some(reason),
            _ => None,
        };
        self.history(room).into_iter().filter_map(problem).collect()
    }

    pub(crate) fn users(&mut self, room: &str) -> Vec<String> {
        let roster = self.client().engine().members(room).unwrap();
        roster.participants.into_iter().map(|(user, _)| user).collect()
    }

    pub(crate) fn clients(&mut self, room: &str) -> Vec<String> {
        let mut clients = self.client().engine().members(room).unwrap().clients;
        clients.sort();
        clients
    }
}
