//! The appservice crate against a real Synapse. Where a test closes a complaint that operators of bridges have, its
//! name says which.

use crate::support::{Place, homeserver_there, homeserver_with};
use appservice::events::RoomEvent;
use appservice::homeserver::Membership;
use appservice::portal::{self, Portal};
use appservice::thirdparty::{self, Wanted};
use appservice::{
    AppserviceState, Homeserver, HomeserverSettings, HomeserverTransport, Incoming, Intake, IntakeError,
    KeyRing, Lookup, Portals, Registration, Secret, routes,
};
use async_trait::async_trait;
use causeway_tests::matrix::eventually;
use causeway_tests::process::free_addresses;
use causeway_tests::synapse::Synapse;
use room_engine::Taken;
use room_engine::outbox::{Delivery, Destination, OutboxBody, OutboxEntry, Transport as _};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Stands where the engine stands: keeps what arrives, remembers portals.
#[derive(Default)]
struct Journal {
    events: Mutex<Vec<RoomEvent>>,
    portals: Mutex<HashMap<String, String>>,
    broken: AtomicBool,
}

#[async_trait]
impl Intake for Journal {
    async fn transaction(&self, _: &str, incoming: Incoming) -> Result<Taken, IntakeError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(IntakeError::Unavailable {
                reason: "told to".into(),
                retry_after: None,
            });
        }
        self.events.lock().unwrap().extend(incoming.events);
        Ok(Taken::default())
    }
    async fn alias(&self, _: &str) -> Result<Lookup, IntakeError> {
        Ok(Lookup::Unknown)
    }
    async fn user(&self, _: &str) -> Result<Lookup, IntakeError> {
        Ok(Lookup::Unknown)
    }
    async fn places(&self, _: &Wanted) -> Result<Vec<thirdparty::Place>, IntakeError> {
        Ok(Vec::new())
    }
    fn server_name(&self) -> String {
        "a.example".into()
    }
}

#[async_trait]
impl Portals for Journal {
    async fn portal_of(&self, room: &str) -> Result<Option<String>, String> {
        Ok(self.portals.lock().unwrap().get(room).cloned())
    }
    async fn portal_created(&self, _: &str, room: &str, portal: &str) -> Result<(), String> {
        self.portals
            .lock()
            .unwrap()
            .insert(room.to_owned(), portal.to_owned());
        Ok(())
    }
}

/// A homeserver, and this crate beside it.
pub(crate) struct Beside {
    pub(crate) synapse: Synapse,
    address: SocketAddr,
    registration: Registration,
    journal: Arc<Journal>,
    pub(crate) homeserver: Homeserver,
    server: Option<tokio::task::JoinHandle<()>>,
    _place: Place,
}

