//! The way to a provider's state from the command line: through the admin API of the service that runs, else
//! directly on the store.

use super::open_store;
use crate::config::Config;
use crate::faces::admin::api::{
    Account, AccountAdded, AddAccount, AddNode, AdminError, Graph, GraphEvent, GraphJoined, GraphState,
    HomeserverStatus, InviteToGraph, JoinGraph, Nodes, PREFIX, RebuildRoom, Release, Reloaded, Report, Room,
    RoomRebuilt, SendToGraph, SetAsideEvent, TakeOver, TakenOver, Unfence, Unfenced, UpgradePortal,
};
use crate::failure::{Code, Failure};
use crate::service::{admin_token, open_engine};
use crate::web::RequestId;
use mimi_wire::MimiUri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use room_engine::{Engine, Refusal, SystemClock};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A provider, running or not.
pub(super) enum Link {
    /// The service's admin API.
    Running {
        http: reqwest::Client,
        base: String,
        token: String,
    },
    /// Its store, held by this process.
    Stopped(Engine),
}

impl Link {
    fn address(config: &Config) -> SocketAddr {
        let address = config.admin.listen;
        if address.ip().is_unspecified() {
            return SocketAddr::from(([127, 0, 0, 1], address.port()));
        }
        address
    }

    /// Whether something listens where the service's admin face would.
    pub(super) async fn runs(config: &Config) -> bool {
        let connect = tokio::net::TcpStream::connect(Self::address(config));
        matches!(
            tokio::time::timeout(Duration::from_secs(2), connect).await,
            Ok(Ok(_))
        )
    }

    /// Finds out whether the service runs.
    pub(super) async fn open(config: &Config) -> Result<Self, Failure> {
        let address = Self::address(config);
        if !Self::runs(config).await {
            if config.cluster.is_some() {
                // Its store is one of several that hold the same: what is written there alone would set it apart.
                return Err(Failure::new(
                    Code::Admin,
                    "the service does not run, and this node is one of several",
                    "start it, or give the command at another node",
                ));
            }
            let store = Arc::new(open_store(config, true).await?);
            return Ok(Self::Stopped(
                open_engine(config, store, Arc::new(SystemClock)).await?,
            ));
        }
        Self::running(config, address)
    }

    fn running(config: &Config, address: SocketAddr) -> Result<Self, Failure> {
        let token = admin_token(config)?.ok_or_else(|| {
            Failure::new(
                Code::Admin,
                "the service runs without an admin token",
                "set admin.token_file and restart it, or stop it to work on the store",
            )
        })?;
        let http = reqwest::Client::builder()
            .no_proxy()
            // Joining a large room takes its time.
            .timeout(Duration::from_mins(5))
            .build();
        let http =
            http.map_err(|e| Failure::new(Code::Internal, "no HTTP client", "report this").with_source(e))?;
        Ok(Self::Running {
            http,
            base: format!("http://{address}{PREFIX}"),
            token: token.expose().to_owned(),
        })
    }

    /// Lets go of the store.
    pub(super) async fn close(self) {
        if let Self::Stopped(engine) = self {
            engine.close().await;
        }
    }

    pub(super) async fn nodes(&self) -> Result<Nodes, Failure> {
        self.json(Method::GET, "/nodes", None::<&()>).await
    }

    pub(super) async fn add_node(&self, node: &str) -> Result<(), Failure> {
        let body = AddNode {
            node: node.to_owned(),
        };
        self.call(Method::POST, "/nodes", Some(&body)).await.map(drop)
    }

    pub(super) async fn remove_node(&self, name: &str) -> Result<(), Failure> {
        let path = format!("/nodes/{}", segment(name));
        self.call(Method::DELETE, &path, None::<&()>).await.map(drop)
    }

    pub(super) async fn lead(&self, name: &str) -> Result<(), Failure> {
        let path = format!("/nodes/{}/lead", segment(name));
        self.call(Method::POST, &path, None::<&()>).await.map(drop)
    }

    pub(super) async fn take_over(&self, lost: &[String], reason: &str) -> Result<TakenOver, Failure> {
        let body = TakeOver {
            lost: lost.to_vec(),
            reason: reason.to_owned(),
        };
        self.json(Method::POST, "/nodes/take-over", Some(&body)).await
    }

