//! Reports of abuse, from a client's command to the operator's list, and those that lie.

use super::conversation::Person;
use super::scene::{Scene, scene};
use super::*;
use mimi_wire::protocol::AbuseReport;
use mimi_wire::{Encode as _, MimiUri};

/// The scene of the other tests, with a message of Alice and one of Bob.
async fn spoken() -> Scene {
    let scene = Box::pin(scene()).await;
    scene.alice.does(&["send", "club", "insult"]).await;
    scene.bob.does(&["send", "club", "retort"]).await;
    scene.alice.does(&["read", "club"]).await;
    scene
}

impl Scene {
    /// The id of the message that says `text`, and a report about it in TLS.
    pub(super) fn report(&self, who: &Person, text: &str, note: &str) -> (String, AbuseReport) {
        let engine =
            mls_client::Engine::open(&who.profile, None, std::time::Duration::from_secs(15)).unwrap();
        let said = |e: &mls_client::state::Entry| match &e.what {
            mls_client::state::What::Message(m) if m.text == text => Some(hex::encode(&m.message_id.0)),
            _ => None,
        };
        let room = engine.room(self.room.as_str()).unwrap();
        let id = room.history.iter().find_map(said).unwrap();
        let octets = engine
            .abuse_report(self.room.as_str(), std::slice::from_ref(&id), note, false)
            .unwrap();
        (id, AbuseReport::from_bytes(&octets).unwrap())
    }

