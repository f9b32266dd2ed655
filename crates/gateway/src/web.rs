//! What all faces share: listeners, request ids, bounded bodies, metrics.

mod body;
mod listener;
mod observe;
mod per_peer;

pub use body::{BodyError, BodyLimit};
pub use listener::{Connection, Listener, Stop, StopHandle, TlsSource, stop_pair};
pub use observe::{REQUEST_ID, RequestId, observe, refused};
pub use per_peer::{PeerAllowance, PeerLimits, Running, TooMany};
