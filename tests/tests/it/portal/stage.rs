//! The stage of the tests of portals: a homeserver with a provider beside it, a second provider, and who plays.

use crate::support::{Place, submission};
use causeway_tests::client::Client;
use causeway_tests::matrix::{User, eventually};
use causeway_tests::process::free_addresses;
use causeway_tests::provider::{Addresses, Provider, run};
use causeway_tests::synapse::Synapse;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const SOON: Duration = Duration::from_mins(2);
pub(super) const ALICE: &str = "@alice:a.example";
pub(super) const BOB: &str = "@_mimi_bob=40b.example:a.example";

/// A homeserver with a provider beside it, and a second provider that has none.
pub(super) struct Stage {
    pub(super) synapse: Synapse,
    pub(super) a: Provider,
    b: Provider,
    place: Place,
}

impl Stage {
    pub(super) async fn start() -> Self {
        causeway_tests::install_tls();
        let place = Place::new();
        let ca = place.path("ca");
        let [homeserver] = free_addresses().unwrap();
        let (for_a, for_b) = (Addresses::free().unwrap(), Addresses::free().unwrap());
        let url = format!("http://{homeserver}");
        let peer_of_a = [("b.example", for_b.mimi)];
        let mut a = Provider::init(&place.path("a"), "a.example", for_a, &ca, &peer_of_a, Some(&url))
            .await
            .unwrap();
        let peer_of_b = [("a.example", for_a.mimi)];
        let mut b = Provider::init(&place.path("b"), "b.example", for_b, &ca, &peer_of_b, None)
            .await
            .unwrap();
        let mut synapse = Synapse::configure(
            &place.path("synapse"),
            "a.example",
            homeserver,
            &[a.registration()],
        )
        .unwrap();
        synapse
            .change(|config| {
                // Without statistics a Synapse has an empty directory, and the default lets nobody publish rooms.
                config.insert("stats".into(), json!({"enabled": true}));
                config.insert("room_list_publication_rules".into(), json!([{"action": "allow"}]));
            })
            .unwrap();
        let (s, ga, gb) = tokio::join!(synapse.start(), a.start(None), b.start(None));
        s.unwrap();
        ga.unwrap();
        gb.unwrap();
        Self { synapse, a, b, place }
    }

    /// A Matrix user with an MLS client.
    pub(super) async fn matrix_user(&self, name: &str) -> (User, Client) {
        let user = self.synapse.register(name, "password").await.unwrap();
        let client = Client::login_matrix(
            &self.place.path("profiles"),
            name,
            &self.a,
            &self.synapse,
            (name, "password"),
            "laptop",
        )
        .await
        .unwrap();
        client.run(&["register-keys"]).await.unwrap();
        (user, client)
    }

    /// A user of the other provider.
    pub(super) async fn mimi_user(&self, name: &str) -> Client {
        let token = self.b.add_user(name).await.unwrap();
        let client = Client::login_token(
            &self.place.path("profiles"),
            name,
            &self.b,
            (name, &token),
            "phone",
        )
        .await
        .unwrap();
        client.run(&["register-keys"]).await.unwrap();
        client
    }

    /// The portal of a room, once the homeserver has it, and the user in it.
    pub(super) async fn portal(&self, user: &User, client: &Client, room: &str) -> String {
        let portal = eventually("the portal", SOON, || async {
            let rooms = client.run(&["rooms"]).await?;
            Ok(field_of(&rooms, room, "portal"))
        })
        .await
        .unwrap();
        eventually("the invitation", SOON, || async {
            Ok(user.join(&portal).await.ok())
        })
        .await
        .unwrap();
        portal
    }

    /// A room that a user founds, and its portal, with the user in both; and others of the MIMI side whom the user adds, Bob
    /// among them.
    pub(super) async fn room(
        &self,
        user: &User,
        client: &Client,
        name: &str,
        others: &[&str],
    ) -> (String, String) {
        let made = client.run(&["create", name]).await.unwrap();
        let room = made["room"].as_str().unwrap().to_owned();
        let portal = self.portal(user, client, &room).await;
        client.run(&[&["add", &room], others].concat()).await.unwrap();
        becomes(user, &portal, BOB, "join").await;
        (room, portal)
    }

    /// A place for a file.
    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.place.path(name)
    }

    pub(super) async fn stop(mut self) {
        self.a.stop().await.unwrap();
        self.b.stop().await.unwrap();
        self.synapse.stop().await.unwrap();
    }
}

pub(super) fn field_of(rooms: &Value, room: &str, field: &str) -> Option<String> {
    let rooms = rooms.as_array()?;
    let found = rooms.iter().find(|one| one["room"] == room)?;
    found[field].as_str().map(ToOwned::to_owned)
}

pub(super) async fn membership(user: &User, portal: &str, of: &str) -> String {
    let state = user.state(portal, "m.room.member", of).await;
    state.map_or_else(
        |_| "none".to_owned(),
        |content| content["membership"].as_str().unwrap().to_owned(),
    )
}

