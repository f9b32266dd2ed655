//! Words with the service manager (sd_notify(3)): ready, stopping, still alive.
//!
//! One datagram each to the socket that `NOTIFY_SOCKET` names; without it nobody wants to know.

use room_engine::Engine;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The service manager, if there is one.
#[derive(Clone)]
pub struct Manager {
    address: Option<SocketAddr>,
    socket: Option<Arc<UnixDatagram>>,
    engine: Engine,
}

impl Manager {
    /// The one that started this process.
    pub fn new(engine: Engine) -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            match name.as_bytes().split_first() {
                Some((b'@', name)) => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(&name),
            }
            .ok()
        });
        Self {
            socket: address
                .as_ref()
                .and_then(|_| UnixDatagram::unbound().ok())
                .map(Arc::new),
            address,
            engine,
        }
    }

    /// Tells it something. That it can't be told is no reason to stop.
    pub fn tell(&self, what: &str) {
        if let (Some(socket), Some(address)) = (&self.socket, &self.address)
            && let Err(error) = socket.send_to_addr(what.as_bytes(), address)
        {
            tracing::warn!(%error, what, "the service manager can't be told");
        }
    }

    /// Tells it twice within its patience (`WATCHDOG_USEC`) that the service is alive: that the engine reads its store.
    /// A process that only sits there is restarted.
    pub fn watchdog(self) -> Option<JoinHandle<()>> {
        let patience = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
        let ours = std::env::var("WATCHDOG_PID")
            .ok()
            .is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let every = Duration::from_micros(patience) / 2;
        if !ours || every.is_zero() || self.address.is_none() {
            return None;
        }
        Some(tokio::spawn(async move {
            let mut tick = tokio::time::interval(every);
            loop {
                tick.tick().await;
                match tokio::time::timeout(every, self.engine.destinations()).await {
                    Ok(Ok(_)) => self.tell("WATCHDOG=1"),
                    Ok(Err(error)) => {
                        tracing::error!(%error, "the watchdog isn't fed: the store can't be read");
                    }
                    Err(_) => tracing::error!("the watchdog isn't fed: the store doesn't answer"),
                }
            }
        }))
    }
}
