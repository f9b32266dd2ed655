//! Pictures of users and rooms, from the MIMI side to a real Synapse and back.

use super::stage::{BOB, SOON, Stage, becomes, set_state, told};
use crate::support::homeserver_there;
use causeway_tests::client::Client;
use causeway_tests::matrix::{User, eventually};
use mls_client::transport::{Http, Transport as _};
use serde_json::{Value, json};
use std::time::Duration;

/// A PNG of one point, told apart by what follows its end.
fn png(mark: &str) -> Vec<u8> {
    let point: &[u8] = &[
        0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0,
        0, 0, 1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 13, b'I', b'D', b'A', b'T', 0x78, 0x9c,
        0x63, 0xf8, 0xff, 0xff, 0x3f, 0, 5, 0xfe, 2, 0xfe, 0xa7, 0x35, 0x81, 0x84, 0, 0, 0, 0, b'I', b'E',
        b'N', b'D', 0xae, 0x42, 0x60, 0x82,
    ];
    [point, mark.as_bytes()].concat()
}

/// Has a user's provider keep a picture.
async fn upload(stage: &Stage, client: &Client, name: &str) -> String {
    let file = stage.path(name);
    std::fs::write(&file, png(name)).unwrap();
    let kept = client.run(&["upload", file.to_str().unwrap()]).await.unwrap();
    kept["url"].as_str().unwrap().to_owned()
}

/// The octets of a file of the homeserver's, as a Matrix client gets them.
async fn media(user: &User, mxc: &str) -> Vec<u8> {
    let path = mxc.strip_prefix("mxc://").unwrap();
    user.octets(&format!("/_matrix/client/v1/media/download/{path}"))
        .await
        .unwrap()
}

async fn avatar(user: &User, portal: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually("the room's picture", SOON, || async {
        let state = user.state(portal, "m.room.avatar", "").await;
        Ok(state.ok().filter(&wanted))
    })
    .await
    .unwrap()
}

async fn uploads(stage: &Stage) -> f64 {
    let metrics = stage.a.metrics().await.unwrap();
    metrics
        .get("causeway_pictures_uploaded_total")
        .copied()
        .unwrap_or_default()
}

