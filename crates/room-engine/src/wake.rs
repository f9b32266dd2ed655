//! Waking clients over the homeserver: for clients that would rather not hold a connection to the client API open.
//!
//! A client that asks for it is told by a to-device event that there is something in a room's feed: the Welcome itself where
//! it fits, otherwise where to read. It is a hint, sent at most every [`PAUSE`] for a room: after one a client follows the
//! feed for longer than that. Nothing depends on it; the feed has everything.

use mimi_wire::uri::MimiUri;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::{Scan, Space, Store, StoreError};

use crate::owner::UriKey;
use crate::records::{key, parse};

/// Shortest time between two wakes of one user for one room.
pub const PAUSE: Duration = Duration::from_secs(5);
/// Users and rooms remembered at most, to keep the pause.
const MOST_PAUSES: usize = 10_000;

/// How a client wants to be woken (space `Wake`, key: user, client).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WakeRecord {
    pub(crate) user: MimiUri,
    pub(crate) client: MimiUri,
    /// The Matrix device it listens on.
    pub(crate) device: String,
}

/// Where a wish to be woken is kept.
pub(crate) fn wake_key(user: &MimiUri, client: &MimiUri) -> Vec<u8> {
    key(&[&UriKey::of(user).0, &UriKey::of(client).0])
}

/// Everybody who wants to be woken.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    clients: HashMap<MimiUri, HashMap<MimiUri, String>>,
    last: HashMap<(MimiUri, UriKey), u64>,
}

impl Wakes {
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let wakes = Self::default();
        wakes.read(store).await?;
        Ok(wakes)
    }

    /// Reads it all anew: another node may have ordered meanwhile.
    pub(crate) async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let now = Self::load(store).await?;
        let clients = std::mem::take(&mut now.0.lock().unwrap_or_else(PoisonError::into_inner).clients);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clients = clients;
        Ok(())
    }

    async fn read(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut scan = Scan::all(Space::Wake).limit(500);
        loop {
            let page = store.scan(scan.clone()).await?;
            for (key, value) in &page {
                let record: WakeRecord = parse(Space::Wake, key, value)?;
                self.set(&record.user, &record.client, Some(record.device));
            }
            match page.last() {
                Some((last, _)) => scan = scan.after(last),
                None => return Ok(()),
            }
        }
    }

    /// A client wants to be woken on this device, or no more.
    pub(crate) fn set(&self, user: &MimiUri, client: &MimiUri, device: Option<String>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = inner.clients.entry(user.clone()).or_default();
        match device {
            Some(device) => drop(clients.insert(client.clone(), device)),
            None => drop(clients.remove(client)),
        }
        if clients.is_empty() {
            inner.clients.remove(user);
        }
    }

    /// Whether nobody wants to be woken.
    pub(crate) fn is_empty(&self) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clients.is_empty()
    }

    /// The devices of a user to be woken now for a room; none within the pause. `always`: also within it.
    pub(crate) fn devices(&self, user: &MimiUri, room: UriKey, now: u64, always: bool) -> Vec<String> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(clients) = inner.clients.get(user) else {
            return Vec::new();
        };
        let devices = clients.values().cloned().collect();
        let place = (user.clone(), room);
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
        let early = inner
            .last
            .get(&place)
            .is_some_and(|last| now < last.saturating_add(pause));
        if early && !always {
            return Vec::new();
        }
        if inner.last.len() >= MOST_PAUSES {
            inner.last.clear();
        }
        inner.last.insert(place, now);
        devices
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_another_node_was_told_is_known_afterwards() {
        let uri = |text: &str| MimiUri::parse(text).unwrap();
        let record = WakeRecord {
            user: uri("mimi://a.example/u/alice"),
            client: uri("mimi://a.example/d/alice/phone"),
            device: "DEV".to_owned(),
        };
        let key = wake_key(&record.user, &record.client);
        let store = store::MemoryStore::new();
        let wakes = Wakes::load(&store).await.unwrap();
        let mut batch = store::Batch::new();
        batch.put(Space::Wake, &key, serde_json::to_vec(&record).unwrap());
        store.commit(batch).await.unwrap();
        assert!(wakes.is_empty());
        wakes.refresh(&store).await.unwrap();
        assert!(!wakes.is_empty());
        let mut batch = store::Batch::new();
        batch.delete(Space::Wake, &key);
        store.commit(batch).await.unwrap();
        wakes.refresh(&store).await.unwrap();
        assert!(wakes.is_empty());
    }

    #[test]
    fn a_user_is_woken_once_in_a_while_and_for_a_welcome_always() {
        let uri = |text: &str| MimiUri::parse(text).unwrap();
        let (alice, phone) = (
            uri("mimi://a.example/u/alice"),
            uri("mimi://a.example/d/alice/phone"),
        );
        let room = UriKey::of(&uri("mimi://a.example/r/club"));
        let wakes = Wakes::default();
        assert!(wakes.devices(&alice, room, 0, true).is_empty());
        wakes.set(&alice, &phone, Some("DEV".into()));
        assert_eq!(wakes.devices(&alice, room, 1_000, false), ["DEV"]);
        assert!(wakes.devices(&alice, room, 5_999, false).is_empty());
        assert_eq!(wakes.devices(&alice, room, 5_999, true), ["DEV"]);
        assert_eq!(wakes.devices(&alice, room, 10_999, false), ["DEV"]);
        wakes.set(&alice, &phone, None);
        assert!(wakes.devices(&alice, room, 99_999, true).is_empty());
    }
}