    pub(super) async fn release(&self, reason: &str) -> Result<(), Failure> {
        let body = Release {
            reason: reason.to_owned(),
        };
        self.call(Method::POST, "/nodes/release", Some(&body))
            .await
            .map(drop)
    }

    pub(super) async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        match self {
            Self::Running { .. } => self.json(Method::GET, "/accounts", None::<&()>).await,
            Self::Stopped(engine) => Ok(engine
                .accounts()
                .await
                .map_err(internal)?
                .into_iter()
                .map(Account::from)
                .collect()),
        }
    }

    pub(super) async fn add_account(&self, user: &str) -> Result<AccountAdded, Failure> {
        match self {
            Self::Running { .. } => {
                self.json(
                    Method::POST,
                    "/accounts",
                    Some(&AddAccount {
                        user: user.to_owned(),
                    }),
                )
                .await
            }
            Self::Stopped(engine) => {
                let (user, token) = engine
                    .add_account((&RequestId::random()).into(), user)
                    .await
                    .map_err(|e| refused(&e))?;
                Ok(AccountAdded {
                    user: user.to_string(),
                    token: token.to_string(),
                })
            }
        }
    }

    pub(super) async fn remove_account(&self, user: &str) -> Result<(), Failure> {
        match self {
            Self::Running { .. } => self
                .call(
                    Method::DELETE,
                    &format!("/accounts/{}", segment(user)),
                    None::<&()>,
                )
                .await
                .map(drop),
            Self::Stopped(engine) => engine
                .remove_account((&RequestId::random()).into(), user)
                .await
                .map_err(|e| refused(&e)),
        }
    }

    pub(super) async fn rooms(&self) -> Result<Vec<Room>, Failure> {
        match self {
            Self::Running { .. } => self.json(Method::GET, "/rooms", None::<&()>).await,
            Self::Stopped(engine) => Ok(engine
                .rooms()
                .await
                .map_err(internal)?
                .into_iter()
                .map(Room::from)
                .collect()),
        }
    }

    pub(super) async fn room(&self, room: &MimiUri) -> Result<Room, Failure> {
        match self {
            Self::Running { .. } => {
                self.json(
                    Method::GET,
                    &format!("/rooms/{}", segment(room.as_str())),
                    None::<&()>,
                )
                .await
            }
            Self::Stopped(engine) => {
                let view = engine.room(room).await.map_err(internal)?;
                view.map(Room::from)
                    .ok_or_else(|| refused(&Refusal::Unknown { what: "room" }))
            }
        }
    }

    /// The way between the homeserver and the running service; `None` if it doesn't run.
    pub(super) async fn homeserver(&self) -> Result<Option<HomeserverStatus>, Failure> {
        match self {
            Self::Running { .. } => self.json(Method::GET, "/homeserver", None::<&()>).await.map(Some),
            Self::Stopped(_) => Ok(None),
        }
    }

    pub(super) async fn reports(&self) -> Result<Vec<Report>, Failure> {
        match self {
            Self::Running { .. } => self.json(Method::GET, "/reports", None::<&()>).await,
            Self::Stopped(engine) => {
                let reports = engine.abuse_reports(usize::MAX).await.map_err(internal)?;
                Ok(reports.into_iter().map(Report::from).collect())
            }
        }
    }

    pub(super) async fn report(&self, id: &str) -> Result<Report, Failure> {
        match self {
            Self::Running { .. } => {
                let path = format!("/reports/{}", segment(id));
                self.json(Method::GET, &path, None::<&()>).await
            }
            Self::Stopped(engine) => {
                let view = engine.abuse_report(id).await.map_err(internal)?;
                view.map(Report::from)
                    .ok_or_else(|| refused(&Refusal::Unknown { what: "report" }))
            }
        }
    }

    /// Tells a running service to read configuration, certificates and keys again. `None`: none runs.
    pub(super) async fn reload(&self) -> Result<Option<Reloaded>, Failure> {
        match self {
            Self::Running { .. } => self.json(Method::POST, "/reload", None::<&()>).await.map(Some),
            Self::Stopped(_) => Ok(None),
        }
    }

    /// Events of the homeserver that nothing could be done with.
    pub(super) async fn set_aside(&self) -> Result<Vec<SetAsideEvent>, Failure> {
        match self {
            Self::Running { .. } => self.json(Method::GET, "/homeserver/set-aside", None::<&()>).await,
            Self::Stopped(engine) => Ok(engine
                .set_aside()
                .await
                .map_err(|e| refused(&e))?
                .into_iter()
                .map(SetAsideEvent::from)
                .collect()),
        }
    }

    /// Does something to a room's portal.
    pub(super) async fn portal(&self, room: &MimiUri, act: PortalAct) -> Result<(), Failure> {
        match self {
            Self::Running { .. } => {
                let path = |act| format!("/rooms/{}/{act}", segment(room.as_str()));
                let (act, body) = match act {
                    PortalAct::Unbridge => ("unbridge", None),
                    PortalAct::Bridge => ("bridge", None),
                    PortalAct::Sync => ("sync_portal", None),
                    PortalAct::Upgrade { version } => ("upgrade_portal", Some(UpgradePortal { version })),
                };
                self.call(Method::POST, &path(act), body.as_ref()).await.map(drop)
            }
            Self::Stopped(engine) => {
                let ctx = (&RequestId::random()).into();
                let done = match act {
                    PortalAct::Unbridge => engine.unbridge(ctx, room).await,
                    PortalAct::Bridge => engine.bridge(ctx, room).await,
                    PortalAct::Sync => engine.sync_portal(ctx, room, None).await,
                    PortalAct::Upgrade { version } => engine.upgrade_portal(ctx, room, &version).await,
                };
                done.map_err(|e| refused(&e))
            }
        }
    }

    /// Writes an export of the store.
    pub(super) async fn export(&self, out: &mut (impl std::io::Write + Send)) -> Result<(), Failure> {
        match self {
            Self::Running { .. } => {
                let mut response = self
                    .send(Method::GET, "/export", None::<&()>, Some(LONGEST_EXPORT))
                    .await?;
                while let Some(part) = response.chunk().await.map_err(lost)? {
                    out.write_all(&part).map_err(unwritten)?;
                }
                out.flush().map_err(unwritten)
            }
            Self::Stopped(engine) => engine
                .export(out, super::store::progress("backup"))
                .await
                .map(drop)
                .map_err(super::store_failure),
        }
    }

    /// Lets rooms take handshakes again; returns how many did not before.
    pub(super) async fn unfence(&self, room: Option<&MimiUri>) -> Result<Unfenced, Failure> {
        match self {
            Self::Running { .. } => {
                let body = Unfence {
                    room: room.map(ToString::to_string),
                };
                self.json(Method::POST, "/unfence", Some(&body)).await
            }
            Self::Stopped(engine) => {
                let ctx = (&RequestId::random()).into();
                let rooms = engine.accept_rollback(ctx, room).await;
                rooms.map(Unfenced::from).map_err(|e| refused(&e))
            }
        }
    }

    /// Whether the service runs, and so works off what is asked of it.
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// A graph's room id; of a MIMI room, that of its graph.
    pub(super) async fn graph_id(&self, room: &str) -> Result<String, Failure> {
        match MimiUri::parse(room) {
            Ok(uri) => Ok(self.room(&uri).await?.graph),
            Err(_) => Ok(room.to_owned()),
        }
    }

    pub(super) async fn graphs(&self) -> Result<Vec<Graph>, Failure> {
        self.serving()?;
        self.json(Method::GET, "/graphs", None::<&()>).await
    }

    pub(super) async fn graph_state(&self, graph: &str) -> Result<GraphState, Failure> {
        self.serving()?;
        self.json(Method::GET, &format!("/graphs/{}", segment(graph)), None::<&()>)
            .await
    }

    pub(super) async fn graph_events(&self, graph: &str) -> Result<String, Failure> {
        self.serving()?;
        let path = format!("/graphs/{}/events", segment(graph));
        let body = self.call(Method::GET, &path, None::<&()>).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    pub(super) async fn join_graph(&self, graph: &str, wanted: &JoinGraph) -> Result<GraphJoined, Failure> {
        self.serving()?;
        let path = format!("/graphs/{}/join", segment(graph));
        self.json(Method::POST, &path, Some(wanted)).await
    }

    pub(super) async fn rebuild_room(
        &self,
        graph: &str,
        wanted: &RebuildRoom,
    ) -> Result<RoomRebuilt, Failure> {
        self.serving()?;
        let path = format!("/graphs/{}/rebuild", segment(graph));
        self.json(Method::POST, &path, Some(wanted)).await
    }

    pub(super) async fn leave_graph(&self, graph: &str) -> Result<GraphEvent, Failure> {
        self.serving()?;
        let path = format!("/graphs/{}/leave", segment(graph));
        self.json(Method::POST, &path, Some(&serde_json::json!({}))).await
    }

    pub(super) async fn invite_to_graph(
        &self,
        graph: &str,
        wanted: &InviteToGraph,
    ) -> Result<GraphEvent, Failure> {
        self.serving()?;
        let path = format!("/graphs/{}/invite", segment(graph));
        self.json(Method::POST, &path, Some(wanted)).await
    }

    pub(super) async fn send_to_graph(
        &self,
        graph: &str,
        wanted: &SendToGraph,
    ) -> Result<GraphEvent, Failure> {
        self.serving()?;
        let path = format!("/graphs/{}/send", segment(graph));
        self.json(Method::POST, &path, Some(wanted)).await
    }

    /// What needs other servers needs the running service.
    fn serving(&self) -> Result<(), Failure> {
        match self {
            Self::Running { .. } => Ok(()),
            Self::Stopped(_) => Err(Failure::new(
                Code::Admin,
                "the service doesn't run",
                "start it with `causeway serve`; rooms of other servers can be reached through it only",
            )),
        }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl serde::Serialize + Sync)>,
    ) -> Result<T, Failure> {
        let body = self.call(method, path, body).await?;
        serde_json::from_slice(&body).map_err(|e| {
            Failure::new(
                Code::Admin,
                "the service's answer can't be read",
                "is it of the same version?",
            )
            .with_source(e)
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl serde::Serialize + Sync)>,
    ) -> Result<bytes::Bytes, Failure> {
        let response = self.send(method, path, body, None).await?;
        response.bytes().await.map_err(lost)
    }

    /// Sends a request to the running service and waits for the head of a good answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl serde::Serialize + Sync)>,
        timeout: Option<Duration>,
    ) -> Result<reqwest::Response, Failure> {
        let Self::Running { http, base, token } = self else {
            return Err(Failure::new(Code::Internal, "no service to ask", "report this"));
        };
        let mut request = http.request(method, format!("{base}{path}")).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(lost)?;
        let error: AdminError = serde_json::from_slice(&body).unwrap_or_else(|_| AdminError {
            code: String::new(),
            error: format!("HTTP status {status}"),
        });
        let (code, remedy) = match status.as_u16() {
            401 => (
                Code::Admin,
                "give this command the same configuration and token that the service has",
            ),
            404 => (Code::NotFound, "list what there is with `ls`"),
            409 if error.code == "rollback" => (
                Code::Admin,
                "let the graph come up to date first; if nobody has more, accept the loss with --accept-rollback",
            ),
            409 => (Code::Exists, "choose another name"),
            403 => (Code::Admin, "see the message"),
            400 => (Code::Usage, "correct the argument"),
            _ => (Code::Admin, "look at the service's log and at /readyz"),
        };
        Err(Failure::new(code, error.error, remedy))
    }
}

