//! Servers that stay silent when they are asked for their keys.

use crate::peer::Peer;
use crate::room::{VERSION, user};
use crate::rooms::two;
use crate::world::until;
use event_graph::SigningIdentity;
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Names of servers that take a connection and say nothing, one more with each call, and how many connections there are.
async fn silent() -> (impl FnMut() -> String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            kept.push(stream);
        }
    });
    let mut next = 0;
    let name = move || {
        next += 1;
        format!("127.1.{}.{}:{port}", next / 250, next % 250 + 1)
    };
    (name, count)
}

/// Whoever claims to be a server makes us ask it for its keys. However many of them stay silent: the servers that we know
/// are heard, and what they bring is verified, whoever signed it.
#[tokio::test]
async fn silent_servers_keep_nobody_from_being_verified() {
    let (node, peer) = two().await;
    let (mut name, connections) = silent().await;
    let node = Arc::new(node);
    let mut waiting = JoinSet::new();
    for _ in 0..200 {
        let by = SigningIdentity::from_seed(&name(), "ed25519:p", &[9; 32]);
        let node = node.clone();
        waiting.spawn(async move {
            node.get(&by, "/_matrix/federation/v1/query/profile?user_id=@a:b")
                .await
        });
    }
    until(|| async { connections.load(Ordering::SeqCst) >= 16 }).await;
    let newcomer = Peer::start(&node.authority, 2).await;
    let join = {
        let zoe = user(&newcomer.identity, "zoe");
        let mut room = peer.room.lock().unwrap();
        let content = json!({ "membership": "join" });
        let draft = room.draft(&zoe, "m.room.member", Some(&zoe), content);
        let join = draft.sign(&newcomer.identity, VERSION).unwrap();
        room.take(join.clone());
        join
    };
    let told = node.send(&peer, "1", &[join.raw().to_value()]).await;
    assert_eq!(told[&join.event_id().to_string()], None);
    assert!(node.holds(&join).await);
    // All that was meanwhile.
    assert!(waiting.try_join_next().is_none());
    waiting.abort_all();
}

/// A transaction whose events name silent servers makes the one that sent it wait, and no other.
#[tokio::test]
async fn silent_signers_hold_up_only_who_brings_them() {
    let (node, peer) = two().await;
    let hostile = Peer::start(&node.authority, 2).await;
    assert_eq!(
        node.get(
            &hostile.identity,
            "/_matrix/federation/v1/query/profile?user_id=@_causeway:node.test"
        )
        .await,
        StatusCode::OK
    );
    let (mut name, connections) = silent().await;
    let events: Vec<_> = (0..50)
        .map(|_| {
            let by = SigningIdentity::from_seed(&name(), "ed25519:p", &[9; 32]);
            let room = peer.room.lock().unwrap();
            let content = json!({ "msgtype": "m.text", "body": "who?" });
            let draft = room.draft(&user(&by, "a"), "m.room.message", None, content);
            draft.sign(&by, VERSION).unwrap().raw().to_value()
        })
        .collect();
    let node = Arc::new(node);
    let sending = tokio::spawn({
        let node = node.clone();
        async move { node.send(&hostile, "slow", &events).await }
    });
    until(|| async { connections.load(Ordering::SeqCst) >= 4 }).await;
    let newcomer = Peer::start(&node.authority, 3).await;
    let join = {
        let zoe = user(&newcomer.identity, "zoe");
        let room = peer.room.lock().unwrap();
        let draft = room.draft(&zoe, "m.room.member", Some(&zoe), json!({ "membership": "join" }));
        draft.sign(&newcomer.identity, VERSION).unwrap()
    };
    let told = node.send(&peer, "1", &[join.raw().to_value()]).await;
    assert_eq!(told[&join.event_id().to_string()], None);
    assert!(node.holds(&join).await && !sending.is_finished());
    sending.abort();
}
