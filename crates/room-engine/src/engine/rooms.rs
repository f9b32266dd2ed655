//! Rooms: what faces ask of them.

use mimi_wire::codec::Decode as _;
use mimi_wire::mls::KeyPackageRef;
use mimi_wire::protocol::{
    GroupInfoResponse, KeyMaterialRequest, KeyMaterialResponse, SubmitMessageResponse, UpdateRoomResponse,
};
use mimi_wire::uri::{Domain, MimiUri};

use super::{Engine, Hub, unexpected};
use crate::carrier::SubmissionState;
use crate::command::{
    Actor, ClaimRoute, Claimed, ClientActor, Reply, RequestContext, RoomCommand, Submission, UserCommand,
};
use crate::refusal::Refusal;
use crate::views::RoomView;

impl Engine {
    /// Founds a room of which this provider is the hub.
    pub async fn create_room(
        &self,
        ctx: RequestContext,
        who: &ClientActor,
        room: MimiUri,
        group_info: Vec<u8>,
        ratchet_tree: Vec<u8>,
    ) -> Result<RoomView, Refusal> {
        self.own(&room)?;
        let command = RoomCommand::Create {
            who: who.clone(),
            group_info,
            ratchet_tree,
        };
        match self.room_command(ctx, &room, command).await? {
            Reply::Room(view) => Ok(*view),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn own(&self, room: &MimiUri) -> Result<(), Refusal> {
        match self.hub_of(room) {
            Hub::Own => Ok(()),
            Hub::Peer(hub) => Err(Refusal::NotHub { hub }),
        }
    }

    /// A handshake bundle for a room whose hub this is (protocol-06 section 5.3). What the hub refuses is inside the
    /// response.
    pub async fn update(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        actor: Actor,
        bundle: Vec<u8>,
    ) -> Result<UpdateRoomResponse, Refusal> {
        self.own(room)?;
        bounded("handshake bundle", &bundle, self.env.config.limits.handshake)?;
        match self
            .room_command(ctx, room, RoomCommand::Update { actor, bundle })
            .await?
        {
            Reply::Update(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// A follower's application message for a room whose hub this is (protocol-06 section 5.4).
    pub async fn submit_message(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        peer: &Domain,
        request: Vec<u8>,
    ) -> Result<SubmitMessageResponse, Refusal> {
        self.own(room)?;
        bounded("message", &request, self.env.config.limits.message)?;
        if self.env.sequencer.term().is_err() {
            return self.deliver_aside(&ctx, room, peer, request).await;
        }
        match self
            .room_command(
                ctx,
                room,
                RoomCommand::Deliver {
                    peer: peer.clone(),
                    request,
                },
            )
            .await?
        {
            Reply::Message(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// A message of an own user. In a hub room the answer is final; in a follower room it is `Queued`, and the
    /// outcome follows in the feed.
    pub async fn submit(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        user: &MimiUri,
        submission: Submission,
    ) -> Result<SubmissionState, Refusal> {
        bounded("message", &submission.message, self.env.config.limits.message)?;
        let fits = (1..=64).contains(&submission.id.len())
            && submission
                .id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !fits {
            return Err(Refusal::malformed(
                "message id",
                "1 to 64 characters of A-Z a-z 0-9 . _ -",
            ));
        }
        if self.env.sequencer.term().is_err() {
            if self.hub_of(room) != Hub::Own {
                return Err(Refusal::unavailable(
                    "what goes to another hub waits for the node that orders",
                ));
            }
            return self.submit_aside(&ctx, room, user, submission).await;
        }
        match self
            .room_command(
                ctx,
                room,
                RoomCommand::Submit {
                    user: user.clone(),
                    submission,
                },
            )
            .await?
        {
            Reply::Submission(state) => Ok(state),
            other => Err(unexpected(&other)),
        }
    }

    /// What the hub answered to a queued submission.
    pub async fn submission_outcome(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        submission: &str,
        response: SubmitMessageResponse,
    ) -> Result<(), Refusal> {
        let command = RoomCommand::SubmissionOutcome {
            submission: submission.to_owned(),
            response,
        };
        self.room_command(ctx, room, command).await.map(drop)
    }

    /// A GroupInfo request for a room whose hub this is (protocol-06 section 5.6).
    pub async fn group_info(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        actor: Actor,
        request: Vec<u8>,
    ) -> Result<GroupInfoResponse, Refusal> {
        self.own(room)?;
        match self
            .room_command(ctx, room, RoomCommand::GroupInfo { actor, request })
            .await?
        {
            Reply::GroupInfo(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }

    /// A notify body of the room's hub (protocol-06 section 5.5). `Ok` is the 201: everything in it is durable.
    pub async fn notify(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        peer: &Domain,
        body: Vec<u8>,
    ) -> Result<(), Refusal> {
        bounded("notify body", &body, self.env.config.limits.handshake)?;
        if *peer != room.domain() || self.hub_of(room) == Hub::Own {
            return Err(Refusal::forbidden("only a room's hub notifies its followers"));
        }
        self.room_command(
            ctx,
            room,
            RoomCommand::Notify {
                peer: peer.clone(),
                body,
            },
        )
        .await
        .map(drop)
    }

    /// As follower: the hub accepted this bundle of an own client, at this time (Unix ms).
    pub async fn follower_updated(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        who: &ClientActor,
        bundle: Vec<u8>,
        accepted_at: u64,
    ) -> Result<(), Refusal> {
        self.room_command(
            ctx,
            room,
            RoomCommand::FollowerUpdated {
                who: who.clone(),
                bundle,
                accepted_at,
            },
        )
        .await
        .map(drop)
    }

    /// As hub: where the KeyPackages for a new participant come from; refused unless the requester takes part.
    pub async fn claim_route(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        actor: &Actor,
        request: &KeyMaterialRequest,
    ) -> Result<ClaimRoute, Refusal> {
        self.own(room)?;
        let command = RoomCommand::RouteClaim {
            actor: actor.clone(),
            requesting_user: request.requesting_user.clone(),
            target: request.target_user.clone(),
        };
        let route = match self.room_command(ctx.clone(), room, command).await? {
            Reply::Route(route) => route,
            other => return Err(unexpected(&other)),
        };
        if let (ClaimRoute::Provider(_), Actor::Client(client)) = (&route, actor) {
            let granted = UserCommand::TakeGranted(Box::new(request.clone()));
            if let Reply::KeyMaterial(response) = self.user_command(ctx, &client.user, granted).await? {
                return Ok(ClaimRoute::Granted(response));
            }
        }
        Ok(route)
    }

    /// As hub: remembers which provider each KeyPackage came from. To be called before the claim is answered.
    pub async fn record_claim(
        &self,
        ctx: RequestContext,
        room: &MimiUri,
        response: &KeyMaterialResponse,
    ) -> Result<(), Refusal> {
        let provider = response.user_uri.domain();
        let claimed = claimed_in(response, &provider)?;
        if claimed.is_empty() {
            return Ok(());
        }
        self.room_command(ctx, room, RoomCommand::RecordClaim { claimed })
            .await
            .map(drop)
    }

    /// KeyPackages of an own user for a peer (or for an own room: then the peer is this provider).
    pub async fn serve_key_material(
        &self,
        ctx: RequestContext,
        peer: &Domain,
        request: Vec<u8>,
    ) -> Result<KeyMaterialResponse, Refusal> {
        let target = KeyMaterialRequest::from_bytes(&request)
            .map_err(|e| Refusal::malformed("KeyMaterialRequest", e))?
            .target_user;
        match self
            .user_command(
                ctx,
                &target,
                UserCommand::ServeKeyMaterial {
                    peer: peer.clone(),
                    request,
                },
            )
            .await?
        {
            Reply::KeyMaterial(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }
}

fn claimed_in(response: &KeyMaterialResponse, provider: &Domain) -> Result<Vec<Claimed>, Refusal> {
    let mut claimed = Vec::new();
    for (client, package) in response.key_packages() {
        let reference: KeyPackageRef = package
            .reference()
            .ok_or_else(|| Refusal::malformed("KeyPackage", "unknown cipher suite"))?;
        claimed.push(Claimed {
            reference,
            provider: provider.clone(),
            client: client.clone(),
            until: package.lifetime().not_after.saturating_mul(1000),
        });
    }
    Ok(claimed)
}

fn bounded(what: &'static str, octets: &[u8], limit: usize) -> Result<(), Refusal> {
    if octets.len() > limit {
        Err(Refusal::TooLarge { what, limit })
    } else {
        Ok(())
    }
}
