//! Joining and leaving rooms of other servers, inviting their users, and fetching whole rooms.
//!
//! A template that another server makes is never signed: our event is built from the few fields that only it can know
//! (parents, auth events, depth), everything else is ours (CVE-2026-24471).

use async_recursion::async_recursion as boxed;
use event_graph::ids::{is_user_id, server_of_user};
use event_graph::{Draft, EventId, Pdu, RoomVersion};
use http::Method;
use matrix_wire::ServerName;
use matrix_wire::answers::{SendJoin, Signed, Template, octets, state_ids};
use room_engine::RequestContext;
use room_engine::graphs::{Change, Fate, GraphCommand, GraphReply};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::segment;
use crate::federation::{Federation, FederationError, admitted, unexpected};
use crate::history::Reach;

/// Largest template, in bytes.
const TEMPLATE_SIZE: usize = 128 * 1024;

/// A room that was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinReport {
    /// The server that helped.
    pub via: ServerName,
    /// The room's version.
    pub version: RoomVersion,
    /// Our membership event.
    pub event: EventId,
    /// Events of the state that was given.
    pub state: usize,
    /// Events of history that were fetched before.
    pub history: usize,
}

fn answer(server: &ServerName, reason: impl Into<String>) -> FederationError {
    FederationError::Answer {
        server: server.clone(),
        reason: reason.into(),
    }
}