pub(super) async fn becomes(user: &User, portal: &str, of: &str, wanted: &str) {
    eventually(&format!("{of} to be {wanted}"), SOON, || async {
        Ok((membership(user, portal, of).await == wanted).then_some(()))
    })
    .await
    .unwrap();
}

/// A notice of the bot that says so.
pub(super) async fn told(user: &User, portal: &str, words: &str) -> String {
    eventually(&format!("a notice with {words:?}"), SOON, || async {
        let events = user.messages(portal, 100).await?;
        Ok(events
            .iter()
            .filter(|e| e["type"] == "m.room.message" && e["sender"] == "@_mimi:a.example")
            .filter_map(|e| e["content"]["body"].as_str())
            .find(|body| body.contains(words))
            .map(ToOwned::to_owned))
    })
    .await
    .unwrap()
}

pub(super) async fn act(user: &User, portal: &str, what: &str, body: Value) {
    let path = format!("/_matrix/client/v3/rooms/{portal}/{what}");
    user.call(reqwest::Method::POST, &path, Some(body)).await.unwrap();
}

pub(super) async fn set_state(
    user: &User,
    portal: &str,
    event_type: &str,
    content: Value,
) -> Result<Value, String> {
    let path = format!("/_matrix/client/v3/rooms/{portal}/state/{event_type}/");
    user.call(reqwest::Method::PUT, &path, Some(content))
        .await
        .map_err(|e| e.to_string())
}

impl Stage {
    /// A call with the application service's token, beside the gateway.
    async fn as_bot(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let registration = std::fs::read_to_string(self.a.registration()).unwrap();
        let registration = appservice::Registration::from_yaml(&registration).unwrap();
        let url = format!("{}/_matrix/client/v3/{path}", self.synapse.url());
        let http = causeway_tests::matrix::http().unwrap();
        let mut request = http
            .request(method, url)
            .bearer_auth(registration.as_token.expose());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    /// A ghost leaves without anybody having told it to.
    pub(super) async fn as_ghost_leave(&self, portal: &str, ghost: &str) {
        let path = format!("rooms/{portal}/leave?user_id={ghost}");
        self.as_bot(reqwest::Method::POST, &path, Some(json!({}))).await;
    }

    /// The bot's account sets a state event without anybody having told it to.
    pub(super) async fn as_bot_set_state(&self, portal: &str, event_type: &str, content: Value) {
        let path = format!("rooms/{portal}/state/{event_type}/");
        self.as_bot(reqwest::Method::PUT, &path, Some(content)).await;
    }

    /// A user's client puts a message into a portal; answers with the event.
    pub(super) async fn hand_in(
        &self,
        user: &User,
        client: &Client,
        (room, portal): (&str, &str),
        text: &str,
    ) -> String {
        let (id, content) = submission(client, room, text);
        user.send(portal, "org.causeway.message", &id, content)
            .await
            .unwrap()
    }

    /// Puts a tombstone into a portal, as the homeserver's administrator can: by way of a user with the power to. Here
    /// that is another ghost of the appservice, given the power by the bot.
    pub(super) async fn tombstone(&self, portal: &str, replacement: &str) {
        let levels = format!("rooms/{portal}/state/m.room.power_levels/");
        let mut content = self.as_bot(reqwest::Method::GET, &levels, None).await;
        content["users"][ALICE] = json!(100);
        self.as_bot(reqwest::Method::PUT, &levels, Some(content)).await;
        let alice = User::login(self.synapse.url(), "alice", "password")
            .await
            .unwrap();
        let body = json!({"body": "replaced", "replacement_room": replacement});
        set_state(&alice, portal, "m.room.tombstone", body).await.unwrap();
    }

    /// Starts the provider beside the homeserver again with further lines in its section `appservice`.
    pub(super) async fn appservice_with(&mut self, settings: &[(&str, &str)]) {
        self.a.stop().await.unwrap();
        let own = |line: &str| {
            let name = line.split('=').next().unwrap_or_default().trim();
            settings.iter().any(|(setting, _)| *setting == name)
        };
        self.a
            .configure(|text| {
                let mut out = String::new();
                for line in text.lines().filter(|line| !own(line)) {
                    out.push_str(line);
                    out.push('\n');
                    if line == "[appservice]" {
                        for (setting, value) in settings {
                            out.extend([setting, " = ", value, "\n"]);
                        }
                    }
                }
                out
            })
            .unwrap();
        self.a.start(None).await.unwrap();
    }

    /// What `causeway room show` says.
    pub(super) async fn shown(&self, room: &str) -> Value {
        let shown = run(self.a.command().unwrap().args(["room", "show", room, "--json"]))
            .await
            .unwrap();
        serde_json::from_str(&shown).unwrap()
    }

    /// The portal of a room when it isn't `not` any more.
    pub(super) async fn portal_after(&self, client: &Client, room: &str, not: &str) -> String {
        eventually("the portal to move", SOON, || async {
            let rooms = client.run(&["rooms"]).await?;
            Ok(field_of(&rooms, room, "portal").filter(|now| now != not))
        })
        .await
        .unwrap()
    }
}