impl Beside {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same with a changed configuration of the homeserver.
    pub(crate) async fn start_with(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Self {
        Self::start_as(false, change).await
    }

    /// The same where the operator keeps the application service to the homeserver's rate limits.
    pub(crate) async fn start_limited(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Self {
        Self::start_as(true, change).await
    }

    async fn start_as(limited: bool, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Self {
        causeway_tests::install_tls();
        let place = Place::new();
        let [address] = free_addresses::<1>().unwrap();
        let mut registration =
            Registration::generate("a.example", &format!("http://{address}"), getrandom::fill).unwrap();
        registration.rate_limited = Some(limited);
        let synapse = homeserver_with(&place, &registration, change).await;
        let homeserver = Homeserver::new(HomeserverSettings {
            url: synapse.url().to_owned(),
            openid_url: synapse.url().to_owned(),
            server_name: "a.example".into(),
            appservice_id: registration.id.clone(),
            tokens: registration.tokens(),
            timeout: Duration::from_secs(30),
        })
        .unwrap();
        let mut beside = Self {
            synapse,
            address,
            registration,
            journal: Arc::default(),
            homeserver,
            server: None,
            _place: place,
        };
        beside.listen().await;
        beside.homeserver.ensure_bot().await.unwrap();
        beside
    }

    async fn listen(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        let router = routes(AppserviceState {
            intake: self.journal.clone(),
            tokens: self.registration.tokens(),
            max_body: appservice::routes::MAX_BODY,
        });
        self.server = Some(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
    }

    fn transport(&self) -> HomeserverTransport {
        HomeserverTransport::new(self.homeserver.clone(), self.journal.clone())
    }

    async fn arrived(&self, what: &str, matches: impl Fn(&RoomEvent) -> bool) -> RoomEvent {
        eventually(what, SOON, || async {
            Ok(self
                .journal
                .events
                .lock()
                .unwrap()
                .iter()
                .find(|e| matches(e))
                .cloned())
        })
        .await
        .unwrap()
    }
}

fn entry(room: &str, seq: u64, body: OutboxBody) -> OutboxEntry {
    OutboxEntry {
        destination: Destination::Homeserver,
        room: room.to_owned(),
        seq,
        request_id: format!("test-{seq}"),
        queued_at: 0,
        body,
        octets: room_engine::carrier::Octets::default(),
    }
}

fn create(room: &str, invite: &[&str]) -> OutboxBody {
    OutboxBody::PortalCreate {
        name: Some("Across".into()),
        invite: invite.iter().map(ToString::to_string).collect(),
        info: json!({"room": room, "hub": "a.example", "group_id": "AA", "mode": "opaque"}),
    }
}

/// "No way to debug the delivery to an appservice" (synapse#13142), "OAuth breaks login and registration of appservices"
/// (matrix-authentication-service#3206): registration, tokens and both directions are checked by one ping.
#[tokio::test(flavor = "multi_thread")]
async fn the_registration_is_accepted_and_pings_go_both_ways() {
    if !homeserver_there() {
        return;
    }
    let mut beside = Beside::start().await;
    beside.homeserver.ping().await.unwrap();
    // Everything again: registered already, device there already.
    beside.homeserver.ensure_bot().await.unwrap();

    beside.server.take().unwrap().abort();
    let error = beside.homeserver.ping().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    beside.listen().await;
    beside.homeserver.ping().await.unwrap();

    // The homeserver keeps strangers out of our namespaces.
    let alice = beside.synapse.register("alice", "password").await.unwrap();
    let room = alice.create_room(&[]).await.unwrap();
    let alias = "/_matrix/client/v3/directory/room/%23_mimi_x%3Aa.example";
    let taken = alice
        .call(reqwest::Method::PUT, alias, Some(json!({"room_id": room})))
        .await
        .unwrap_err();
    assert!(taken.to_string().contains("M_EXCLUSIVE"), "{taken}");

    let mut settings = HomeserverSettings {
        url: beside.synapse.url().to_owned(),
        openid_url: beside.synapse.url().to_owned(),
        server_name: "a.example".into(),
        appservice_id: beside.registration.id.clone(),
        tokens: KeyRing::fixed(Secret::new("wrong"), Secret::new("wrong")),
        timeout: Duration::from_secs(30),
    };
    let error = Homeserver::new(settings.clone())
        .unwrap()
        .ping()
        .await
        .unwrap_err();
    assert_eq!(error.errcode(), Some("M_UNKNOWN_TOKEN"));
    assert!(
        error.is_transient(),
        "an operator mends a token; no entry may be given up for it"
    );
    settings.url = format!("http://{}", free_addresses::<1>().unwrap()[0]);
    assert!(
        Homeserver::new(settings)
            .unwrap()
            .ping()
            .await
            .unwrap_err()
            .is_transient()
    );
    beside.synapse.stop().await.unwrap();
}

/// Crash between making a portal and writing it down: the next attempt finds it instead of making a second one.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_made_once_whatever_is_forgotten() {
    if !homeserver_there() {
        return;
    }
    let mut beside = Beside::start().await;
    let alice = beside.synapse.register("alice", "password").await.unwrap();
    let room = "mimi://a.example/r/first";
    let transport = beside.transport();
    let made = entry(room, 1, create(room, &[&alice.id]));
    assert_eq!(transport.deliver(&made).await, Delivery::Done);
    let first = beside.journal.portals.lock().unwrap().remove(room).unwrap();
    alice.join(&first).await.unwrap();

    // Forgotten, and repeated: the same room, and nobody is invited twice or thrown out.
    assert_eq!(transport.deliver(&made).await, Delivery::Done);
    assert_eq!(beside.journal.portals.lock().unwrap()[room], first);
    assert_eq!(
        beside.homeserver.membership(&first, &alice.id).await.unwrap(),
        Membership::Join
    );

    // What it is like.
    assert_eq!(
        alice.state(&first, "org.causeway.room", "").await.unwrap()["room"],
        room
    );
    assert_eq!(
        alice.state(&first, "m.room.create", "").await.unwrap()["m.federate"],
        false
    );
    assert_eq!(
        alice.state(&first, "m.room.name", "").await.unwrap()["name"],
        "Across"
    );
    let clear = alice
        .send(
            &first,
            "m.room.message",
            "1",
            json!({"msgtype": "m.text", "body": "clear"}),
        )
        .await;
    assert!(clear.unwrap_err().to_string().contains("M_FORBIDDEN"));

    // An alias whose room is not our portal (the homeserver died while making it) is given up for a new one.
    let half = "mimi://a.example/r/half";
    let info = json!({"room": "something else"});
    portal::ensure(
        &beside.homeserver,
        Portal {
            room: half,
            name: None,
            info: &info,
            room_version: None,
            predecessor: None,
        },
    )
    .await
    .unwrap();
    let made = entry(half, 1, create(half, &[]));
    assert!(matches!(transport.deliver(&made).await, Delivery::Retry { .. }));
    assert_eq!(transport.deliver(&made).await, Delivery::Done);
    beside.synapse.stop().await.unwrap();
}

/// "Messages appear twice after a restart": the same entry, sent before and after both sides lost their memory, is one
/// event.
#[tokio::test(flavor = "multi_thread")]
async fn entries_can_be_repeated_across_a_restart_of_the_homeserver() {
    if !homeserver_there() {
        return;
    }
    let mut beside = Beside::start().await;
    let alice = beside.synapse.register("alice", "password").await.unwrap();
    let room = "mimi://a.example/r/twice";
    let transport = beside.transport();
    assert_eq!(
        transport.deliver(&entry(room, 1, create(room, &[]))).await,
        Delivery::Done
    );
    let portal = beside.journal.portals.lock().unwrap()[room].clone();
    let invite = entry(
        room,
        2,
        OutboxBody::PortalInvite {
            user: alice.id.clone(),
        },
    );
    let send = entry(
        room,
        3,
        OutboxBody::PortalSend {
            txn_id: "cw-3".into(),
            event_type: "org.causeway.message".into(),
            content: json!({"v": 1, "n": 3}),
            at: None,
        },
    );
    assert_eq!(transport.deliver(&invite).await, Delivery::Done);
    assert_eq!(transport.deliver(&invite).await, Delivery::Done);
    alice.join(&portal).await.unwrap();
    assert_eq!(transport.deliver(&invite).await, Delivery::Done);
    assert_eq!(transport.deliver(&send).await, Delivery::Done);
    assert_eq!(transport.deliver(&send).await, Delivery::Done);

    beside.synapse.stop().await.unwrap();
    assert!(matches!(transport.deliver(&send).await, Delivery::Retry { .. }));
    beside.synapse.start().await.unwrap();
    assert_eq!(transport.deliver(&send).await, Delivery::Done);
    let sent = alice.messages(&portal, 100).await.unwrap();
    let sent = sent
        .iter()
        .filter(|e| e["type"] == "org.causeway.message")
        .count();
    assert_eq!(sent, 1);

    let state = OutboxBody::PortalState {
        event_type: "m.room.topic".into(),
        state_key: String::new(),
        content: json!({"topic": "T"}),
    };
    assert_eq!(
        transport.deliver(&entry(room, 4, state.clone())).await,
        Delivery::Done
    );
    assert_eq!(transport.deliver(&entry(room, 4, state)).await, Delivery::Done);
    let remove = OutboxBody::PortalRemove {
        user: alice.id.clone(),
        reason: Some("left".into()),
    };
    let remove = entry(room, 5, remove);
    assert_eq!(transport.deliver(&remove).await, Delivery::Done);
    assert_eq!(transport.deliver(&remove).await, Delivery::Done);
    assert_eq!(
        beside.homeserver.membership(&portal, &alice.id).await.unwrap(),
        Membership::Out
    );

    // Entries that can never succeed are refused, not repeated for ever.
    let large = OutboxBody::PortalSend {
        txn_id: "cw-6".into(),
        event_type: "org.causeway.message".into(),
        content: json!({"x": "x".repeat(70_000)}),
        at: None,
    };
    assert!(
        matches!(transport.deliver(&entry(room, 6, large)).await, Delivery::Refused { code, .. } if code == "M_TOO_LARGE")
    );
    beside.synapse.stop().await.unwrap();
}

/// What a client puts into the portal arrives, in order, also after the gateway was away, at once after a ping.
#[tokio::test(flavor = "multi_thread")]
async fn submissions_arrive_in_order_and_a_ping_ends_the_homeservers_back_off() {
    if !homeserver_there() {
        return;
    }
    let mut beside = Beside::start().await;
    let alice = beside.synapse.register("alice", "password").await.unwrap();
    let room = "mimi://a.example/r/order";
    let transport = beside.transport();
    assert_eq!(
        transport
            .deliver(&entry(room, 1, create(room, &[&alice.id])))
            .await,
        Delivery::Done
    );
    let portal = beside.journal.portals.lock().unwrap()[room].clone();
    alice.join(&portal).await.unwrap();
    let submit = async |n: u64| {
        alice
            .send(
                &portal,
                "org.causeway.message",
                &n.to_string(),
                json!({"id": n.to_string()}),
            )
            .await
            .unwrap()
    };
    submit(1).await;
    beside
        .arrived("the first submission", |e| e.content["id"] == "1")
        .await;

    // Away in two ways: answering 503, and not there.
    beside.journal.broken.store(true, Ordering::SeqCst);
    submit(2).await;
    submit(3).await;
    beside.server.take().unwrap().abort();
    for n in 4..=12 {
        submit(n).await;
    }
    beside.journal.broken.store(false, Ordering::SeqCst);
    beside.listen().await;
    beside.homeserver.ping().await.unwrap();
    // Nothing is submitted now: what the homeserver takes in the moment its back-off ends it keeps until the next one (the
    // gateway finds such in the timeline: `faults`).
    beside
        .arrived("the last submission", |e| e.content["id"] == "12")
        .await;
    let events = beside.journal.events.lock().unwrap().clone();
    let mut ids: Vec<&str> = Vec::new();
    for event in &events {
        let ours =
            event.event_type == "org.causeway.message" && event.sender == alice.id && event.room_id == portal;
        // A transaction may come again; the engine knows its events by their ids.
        if let Some(id) = event.content["id"]
            .as_str()
            .filter(|id| ours && !ids.contains(id))
        {
            ids.push(id);
        }
    }
    let wanted: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
    assert_eq!(ids, wanted);
    beside.synapse.stop().await.unwrap();
}

/// The bot joins where a user of its homeserver invites it, and OpenID tokens are this homeserver's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_can_show_the_bot_a_nonce() {
    if !homeserver_there() {
        return;
    }
    let mut beside = Beside::start().await;
    let alice = beside.synapse.register("alice", "password").await.unwrap();
    let bot = beside.homeserver.bot().to_owned();
    let dm = alice.create_room(&[&bot]).await.unwrap();
    let invited = beside
        .arrived("the invitation", |e| {
            e.room_id == dm && e.membership_of(&bot) == Some("invite")
        })
        .await;
    assert_eq!(invited.sender_server(), "a.example");
    let join = entry(&dm, 1, OutboxBody::JoinAsBot { room_id: dm.clone() });
    assert_eq!(beside.transport().deliver(&join).await, Delivery::Done);
    assert_eq!(beside.transport().deliver(&join).await, Delivery::Done);
    alice
        .send(&dm, "org.causeway.login", "1", json!({"nonce": "n-1"}))
        .await
        .unwrap();
    beside
        .arrived("the nonce", |e| {
            e.event_type == "org.causeway.login" && e.content["nonce"] == "n-1"
        })
        .await;

    let path = format!("/_matrix/client/v3/user/{}/openid/request_token", alice.id);
    let token: Value = alice
        .call(reqwest::Method::POST, &path, Some(json!({})))
        .await
        .unwrap();
    let token = token["access_token"].as_str().unwrap();
    assert_eq!(
        beside.homeserver.openid_subject(token).await.unwrap().as_deref(),
        Some(alice.id.as_str())
    );
    assert_eq!(beside.homeserver.openid_subject("nonsense").await.unwrap(), None);
    beside.synapse.stop().await.unwrap();
}