/// What can be done to a portal.
#[derive(Clone, Debug)]
pub(super) enum PortalAct {
    Unbridge,
    Bridge,
    Sync,
    Upgrade { version: String },
}

/// An export of a store of any size is through within this time.
const LONGEST_EXPORT: Duration = Duration::from_hours(24);

fn lost(error: reqwest::Error) -> Failure {
    Failure::new(
        Code::Admin,
        "the running service doesn't answer",
        "look at its log and at /readyz",
    )
    .with_source(error)
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::new(Code::Usage, "the export can't be written", "check the disk").with_source(error)
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn internal(error: room_engine::EngineError) -> Failure {
    match error {
        room_engine::EngineError::Store(error) => super::store_failure(error),
        other => Failure::new(Code::Internal, "the engine failed", "report this").with_source(other),
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let (code, remedy) = match refusal {
        Refusal::Unknown { .. } => (Code::NotFound, "list what there is with `ls`"),
        Refusal::Conflict { .. } => (Code::Exists, "choose another name"),
        Refusal::Malformed { .. } => (Code::Usage, "correct the argument"),
        Refusal::Store(error) => return super::store_failure(error.clone()),
        _ => (Code::Internal, "see the message"),
    };
    Failure::new(code, refusal.to_string(), remedy)
}
