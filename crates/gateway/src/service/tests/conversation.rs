//! A conversation between two providers through the command-line client, and what a hostile peer makes of it.

use super::*;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{SubmitMessageRequest, SubmitMessageResponse};
use mimi_wire::{Encode as _, MimiUri};
use room_engine::FeedItem;
use std::path::PathBuf;

/// A person with the command-line client.
pub(super) struct Person {
    pub(super) profile: PathBuf,
}

impl Person {
    /// Makes an account and signs in.
    pub(super) async fn new(folder: &Path, provider: &Provider, name: &str) -> Self {
        let (status, added) = provider
            .admin(Method::POST, "/accounts", Some(json!({"user": name})))
            .await;
        assert_eq!(status, StatusCode::OK, "{added}");
        let token = folder.join(format!("{name}.token"));
        std::fs::write(&token, added["token"].as_str().unwrap()).unwrap();
        Self::device(folder, provider, name, "d1").await
    }

    /// Signs a device of an account in that was made before.
    pub(super) async fn device(folder: &Path, provider: &Provider, name: &str, device: &str) -> Self {
        let token = folder.join(format!("{name}.token"));
        let person = Self {
            profile: folder.join(format!("profile-{name}-{device}")),
        };
        let url = format!("http://{}", provider.service.addresses().client_api);
        let token = token.to_str().unwrap();
        person
            .does(&[
                "login",
                "--provider-url",
                &url,
                "--user",
                name,
                "--device",
                device,
                "--token-file",
                token,
            ])
            .await;
        person
    }

    pub(super) async fn does(&self, arguments: &[&str]) {
        self.tries(arguments)
            .await
            .unwrap_or_else(|e| panic!("{arguments:?}: {}", e.report()));
    }

    /// The same, where it may fail.
    pub(super) async fn tries(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut all = vec!["causeway".to_owned(), "client".to_owned()];
        all.extend(arguments.iter().map(|a| (*a).to_owned()));
        all.extend(["--profile".to_owned(), self.profile.to_str().unwrap().to_owned()]);
        tokio::task::spawn_blocking(move || crate::cli::run_from(all))
            .await
            .unwrap()
    }
}

/// Messages in a user's feed.
async fn messages(provider: &Provider, room: &MimiUri, user: &MimiUri) -> Vec<Vec<u8>> {
    let page = provider
        .service
        .engine()
        .feed(room, user, 1, usize::MAX, None)
        .await
        .unwrap();
    let message = |item| match item {
        FeedItem::Message { message, .. } => Some(message),
        _ => None,
    };
    page.entries.into_iter().filter_map(|e| message(e.item)).collect()
}

/// The only room.
pub(super) async fn view(provider: &Provider) -> room_engine::RoomView {
    provider.service.engine().rooms().await.unwrap().remove(0)
}

/// The message as if it were of another epoch; a hub can't tell from a ciphertext.
pub(super) fn of_epoch(message: &[u8], group_id: &[u8], epoch: u64) -> Vec<u8> {
    let at = message
        .windows(group_id.len())
        .position(|w| w == group_id)
        .unwrap()
        + group_id.len();
    let mut forged = message.to_vec();
    forged[at..at + 8].copy_from_slice(&epoch.to_be_bytes());
    forged
}

#[tokio::test(flavor = "multi_thread")]
async fn two_providers_talk_and_a_hostile_one_gets_the_draft_s_answers() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    let (a, b) = (start(a).await, start(b).await);
    let alice = Person::new(folder.path(), &a, "alice").await;
    let bob = Person::new(folder.path(), &b, "bob").await;
    let bob_uri = MimiUri::parse("mimi://b.example/u/bob").unwrap();
    alice.does(&["create", "club"]).await;
    alice.does(&["add", "club", "mimi://b.example/u/bob"]).await;
    alice.does(&["send", "club", "hello bob"]).await;
    while messages(&b, &view(&a).await.room, &bob_uri).await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    bob.does(&["sync"]).await;
    bob.does(&["send", "club", "hello alice"]).await;

    let view = view(&a).await;
    let alice_uri = MimiUri::parse("mimi://a.example/u/alice").unwrap();
    assert_eq!((view.epoch, view.participants.len()), (1, 2));
    let sent = messages(&a, &view.room, &alice_uri).await;
    assert_eq!(sent.len(), 2);
    let (status, room) = a.admin(Method::GET, "/rooms", None).await;
    assert_eq!((status, &room[0]["epoch"]), (StatusCode::OK, &json!("1")));

    // b.example turns hostile: bob's own message again, of an epoch to come, of one long gone.
    let peer = b.peer();
    let group_id = view.group_id.clone().unwrap();
    let submit = async |message: &[u8], user: &MimiUri| {
        let message = MlsMessage::from_bytes(message).unwrap();
        let request = SubmitMessageRequest::new(message, user.clone())
            .unwrap()
            .to_bytes();
        let to = domain("a.example");
        let answer = peer
            .post(
                &to,
                Endpoint::SubmitMessage,
                view.room.as_str(),
                "r1",
                request.into(),
            )
            .await
            .unwrap();
        (answer.status, SubmitMessageResponse::from_bytes(&answer.body))
    };
    let again = submit(&sent[1], &bob_uri).await;
    let SubmitMessageResponse::Accepted { .. } = again.1.as_ref().unwrap() else {
        panic!("{again:?}")
    };
    assert_eq!(submit(&sent[1], &bob_uri).await, again);
    let future = submit(&of_epoch(&sent[1], &group_id, 99), &bob_uri).await;
    assert_eq!(future, (StatusCode::OK, Ok(SubmitMessageResponse::NotAllowed)));
    // In the name of a user of another provider.
    let foreign = submit(&of_epoch(&sent[0], &group_id, 1), &alice_uri).await;
    assert!(
        !matches!(foreign.1, Ok(SubmitMessageResponse::Accepted { .. })),
        "{foreign:?}"
    );
    let message = MlsMessage::from_bytes(&sent[1]).unwrap();
    let request = SubmitMessageRequest::new(message, bob_uri.clone())
        .unwrap()
        .to_bytes();
    let nowhere = "mimi://a.example/r/nowhere";
    let unknown = peer
        .post(
            &domain("a.example"),
            Endpoint::SubmitMessage,
            nowhere,
            "r1",
            request.into(),
        )
        .await;
    assert_eq!(unknown.unwrap().status, StatusCode::NOT_FOUND);
    alice.does(&["remove", "club", "mimi://b.example/u/bob"]).await;
    let stranger = submit(&of_epoch(&sent[1], &group_id, 2), &bob_uri).await;
    assert_eq!(stranger.1, Ok(SubmitMessageResponse::NotAllowed));
    assert_eq!(messages(&a, &view.room, &alice_uri).await.len(), 2);

    let (_, metrics) = a.text("/metrics").await;
    let line = "causeway_refused_total{face=\"mimi\",endpoint=\"submitMessage\",reason=\"not_allowed\"}";
    assert!(metrics.contains(line));
    b.service.stop().await;
    a.service.stop().await;
}