impl Federation {
    /// Joins a room of other servers with the node user. With `history`, all that was in the room before is fetched
    /// and judged from its create event on; without, the room begins at the state that the server gives.
    #[boxed]
    pub async fn join(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        via: &[ServerName],
        history: bool,
    ) -> Result<JoinReport, FederationError> {
        let mut reasons = Vec::new();
        for server in via {
            match self.join_via(ctx, room_id, server, history).await {
                Ok(report) => {
                    self.engine().forget_invite(room_id).await?;
                    return Ok(report);
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(FederationError::Nobody(reasons.join("; ")))
    }

    async fn join_via(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        server: &ServerName,
        history: bool,
    ) -> Result<JoinReport, FederationError> {
        let user = self.engine().node_user();
        let (version, pdu) = self.own_membership(room_id, server, &user, Change::Join).await?;
        let target = format!(
            "/_matrix/federation/v2/send_join/{}/{}?omit_members=false",
            segment(room_id),
            segment(&pdu.event_id().to_string())
        );
        let sent: SendJoin = self
            .client()
            .send(
                Method::PUT,
                server,
                &target,
                &pdu.raw().to_value(),
                self.inner().bounds.state,
            )
            .await?;
        if sent.members_omitted {
            return Err(answer(
                server,
                "the state lacks members though all were asked for",
            ));
        }
        let pdu = self.countersigned(version, pdu, sent.event.as_deref()).await;
        let state = self.verified(version, room_id, &octets(&sent.state)).await;
        let chain = self.verified(version, room_id, &octets(&sent.auth_chain)).await;
        let ids = state_ids(&state).map_err(|e| answer(server, e.to_string()))?;
        self.ask(ctx, room_id, GraphCommand::Establish { version })
            .await?;
        let mut fetched = 0;
        if history {
            let parents = pdu.prev_events().to_vec();
            fetched = self
                .fetch_history(ctx, room_id, version, server, &parents, Reach::Create)
                .await?;
        }
        let mut all = chain;
        all.extend(state);
        self.outliers(ctx, room_id, all).await?;
        let admitted = self.take_own(ctx, room_id, pdu.clone(), ids.clone()).await?;
        match admitted {
            Fate::Accepted | Fate::Known => {}
            fate => {
                return Err(answer(
                    server,
                    format!("our join is not allowed by the state it gave: {}", fate.name()),
                ));
            }
        }
        tracing::info!(request_id = %ctx.request_id, room = room_id, %server, state = ids.len(), "joined a room");
        Ok(JoinReport {
            via: server.clone(),
            version,
            event: pdu.event_id(),
            state: ids.len(),
            history: fetched,
        })
    }

    /// Admits our membership event: on its parents where they are here, else at the state that was given.
    async fn take_own(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        pdu: Pdu,
        state: Vec<EventId>,
    ) -> Result<Fate, FederationError> {
        let id = pdu.event_id();
        let find = |fates: &[(EventId, Fate)]| fates.iter().find(|(i, _)| *i == id).map(|(_, f)| f.clone());
        let first = self.admit(ctx, room_id, None, vec![pdu.clone()], false).await?;
        if let Some(fate) = find(&first.fates).filter(|f| *f != Fate::Held) {
            return Ok(fate);
        }
        let second = admitted(
            self.ask(ctx, room_id, GraphCommand::AtState { pdu, state })
                .await?,
        )?;
        Ok(find(&second.fates).unwrap_or(Fate::Held))
    }

    /// Our event with the signatures that the resident server added, if it is the same event.
    async fn countersigned(&self, version: RoomVersion, own: Pdu, theirs: Option<&RawValue>) -> Pdu {
        let Some(theirs) = theirs else { return own };
        let verified = self.verify(version, &[theirs.get().as_bytes()]).await;
        match verified.into_iter().next() {
            Some(Ok(pdu)) if pdu.event_id() == own.event_id() && !pdu.is_redacted() => pdu,
            _ => own,
        }
    }

    /// Our own membership event from a server's template.
    async fn own_membership(
        &self,
        room_id: &str,
        server: &ServerName,
        user: &str,
        change: Change,
    ) -> Result<(RoomVersion, Pdu), FederationError> {
        let versions: Vec<String> = RoomVersion::ALL.iter().map(|v| format!("ver={v}")).collect();
        let query = match change {
            Change::Leave => String::new(),
            _ => format!("?{}", versions.join("&")),
        };
        let target = format!(
            "/_matrix/federation/v1/make_{}/{}/{}{query}",
            change.as_str(),
            segment(room_id),
            segment(user)
        );
        let template: Template = self.client().get(server, &target, TEMPLATE_SIZE).await?;
        let version = template.room_version.as_deref().unwrap_or("1");
        let version: RoomVersion = version
            .parse()
            .map_err(|_| answer(server, format!("the room's version {version} is not known here")))?;
        let event = template.event;
        let mut content = json!({ "membership": change.as_str() });
        if change == Change::Join
            && let Some(authoriser) = event
                .content
                .join_authorised_via_users_server
                .filter(|u| is_user_id(u))
        {
            content = json!({ "membership": "join", "join_authorised_via_users_server": authoriser });
        }
        let own = event_graph::limits::MAX_INTEGER.unsigned_abs();
        let draft = Draft {
            room_id: Some(room_id.to_owned()),
            event_type: "m.room.member".to_owned(),
            sender: user.to_owned(),
            state_key: Some(user.to_owned()),
            content,
            prev_events: event.prev_events,
            auth_events: event.auth_events,
            depth: event.depth.min(own),
            origin_server_ts: i64::try_from(self.engine().now_ms()).unwrap_or(i64::MAX),
        };
        let pdu = draft
            .sign(self.client().identity(), version)
            .map_err(|e| answer(server, e.to_string()))?;
        if pdu.room_id() != room_id {
            return Err(answer(server, "the template is of another room"));
        }
        Ok((version, pdu))
    }

    /// Leaves a room, or rejects an invitation to it.
    #[boxed]
    pub async fn leave(&self, ctx: &RequestContext, room_id: &str) -> Result<EventId, FederationError> {
        let user = self.engine().node_user();
        let own = GraphCommand::Own {
            event_type: "m.room.member".to_owned(),
            state_key: Some(user.clone()),
            content: json!({ "membership": "leave" }),
        };
        match self.ask(ctx, room_id, own).await {
            Ok(GraphReply::Own(pdu)) => return Ok(pdu.event_id()),
            Ok(other) => return Err(unexpected(&other).into()),
            Err(room_engine::Refusal::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let invites = self.engine().invites().await.map_err(crate::healing::engine)?;
        let invite = invites.into_iter().find(|i| i.room_id == room_id);
        let invite = invite.ok_or(room_engine::Refusal::Unknown { what: "room" })?;
        let server = server_of_user(&invite.sender)
            .and_then(|s| ServerName::parse(s).ok())
            .ok_or_else(|| FederationError::Nobody("the inviter has no server".to_owned()))?;
        let (_, pdu) = self
            .own_membership(room_id, &server, &user, Change::Leave)
            .await?;
        let target = format!(
            "/_matrix/federation/v2/send_leave/{}/{}",
            segment(room_id),
            segment(&pdu.event_id().to_string())
        );
        let _: Value = self
            .client()
            .send(
                Method::PUT,
                &server,
                &target,
                &pdu.raw().to_value(),
                TEMPLATE_SIZE,
            )
            .await?;
        self.engine().forget_invite(room_id).await?;
        Ok(pdu.event_id())
    }

    /// Invites a user of another server into a graph: its server signs too, then everybody in the room is told.
    #[boxed]
    pub async fn invite(
        &self,
        ctx: &RequestContext,
        room_id: &str,
        user: &str,
    ) -> Result<EventId, FederationError> {
        let server = server_of_user(user)
            .and_then(|s| ServerName::parse(s).ok())
            .ok_or_else(|| FederationError::Nobody(format!("{user} is no user id")))?;
        let command = GraphCommand::Invite {
            user: user.to_owned(),
        };
        let invite = match self.ask(ctx, room_id, command).await? {
            GraphReply::Stripped(invite) => *invite,
            other => return Err(unexpected(&other).into()),
        };
        let version = invite.pdu.room_version();
        let id = invite.pdu.event_id();
        let state: Vec<Value> = invite.state.iter().map(|p| p.raw().to_value()).collect();
        let content = json!({
            "event": invite.pdu.raw().to_value(), "invite_room_state": state, "room_version": version.as_str(),
        });
        let target = format!(
            "/_matrix/federation/v2/invite/{}/{}",
            segment(room_id),
            segment(&id.to_string())
        );
        let signed: Signed = self
            .client()
            .send(Method::PUT, &server, &target, &content, TEMPLATE_SIZE)
            .await?;
        let pdu = self
            .countersigned(version, invite.pdu.clone(), Some(&signed.event))
            .await;
        let by_server = pdu
            .raw()
            .get("signatures")
            .is_some_and(|s| s.get(server.as_str()).is_some());
        if !by_server {
            return Err(answer(&server, "the invitation came back without its signature"));
        }
        let admitted = admitted(self.ask(ctx, room_id, GraphCommand::Relay { pdu }).await?)?;
        let fate = admitted.fates.first().map(|(_, fate)| fate.clone());
        match fate {
            Some(Fate::Accepted) => Ok(id),
            other => Err(FederationError::Nobody(format!(
                "the room changed meanwhile, invite again ({})",
                other.map_or("nothing came of it", |f| f.name())
            ))),
        }
    }
}