    async fn post_report(&self, room: &str, report: &AbuseReport) -> (u16, String) {
        let (status, body) = self.post(Endpoint::ReportAbuse, room, report.to_bytes()).await;
        (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }

    async fn kept(&self) -> Vec<Value> {
        let (status, reports) = self.a.admin(Method::GET, "/reports", None).await;
        assert_eq!(status, StatusCode::OK, "{reports}");
        reports.as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_reaches_the_hub_s_operator_with_its_proof() {
    let scene = spoken().await;
    scene.bob.does(&["read", "club"]).await;
    let (id, _) = scene.report(&scene.bob, "insult", "");
    scene
        .bob
        .does(&["report", "club", &id, "--note", "he insults"])
        .await;
    let kept = scene.kept().await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["accused"], "mimi://a.example/u/alice");
    assert_eq!(kept[0]["reporting_user"], "mimi://b.example/u/bob");
    assert_eq!(kept[0]["provider"], "b.example");
    assert_eq!(kept[0]["note"], "he insults");
    assert_eq!(kept[0]["messages"][0]["proved"], true);
    assert_eq!(kept[0]["messages"][0]["message_id"], json!(id));
    assert_eq!(kept[0]["messages"][0].get("text"), None);
    let path = format!("/reports/{}", kept[0]["id"].as_str().unwrap());
    let (_, whole) = scene.a.admin(Method::GET, &path, None).await;
    assert_eq!(whole["messages"][0]["text"], "insult");
    assert_eq!(
        scene.a.admin(Method::GET, "/reports/00", None).await.0,
        StatusCode::NOT_FOUND
    );
    let config = scene.a.config.file.as_ref().unwrap().to_str().unwrap().to_owned();
    let listed = tokio::task::spawn_blocking(move || {
        crate::cli::run_from(["causeway", "--config", &config, "reports", "ls", "--json"])
    });
    listed.await.unwrap().unwrap();

    // A report too large for its record is a blob, and what nothing refers to any more is collected around it.
    let long = "x".repeat(20_000);
    scene.alice.does(&["send", "club", &long]).await;
    scene.bob.does(&["read", "club"]).await;
    let (id, _) = scene.report(&scene.bob, &long, "");
    scene.bob.does(&["report", "club", &id]).await;
    let orphan = scene.a.store.blob_put(vec![7; 70_000].into()).await.unwrap();
    let engine = scene.a.service.engine();
    engine.collect_blobs(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(scene.a.store.blob_get(&orphan).await.unwrap(), None);
    let path = format!("/reports/{}", scene.kept().await[0]["id"].as_str().unwrap());
    let (_, whole) = scene.a.admin(Method::GET, &path, None).await;
    assert_eq!(whole["messages"][0]["text"], json!(long));

    // A client of the hub itself, about a follower's user, after every key was rotated, without its name.
    let config = scene.a.config.file.as_ref().unwrap().to_str().unwrap().to_owned();
    let rotated = tokio::task::spawn_blocking(move || {
        crate::cli::run_from(["causeway", "--config", &config, "keys", "rotate", "all"])
    });
    rotated.await.unwrap().unwrap();
    let (id, _) = scene.report(&scene.alice, "retort", "");
    scene.alice.does(&["report", "club", &id, "--anonymous"]).await;
    let kept = scene.kept().await;
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[0]["reporting_user"], Value::Null);
    assert_eq!(kept[0]["accused"], "mimi://b.example/u/bob");
    assert_eq!(kept[0]["messages"][0]["proved"], true);
    // The room goes on, and a new one can be founded with the new keys.
    scene.alice.does(&["send", "club", "still here"]).await;
    scene.bob.does(&["read", "club"]).await;
    let (_, later) = scene.report(&scene.bob, "still here", "");
    assert_eq!(scene.post_report(scene.room.as_str(), &later).await.0, 201);
    scene.alice.does(&["create", "second"]).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_replayed_and_misplaced_reports() {
    let scene = spoken().await;
    scene.bob.does(&["read", "club"]).await;
    let (_, good) = scene.report(&scene.bob, "insult", "first");
    let room = scene.room.as_str();
    let changed = |change: &dyn Fn(&mut AbuseReport)| {
        let mut report = good.clone();
        change(&mut report);
        report
    };
    let user = |text: &str| MimiUri::parse(text).unwrap();
    for (what, report) in [
        (
            "forged frank",
            changed(&|r| r.messages[0].frank.server_frank[0] ^= 1),
        ),
        (
            "forged signature",
            changed(&|r| r.messages[0].frank.franking_integrity_signature.0[9] ^= 1),
        ),
        (
            "another time",
            changed(&|r| r.messages[0].accepted_timestamp.0 += 1),
        ),
        (
            "another suite",
            changed(&|r| r.messages[0].frank.franking_signature_ciphersuite.0 = 2),
        ),
        (
            "another text",
            changed(&|r| {
                let content = &mut r.messages[0].message_content.0;
                let at = content.windows(6).position(|w| w == b"insult").unwrap();
                content[at] = b'I';
            }),
        ),
        (
            "another sender",
            changed(&|r| r.alleged_abuser_uri = user("mimi://a.example/u/mallory")),
        ),
        (
            "no content",
            changed(&|r| r.messages[0].message_content.0 = vec![1, 2]),
        ),
        (
            "a stranger's report",
            changed(&|r| r.reporting_user = Some(user("mimi://a.example/u/alice"))),
        ),
        (
            "no evidence, no participant",
            changed(&|r| {
                r.messages.clear();
                r.reporting_user = Some(user("mimi://b.example/u/nobody"));
            }),
        ),
    ] {
        let (status, body) = scene.post_report(room, &report).await;
        assert_eq!(status, 403, "{what}: {body}");
    }
    // The frank of one room in another.
    scene.alice.does(&["create", "other"]).await;
    let rooms = scene.a.service.engine().rooms().await.unwrap();
    let other = rooms.iter().find(|v| v.room != scene.room).unwrap();
    let (status, body) = scene.post_report(other.room.as_str(), &good).await;
    assert_eq!((status, body.contains("another room")), (403, true), "{body}");
    assert_eq!(
        scene.post_report("mimi://a.example/r/nowhere", &good).await.0,
        404
    );
    assert_eq!(
        scene.post_report("mimi://b.example/r/elsewhere", &good).await.0,
        404
    );
    let many = changed(&|r| r.messages = vec![r.messages[0].clone(); 33]);
    assert_eq!(scene.post_report(room, &many).await.0, 400);
    let long = changed(&|r| r.note = "x".repeat(5000));
    assert_eq!(scene.post_report(room, &long).await.0, 413);
    assert_eq!(scene.kept().await, Vec::<Value>::new(), "nothing of that is kept");

    // Once, however often it comes.
    for _ in 0..3 {
        assert_eq!(scene.post_report(room, &good).await.0, 201);
    }
    assert_eq!(scene.kept().await.len(), 1);
    // One proof among lies is kept, with what is wrong with the others.
    let mixed = changed(&|r| {
        let mut forged = r.messages[0].clone();
        forged.frank.server_frank = [0; 32];
        r.messages.push(forged);
    });
    assert_eq!(scene.post_report(room, &mixed).await.0, 201);
    let kept = scene.kept().await;
    assert_eq!(kept[0]["messages"][0]["proved"], true);
    assert_eq!(kept[0]["messages"][1]["fault"], "frank_forged");
    // A participant may report without evidence.
    let bare = changed(&|r| r.messages.clear());
    assert_eq!(scene.post_report(room, &bare).await.0, 201);
    scene.stop().await;
}
