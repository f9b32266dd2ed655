//! Events as ruma-state-res wants them.

use event_graph::{EventId, Pdu, RoomVersion};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    events::TimelineEventType, state_res::Event,
};
use serde_json::value::RawValue;

/// An event as ruma wants it.
#[derive(Debug, Clone)]
pub struct Theirs {
    pub id: OwnedEventId,
    pub room_id: Option<OwnedRoomId>,
    pub sender: OwnedUserId,
    pub ts: MilliSecondsSinceUnixEpoch,
    pub event_type: TimelineEventType,
    pub content: Box<RawValue>,
    pub state_key: Option<String>,
    pub prev_events: Vec<OwnedEventId>,
    pub auth_events: Vec<OwnedEventId>,
    pub rejected: bool,
}

impl Theirs {
    pub fn new(pdu: &Pdu, rejected: bool) -> Self {
        let id = |id: &EventId| OwnedEventId::try_from(id.to_string()).unwrap();
        let v12_create = pdu.room_version() == RoomVersion::V12 && pdu.event_type() == "m.room.create";
        Self {
            id: id(&pdu.event_id()),
            room_id: (!v12_create).then(|| pdu.room_id().try_into().unwrap()),
            sender: pdu.sender().try_into().unwrap(),
            ts: MilliSecondsSinceUnixEpoch(UInt::try_from(pdu.origin_server_ts()).unwrap()),
            event_type: pdu.event_type().into(),
            content: RawValue::from_string(pdu.content().text().to_owned()).unwrap(),
            state_key: pdu.state_key().map(str::to_owned),
            prev_events: pdu.prev_events().iter().map(id).collect(),
            auth_events: pdu.auth_events().iter().map(id).collect(),
            rejected,
        }
    }
}

impl Event for Theirs {
    type Id = OwnedEventId;
    fn event_id(&self) -> &OwnedEventId {
        &self.id
    }
    fn room_id(&self) -> Option<&RoomId> {
        self.room_id.as_deref()
    }
    fn sender(&self) -> &UserId {
        &self.sender
    }
    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.ts
    }
    fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }
    fn content(&self) -> &RawValue {
        &self.content
    }
    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }
    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }
    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }
    fn redacts(&self) -> Option<&OwnedEventId> {
        None
    }
    fn rejected(&self) -> bool {
        self.rejected
    }
}
