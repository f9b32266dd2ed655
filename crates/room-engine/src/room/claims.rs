//! As hub: who may fetch KeyPackages for the room, and which provider each came from.

use delivery_service::View;
use mimi_wire::codec::Decode as _;
use mimi_wire::mls::KeyPackageRef;
use mimi_wire::protocol::GroupInfoRequest;
use mimi_wire::uri::MimiUri;
use store::Space;

use super::RoomState;
use crate::command::{Actor, ClaimRoute, Claimed, Reply};
use crate::decision::Decision;
use crate::engine::Env;
use crate::records::{KeyPackageRefRecord, room_ref_key, welcomed_ref_key};
use crate::refusal::Refusal;

impl RoomState {
    /// The requester has to be a participant, and the actor has to answer for it.
    pub(super) fn route_claim(
        &self,
        env: &Env,
        actor: &Actor,
        requesting_user: &MimiUri,
        target: &MimiUri,
    ) -> Result<Decision, Refusal> {
        let group = self.hub_group()?;
        if requesting_user.domain() != actor.provider() {
            return Err(Refusal::forbidden(
                "the requesting user belongs to another provider",
            ));
        }
        if let Actor::Client(client) = actor
            && client.user != *requesting_user
        {
            return Err(Refusal::forbidden("the requesting user is somebody else"));
        }
        if !group.is_participant(requesting_user, View::Effective) {
            return Err(Refusal::Unknown { what: "room" });
        }
        let provider = target.domain();
        let route = if provider == env.config.provider {
            ClaimRoute::Local
        } else {
            ClaimRoute::Provider(provider)
        };
        Ok(Decision::reply(Reply::Route(route)))
    }

    pub(super) fn record_claim(&self, env: &Env, claimed: &[Claimed]) -> Result<Decision, Refusal> {
        self.hub_group()?;
        let mut decision = Decision::reply(Reply::Done);
        for one in claimed {
            let record = KeyPackageRefRecord {
                client: one.client.clone(),
                provider: one.provider.as_str().to_owned(),
                at: env.clock.now_ms(),
                until: one.until,
            };
            decision.put(
                Space::KeyPackageRef,
                room_ref_key(self.id(), &one.reference),
                &record,
            )?;
        }
        Ok(decision)
    }

    /// `POST groupInfo` (protocol-06 section 5.6).
    pub(super) fn group_info(&self, env: &Env, actor: &Actor, octets: &[u8]) -> Result<Decision, Refusal> {
        let group = self.hub_group()?;
        let request =
            GroupInfoRequest::from_bytes(octets).map_err(|e| Refusal::malformed("GroupInfoRequest", e))?;
        let response = group.group_info_response(&env.hub(), &actor.provider(), &request);
        Ok(Decision::reply(Reply::GroupInfo(Box::new(response))))
    }
}

impl super::scribe::Scribe<'_> {
    /// Notes that a KeyPackage of a local client has brought it into a group: whoever asks for KeyPackages with the same
    /// octets as before gets another one.
    pub(super) fn welcomed(&mut self, reference: Option<&KeyPackageRef>) -> Result<(), Refusal> {
        match reference {
            Some(reference) => {
                let now = self.env.clock.now_ms();
                self.decision
                    .put(Space::KeyPackageRef, welcomed_ref_key(reference), &now)
            }
            None => Ok(()),
        }
    }
}
