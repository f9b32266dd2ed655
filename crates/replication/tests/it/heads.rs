//! What a node missed while nobody told it: heads are compared, and gaps are closed or given up.

use crate::peer::{Authority, Peer, ok, status};
use crate::rooms::{still_works, two};
use crate::world::{Node, ctx, until};
use async_trait::async_trait;
use event_graph::Pdu;
use http::StatusCode;
use replication::Bounds;
use room_engine::Sequencer;
use room_engine::graphs::GraphCommand;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use store::{MemoryStore, StoreError};
use tokio::sync::watch;

const OFTEN: Duration = Duration::from_millis(20);

/// Keeps comparing until it is dropped.
struct Keeping(tokio::task::JoinHandle<()>);

impl Keeping {
    fn start(node: &Node) -> Self {
        let federation = node.federation.clone();
        Self(tokio::spawn(async move { federation.keep_healing(OFTEN).await }))
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Two messages of which the peer never gives the first, in no way.
fn withheld(peer: &Arc<Peer>) -> (Pdu, Pdu) {
    let (hidden, child) = (peer.say("hidden"), peer.say("child"));
    let id = hidden.event_id().to_string();
    let of = Arc::downgrade(peer);
    peer.script(move |asked| {
        let peer = of.upgrade()?;
        let closed = ["/get_missing_events/", "/state", "/backfill/", &id];
        if closed.iter().any(|part| asked.target.contains(part)) {
            return Some(status(StatusCode::FORBIDDEN));
        }
        Some(peer.honest(asked))
    });
    (hidden, child)
}

/// An event taken in without anybody being asked for what it lacks, as what a restart finds.
async fn hold(node: &Node, pdu: &Pdu) {
    let admit = GraphCommand::Admit {
        origin: None,
        pdus: vec![pdu.clone()],
        past: false,
    };
    node.engine.graph(ctx(), pdu.room_id(), admit).await.unwrap();
    assert_eq!(node.heads(pdu.room_id()).await.held, [pdu.event_id()]);
}

/// A quiet room heals: nothing is sent, and what was missed comes all the same. A node shows its heads; a homeserver, which
/// doesn't, the event nearest to now, and it isn't asked for heads again.
#[tokio::test]
async fn a_quiet_room_heals() {
    for is_node in [true, false] {
        let (node, peer) = two().await;
        if is_node {
            let of = Arc::downgrade(&peer);
            peer.script(move |asked| {
                let newest = of.upgrade()?.room.lock().unwrap().newest().event_id();
                asked
                    .target
                    .contains("/heads/")
                    .then(|| ok(&json!({ "heads": [newest] })))
            });
        }
        let missed: Vec<Pdu> = (0..3).map(|n| peer.say(&format!("missed {n}"))).collect();
        let keeping = Keeping::start(&node);
        until(|| async { node.holds(&missed[0]).await && node.holds(&missed[2]).await }).await;
        let room = peer.room_id();
        assert_eq!(node.heads(&room).await.heads, [missed[2].event_id()]);
        let later = peer.say("later");
        until(|| async { node.holds(&later).await }).await;
        drop(keeping);
        if is_node {
            assert_eq!(peer.count("/timestamp_to_event/"), 0);
        } else {
            assert_eq!(peer.count("/heads/"), 1);
            assert!(peer.count("/timestamp_to_event/") >= 2);
        }
        still_works(&node, &peer).await;
    }
}

/// A gap that stays holds up no other room, and no other event of its own room.
#[tokio::test]
async fn a_gap_that_stays_holds_up_no_other_room() {
    let (node, peer) = two().await;
    let quiet = Peer::start(&node.authority, 2).await;
    node.join(&quiet).await;
    let (hidden, child) = withheld(&peer);
    hold(&node, &child).await;
    let _keeping = Keeping::start(&node);
    until(|| async { peer.count("/get_missing_events/") >= 1 }).await;
    let missed = quiet.say("missed");
    until(|| async { node.holds(&missed).await }).await;
    let aside = {
        let room = peer.room.lock().unwrap();
        let mut draft = room.message(&peer.identity, "aside");
        draft.prev_events = vec![hidden.prev_events()[0]];
        draft.sign(&peer.identity, crate::room::VERSION).unwrap()
    };
    peer.room.lock().unwrap().take(aside.clone());
    until(|| async { node.holds(&aside).await }).await;
    assert_eq!(node.heads(&peer.room_id()).await.held, [child.event_id()]);
}

/// A gap that nobody closes is given up in the end, however much else happens in the room meanwhile.
#[tokio::test]
async fn a_gap_that_stays_is_given_up() {
    let bounds = Bounds {
        patience: Duration::from_secs(1),
        ..Bounds::default()
    };
    let store = Arc::new(MemoryStore::new());
    let node = Node::with(Authority::new(), store, Arc::new(Order::new()), bounds).await;
    let peer = Peer::start(&node.authority, 1).await;
    node.join(&peer).await;
    let room = peer.room_id();
    let (hidden, child) = withheld(&peer);
    node.send(&peer, "gap", &[child.raw().to_value()]).await;
    let mut last = hidden.prev_events()[0];
    for txn in 0.. {
        if node.heads(&room).await.held.is_empty() {
            break;
        }
        let busy = {
            let room = peer.room.lock().unwrap();
            let mut draft = room.message(&peer.identity, &format!("{txn}"));
            draft.prev_events = vec![last];
            draft.sign(&peer.identity, crate::room::VERSION).unwrap()
        };
        last = busy.event_id();
        node.send(&peer, &format!("busy-{txn}"), &[busy.raw().to_value()])
            .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!node.holds(&child).await && node.heads(&room).await.missing.is_empty());
    // It was not judged: once its parent is there it counts.
    let both = [hidden.raw().to_value(), child.raw().to_value()];
    node.send(&peer, "after-all", &both).await;
    assert!(node.accepted(&room).await.contains(&child.event_id().to_string()));
}

/// Whether a node orders.
struct Order(watch::Sender<Option<u64>>);

impl Order {
    fn new() -> Self {
        Self(watch::channel(Some(1)).0)
    }
}

#[async_trait]
impl Sequencer for Order {
    fn term(&self) -> Result<u64, StoreError> {
        self.0.borrow().ok_or_else(|| StoreError::Unavailable {
            retry_after: Duration::from_millis(1),
            why: "another node orders".into(),
        })
    }

    async fn confirm(&self, _: u64) -> Result<(), StoreError> {
        self.term().map(drop)
    }

    fn terms(&self) -> watch::Receiver<Option<u64>> {
        self.0.subscribe()
    }
}

/// A node that doesn't order could take nothing in: it asks nobody.
#[tokio::test]
async fn only_the_node_that_orders_compares_heads() {
    let order = Arc::new(Order::new());
    let store = Arc::new(MemoryStore::new());
    let node = Node::with(Authority::new(), store, order.clone(), Bounds::default()).await;
    let peer = Peer::start(&node.authority, 1).await;
    node.join(&peer).await;
    order.0.send_replace(None);
    let missed = peer.say("missed");
    let before = peer.asked.lock().unwrap().len();
    let _keeping = Keeping::start(&node);
    tokio::time::sleep(OFTEN * 20).await;
    assert_eq!(peer.asked.lock().unwrap().len(), before);
    order.0.send_replace(Some(2));
    until(|| async { node.holds(&missed).await }).await;
}
