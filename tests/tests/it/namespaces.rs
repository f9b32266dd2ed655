//! Three nodes, each in a network namespace of its own: links that are really cut, a disk that is really full.
//!
//! Each node has two interfaces: one to clients, peers and this test, one to the other nodes. Only the second is cut, so
//! that there is traffic on both sides.

use crate::nodes::{Spot, Talk, reasons};
use crate::support::Place;
use causeway_tests::matrix::eventually;
use causeway_tests::provider::{Addresses, Provider, run};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest wait for something to be noticed.
const PATIENCE: Duration = Duration::from_mins(1);

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "ip {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// Three namespaces and the two networks between them. Taken down when dropped.
struct Net {
    id: u32,
}

/// What a network is for.
#[derive(Clone, Copy)]
enum To {
    Clients,
    Nodes,
}

impl To {
    fn letter(self) -> char {
        match self {
            Self::Clients => 'c',
            Self::Nodes => 'n',
        }
    }
}

impl Net {
    fn new() -> Result<Self, String> {
        let net = Self {
            id: std::process::id() % 10_000,
        };
        for to in [To::Clients, To::Nodes] {
            let bridge = net.bridge(to);
            ip(&["link", "add", &bridge, "type", "bridge"])?;
            ip(&["link", "set", &bridge, "up"])?;
            if let To::Clients = to {
                ip(&[
                    "addr",
                    "add",
                    &format!("{}/24", net.host(to, 254)),
                    "dev",
                    &bridge,
                ])?;
            }
        }
        for number in 1..=3 {
            let namespace = net.namespace(number);
            ip(&["netns", "add", &namespace])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
            for to in [To::Clients, To::Nodes] {
                let (outside, inside) = (net.link(to, number), format!("eth{}", to.letter()));
                ip(&[
                    "link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", &namespace,
                ])?;
                ip(&["link", "set", &outside, "master", &net.bridge(to), "up"])?;
                let address = format!("{}/24", net.host(to, number));
                ip(&["-n", &namespace, "addr", "add", &address, "dev", &inside])?;
                ip(&["-n", &namespace, "link", "set", &inside, "up"])?;
            }
        }
        Ok(net)
    }

    fn bridge(&self, to: To) -> String {
        format!("cwb{}{}", to.letter(), self.id)
    }

    fn link(&self, to: To, number: u8) -> String {
        format!("cw{}{number}{}", to.letter(), self.id)
    }

    fn namespace(&self, number: u8) -> String {
        format!("causeway{}-{number}", self.id)
    }

    fn host(&self, to: To, number: u8) -> String {
        let network = u8::try_from(self.id % 100).unwrap() * 2 + u8::from(matches!(to, To::Nodes));
        format!("10.77.{network}.{number}")
    }

    fn addresses(&self, number: u8) -> Addresses {
        let at = |port: u16| SocketAddr::new(self.host(To::Clients, number).parse().unwrap(), port);
        Addresses {
            mimi: at(7001),
            client: at(7002),
            admin: at(7003),
            appservice: at(7004),
            federation: at(7006),
        }
    }

    fn spot(&self, number: u8) -> Spot {
        Spot {
            addresses: self.addresses(number),
            listen: SocketAddr::new(self.host(To::Nodes, number).parse().unwrap(), 7005),
            namespace: Some(self.namespace(number)),
        }
    }

    /// Cuts a node (by its place, from 0) from the other nodes, or heals it.
    fn cut(&self, at: usize, cut: bool) {
        let link = self.link(To::Nodes, u8::try_from(at).unwrap() + 1);
        ip(&["link", "set", &link, if cut { "down" } else { "up" }]).unwrap();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for number in 1..=3 {
            let _ = ip(&["netns", "del", &self.namespace(number)]);
        }
        for to in [To::Clients, To::Nodes] {
            let _ = ip(&["link", "del", &self.bridge(to)]);
        }
    }
}

/// A small disk of its own for a folder. Unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(path: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(|e| e.to_string())?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=192m", "tmpfs"])
            .arg(path)
            .status()
            .map_err(|e| e.to_string())?;
        if mounted.success() {
            Ok(Self(path.to_owned()))
        } else {
            Err("mount is not permitted".to_owned())
        }
    }

    /// Leaves less free than the store keeps in reserve (128 MiB).
    fn fill(&self) {
        std::fs::write(self.0.join("filler"), vec![0; 80 << 20]).unwrap();
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Messages that a node took while it was cut off.
async fn aside(node: &Provider) -> f64 {
    let metrics = node.metrics().await.unwrap_or_default();
    let taken = metrics.get("causeway_messages_total{lane=\"cut_off\"}");
    taken.copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_links_a_killed_leader_and_a_full_disk_lose_nothing_and_double_nothing() {
    causeway_tests::install_tls();
    let place = Place::new();
    let made = Net::new().and_then(|net| Disk::new(&place.path("a2")).map(|disk| (net, disk)));
    let (net, disk) = match made {
        Ok(made) => made,
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "network namespaces: {why}");
            println!("SKIPPED: network namespaces: {why}");
            return;
        }
    };
    let spots = [net.spot(1), net.spot(2), net.spot(3)];
    let mut talk = Talk::begin(&place, spots, net.addresses(254)).await;
    let all = [0, 1, 2];
    let a_while = Duration::from_secs(3);

    // The node that orders, through which Alice talks, can't see the others any more: both sides take messages, one goes
    // on ordering.
    let away = 2;
    let mut lead = talk.a[0].command().unwrap();
    run(lead.args(["node", "lead", "cw3"])).await.unwrap();
    eventually("the third node orders", PATIENCE, || async {
        Ok((talk.leader(&all).await == away).then_some(()))
    })
    .await
    .unwrap();
    net.cut(away, true);
    talk.other_leader(away).await;
    eventually("the node takes messages by itself", PATIENCE, || async {
        Ok((aside(&talk.a[away]).await > 0.0).then_some(()))
    })
    .await
    .unwrap();
    tokio::time::sleep(a_while).await;
    net.cut(away, false);
    tokio::time::sleep(a_while).await;

    // The one that orders now is killed.
    let dead = talk.leader(&all).await;
    talk.a[dead].kill().await.unwrap();
    talk.other_leader(dead).await;
    talk.a[dead].start(None).await.unwrap();

    // A node's disk is full for a while.
    disk.fill();
    let full = |node| async move { Ok(reasons(node).await.contains("the disk is full").then_some(())) };
    eventually("the node says that its disk is full", PATIENCE, || {
        full(&talk.a[1])
    })
    .await
    .unwrap();
    tokio::time::sleep(a_while).await;
    disk.clear();
    // And one that follows is cut off.
    let leader = talk.leader(&all).await;
    let follower = (leader + 1) % 3;
    net.cut(follower, true);
    tokio::time::sleep(a_while).await;
    net.cut(follower, false);
    talk.leader(&all).await;
    talk.end().await;
}
