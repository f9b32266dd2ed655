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
    up: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Link {
    /// Listens at `from` and passes on to `to`.
    pub async fn open(from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(from).await.context("opening a link")?;
        let up = Arc::new(watch::channel(true).0);
        let state = up.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut state = state.subscribe();
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(to).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|up| !up) => {}
                    }
                });
            }
        });
        Ok(Self { up, task })
    }

    /// Cuts what goes through, and lets nothing through.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets through again.
    pub fn heal(&self) {
        self.up.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}
