//! The heartbeat: an event that the bot sends into a room of its own and waits to see pushed.

use super::{HEARTBEAT, Watch};
use crate::NAMESPACE;
use crate::homeserver::HomeserverError;
use crate::matrix::client::create_room::v3 as create_room;
use crate::matrix::{OwnedRoomAliasId, OwnedRoomId, Raw};
use serde_json::json;

impl Watch {
    /// Sends one and waits for it. `Some(true)`: it came in time, `Some(false)`: it is late, `None`: it couldn't be sent.
    pub(super) async fn heartbeat(&self) -> Option<bool> {
        let nonce = nonce();
        let sent = self.now();
        self.state().awaited = Some((nonce.clone(), sent));
        match self.send_heartbeat(&nonce).await {
            Ok(()) => self.reachable(),
            Err(error) => {
                self.state().awaited = None;
                self.unreachable(&error);
                tracing::warn!(%error, "no heartbeat can be sent: the homeserver can't be used now");
                // After an outage everything that it lost has to be looked for.
                self.state().compare = true;
                return None;
            }
        }
        let back = async {
            while self.state().awaited.is_some() {
                self.0.seen.notified().await;
            }
        };
        if tokio::time::timeout(self.0.settings.late, back).await.is_ok() {
            return Some(true);
        }
        self.late(sent).await;
        Some(false)
    }

    async fn late(&self, sent: u64) {
        metrics::gauge!("causeway_homeserver_heartbeat_late").set(1.0);
        metrics::counter!("causeway_homeserver_late_total").increment(1);
        {
            let mut state = self.state();
            state.watched.late_since.get_or_insert(sent);
        }
        // Ends the homeserver's back-off if it is in one, and says what is wrong if it can't reach us.
        match self.ping().await {
            Ok(_) => tracing::error!(
                "a heartbeat is late: the homeserver reaches us but doesn't push; it was pinged, so that it tries again"
            ),
            Err(error) => tracing::error!(
                %error, "a heartbeat is late: the homeserver doesn't reach us; `causeway doctor` says what is wrong"
            ),
        }
    }

    async fn send_heartbeat(&self, nonce: &str) -> Result<(), HomeserverError> {
        let homeserver = &self.0.homeserver;
        self.look_back().await?;
        let content = json!({"nonce": nonce});
        let room = self.heartbeat_room().await?;
        let sent = homeserver
            .send(room.as_str(), HEARTBEAT, nonce, &content, None)
            .await;
        match sent {
            Ok(event) => {
                self.state().newest = Some((room.to_string(), event));
                Ok(())
            }
            // The room is of no use any more (left, or from before a restored backup): the next one is made anew.
            Err(error) if matches!(error.status(), Some(403 | 404)) => {
                homeserver.delete_alias(&self.alias()?).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the homeserver still knows the heartbeat of before. If not, its database is from an earlier time.
    async fn look_back(&self) -> Result<(), HomeserverError> {
        let Some((room, event)) = self.state().newest.take() else {
            return Ok(());
        };
        let known = match self.0.homeserver.behind(&room, &event).await {
            Ok(place) => place.is_some(),
            // Not even the room, or not with us in it.
            Err(error) if matches!(error.status(), Some(403 | 404)) => false,
            Err(error) => {
                self.state().newest = Some((room, event));
                return Err(error);
            }
        };
        if !known {
            tracing::error!(
                event,
                "the homeserver doesn't know our last heartbeat any more: was its database restored? Every portal is \
                 compared with its timeline"
            );
            self.rewound("heartbeat");
        }
        Ok(())
    }

    async fn heartbeat_room(&self) -> Result<OwnedRoomId, HomeserverError> {
        let homeserver = &self.0.homeserver;
        if let Some(room) = homeserver.resolve(&self.alias()?).await? {
            return Ok(room);
        }
        let mut request = create_room::Request::new();
        request.room_alias_name = Some(alias_localpart());
        request.name = Some("Causeway heartbeat".to_owned());
        request.topic = Some(
            "Causeway sends an event here and waits for it to come back. Nothing else happens.".to_owned(),
        );
        request.preset = Some(create_room::RoomPreset::PrivateChat);
        let creation = serde_json::value::to_raw_value(&json!({"m.federate": false}));
        request.creation_content = Some(Raw::from_json(
            creation.map_err(|e| HomeserverError::Setup(e.to_string()))?,
        ));
        let room = homeserver.create_room(request).await?;
        tracing::info!(%room, "the heartbeat's room is made");
        Ok(room)
    }

    fn alias(&self) -> Result<OwnedRoomAliasId, HomeserverError> {
        let alias = format!("#{}:{}", alias_localpart(), self.0.homeserver.server_name());
        OwnedRoomAliasId::try_from(alias).map_err(|e| HomeserverError::Setup(e.to_string()))
    }
}

fn alias_localpart() -> String {
    format!("{NAMESPACE}heartbeat")
}

/// What tells this heartbeat from all others, also from those of before a restart.
fn nonce() -> String {
    use std::fmt::Write as _;
    let mut octets = [0_u8; 12];
    // Without randomness two may be alike, which is no harm.
    let _ = getrandom::fill(&mut octets);
    octets.iter().fold("heartbeat-".to_owned(), |mut out, octet| {
        let _ = write!(out, "{octet:02x}");
        out
    })
}
