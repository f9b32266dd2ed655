//! Death at a chosen instant: a test aid.
//!
//! Kill tests need the process to die between two steps, not somewhere near them. Where a step matters, the code calls
//! [`hit`] with the name of the point. With `CAUSEWAY_FAILPOINT=name` in the environment the process kills itself with
//! SIGKILL the first time it passes that point, with `name:N` the Nth time (counted from 1). Without the variable,
//! which is always so in production, a call is one atomic load.
//!
//! Points of this crate: `store.before-sync` (a group is applied, nothing is synced), `store.after-sync` (it is durable,
//! nobody has been told).

use std::{
    env,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

struct Armed {
    name: String,
    /// Passes left until death.
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Dies here if this point is armed.
pub fn hit(name: &str) {
    let Some(armed) = ARMED.get_or_init(|| env::var("CAUSEWAY_FAILPOINT").ok().and_then(|text| parse(&text)))
    else {
        return;
    };
    if armed.name == name && armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        die();
    }
}

fn die() -> ! {
    // SIGKILL runs no destructor and flushes no buffer, unlike exit; it may be delivered a moment after the call.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

fn parse(text: &str) -> Option<Armed> {
    let (name, left) = match text.rsplit_once(':') {
        Some((name, count)) => (name, count.parse().ok().filter(|count| *count > 0)?),
        None => (text, 1),
    };
    (!name.is_empty()).then(|| Armed {
        name: name.to_owned(),
        left: AtomicU64::new(left),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::parse;

    #[test]
    fn names_and_counts_are_read() {
        let read = |text| parse(text).map(|armed| (armed.name, armed.left.load(Ordering::SeqCst)));
        assert_eq!(
            read("store.before-sync"),
            Some(("store.before-sync".to_owned(), 1))
        );
        assert_eq!(read("sender:7"), Some(("sender".to_owned(), 7)));
        assert_eq!(read(""), None);
        assert_eq!(read("sender:0"), None);
        assert_eq!(read("sender:x"), None);
    }
}
