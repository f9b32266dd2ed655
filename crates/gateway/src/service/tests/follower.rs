//! A follower behind a faulty link to the hub: answers that are lost after the request was delivered.

use super::conversation::Person;
use super::*;
use mimi_wire::mls::{Epoch, MlsMessage};
use mimi_wire::protocol::{
    GroupInfoOption, HandshakeBundle, PartialGroupInfo, RatchetTreeOption, UpdateOutcome, UpdateRoomResponse,
};
use mimi_wire::{Encode as _, MimiUri};
use room_engine::FeedItem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A link that delivers everything, until it is told to swallow answers or to be down.
#[derive(Clone)]
struct Link {
    address: SocketAddr,
    deaf: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
    running: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Link {
    async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((loopback(), 8443)).await.unwrap();
        let link = Self {
            address: listener.local_addr().unwrap(),
            deaf: Arc::default(),
            down: Arc::default(),
            running: Arc::default(),
        };
        let accepting = link.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                if accepting.down.load(Ordering::SeqCst) {
                    continue;
                }
                let deaf = accepting.deaf.clone();
                let carried = tokio::spawn(async move {
                    let Ok(to) = TcpStream::connect(upstream).await else {
                        return;
                    };
                    let ((mut from_r, mut from_w), (mut to_r, mut to_w)) =
                        (from.into_split(), to.into_split());
                    let there = tokio::io::copy(&mut from_r, &mut to_w);
                    let back = async {
                        let mut octets = vec![0; 16 * 1024];
                        while let Ok(n @ 1..) = to_r.read(&mut octets).await {
                            if !deaf.load(Ordering::SeqCst) && from_w.write_all(&octets[..n]).await.is_err() {
                                return;
                            }
                        }
                    };
                    tokio::select! {
                        _ = there => {}
                        () = back => {}
                    }
                });
                accepting.running.lock().unwrap().push(carried);
            }
        });
        link
    }

    /// From here on nothing comes back.
    fn swallow_answers(&self) {
        self.deaf.store(true, Ordering::SeqCst);
    }

    /// Breaks every connection off, and takes no more.
    fn cut(&self) {
        self.down.store(true, Ordering::SeqCst);
        for carried in self.running.lock().unwrap().drain(..) {
            carried.abort();
        }
    }

    fn mend(&self) {
        self.deaf.store(false, Ordering::SeqCst);
        self.down.store(false, Ordering::SeqCst);
    }
}

async fn hub_view(provider: &Provider) -> room_engine::RoomView {
    provider.service.engine().rooms().await.unwrap().remove(0)
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..1500 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_answer_is_lost_is_settled_by_what_the_hub_sends() {
    let folder = tempfile::tempdir().unwrap();
    let [a, mut b] = configurations(folder.path());
    let a = start(a).await;
    let link = Link::to(a.service.addresses().mimi).await;
    for (domain, peer) in &mut b.peers {
        if domain.0.as_str() == "a.example" {
            peer.address = Some(link.address);
        }
    }
    let b = start(b).await;
    let alice = Person::new(folder.path(), &a, "alice").await;
    let carol = Person::new(folder.path(), &a, "carol").await;
    let bob = Person::new(folder.path(), &b, "bob").await;
    alice.does(&["create", "club"]).await;
    alice
        .does(&[
            "add",
            "club",
            "mimi://a.example/u/carol",
            "mimi://b.example/u/bob",
        ])
        .await;
    carol.does(&["sync"]).await;
    let joined = async || !b.service.engine().rooms().await.unwrap().is_empty();
    until("b.example is in", joined).await;
    bob.does(&["sync"]).await;
    bob.does(&["send", "club", "hello"]).await;
    // Carol leaves, so there is something that Bob's device commits.
    let (before, at_b) = (hub_view(&a).await, hub_view(&b).await);
    carol.does(&["leave", "club"]).await;
    until("the leave is there", async || {
        hub_view(&b).await.log_entries > at_b.log_entries
    })
    .await;
    // The request gets through, its answer doesn't, and the hub can't be asked again.
    link.swallow_answers();
    let committing = tokio::spawn(async move {
        bob.does(&["sync"]).await;
        bob
    });
    until("accepted", async || hub_view(&a).await.epoch > before.epoch).await;
    link.cut();
    let bob = committing.await.unwrap();
    let after = hub_view(&a).await;
    assert_eq!((after.epoch, after.participants.len()), (before.epoch + 1, 2));
    let (_, metrics) = b.text("/metrics").await;
    assert!(
        metrics.contains("causeway_updates_settled_total{outcome=\"accepted\"}"),
        "{metrics}"
    );
    // Bob's device went on with its commit: what it sends is of the new epoch, and Alice reads it.
    link.mend();
    bob.does(&["send", "club", "of the new epoch"]).await;
    alice.does(&["sync"]).await;

    // His second device comes in by itself: groupInfo sealed by the hub, external commit.
    let second = Person::device(folder.path(), &b, "bob", "d2").await;
    // What the room is called only its members know.
    let uri = before.room.as_str();
    second.does(&["rooms"]).await;
    second.does(&["join", uri]).await;
    assert_eq!(hub_view(&a).await.epoch, before.epoch + 2);
    second.does(&["send", uri, "from elsewhere"]).await;

    // A commit of an epoch that has passed, over the same wire.
    let alice_uri = MimiUri::parse("mimi://a.example/u/alice").unwrap();
    let feed = a
        .service
        .engine()
        .feed(&before.room, &alice_uri, 1, 500, None)
        .await
        .unwrap();
    let commit = feed.entries.into_iter().find_map(|entry| match entry.item {
        FeedItem::Commit { message, .. } => Some(message),
        _ => None,
    });
    let stale = HandshakeBundle::commit(
        MlsMessage::from_bytes(&commit.unwrap()).unwrap(),
        None,
        GroupInfoOption::Partial(PartialGroupInfo {
            ratchet_tree_presence: mimi_wire::protocol::RatchetTreePresence::NoRatchetTree,
            group_info_extensions: Vec::new(),
            signature: mimi_wire::Opaque(vec![0; 64]),
        }),
        RatchetTreeOption::DistributionService,
    )
    .unwrap();
    let to = domain("a.example");
    let room = before.room.as_str();
    let answer = b
        .peer()
        .post(&to, Endpoint::Update, room, "r1", stale.to_bytes().into())
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let outcome = UpdateRoomResponse::from_bytes(&answer.body).unwrap().outcome;
    let current_epoch = Epoch(hub_view(&a).await.epoch);
    assert_eq!(outcome, UpdateOutcome::WrongEpoch { current_epoch });
    b.service.stop().await;
    a.service.stop().await;
}
