//! One listening socket: connection limit, TLS, time limits, graceful end.

use crate::config::LimitsConfig;
use crate::failure::{Code, Failure};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

/// Tells listeners to end.
#[derive(Debug)]
pub struct StopHandle(watch::Sender<bool>);

impl StopHandle {
    /// No new connections; running requests get their time.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Learns of [`StopHandle::stop`], or of the handle's end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits for it.
    pub async fn wait(&mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// A handle and what it stops.
pub fn stop_pair() -> (StopHandle, Stop) {
    let (sender, receiver) = watch::channel(false);
    (StopHandle(sender), Stop(receiver))
}

/// What a handler may know of the connection: an extension of every request.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The other end.
    pub address: SocketAddr,
    /// What it showed in the TLS handshake, end entity first.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// The TLS settings of a listener, asked for with each connection: certificates change while it listens.
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// A socket with what is served on it.
pub struct Listener {
    face: &'static str,
    socket: TcpListener,
    tls: Option<TlsSource>,
    router: Router,
    limits: LimitsConfig,
    /// Connections that one address may hold open.
    per_address: Option<usize>,
}

impl Listener {
    /// Binds the socket. `face` names it in logs and metrics.
    pub async fn bind(
        face: &'static str,
        address: SocketAddr,
        tls: Option<TlsSource>,
        router: Router,
        limits: &LimitsConfig,
    ) -> Result<Self, Failure> {
        let socket = TcpListener::bind(address).await.map_err(|e| {
            Failure::new(
                Code::Listen,
                format!("the {face} face can't listen on {address}"),
                "stop what holds the address, or choose another in the configuration",
            )
            .with_source(e)
        })?;
        Ok(Self {
            face,
            socket,
            tls,
            router,
            limits: limits.clone(),
            per_address: None,
        })
    }

    /// Bounds what one address may hold open. Not for faces behind a proxy, where everybody has the same.
    #[must_use]
    pub fn bounded_per_address(mut self) -> Self {
        let most = self.limits.connections_per_address;
        self.per_address = Some(usize::try_from(most).unwrap_or(usize::MAX));
        self
    }

    /// Where it listens; with port 0 in the configuration, what the system chose.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until told to stop, then drains.
    pub async fn run(self, mut stop: Stop) {
        let Self {
            face,
            socket,
            tls,
            router,
            limits,
            per_address,
        } = self;
        info!(face, address = ?socket.local_addr().ok(), tls = tls.is_some(), "listening");
        let permits = Arc::new(Semaphore::new(
            usize::try_from(limits.connections).unwrap_or(usize::MAX >> 4),
        ));
        let graceful = GracefulShutdown::new();
        let addresses = PerAddress::default();
        loop {
            let permit = tokio::select! {
                () = stop.wait() => break,
                permit = permits.clone().acquire_owned() => match permit { Ok(p) => p, Err(_) => break },
            };
            let (tcp, address) = tokio::select! {
                () = stop.wait() => break,
                accepted = socket.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of descriptors, as a rule: give connections time to end.
                        warn!(face, %error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Some(counted) = addresses.enter(address.ip(), per_address.unwrap_or(usize::MAX)) else {
                super::refused(face, "handshake", "too_many_connections");
                debug!(face, %address, "closed: too many connections from this address");
                continue;
            };
            let serving = Serving {
                face,
                router: router.clone(),
                head: limits.head(),
                watcher: graceful.watcher(),
            };
            let tls = tls.as_ref().map(|current| TlsAcceptor::from(current()));
            metrics::gauge!("causeway_connections", "face" => face).increment(1.0);
            tokio::spawn(async move {
                serving.accept(tcp, address, tls).await;
                metrics::gauge!("causeway_connections", "face" => face).decrement(1.0);
                drop((permit, counted));
            });
        }
        drop(socket);
        let open = graceful.count();
        if tokio::time::timeout(limits.drain(), graceful.shutdown())
            .await
            .is_err()
        {
            warn!(
                face,
                open, "connections cut: requests were still running when the time to drain was over"
            );
        }
        info!(face, "stopped listening");
    }
}

/// Open connections, by address.
#[derive(Clone, Default)]
struct PerAddress(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl PerAddress {
    /// `None` if the address has as many as it may.
    fn enter(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted {
            all: self.clone(),
            address,
        })
    }
}

/// A connection that counts until this is dropped.
struct Counted {
    all: PerAddress,
    address: IpAddr,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

struct Serving {
    face: &'static str,
    router: Router,
    head: Duration,
    watcher: Watcher,
}

impl Serving {
    async fn accept(self, tcp: TcpStream, address: SocketAddr, tls: Option<TlsAcceptor>) {
        let _ = tcp.set_nodelay(true);
        let Some(tls) = tls else {
            return self
                .serve(
                    tcp,
                    Connection {
                        address,
                        certificates: Arc::new([]),
                    },
                    false,
                )
                .await;
        };
        let face = self.face;
        match tokio::time::timeout(self.head, tls.accept(tcp)).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let shown = session.peer_certificates().unwrap_or_default();
                let certificates = shown.iter().map(|c| c.clone().into_owned()).collect();
                let h2 = session.alpn_protocol() == Some(b"h2");
                self.serve(
                    stream,
                    Connection {
                        address,
                        certificates,
                    },
                    h2,
                )
                .await;
            }
            Ok(Err(error)) => {
                super::refused(face, "handshake", "tls");
                info!(face, %address, %error, "TLS handshake refused");
            }
            Err(_) => {
                super::refused(face, "handshake", "timeout");
                debug!(face, %address, "TLS handshake not done in time");
            }
        }
    }

    /// The protocol is known from ALPN (HTTP/1.1 without), so that no connection waits unwatched for its first octets.
    async fn serve<I>(self, io: I, connection: Connection, h2: bool)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(16 * 1024)
            .keep_alive_interval(Duration::from_secs(30));
        let builder = if h2 {
            builder.http2_only()
        } else {
            builder.http1_only()
        };
        let address = connection.address;
        let router = self.router;
        let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let serving = builder.serve_connection(TokioIo::new(io), service).into_owned();
        if let Err(error) = self.watcher.watch(serving).await {
            debug!(face = self.face, %address, error, "connection ended");
        }
    }
}
