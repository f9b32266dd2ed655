//! Portals against a real Synapse, between two real providers: the full life of a room, from both sides. Where a test
//! closes a complaint that operators of bridges have, its name or its first line says which.

mod acts;
mod admins;
mod losses;
mod pictures;
mod published;
mod stage;

use crate::support::homeserver_there;
use causeway_tests::matrix::eventually;
use causeway_tests::provider::run;
use serde_json::json;
use stage::{BOB, SOON, Stage, act, becomes, field_of, membership, set_state, told};
use std::time::Duration;

/// The whole life of a room whose hub is beside the homeserver. Closes "Sender isn't told that a message wasn't bridged"
/// (whatsapp#1) and "Ghosts and rooms left behind after unbridging" (appservice-discord#719, synapse#11526).
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_room_lives_on_both_sides_and_leaves_nothing_behind() {
    if !homeserver_there() {
        return;
    }
    let stage = Stage::start().await;
    let (alice, alice_mls) = stage.matrix_user("alice").await;
    let bob = stage.mimi_user("bob").await;

    // Alice starts a chat from any Matrix client, by way of the bot.
    let dm = alice.create_room(&["@_mimi:a.example"]).await.unwrap();
    becomes(&alice, &dm, "@_mimi:a.example", "join").await;
    let text = json!({"msgtype": "m.text", "body": "chat mimi://b.example/u/bob named Across"});
    alice.send(&dm, "m.room.message", "1", text).await.unwrap();
    told(
        &alice,
        &dm,
        "was asked to start a chat with mimi://b.example/u/bob",
    )
    .await;
    // Bob is asked for his consent, and gives it.
    eventually("the request for consent at Bob's", SOON, || async {
        let consents = bob.run(&["consent"]).await?;
        Ok(consents
            .to_string()
            .contains("mimi://a.example/u/alice")
            .then_some(()))
    })
    .await
    .unwrap();
    bob.run(&["consent", "grant", "mimi://a.example/u/alice"])
        .await
        .unwrap();
    let wishes = alice_mls.run(&["wishes"]).await.unwrap();
    assert_eq!(wishes[0]["want"], "start", "{wishes}");
    let done = alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    let room = done["room"].as_str().unwrap().to_owned();
    told(&alice, &dm, &format!("The room is {room}")).await;
    let portal = stage.portal(&alice, &alice_mls, &room).await;

    // Bob is seen as a ghost, with his name and URI; the room has its name, roles and alias.
    becomes(&alice, &portal, BOB, "join").await;
    let profile = format!("/_matrix/client/v3/profile/{BOB}");
    let profile = alice.call(reqwest::Method::GET, &profile, None).await.unwrap();
    assert_eq!(profile["displayname"], "bob (b.example)");
    assert_eq!(profile["org.causeway.uri"], "mimi://b.example/u/bob");
    assert_eq!(
        alice.state(&portal, "m.room.name", "").await.unwrap()["name"],
        "Across"
    );
    let alias = alice.state(&portal, "m.room.canonical_alias", "").await.unwrap();
    let alias = alias["alias"].as_str().unwrap().to_owned();
    assert!(alias.starts_with("#_mimi_r_"), "{alias}");

    // Messages go both ways; the bot's copy shows the hub's time.
    alice_mls.send(&room, "hello from Matrix", SOON).await.unwrap();
    bob.run(&["sync"]).await.unwrap();
    bob.send(&room, "hello from MIMI", SOON).await.unwrap();
    eventually("both messages", SOON, || async {
        let messages = alice_mls.messages(&room).await?;
        Ok((messages.len() == 2).then_some(()))
    })
    .await
    .unwrap();
    let copy = eventually("the copy in the portal", SOON, || async {
        let events = alice.messages(&portal, 100).await?;
        Ok(events
            .into_iter()
            .find(|e| e["type"] == "org.causeway.message" && e["sender"] == "@_mimi:a.example"))
    })
    .await
    .unwrap();
    assert_eq!(
        copy["origin_server_ts"].as_u64().unwrap().to_string(),
        copy["content"]["accepted_at"].as_str().unwrap()
    );

    // What is no submission is answered all the same.
    alice
        .send(
            &portal,
            "org.causeway.message",
            "bad",
            json!({"id": "bad-1", "message": "!!"}),
        )
        .await
        .unwrap();
    let status = eventually("the status of the bad submission", SOON, || async {
        let events = alice.messages(&portal, 100).await?;
        Ok(events
            .into_iter()
            .find(|e| e["type"] == "org.causeway.status" && e["content"]["id"] == "bad-1"))
    })
    .await
    .unwrap();
    assert_eq!(status["content"]["state"], "refused");
    assert_eq!(status["content"]["code"], "malformed");

    // A change of the name on the Matrix side is a request; it is put back until the log agrees.
    set_state(&alice, &portal, "m.room.name", json!({"name": "Renamed"}))
        .await
        .unwrap();
    told(&alice, &portal, "asked to rename the room").await;
    eventually("the old name", SOON, || async {
        Ok((alice.state(&portal, "m.room.name", "").await?["name"] == "Across").then_some(()))
    })
    .await
    .unwrap();
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    eventually("the new name", SOON, || async {
        Ok((alice.state(&portal, "m.room.name", "").await?["name"] == "Renamed").then_some(()))
    })
    .await
    .unwrap();

    // A kick is a removal, at once: Bob can't send any more, and stays out.
    act(&alice, &portal, "kick", json!({"user_id": BOB})).await;
    told(&alice, &portal, "mimi://b.example/u/bob is out of the room").await;
    alice_mls.run(&["sync"]).await.unwrap();
    eventually("Bob's device to be out", SOON, || async {
        bob.run(&["sync"]).await?;
        let rooms = bob.run(&["rooms"]).await?;
        Ok(field_of(&rooms, &room, "membership").filter(|m| m == "left"))
    })
    .await
    .unwrap();
    assert_eq!(membership(&alice, &portal, BOB).await, "leave");

    // An invitation of a ghost asks Alice's client to add Bob again.
    act(&alice, &portal, "invite", json!({"user_id": BOB})).await;
    told(&alice, &portal, "asked to add mimi://b.example/u/bob").await;
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    becomes(&alice, &portal, BOB, "join").await;

    // What the bot tells about it.
    let text = json!({"msgtype": "m.text", "body": format!("info {room}")});
    alice.send(&dm, "m.room.message", "2", text).await.unwrap();
    let info = told(&alice, &dm, "end-to-end encrypted with MLS").await;
    assert!(info.contains("b.example: 1 participants"), "{info}");

    // Given up: ghosts, alias and users are out, the MIMI room stays.
    run(stage.a.command().unwrap().args(["room", "unbridge", &room]))
        .await
        .unwrap();
    let resolved = alice
        .call(
            reqwest::Method::GET,
            &format!("/_matrix/client/v3/directory/room/{}", alias.replace('#', "%23")),
            None,
        )
        .await;
    assert!(resolved.unwrap_err().to_string().contains("M_NOT_FOUND"));
    let shown = stage.shown(&room).await;
    assert_eq!(shown["portal_state"], "unbridged");
    alice_mls.send(&room, "still here", SOON).await.unwrap();
    stage.stop().await;
}

