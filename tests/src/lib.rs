//! Real parts, started and stopped: a Synapse, `causeway` processes, command-line clients; and a search for what must
//! not be found in anything they leave behind. Used by the tests below `tests/` and by the demo.

pub mod audit;
pub mod client;
pub mod link;
pub mod matrix;
pub mod process;
pub mod provider;
pub mod synapse;

/// What went wrong, with what was being done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl Failure {
    /// A failure with its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Everything here can fail for reasons outside of it.
pub type Result<T> = std::result::Result<T, Failure>;

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Adds it.
    fn context(self, doing: &str) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: &str) -> Result<T> {
        self.map_err(|e| Failure(format!("{doing}: {e}")))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, doing: &str) -> Result<T> {
        self.ok_or_else(|| Failure(format!("{doing}: nothing there")))
    }
}

/// One TLS provider for the process; a second call is no error.
pub fn install_tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Where test data of outside origin lies. It is no part of the project and may be missing.
pub fn shared_data() -> std::path::PathBuf {
    std::env::var_os("CAUSEWAY_SHARED_DATA").map_or_else(
        || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data").into(),
        Into::into,
    )
}
