//! What administrators do with portals, by way of the bot.

use super::stage::{BOB, SOON, Stage, becomes, told};
use crate::support::homeserver_there;
use causeway_tests::matrix::eventually;
use causeway_tests::provider::run;
use serde_json::json;

/// "Room upgrades break portals" (appservice-bridge#95, #100) from our side, and "no way to debug" (synapse#13142): an
/// admin sees rooms and queues, has a portal compared, replaced by another version, given up and made again.
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_looks_upgrades_gives_up_and_makes_again() {
    if !homeserver_there() {
        return;
    }
    let mut stage = Stage::start().await;
    stage
        .appservice_with(&[("admins", "[\"@alice:a.example\"]"), ("room_version", "\"10\"")])
        .await;
    let (alice, alice_mls) = stage.matrix_user("alice").await;
    let bob = stage.mimi_user("bob").await;
    bob.run(&["consent", "grant", "mimi://a.example/u/alice"])
        .await
        .unwrap();
    let (room, portal) = stage
        .room(&alice, &alice_mls, "Club", &["mimi://b.example/u/bob"])
        .await;

    let dm = alice.create_room(&["@_mimi:a.example"]).await.unwrap();
    becomes(&alice, &dm, "@_mimi:a.example", "join").await;
    let says = async |text: &str, answer: &str| {
        let content = json!({"msgtype": "m.text", "body": text});
        alice.send(&dm, "m.room.message", text, content).await.unwrap();
        told(&alice, &dm, answer).await
    };
    says("help", "admin upgrade ROOM VERSION").await;
    let rooms = says("admin rooms", "1 rooms").await;
    assert!(
        rooms.contains("Club") && rooms.contains("2 participants"),
        "{rooms}"
    );
    let queues = says("admin queues", "waiting").await;
    assert!(queues.contains("homeserver"), "{queues}");
    says("admin sync Club", "is being compared").await;
    says("admin sync nothing", "room").await;

    // Replaced by a room of another version: Matrix clients follow the tombstone, and everybody is there again.
    says("admin upgrade Club 11", "is being replaced").await;
    let moved = stage.portal_after(&alice_mls, &room, &portal).await;
    let tombstone = alice.state(&portal, "m.room.tombstone", "").await.unwrap();
    assert_eq!(tombstone["replacement_room"], moved);
    eventually("the invitation", SOON, || async {
        Ok(alice.join(&moved).await.ok())
    })
    .await
    .unwrap();
    let create = alice.state(&moved, "m.room.create", "").await.unwrap();
    assert_eq!(create["predecessor"]["room_id"], portal);
    assert_eq!(create["room_version"], "11");
    becomes(&alice, &moved, BOB, "join").await;
    let info = alice.state(&moved, "org.causeway.room", "").await.unwrap();
    assert_eq!(info["room"], room);
    alice_mls.send(&room, "in the new room", SOON).await.unwrap();
    eventually("the message at Bob's", SOON, || async {
        bob.run(&["sync"]).await?;
        let messages = bob.messages(&room).await?;
        Ok(messages.iter().any(|m| m.text == "in the new room").then_some(()))
    })
    .await
    .unwrap();

    // The same from the command line, to opaque room ids this time; a version that nobody knows changes nothing.
    let upgrade = async |version: &str| {
        let mut command = stage.a.command().unwrap();
        run(command.args(["room", "upgrade", &room, version])).await
    };
    upgrade("no-such-version").await.unwrap();
    upgrade("12").await.unwrap();
    let newest = stage.portal_after(&alice_mls, &room, &moved).await;
    eventually("the invitation", SOON, || async {
        Ok(alice.join(&newest).await.ok())
    })
    .await
    .unwrap();
    let create = alice.state(&newest, "m.room.create", "").await.unwrap();
    assert_eq!(create["room_version"], "12");
    assert_eq!(create["predecessor"]["room_id"], moved);
    becomes(&alice, &newest, BOB, "join").await;

    says("admin unbridge Club", "is being given up").await;
    eventually("the portal to be given up", SOON, || async {
        Ok((stage.shown(&room).await["portal_state"] == "unbridged").then_some(()))
    })
    .await
    .unwrap();
    says("admin bridge Club", "is being made").await;
    let again = stage.portal(&alice, &alice_mls, &room).await;
    assert_ne!(again, newest);
    becomes(&alice, &again, BOB, "join").await;
    stage.stop().await;
}
