//! Another Matrix server, which answers as a test wants: by default what an honest one would.

use crate::room::{Room, VERSION, now};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use event_graph::{Pdu, SigningIdentity};
use http::StatusCode;
use rcgen::{Certificate, CertificateParams, DnType, Issuer, KeyPair};
use replication::ServerName;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request as a test sees it.
pub(crate) struct Asked {
    /// Path and query, decoded.
    pub(crate) target: String,
    pub(crate) body: Value,
}

type Script = Box<dyn Fn(&Asked) -> Option<Response> + Send + Sync>;

pub(crate) struct Peer {
    pub(crate) identity: Arc<SigningIdentity>,
    pub(crate) name: ServerName,
    pub(crate) room: Mutex<Room>,
    /// What was asked, the oldest first.
    pub(crate) asked: Mutex<Vec<String>>,
    /// Events that were sent here by `send_join`.
    pub(crate) joins: Mutex<Vec<Value>>,
    script: Mutex<Option<Script>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// The authority of all peers.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose subject is its issuer's for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// A certificate for this machine.
    pub(crate) fn issue(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(crate) fn listen(&self, listener: TcpListener) -> TlsListener {
        let (certificate, key) = self.issue();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        TlsListener(listener, TlsAcceptor::from(Arc::new(config)))
    }
}

/// A listener that speaks TLS.
pub(crate) struct TlsListener(TcpListener, TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.0.accept().await
                && let Ok(stream) = self.1.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Peer {
    /// A server at a free port of loopback, with a room.
    pub(crate) async fn start(authority: &Authority, seed: u8) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let identity = Arc::new(SigningIdentity::from_seed(&name, "ed25519:p", &[seed; 32]));
        let peer = Arc::new(Self {
            room: Mutex::new(Room::new(&identity)),
            name: ServerName::parse(&name).unwrap(),
            identity,
            asked: Mutex::default(),
            joins: Mutex::default(),
            script: Mutex::default(),
            task: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(peer.clone());
        let listener = authority.listen(listener);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        *peer.task.lock().unwrap() = Some(task);
        peer
    }

    /// From now on it answers so where the script says anything.
    pub(crate) fn script(&self, script: impl Fn(&Asked) -> Option<Response> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Some(Box::new(script));
    }

    pub(crate) fn room_id(&self) -> String {
        self.room.lock().unwrap().id.clone()
    }

    /// How often something with this in its target was asked.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|a| a.contains(part))
            .count()
    }

    /// A message of its room.
    pub(crate) fn say(&self, text: &str) -> Pdu {
        self.room.lock().unwrap().say(&self.identity, text)
    }

    /// Stops answering.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn ok(value: &Value) -> Response {
    axum::Json(value).into_response()
}

pub(crate) fn status(status: StatusCode) -> Response {
    (
        status,
        axum::Json(json!({ "errcode": "M_NOT_FOUND", "error": "no" })),
    )
        .into_response()
}

/// The key document of an identity with these validity times.
pub(crate) fn key_document(identity: &SigningIdentity, valid_until: i64, old: &Value) -> Value {
    let mut document = json!({
        "server_name": identity.server_name(), "valid_until_ts": valid_until, "old_verify_keys": old,
        "verify_keys": { identity.key_id(): { "key": identity.verify_key().to_base64() } },
    });
    let signature = identity.sign_json(&document).unwrap();
    document["signatures"] = json!({ identity.server_name(): { identity.key_id(): signature } });
    document
}

async fn answer(State(peer): State<Arc<Peer>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap_or_default();
    let target = percent_encoding::percent_decode_str(parts.uri.path_and_query().map_or("", |p| p.as_str()))
        .decode_utf8_lossy()
        .into_owned();
    let asked = Asked {
        target,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    peer.asked.lock().unwrap().push(asked.target.clone());
    let scripted = peer
        .script
        .lock()
        .unwrap()
        .as_ref()
        .and_then(|script| script(&asked));
    scripted.unwrap_or_else(|| peer.honest(&asked))
}

impl Peer {
    /// What an honest server answers.
    pub(crate) fn honest(&self, asked: &Asked) -> Response {
        let path = asked.target.split('?').next().unwrap_or_default();
        let mut room = self.room.lock().unwrap();
        let name = self.identity.server_name();
        let wrapped =
            |pdus: Vec<Value>| ok(&json!({ "origin": name, "origin_server_ts": now(), "pdus": pdus }));
        let segments: Vec<&str> = path.trim_start_matches("/_matrix/").split('/').collect();
        match segments[..] {
            ["key", "v2", "server"] => ok(&key_document(&self.identity, now() + 86_400_000, &json!({}))),
            ["federation", "v1", "make_join", _, user] => {
                let content = json!({ "membership": "join" });
                let draft = room.draft(user, "m.room.member", Some(user), content.clone());
                ok(&json!({ "room_version": VERSION.as_str(), "event": {
                    "type": "m.room.member", "room_id": room.id, "sender": user, "state_key": user,
                    "content": content, "prev_events": draft.prev_events, "auth_events": draft.auth_events,
                    "depth": draft.depth, "origin_server_ts": now(),
                } }))
            }
            ["federation", "v2", "send_join", ..] => {
                self.joins.lock().unwrap().push(asked.body.clone());
                let (state, chain) = room.lists();
                let octets = asked.body.to_string();
                if let Ok(pdu) = Pdu::parse_trusted(octets.as_bytes(), VERSION) {
                    room.take(pdu);
                }
                ok(&json!({
                    "origin": name, "members_omitted": false, "event": asked.body, "state": state, "auth_chain": chain,
                    "servers_in_room": [name],
                }))
            }
            ["federation", "v1", "event", id] => match room.find(id) {
                Some(pdu) => wrapped(vec![pdu.raw().to_value()]),
                None => status(StatusCode::NOT_FOUND),
            },
            ["federation", "v1", "get_missing_events", _] => {
                let ids = |name: &str| -> Vec<String> {
                    serde_json::from_value(asked.body[name].clone()).unwrap_or_default()
                };
                let (latest, earliest) = (ids("latest_events"), ids("earliest_events"));
                let is = |ids: &[String], e: &Pdu| ids.contains(&e.event_id().to_string());
                // The whole row before the first of them, down to what is known.
                let end = room.events.iter().position(|e| is(&latest, e)).unwrap_or(0);
                let before = &room.events[..end];
                let known = before.iter().rposition(|e| is(&earliest, e));
                let before = &before[known.map_or(0, |at| at + 1)..];
                let some: Vec<Value> = before
                    .iter()
                    .rev()
                    .take(20)
                    .rev()
                    .map(|e| e.raw().to_value())
                    .collect();
                ok(&json!({ "events": some }))
            }
            ["federation", "v1", "backfill", _] => {
                let query = asked.target.split('?').nth(1).unwrap_or_default();
                let from: Vec<&str> = query.split('&').filter_map(|p| p.strip_prefix("v=")).collect();
                let newest = room
                    .events
                    .iter()
                    .rposition(|e| from.contains(&e.event_id().to_string().as_str()));
                let before = newest.map_or(0, |at| at + 1);
                let some = room.events[..before].iter().rev().take(100);
                wrapped(some.map(|e| e.raw().to_value()).collect())
            }
            ["federation", "v1", "timestamp_to_event", _] => {
                let newest = room.newest();
                ok(&json!({ "event_id": newest.event_id(), "origin_server_ts": newest.origin_server_ts() }))
            }
            ["federation", "v1", "send", _] => ok(&json!({ "pdus": {} })),
            _ => status(StatusCode::NOT_FOUND),
        }
    }
}

/// A body that begins and never ends.
pub(crate) fn endless() -> Body {
    Body::from_stream(futures_util::stream::unfold(0, |n| async move {
        if n > 0 {
            std::future::pending::<()>().await;
        }
        Some((Ok::<_, std::io::Error>("{"), n + 1))
    }))
}
