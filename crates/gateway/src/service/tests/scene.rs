//! A room at the hub a.example with two users of b.example in it, whose clients are real; and copies of their profiles,
//! to do with them what an honest client would not.

use super::conversation::{Person, view};
use super::*;
use mimi_wire::mls::MlsMessage;
use mimi_wire::protocol::{
    KeyMaterialResponse, SubmitMessageRequest, SubmitMessageResponse, UpdateRoomResponse,
};
use mimi_wire::{Encode as _, MimiUri};
use std::time::Duration;

pub(super) const ALICE: &str = "mimi://a.example/u/alice";
pub(super) const BOB: &str = "mimi://b.example/u/bob";
pub(super) const CAROL: &str = "mimi://b.example/u/carol";
pub(super) const DORA: &str = "mimi://a.example/u/dora";

pub(super) fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

/// Alice at the hub; Bob and Carol at the follower, both in her room and up to date.
pub(super) struct Scene {
    pub(super) folder: tempfile::TempDir,
    pub(super) a: Provider,
    pub(super) b: Provider,
    pub(super) alice: Person,
    pub(super) bob: Person,
    pub(super) carol: Person,
    pub(super) room: MimiUri,
}

pub(super) async fn scene() -> Scene {
    scene_of(1).await
}

/// The same with a room of this cipher suite.
pub(super) async fn scene_of(suite: u16) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = configurations(folder.path());
    let (a, b) = (start(a).await, start(b).await);
    let alice = Person::new(folder.path(), &a, "alice").await;
    let bob = Person::new(folder.path(), &b, "bob").await;
    let carol = Person::new(folder.path(), &b, "carol").await;
    for person in [&alice, &bob, &carol] {
        person.does(&["register-keys"]).await;
    }
    let suite = suite.to_string();
    alice.does(&["create", "club", "--cipher-suite", &suite]).await;
    alice.does(&["add", "club", BOB, CAROL]).await;
    let room = view(&a).await.room;
    let scene = Scene {
        folder,
        a,
        b,
        alice,
        bob,
        carol,
        room,
    };
    scene.caught_up(&scene.bob, BOB).await;
    scene.caught_up(&scene.carol, CAROL).await;
    scene
}

impl Scene {
    /// Reads until the follower has all that the hub has sent.
    pub(super) async fn caught_up(&self, person: &Person, user: &str) {
        loop {
            let here = self.b.service.engine().room(&self.room).await.unwrap();
            if here.is_some_and(|here| here.participants.iter().any(|(one, _)| one.as_str() == user))
                && self
                    .a
                    .service
                    .engine()
                    .queues()
                    .await
                    .unwrap()
                    .iter()
                    .all(|q| q.waiting == 0)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        person.does(&["sync"]).await;
    }

    /// A copy of somebody's client, to do with it what an honest one would not.
    pub(super) fn rogue(&self, person: &Person) -> mls_client::Engine {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let copy = self.folder.path().join(format!("copy{number}"));
        copy_folder(&person.profile, &copy);
        mls_client::Engine::open(&copy, None, Duration::from_secs(15)).unwrap()
    }

    pub(super) async fn post(
        &self,
        endpoint: Endpoint,
        variable: &str,
        body: Vec<u8>,
    ) -> (StatusCode, Bytes) {
        let to = domain("a.example");
        let answer = self
            .b
            .peer()
            .post(&to, endpoint, variable, "r1", body.into())
            .await
            .unwrap();
        (answer.status, answer.body)
    }

    pub(super) async fn update(&self, bundle: Vec<u8>) -> UpdateRoomResponse {
        let (status, body) = self.post(Endpoint::Update, self.room.as_str(), bundle).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        UpdateRoomResponse::from_bytes(&body).unwrap()
    }

    pub(super) async fn submit(&self, message: &[u8], user: &str) -> SubmitMessageResponse {
        let message = MlsMessage::from_bytes(message).unwrap();
        let request = SubmitMessageRequest::new(message, uri(user)).unwrap();
        let (status, body) = self
            .post(Endpoint::SubmitMessage, self.room.as_str(), request.to_bytes())
            .await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        SubmitMessageResponse::from_bytes(&body).unwrap()
    }

    pub(super) async fn claim(&self, request: Vec<u8>, target: &str) -> KeyMaterialResponse {
        let (status, body) = self.post(Endpoint::KeyMaterial, target, request).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        KeyMaterialResponse::from_bytes(&body).unwrap()
    }

    pub(super) async fn stop(self) {
        self.b.service.stop().await;
        self.a.service.stop().await;
    }
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A bundle that the client would hand in now.
pub(super) fn bundle(engine: &mut mls_client::Engine, room: &MimiUri) -> Vec<u8> {
    engine.prepare(room.as_str()).unwrap().unwrap().bundle.0
}

pub(super) fn message(engine: &mut mls_client::Engine, room: &MimiUri, text: &str) -> Vec<u8> {
    let id = engine
        .compose(room.as_str(), text, "text/plain;charset=utf-8")
        .unwrap();
    engine.submission(room.as_str(), &id).unwrap().0.message.0
}