/// The whole life of a room whose hub is elsewhere: ghosts and the name come from the member's card, and everything that
/// Matrix users do is a wish.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_room_shows_ghosts_and_turns_acts_into_wishes() {
    if !homeserver_there() {
        return;
    }
    let stage = Stage::start().await;
    let (alice, alice_mls) = stage.matrix_user("alice").await;
    let bob = stage.mimi_user("bob").await;
    // Bob asks for Alice's consent; she gives it by way of the bot.
    bob.run(&["consent", "request", "mimi://a.example/u/alice"])
        .await
        .unwrap();
    let dm = alice.create_room(&["@_mimi:a.example"]).await.unwrap();
    becomes(&alice, &dm, "@_mimi:a.example", "join").await;
    let mut asked = 0;
    eventually("the request for consent at Alice's", SOON, || {
        asked += 1;
        let content = json!({"msgtype": "m.text", "body": "requests"});
        let (alice, dm, txn) = (&alice, &dm, format!("r{asked}"));
        async move {
            alice.send(dm, "m.room.message", &txn, content).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let events = alice.messages(dm, 100).await?;
            Ok(events
                .iter()
                .any(|e| {
                    e["content"]["body"]
                        .as_str()
                        .is_some_and(|body| body.contains("mimi://b.example/u/bob"))
                })
                .then_some(()))
        }
    })
    .await
    .unwrap();
    let content = json!({"msgtype": "m.text", "body": "accept bob@b.example"});
    alice
        .send(&dm, "m.room.message", "accept", content)
        .await
        .unwrap();
    told(&alice, &dm, "mimi://b.example/u/bob may add you to rooms now").await;
    // Alice's other Matrix device wants to be told by to-device events.
    let whoami = "/_matrix/client/v3/account/whoami";
    let device = alice.call(reqwest::Method::GET, whoami, None).await.unwrap();
    let device = device["device_id"].as_str().unwrap();
    alice_mls.run(&["wake", device]).await.unwrap();
    let made = bob.run(&["create", "Over there"]).await.unwrap();
    let room = made["room"].as_str().unwrap().to_owned();
    bob.run(&["add", &room, "mimi://a.example/u/alice"])
        .await
        .unwrap();
    let woken = eventually("the Welcome by to-device", SOON, || async {
        let sync = alice
            .call(reqwest::Method::GET, "/_matrix/client/v3/sync?timeout=0", None)
            .await?;
        let events = sync["to_device"]["events"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(events.into_iter().find(|e| e["type"] == "org.causeway.wake"))
    })
    .await
    .unwrap();
    assert_eq!(woken["content"]["room"], room);
    assert_eq!(woken["sender"], "@_mimi:a.example");
    assert!(woken["content"]["welcome"].is_string());
    eventually("the room at Alice's", SOON, || async {
        alice_mls.run(&["sync"]).await?;
        let rooms = alice_mls.run(&["rooms"]).await?;
        Ok(field_of(&rooms, &room, "membership").filter(|m| m == "member"))
    })
    .await
    .unwrap();
    let portal = stage.portal(&alice, &alice_mls, &room).await;
    alice_mls.run(&["sync"]).await.unwrap();
    becomes(&alice, &portal, BOB, "join").await;
    eventually("the name", SOON, || async {
        Ok(alice
            .state(&portal, "m.room.name", "")
            .await
            .ok()
            .filter(|content| content["name"] == "Over there"))
    })
    .await
    .unwrap();

    // A kick is a wish: Bob's ghost is brought back, with a notice that says why.
    act(&alice, &portal, "kick", json!({"user_id": BOB})).await;
    let notice = told(
        &alice,
        &portal,
        "client was asked to remove mimi://b.example/u/bob",
    )
    .await;
    assert!(notice.contains("b.example"), "{notice}");
    becomes(&alice, &portal, BOB, "join").await;
    let wishes = alice_mls.run(&["wishes"]).await.unwrap();
    let id = wishes[0]["id"].as_str().unwrap();
    alice_mls
        .run(&["decline", id, "--reason", "we need him"])
        .await
        .unwrap();
    told(&alice, &portal, "we need him").await;

    // Alice leaves the Matrix room: her client is asked to leave, and she isn't called back.
    act(&alice, &portal, "leave", json!({})).await;
    eventually("the wish to leave", SOON, || async {
        let wishes = alice_mls.run(&["wishes"]).await?;
        Ok((wishes[0]["want"] == "leave").then_some(()))
    })
    .await
    .unwrap();
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    eventually("Alice to be gone", SOON, || async {
        bob.run(&["sync"]).await?;
        let members = bob.run(&["members", &room]).await?;
        Ok((members.as_array().is_some_and(|list| list.len() == 1)).then_some(()))
    })
    .await
    .unwrap();
    stage.stop().await;
}

