//! Somebody adds a guest of another provider and takes them out again, all the time.

use crate::kill::device;
use causeway_tests::client::Client;
use mls_client::transport::Http;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two changes: what a node accepts while it is cut off can be read for three more epochs.
const EVERY: Duration = Duration::from_secs(4);

/// Until told to stop. Gives the device and how many changes it was told to be done.
pub(super) async fn change(
    of: Client,
    room: String,
    guest: String,
    stop: Arc<AtomicBool>,
) -> (mls_client::Client<Http>, u32) {
    let mut device = device(of.profile());
    let user = mls_client::engine::parse_user(&guest).unwrap();
    let mut done = 0;
    while !stop.load(Ordering::SeqCst) {
        let inside = device
            .engine()
            .members(&room)
            .unwrap()
            .participants
            .iter()
            .any(|(member, _)| *member == guest);
        let users = std::slice::from_ref(&user);
        let changed = if inside {
            device.remove(&room, users).await
        } else {
            device.add(&room, users).await
        };
        if changed.is_ok() {
            done += 1;
        } else {
            // What is under way is brought to its end.
            let _ = device.sync().await;
        }
        tokio::time::sleep(EVERY).await;
    }
    (device, done)
}
