//! Processes that are ours, their logs, and free ports for them.

use crate::{Context as _, Failure, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Where tests listen: below the ports that systems take for outgoing connections, so that none of those gets a server's
/// port while the server is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// Loopback addresses that nobody listened on a moment ago. One process never gets the same twice.
pub fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Two processes hardly ever begin near each other.
    let next = NEXT.get_or_init(|| {
        let number = std::process::id().wrapping_mul(2_654_435_761) >> 16;
        AtomicU16::new(u16::try_from(number % u32::from(PORTS.end - PORTS.start)).unwrap_or_default())
    });
    let mut found = Vec::with_capacity(N);
    for _ in PORTS {
        if found.len() == N {
            break;
        }
        let port = PORTS.start + next.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            found.push(address);
        }
    }
    found
        .try_into()
        .map_err(|_| Failure::new("looking for free ports"))
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; both its outputs are appended to the log.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .context(&format!("opening {}", log.display()))?;
        let errors = file.try_clone().context("opening a log twice")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .kill_on_drop(true)
            // Ctrl-C at the terminal is for us; we stop what we started in order.
            .process_group(0)
            .spawn()
            .context(&format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its outputs are.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("asking for a process's end")
    }

    /// SIGKILL: no chance to do anything more.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context(&format!("killing {}", self.name))
    }

    /// SIGTERM, then waits for the end. One that doesn't end in time is killed, which is a failure.
    pub async fn stop(mut self, within: Duration) -> Result<ExitStatus> {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
        {
            kill_process(pid, Signal::TERM).context(&format!("stopping {}", self.name))?;
        }
        if let Ok(status) = tokio::time::timeout(within, self.child.wait()).await {
            return status.context(&format!("stopping {}", self.name));
        }
        let _ = self.child.kill().await;
        Err(Failure(format!(
            "{} did not stop on SIGTERM; see {}",
            self.name,
            self.log.display()
        )))
    }

    /// Waits for its own end, for as long as it takes.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.child
            .wait()
            .await
            .context(&format!("waiting for {}", self.name))
    }

    /// Waits until `ready` says yes, the process ends, or the time is over. The failure holds the log's end.
    pub async fn wait_until<F>(&mut self, within: Duration, mut ready: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                return Err(Failure(format!(
                    "{} ended with {status}:\n{}",
                    self.name,
                    self.log_end()
                )));
            }
            if ready().await {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Failure(format!(
                    "{} is not ready after {} s:\n{}",
                    self.name,
                    within.as_secs(),
                    self.log_end()
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let end: Vec<&str> = lines
            .iter()
            .skip(lines.len().saturating_sub(20))
            .copied()
            .collect();
        end.join("\n")
    }
}