/// "Room upgrades break portals" (appservice-bridge#95, #100), and "Room v12: code assumes a domain in room ids"
/// (appservice-irc#1855): portals of versions 10 to 12, one of them upgraded by its administrator.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_follows_an_upgraded_room_in_versions_10_to_12() {
    if !homeserver_there() {
        return;
    }
    let mut stage = Stage::start().await;
    let (alice, alice_mls) = stage.matrix_user("alice").await;
    let bob = stage.mimi_user("bob").await;
    bob.run(&["consent", "grant", "mimi://a.example/u/alice"])
        .await
        .unwrap();
    for version in ["10", "11", "12"] {
        stage
            .appservice_with(&[("room_version", &format!("\"{version}\""))])
            .await;
        let made = alice_mls
            .run(&["create", &format!("Version {version}")])
            .await
            .unwrap();
        let room = made["room"].as_str().unwrap().to_owned();
        let portal = stage.portal(&alice, &alice_mls, &room).await;
        let create = alice.state(&portal, "m.room.create", "").await.unwrap();
        assert_eq!(create["room_version"], version);
        alice_mls
            .run(&["add", &room, "mimi://b.example/u/bob"])
            .await
            .unwrap();
        becomes(&alice, &portal, BOB, "join").await;
        if version == "12" {
            continue;
        }

        // Whoever administers the homeserver replaces the room, here by one that Alice made and the bot isn't in.
        let replacement = alice.create_room(&[]).await.unwrap();
        stage.tombstone(&portal, &replacement).await;
        let moved = stage.portal_after(&alice_mls, &room, &portal).await;
        assert_ne!(moved, replacement, "the bot has no power there");
        eventually("the invitation", SOON, || async {
            Ok(alice.join(&moved).await.ok())
        })
        .await
        .unwrap();
        becomes(&alice, &moved, BOB, "join").await;
        let create = alice.state(&moved, "m.room.create", "").await.unwrap();
        assert_eq!(create["predecessor"]["room_id"], portal);
        told(&alice, &portal, "The conversation goes on in").await;
        alice_mls.send(&room, "in the new room", SOON).await.unwrap();
        eventually("the message at Bob's", SOON, || async {
            bob.run(&["sync"]).await?;
            let messages = bob.messages(&room).await?;
            Ok(messages.iter().any(|m| m.text == "in the new room").then_some(()))
        })
        .await
        .unwrap();
    }
    stage.stop().await;
}

