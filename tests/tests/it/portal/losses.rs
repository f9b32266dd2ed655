//! What a homeserver loses or its users take away, without anybody having asked the room.

use super::stage::{BOB, SOON, Stage, becomes, set_state};
use crate::support::homeserver_there;
use causeway_tests::matrix::eventually;
use serde_json::json;

/// "State resets: the room forgets members" (synapse#8629, #16629, #9139, #6342): a ghost is gone from the portal, of which no
/// event tells the gateway anything; the next comparison of the portal with the room brings it back, and says so. "Edits and
/// redactions by others" (mautrix/signal#391, appservice-discord#152): what was accepted stays accepted.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_the_homeserver_forgot_come_back_and_redactions_take_nothing_from_the_log() {
    if !homeserver_there() {
        return;
    }
    let mut stage = Stage::start().await;
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
    let (room, portal) = stage.room(&alice, &alice_mls, "Losses", &others).await;
    eventually("Dave's invitation", SOON, || async {
        Ok(dave.join(&portal).await.ok())
    })
    .await
    .unwrap();
    for client in [&bob, &dave_mls] {
        client.run(&["sync"]).await.unwrap();
    }

    // Bob's message stands in the portal as the bot's copy, which nobody can redact.
    bob.send(&room, "said is said", SOON).await.unwrap();
    let copy = eventually("the copy in the portal", SOON, || async {
        let events = alice.messages(&portal, 100).await?;
        let copy = events.into_iter().find(|e| e["type"] == "org.causeway.message");
        Ok(copy.and_then(|e| e["event_id"].as_str().map(ToOwned::to_owned)))
    })
    .await
    .unwrap();
    // Nor is one's own submission: what is taken back is taken back in the MIMI room, by a message of the author's.
    let id = stage
        .hand_in(&alice, &alice_mls, (&room, &portal), "said in the portal")
        .await;
    eventually("the message at Bob's", SOON, || async {
        bob.run(&["sync"]).await?;
        let messages = bob.messages(&room).await?;
        Ok(messages
            .iter()
            .any(|m| m.text == "said in the portal")
            .then_some(()))
    })
    .await
    .unwrap();
    for (user, event) in [(&alice, &copy), (&dave, &copy), (&dave, &id), (&alice, &id)] {
        let refused = user.redact(&portal, event).await.unwrap_err();
        assert!(refused.to_string().contains("M_FORBIDDEN"), "{refused}");
    }
    dave_mls.run(&["sync"]).await.unwrap();
    let texts: Vec<String> = dave_mls
        .messages(&room)
        .await
        .unwrap()
        .into_iter()
        .map(|m| m.text)
        .collect();
    assert!(texts.contains(&"said is said".to_owned()) && texts.contains(&"said in the portal".to_owned()));

    // The homeserver forgets a ghost and the room's power levels.
    stage.as_ghost_leave(&portal, BOB).await;
    becomes(&alice, &portal, BOB, "leave").await;
    let levels = alice.state(&portal, "m.room.power_levels", "").await.unwrap();
    stage
        .as_bot_set_state(&portal, "m.room.topic", json!({"topic": "nobody's"}))
        .await;
    stage.appservice_with(&[]).await;
    becomes(&alice, &portal, BOB, "join").await;
    eventually("the topic to be gone", SOON, || async {
        let topic = alice.state(&portal, "m.room.topic", "").await?;
        Ok((topic["topic"] == "").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(
        alice.state(&portal, "m.room.power_levels", "").await.unwrap(),
        levels
    );
    eventually("an operator to be told", SOON, || async {
        let metrics = stage.a.metrics().await?;
        Ok((metrics
            .get("causeway_portal_repaired_total")
            .copied()
            .unwrap_or_default()
            > 0.0)
            .then_some(()))
    })
    .await
    .unwrap();
    // And a power level that nobody may give is the homeserver's to refuse.
    let mut own = levels.clone();
    own["users"]["@dave:a.example"] = json!(100);
    assert!(
        set_state(&dave, &portal, "m.room.power_levels", own)
            .await
            .is_err()
    );
    stage.stop().await;
}
