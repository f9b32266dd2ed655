//! OpenAPI of health, metrics and the admin API.

use super::operation::{Body, Document};
use crate::faces::admin::api::{
    Account, AccountAdded, AddAccount, AddNode, AdminError, Graph, GraphEvent, GraphJoined, GraphState,
    HomeserverStatus, InviteToGraph, JoinGraph, Nodes, PREFIX, Queue, Readiness, RebuildRoom, Release,
    Reloaded, Report, Room, RoomRebuilt, SendToGraph, SetAsideEvent, TakeOver, TakenOver, Unfence, Unfenced,
    UpgradePortal,
};
use serde_json::Value;

pub(super) fn describe() -> Value {
    let mut d = Document::new::<AdminError>();
    let path = |rest: &str| format!("{PREFIX}{rest}");
    d.add(
        ("get", "/healthz", 200),
        "The process runs.",
        true,
        &[],
        (Body::None, Body::Text),
    );
    let answer = d.json::<Readiness>();
    d.add(
        ("get", "/readyz", 200),
        "Whether it does its work; 503 if not.",
        true,
        &[],
        (Body::None, answer),
    );
    d.add(
        ("get", "/metrics", 200),
        "Prometheus metrics.",
        true,
        &[],
        (Body::None, Body::Text),
    );
    let answer = d.json::<Vec<Account>>();
    d.add(
        ("get", &path("/accounts"), 200),
        "All accounts.",
        false,
        &[],
        (Body::None, answer),
    );
    let bodies = (d.json::<AddAccount>(), d.json::<AccountAdded>());
    d.add(
        ("post", &path("/accounts"), 200),
        "Makes an account.",
        false,
        &[],
        bodies,
    );
    d.add(
        ("delete", &path("/accounts/{user}"), 204),
        "Removes an account.",
        false,
        &[],
        (Body::None, Body::None),
    );
    let answer = d.json::<Vec<Room>>();
    d.add(
        ("get", &path("/rooms"), 200),
        "All rooms.",
        false,
        &[],
        (Body::None, answer),
    );
    let answer = d.json::<Room>();
    d.add(
        ("get", &path("/rooms/{room}"), 200),
        "One room.",
        false,
        &[],
        (Body::None, answer),
    );
    for (act, what) in [
        (
            "unbridge",
            "Gives the room's portal up: ghosts, alias and devices go.",
        ),
        ("bridge", "Makes a portal again where it was given up."),
        (
            "sync_portal",
            "Compares the portal with the room and puts it right.",
        ),
    ] {
        d.add(
            ("post", &path(&format!("/rooms/{{room}}/{act}")), 204),
            what,
            false,
            &[],
            (Body::None, Body::None),
        );
    }
    let body = d.json::<UpgradePortal>();
    d.add(
        ("post", &path("/rooms/{room}/upgrade_portal"), 204),
        "Replaces the portal by a room of another version, with a tombstone in the old one.",
        false,
        &[],
        (body, Body::None),
    );
    let answer = d.json::<Nodes>();
    d.add(
        ("get", &path("/nodes"), 200),
        "The provider's nodes, where it has several.",
        false,
        &[],
        (Body::None, answer),
    );
    let body = d.json::<AddNode>();
    d.add(
        ("post", &path("/nodes"), 204),
        "Adds a node that waits for it.",
        false,
        &[],
        (body, Body::None),
    );
    d.add(
        ("delete", &path("/nodes/{node}"), 204),
        "Removes a node.",
        false,
        &[],
        (Body::None, Body::None),
    );
    d.add(
        ("post", &path("/nodes/{node}/lead"), 204),
        "Lets a node order.",
        false,
        &[],
        (Body::None, Body::None),
    );
    let (body, answer) = (d.json::<TakeOver>(), d.json::<TakenOver>());
    d.add(
        ("post", &path("/nodes/take-over"), 200),
        "Lets the node that answers go on without a majority.",
        false,
        &[],
        (body, answer),
    );
    let body = d.json::<Release>();
    d.add(
        ("post", &path("/nodes/release"), 204),
        "Lets a frozen order go on with what this side holds.",
        false,
        &[],
        (body, Body::None),
    );
    let answer = d.json::<Vec<Queue>>();
    d.add(
        ("get", &path("/queues"), 200),
        "What waits for each destination.",
        false,
        &[],
        (Body::None, answer),
    );
    let answer = d.json::<HomeserverStatus>();
    d.add(
        ("get", &path("/homeserver"), 200),
        "Whether the homeserver pushes, and what was missed.",
        false,
        &[],
        (Body::None, answer),
    );
    let answer = d.json::<Vec<Report>>();
    d.add(
        ("get", &path("/reports"), 200),
        "Reports of abuse in rooms of this hub, newest first.",
        false,
        &[],
        (Body::None, answer),
    );
    let answer = d.json::<Vec<SetAsideEvent>>();
    d.add(
        ("get", &path("/homeserver/set-aside"), 200),
        "Events of the homeserver that nothing could be done with, newest first.",
        false,
        &[],
        (Body::None, answer),
    );
    let answer = d.json::<Report>();
    d.add(
        ("get", &path("/reports/{id}"), 200),
        "One report, with the contents of its messages.",
        false,
        &[],
        (Body::None, answer),
    );
    let answer = d.json::<Reloaded>();
    d.add(
        ("post", &path("/reload"), 200),
        "Reads configuration, certificates and keys again, like SIGHUP.",
        false,
        &[],
        (Body::None, answer),
    );
    d.add(
        ("get", &path("/export"), 200),
        "The whole store of one moment, as JSON lines; without its last line it is not whole.",
        false,
        &[],
        (Body::None, Body::Text),
    );
    let bodies = (d.json::<Unfence>(), d.json::<Unfenced>());
    d.add(
        ("post", &path("/unfence"), 200),
        "Lets rooms that were restored from a backup take handshakes again, whatever was missed.",
        false,
        &[],
        bodies,
    );
    graphs(&mut d);
    d.finish(
        "Causeway admin API",
        "Health, metrics and administration. Not for the public network.",
    )
}

