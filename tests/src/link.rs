//! A link that can be cut: TCP passed on octet by octet, so that TLS goes through it untouched.

use crate::{Context as _, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A link from an address to another. It ends when dropped.
#[derive(Debug)]
pub struct Link {
    way: Arc<watch::Sender<Way>>,
    task: JoinHandle<()>,
}

/// Where a link leads, and whether it lets anything through.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Way {
    to: SocketAddr,
    up: bool,
}

impl Link {
    /// Listens at `from` and passes on to `to`.
    pub async fn open(from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(from).await.context("opening a link")?;
        let way = Arc::new(watch::channel(Way { to, up: true }).0);
        let state = way.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut state = state.subscribe();
                tokio::spawn(async move {
                    let taken = *state.borrow();
                    if !taken.up {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(taken.to).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|way| *way != taken) => {}
                    }
                });
            }
        });
        Ok(Self { way, task })
    }

    /// Cuts what goes through, and lets nothing through.
    pub fn cut(&self) {
        self.way.send_modify(|way| way.up = false);
    }

    /// Lets through again.
    pub fn heal(&self) {
        self.way.send_modify(|way| way.up = true);
    }

    /// Cuts what goes through, and leads elsewhere from now on.
    pub fn lead(&self, to: SocketAddr) {
        self.way.send_modify(|way| way.to = to);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}
