//! Several nodes of a provider beside one homeserver, behind the one URL that its registration has.

use super::{SOON, Side, portal_statuses};
use crate::nodes::nodes;
use crate::support::homeserver_there;
use causeway_tests::matrix::eventually;
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider, run};

/// Adds two nodes; the homeserver's requests go to all three in turn.
async fn spread(side: &mut Side) -> Vec<Provider> {
    let [first, second, third] = free_addresses().unwrap();
    side.gateway.stop().await.unwrap();
    side.gateway.cluster(first).unwrap();
    side.gateway.start(None).await.unwrap();
    let mut others: Vec<Provider> = Vec::new();
    for (name, listen) in [("cw2", second), ("cw3", third)] {
        let addresses = Addresses::free().unwrap();
        let dir = side.place.path(name);
        let (mut node, line) = side.gateway.join(&dir, name, addresses, listen).await.unwrap();
        node.start_waiting().await.unwrap();
        run(side.gateway.command().unwrap().args(["node", "add", &line]))
            .await
            .unwrap();
        side.inbound.also(&format!("http://{}", addresses.appservice));
        others.push(node);
    }
    others
}

/// The number of the node that orders, as one that lives sees it; not the dead one.
async fn leader(all: &[&mut Provider], dead: Option<usize>) -> usize {
    eventually("a node that orders", SOON, || async {
        for (at, node) in all.iter().enumerate() {
            if Some(at) == dead {
                continue;
            }
            let view = nodes(node).await;
            let name = view
                .as_ref()
                .and_then(|view| view["leader"].as_str()?.strip_prefix("cw")?.parse().ok());
            let number = name.map(|number: usize| number - 1);
            if let Some(number) = number.filter(|number| Some(*number) != dead) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    })
    .await
    .unwrap()
}

/// "No supported fault-tolerant or multi-replica appservice: one URL, events twice with several instances" (synapse#1308,
/// #1355, matrix-hookshot#897): three nodes take the homeserver's transactions in turn, the one that orders dies twice, and
/// nothing is lost or doubled, neither in the feed nor in the portal.
#[tokio::test(flavor = "multi_thread")]
async fn several_nodes_behind_one_url_lose_and_double_nothing_when_one_dies() {
    if !homeserver_there() {
        return;
    }
    let mut side = Side::start().await;
    let before = portal_statuses(&side).await;
    let mut others = spread(&mut side).await;
    let mut count = 0;
    for round in 1..=2 {
        for n in 1..=3 {
            side.hand_in(&format!("to all nodes {round}.{n}")).await;
        }
        let dead = {
            let (two, three) = others.split_at_mut(1);
            let all = [&mut side.gateway, &mut two[0], &mut three[0]];
            let dead = leader(&all, None).await;
            all.into_iter().nth(dead).unwrap().kill().await.unwrap();
            dead
        };
        for n in 1..=3 {
            side.hand_in(&format!("to those that are left {round}.{n}")).await;
        }
        count += 6;
        let (two, three) = others.split_at_mut(1);
        let all = [&mut side.gateway, &mut two[0], &mut three[0]];
        let next = leader(&all, Some(dead)).await;
        assert_ne!(next, dead);
        all.into_iter().nth(dead).unwrap().start(None).await.unwrap();
    }
    side.everything_is_there_once().await;
    eventually("an answer for each in the portal", SOON, || async {
        Ok((portal_statuses(&side).await >= before + count).then_some(()))
    })
    .await
    .unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(portal_statuses(&side).await, before + count);
    // One of them watches over the homeserver; none cries wolf.
    for node in others.iter().chain([&side.gateway]) {
        eventually("no warnings", SOON, || async {
            let answer = node.readiness().await?;
            Ok((answer["warnings"] == serde_json::json!([])).then_some(()))
        })
        .await
        .unwrap();
    }
    for node in &mut others {
        node.stop().await.unwrap();
    }
    side.stop().await;
}
