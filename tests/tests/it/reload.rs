//! A running service reads its configuration again when it is told to.

use crate::support::Place;
use causeway_tests::provider::{Addresses, Provider};
use std::time::{Duration, Instant};

async fn reloads(provider: &Provider, result: &str) -> f64 {
    let metrics = provider.metrics().await.unwrap();
    let name = format!("causeway_reloads_total{{result=\"{result}\"}}");
    metrics.get(&name).copied().unwrap_or_default()
}

#[tokio::test]
async fn sighup_reads_the_configuration_again_and_a_wrong_one_changes_nothing() {
    let place = Place::new();
    let (at, bt) = (Addresses::free().unwrap(), Addresses::free().unwrap());
    let peer = [("b.example", bt.mimi)];
    let mut a = Provider::init(&place.path("a"), "a.example", at, &place.path("ca"), &peer, None)
        .await
        .unwrap();
    a.start(None).await.unwrap();
    let hang_up = async || {
        let id = a.id().unwrap().to_string();
        let sent = tokio::process::Command::new("kill")
            .args(["-HUP", &id])
            .status()
            .await;
        assert!(sent.unwrap().success());
    };
    let until = async |result: &str| {
        let end = Instant::now() + Duration::from_mins(1);
        while reloads(&a, result).await < 1.0 {
            assert!(Instant::now() < end, "never reloaded: {result}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    a.configure(|text| text.replace("allow = true", "allow = false"))
        .unwrap();
    hang_up().await;
    until("done").await;
    assert!(
        a.log_lines()
            .unwrap()
            .iter()
            .any(|line| line["message"] == "reloaded")
    );
    a.configure(|text| format!("{text}\nnonsense")).unwrap();
    hang_up().await;
    // It is still there, as it was.
    until("failed").await;
    a.readiness().await.unwrap();
    a.stop().await.unwrap();
}