/// "Authenticated media broke avatars" (appservice-discord#929, matterbridge#2184): pictures of ghosts and of rooms are
/// the homeserver's own media, uploaded once, and a picture set in Matrix reaches the other providers.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_users_and_rooms_cross_in_both_directions() {
    if !homeserver_there() {
        return;
    }
    let mut stage = Stage::start().await;
    let (alice, alice_mls) = stage.matrix_user("alice").await;
    let bob = stage.mimi_user("bob").await;
    bob.run(&["consent", "grant", "mimi://a.example/u/alice"])
        .await
        .unwrap();
    // Bob lets others find him by his URI, and shows them a name and a picture.
    let face = upload(&stage, &bob, "bob.png").await;
    for set in [
        &["vcard:IMPP", "mimi://b.example/u/bob", "--search", "exact"][..],
        &["vcard:PHOTO", &face, "--shown"],
        &["vcard:FN", "Bobby Tables", "--shown"],
    ] {
        bob.run(&[&["profile", "set"], set].concat()).await.unwrap();
    }

    let (room, portal) = stage
        .room(&alice, &alice_mls, "Pictures", &["mimi://b.example/u/bob"])
        .await;
    let member = alice.state(&portal, "m.room.member", BOB).await.unwrap();
    assert_eq!(member["displayname"], "Bobby Tables (b.example)");
    let shown = media(&alice, member["avatar_url"].as_str().unwrap()).await;
    assert_eq!(shown, png("bob.png"));

    // The room's picture, from the MIMI side.
    let first = upload(&stage, &alice_mls, "first.png").await;
    alice_mls.run(&["picture", &room, &first]).await.unwrap();
    let content = avatar(&alice, &portal, |content| {
        content["org.causeway.picture"] == first.as_str()
    })
    .await;
    let mxc = content["url"].as_str().unwrap().to_owned();
    assert_eq!(media(&alice, &mxc).await, png("first.png"));
    assert!((uploads(&stage).await - 2.0).abs() < 0.5);

    // Set in Matrix it is a request: put back until the log agrees, then shown without another upload.
    let own = alice.upload(&png("own.png"), "image/png").await.unwrap();
    set_state(&alice, &portal, "m.room.avatar", json!({ "url": own }))
        .await
        .unwrap();
    let notice = told(&alice, &portal, "asked to set the room's picture to https://").await;
    avatar(&alice, &portal, |content| content["url"] == mxc.as_str()).await;
    alice_mls.run(&["fulfil", "--all"]).await.unwrap();
    let content = avatar(&alice, &portal, |content| content["url"] == own.as_str()).await;
    let address = content["org.causeway.picture"].as_str().unwrap();
    assert!(notice.contains(address), "{notice}");
    assert!((uploads(&stage).await - 2.0).abs() < 0.5);
    // Bob's client gets it from the room's hub.
    bob.run(&["sync"]).await.unwrap();
    let http = {
        let engine = mls_client::Engine::open(bob.profile(), None, Duration::from_secs(10)).unwrap();
        let account = engine.account().unwrap();
        let http = Http::new(&account.provider_url, None).unwrap();
        http.with_token(&account.session.token)
    };
    assert_eq!(http.get_asset(&room, address).await.unwrap(), png("own.png"));

    // What is no picture goes nowhere.
    let other = alice
        .upload(b"<svg onload='alert(1)'/>", "image/svg+xml")
        .await
        .unwrap();
    set_state(&alice, &portal, "m.room.avatar", json!({ "url": other }))
        .await
        .unwrap();
    told(&alice, &portal, "Not done: a picture is PNG, JPEG, GIF or WebP").await;
    avatar(&alice, &portal, |content| content["url"] == own.as_str()).await;

    // A ghost that has its picture isn't given it again, not even by a gateway that was restarted.
    stage.appservice_with(&[]).await;
    let made = alice_mls.run(&["create", "Second"]).await.unwrap();
    let second = made["room"].as_str().unwrap().to_owned();
    let portal = stage.portal(&alice, &alice_mls, &second).await;
    alice_mls
        .run(&["add", &second, "mimi://b.example/u/bob"])
        .await
        .unwrap();
    becomes(&alice, &portal, BOB, "join").await;
    let again = alice.state(&portal, "m.room.member", BOB).await.unwrap();
    assert_eq!(again["avatar_url"], member["avatar_url"]);
    assert!(uploads(&stage).await < 0.5);

    // In a room of Bob's the card tells the picture.
    alice_mls
        .run(&["consent", "grant", "mimi://b.example/u/bob"])
        .await
        .unwrap();
    let made = bob.run(&["create", "Theirs"]).await.unwrap();
    let theirs = made["room"].as_str().unwrap().to_owned();
    bob.run(&["add", &theirs, "mimi://a.example/u/alice"])
        .await
        .unwrap();
    let third = upload(&stage, &bob, "third.png").await;
    bob.run(&["picture", &theirs, &third]).await.unwrap();
    eventually("the room at Alice's", SOON, || async {
        alice_mls.run(&["sync"]).await?;
        let rooms = alice_mls.run(&["rooms"]).await?;
        Ok(super::stage::field_of(&rooms, &theirs, "membership").filter(|m| m == "member"))
    })
    .await
    .unwrap();
    let portal = stage.portal(&alice, &alice_mls, &theirs).await;
    alice_mls.run(&["sync"]).await.unwrap();
    let content = avatar(&alice, &portal, |content| {
        content["org.causeway.picture"] == third.as_str()
    })
    .await;
    assert_eq!(
        media(&alice, content["url"].as_str().unwrap()).await,
        png("third.png")
    );
    stage.stop().await;
}
