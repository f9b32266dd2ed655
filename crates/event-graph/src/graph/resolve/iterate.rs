//! Iterative auth checks.

use super::{Group, Ix, Room, Scratch};
use crate::{
    auth::rules,
    graph::{
        index::{Kind, Status},
        view::{TableView, candidate},
    },
    intern::Slot,
};

/// The entry of a slot in the state as resolved so far: what the checks let in, or the unconflicted entry of
/// the state that resolution started from.
pub(super) fn resolved_event(
    room: Room<'_>,
    base: Option<Group>,
    slot: Slot,
    scratch: &Scratch,
) -> Option<Ix> {
    if let Some(event) = scratch.resolved.get(slot.0) {
        return Some(Ix(event));
    }
    let base = base.filter(|_| scratch.conflicted.get(slot.0).is_none())?;
    room.states.get(base, slot)
}

/// Lets each event into the state that the rules allow there. What the state lacks is taken from the event's
/// own auth events, unless rejected.
pub(super) fn auth_checks(
    room: Room<'_>,
    base: Option<Group>,
    events: &[Ix],
    scratch: &mut Scratch,
    touched: &mut Vec<Slot>,
) {
    for ix in events {
        let Some(slot) = room.index.record(*ix).slot() else {
            continue;
        };
        let allowed = {
            let lookup = |wanted: Slot| {
                resolved_event(room, base, wanted, scratch).or_else(|| cited(room, *ix, wanted))
            };
            let view = TableView {
                index: room.index,
                interner: room.interner,
                event: lookup,
            };
            let event = candidate(room.index, room.interner, *ix);
            rules::check(&event, &view, room.rules).is_ok()
        };
        if allowed {
            scratch.resolved.set(slot.0, ix.0);
            touched.push(slot);
        }
    }
}

/// The event that `ix` cites for a slot. Nobody cites the create event of version 12, which is event 0.
fn cited(room: Room<'_>, ix: Ix, slot: Slot) -> Option<Ix> {
    let accepted = |a: &Ix| room.index.record(*a).status != Status::Rejected;
    let implied = (slot == Slot::CREATE && room.rules.room_id_is_create_hash).then_some(Ix(0));
    let implied = implied.filter(|c| room.index.record(*c).kind == Kind::Create);
    implied.or_else(|| {
        room.index
            .auths(ix)
            .find(|a| room.index.record(*a).slot() == Some(slot))
            .filter(accepted)
    })
}
