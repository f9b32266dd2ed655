//! What all faces share: listeners, request ids, bounded bodies, metrics.

mod body;
mod listener;
mod observe;

pub use body::{BodyError, BodyLimit};
pub use listener::{Connection, Listener, Stop, StopHandle, stop_pair};
pub use observe::{REQUEST_ID, RequestId, observe, refused};