/// "Encrypted rooms: can't decrypt" (hookshot#594): the bot holds no keys and says so, instead of being silent.
#[tokio::test(flavor = "multi_thread")]
async fn the_bot_answers_any_client_once_and_says_what_it_cannot_read() {
    if !homeserver_there() {
        return;
    }
    let stage = Stage::start().await;
    let carol = stage.synapse.register("carol", "password").await.unwrap();
    let dm = carol.create_room(&["@_mimi:a.example"]).await.unwrap();
    becomes(&carol, &dm, "@_mimi:a.example", "join").await;
    for (n, (body, answer)) in [
        ("help", "chat USER..."),
        ("what", "I don't know \"what\""),
        ("list", "You are in no room yet"),
        ("chat bob@b.example", "Sign one in first"),
        ("status x-1", "No message of yours has that id"),
        ("wishes", "Nothing waits for your client"),
        ("admin rooms", "for the admins"),
        ("requests", "consent"),
    ]
    .into_iter()
    .enumerate()
    {
        let content = json!({"msgtype": "m.text", "body": body});
        carol
            .send(&dm, "m.room.message", &n.to_string(), content)
            .await
            .unwrap();
        told(&carol, &dm, answer).await;
    }
    let encrypted = json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s"});
    carol.send(&dm, "m.room.encrypted", "e", encrypted).await.unwrap();
    told(&carol, &dm, "I can't read encrypted messages").await;
    let events = carol.messages(&dm, 100).await.unwrap();
    let answers = events
        .iter()
        .filter(|e| e["sender"] == "@_mimi:a.example" && e["type"] == "m.room.message");
    assert_eq!(answers.count(), 9);

    // A ghost that is invited into somebody's own room declines, and says how it is done.
    let own = carol.create_room(&[BOB]).await.unwrap();
    eventually("the ghost to decline", SOON, || async {
        let state = carol.state(&own, "m.room.member", BOB).await?;
        Ok((state["membership"] == "leave").then(|| state["reason"].as_str().unwrap_or_default().to_owned()))
    })
    .await
    .map(|reason| assert!(reason.contains("causeway client login"), "{reason}"))
    .unwrap();
    stage.stop().await;
}
