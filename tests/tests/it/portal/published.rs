//! Rooms that can be searched for, against a real Synapse.

use super::stage::{SOON, Stage, act, becomes, field_of, membership, told};
use crate::support::homeserver_there;
use causeway_tests::matrix::eventually;
use serde_json::json;

/// Found in the homeserver's directory, asked to be let in, let in by a participant.
#[tokio::test(flavor = "multi_thread")]
async fn a_discoverable_room_is_found_knocked_at_and_joined() {
    if !homeserver_there() {
        return;
    }
    let stage = Stage::start().await;
    let (alice, alice_mls) = stage.matrix_user("alice").await;
    let (zoe, zoe_mls) = stage.matrix_user("zoe").await;
    zoe_mls
        .run(&["consent", "grant", "mimi://a.example/u/alice"])
        .await
        .unwrap();
    let made = alice_mls
        .run(&["create", "Open house", "--discoverable"])
        .await
        .unwrap();
    let room = made["room"].as_str().unwrap().to_owned();
    let portal = stage.portal(&alice, &alice_mls, &room).await;
    let secret = alice_mls.run(&["create", "Closed"]).await.unwrap();
    let secret = stage
        .portal(&alice, &alice_mls, secret["room"].as_str().unwrap())
        .await;
    // Synapse counts rooms in the background, and answers from a cache.
    let listed = eventually("the room in the directory", SOON, || async {
        let path = "/_matrix/client/v3/publicRooms";
        let list = zoe.call(reqwest::Method::GET, path, None).await?;
        let rooms = list["chunk"].as_array().cloned().unwrap_or_default();
        Ok(rooms.iter().any(|one| one["room_id"] == portal).then_some(rooms))
    })
    .await
    .unwrap();
    assert!(!listed.iter().any(|one| one["room_id"] == secret));
    let entry = listed.iter().find(|one| one["room_id"] == portal).unwrap();
    assert_eq!(entry["name"], "Open house");
    assert_eq!(entry["join_rule"], "knock");

    assert!(zoe.join(&portal).await.is_err(), "nobody joins by themselves");
    let knock = format!("/_matrix/client/v3/knock/{portal}");
    zoe.call(reqwest::Method::POST, &knock, Some(json!({})))
        .await
        .unwrap();
    told(&alice, &portal, "mimi://a.example/u/zoe would like to be let in").await;
    assert_eq!(membership(&alice, &portal, &zoe.id).await, "knock");
    act(&alice, &portal, "invite", json!({"user_id": zoe.id})).await;
    told(&alice, &portal, "asked to add mimi://a.example/u/zoe").await;
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    becomes(&alice, &portal, &zoe.id, "invite").await;
    eventually("Zoe in the portal", SOON, || async {
        Ok(zoe.join(&portal).await.ok())
    })
    .await
    .unwrap();
    eventually("Zoe in the room", SOON, || async {
        zoe_mls.run(&["sync"]).await?;
        let rooms = zoe_mls.run(&["rooms"]).await?;
        Ok(field_of(&rooms, &room, "membership").filter(|m| m == "member"))
    })
    .await
    .unwrap();
    stage.stop().await;
}
