//! Reading rooms from files and replaying what others recorded of them: fixtures of real homeservers, random
//! forks with their resolutions, contested sets, plain PDUs. What `causeway graph` runs on.

mod contested;
mod explain;
mod fixture;
mod plain;
mod read;
mod room;
mod show;
mod synthetic;

use serde::Serialize;

pub use contested::{Contested, Measured};
pub use explain::{Explanation, explain};
pub use plain::Plain;
pub use read::read;
pub use room::{Document, LoadedRoom, VerifyKeys};
pub use show::{Shown, dot, overview, svg, timeline};

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not JSON, or not of the form it claims.
    #[error("not readable: {0}")]
    Json(#[from] serde_json::Error),
    /// A room version that this crate doesn't know.
    #[error(transparent)]
    Version(#[from] crate::UnknownRoomVersion),
    /// Something is missing or of the wrong kind.
    #[error("malformed file: {0}")]
    Form(String),
}

/// What a replay found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The scenario's or file's name.
    pub name: String,
    /// Events read.
    pub events: usize,
    /// Resolutions compared.
    pub resolutions: usize,
    /// Views whose current state was compared.
    pub views: usize,
    /// Recorded soft failures that the replay in order of arrival reproduces, and all recorded ones.
    pub soft_failures: (usize, usize),
    /// Everything that isn't as recorded; the file passes if there is none.
    pub differences: Vec<String>,
    /// What was not compared, and why; what differs and may.
    pub notes: Vec<String>,
}

impl Report {
    /// True if everything was as recorded.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Replays everything that a document records.
pub fn check(document: &Document, name: &str) -> Report {
    match document {
        Document::Fixture(fixture) => fixture::check(fixture, name),
        Document::Synthetic(synthetic) => synthetic::check(synthetic, name),
        Document::Contested(contested) => contested.check(name),
        Document::Plain(plain) => plain.check(name),
    }
}

/// Loads a room and resolves what is contested in it: the states of a contested set, or those after the forward
/// extremities. `cpu_ms` is a clock of CPU time.
pub fn measure(document: &Document, runs: usize, cpu_ms: impl Fn() -> f64) -> Result<Measured, ReadError> {
    if let Document::Contested(contested) = document {
        return contested.resolve(runs, cpu_ms);
    }
    let start = cpu_ms();
    let room = LoadedRoom::of(document, 0)?;
    let load_ms = cpu_ms() - start;
    let graph = room.graph;
    if let Some(missing) = graph.missing().first() {
        let held = graph.held();
        return Err(ReadError::Form(format!(
            "{held} events wait for others, {missing} among them"
        )));
    }
    let tips = graph.extremities();
    contested::measure(graph, load_ms, |graph| graph.groups_after(&tips), runs, cpu_ms)
}