/// Graphs that other Matrix servers have to do with.
fn graphs(d: &mut Document) {
    let path = |rest: &str| format!("{PREFIX}/graphs{rest}");
    let answer = d.json::<Vec<Graph>>();
    d.add(
        ("get", &path(""), 200),
        "Graphs that other Matrix servers take part in, made, or invite to.",
        false,
        &[],
        (Body::None, answer),
    );
    let answer = d.json::<GraphState>();
    d.add(
        ("get", &path("/{room}"), 200),
        "A graph's end and its current state.",
        false,
        &[],
        (Body::None, answer),
    );
    d.add(
        ("get", &path("/{room}/events"), 200),
        "Every event of a graph with its verdict, in order of admission, as JSON lines.",
        false,
        &[],
        (Body::None, Body::Text),
    );
    let bodies = (d.json::<JoinGraph>(), d.json::<GraphJoined>());
    d.add(
        ("post", &path("/{room}/join"), 200),
        "Joins a room of another server with the node user.",
        false,
        &[],
        bodies,
    );
    let answer = d.json::<GraphEvent>();
    d.add(
        ("post", &path("/{room}/leave"), 200),
        "Leaves a room, or rejects an invitation to it.",
        false,
        &[],
        (Body::None, answer),
    );
    let bodies = (d.json::<InviteToGraph>(), d.json::<GraphEvent>());
    d.add(
        ("post", &path("/{room}/invite"), 200),
        "Invites a user of another Matrix server, which then stores and serves the graph.",
        false,
        &[],
        bodies,
    );
    let bodies = (d.json::<SendToGraph>(), d.json::<GraphEvent>());
    d.add(
        ("post", &path("/{room}/send"), 200),
        "Sends an event of the node user.",
        false,
        &[],
        bodies,
    );
    let bodies = (d.json::<RebuildRoom>(), d.json::<RoomRebuilt>());
    d.add(
        ("post", &path("/{room}/rebuild"), 200),
        "Makes a room of this provider again from its graph, when the store is lost.",
        false,
        &[],
        bodies,
    );
}
