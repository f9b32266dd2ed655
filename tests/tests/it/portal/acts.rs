//! Bans and roles: what moderators do in a portal, as requests.

use super::stage::{BOB, SOON, Stage, act, becomes, set_state, told};
use crate::support::homeserver_there;
use causeway_tests::matrix::eventually;
use serde_json::json;

/// What the portal shows of moderation is what the MIMI room has, "membership floods" and "power levels too large"
/// (synapse#15384) included: a ban, a role given, and what nobody may do.
#[tokio::test(flavor = "multi_thread")]
async fn bans_and_roles_are_requests_and_the_portal_shows_what_came_of_them() {
    if !homeserver_there() {
        return;
    }
    let stage = Stage::start().await;
    let (alice, alice_mls) = stage.matrix_user("alice").await;
    let (dave, dave_mls) = stage.matrix_user("dave").await;
    let bob = stage.mimi_user("bob").await;
    for client in [&bob, &dave_mls] {
        client
            .run(&["consent", "grant", "mimi://a.example/u/alice"])
            .await
            .unwrap();
    }
    let others = ["mimi://b.example/u/bob", "mimi://a.example/u/dave"];
    let (_, portal) = stage.room(&alice, &alice_mls, "Order", &others).await;
    eventually("Dave's invitation", SOON, || async {
        Ok(dave.join(&portal).await.ok())
    })
    .await
    .unwrap();
    dave_mls.run(&["sync"]).await.unwrap();

    // Whoever has no power over it is refused by the homeserver itself.
    let levels = alice.state(&portal, "m.room.power_levels", "").await.unwrap();
    let mut own = levels.clone();
    own["users"]["@dave:a.example"] = json!(90);
    assert!(
        set_state(&dave, &portal, "m.room.power_levels", own)
            .await
            .is_err()
    );

    // A role: asked for by a power level, given by Alice's client, then shown.
    let mut wanted = levels.clone();
    wanted["users"]["@dave:a.example"] = json!(90);
    set_state(&alice, &portal, "m.room.power_levels", wanted)
        .await
        .unwrap();
    told(&alice, &portal, "asked to give mimi://a.example/u/dave role 4").await;
    eventually("the old levels", SOON, || async {
        let now = alice.state(&portal, "m.room.power_levels", "").await?;
        Ok((now["users"] == levels["users"]).then_some(()))
    })
    .await
    .unwrap();
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    eventually("Dave's new level", SOON, || async {
        let now = alice.state(&portal, "m.room.power_levels", "").await?;
        let level = now["users"]["@dave:a.example"].as_i64();
        let level = level.or(now["users_default"].as_i64()).unwrap_or_default();
        Ok((level == 90).then_some(()))
    })
    .await
    .unwrap();

    // A ban: out at once, banned as soon as a member's client has written it into the log.
    act(&alice, &portal, "ban", json!({"user_id": BOB})).await;
    told(&alice, &portal, "asked to ban mimi://b.example/u/bob").await;
    becomes(&alice, &portal, BOB, "leave").await;
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    becomes(&alice, &portal, BOB, "ban").await;

    // Lifting the ban is a request as well: the portal shows the ban again, and says why, until the log agrees.
    act(&alice, &portal, "unban", json!({"user_id": BOB})).await;
    let notice = told(&alice, &portal, "asked to unban mimi://b.example/u/bob").await;
    assert!(notice.contains("this room shows what is"), "{notice}");
    becomes(&alice, &portal, BOB, "ban").await;
    let wishes = alice_mls.run(&["wishes"]).await.unwrap();
    assert_eq!(wishes[0]["want"], "unban", "{wishes}");
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    becomes(&alice, &portal, BOB, "leave").await;
    // Let in again, Bob takes part again.
    act(&alice, &portal, "invite", json!({"user_id": BOB})).await;
    told(&alice, &portal, "asked to add mimi://b.example/u/bob").await;
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    becomes(&alice, &portal, BOB, "join").await;
    stage.stop().await;
}
