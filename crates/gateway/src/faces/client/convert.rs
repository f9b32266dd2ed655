//! From the engine's types to the API's.

use mls_client::api::{
    B64, FeedEntry, FeedItem, KeyPackageStock, LogPage, RefusalCode, RoomSummary, SubmissionState,
    SubmissionStatus, SuiteStock, Wish,
};
use room_engine::carrier::{self, SubmissionRefusal};
use room_engine::{RoomView, UserRoom};

pub(super) mod people;

pub(super) fn stock(stock: room_engine::KeyPackageStock) -> KeyPackageStock {
    KeyPackageStock {
        available: stock.available,
        last_resort: stock.last_resort,
        last_resort_used: stock.last_resort_used,
        low: stock.low,
        suites: stock
            .suites
            .into_iter()
            .map(|of| SuiteStock {
                suite: of.suite,
                available: of.available,
                last_resort: of.last_resort,
                last_resort_used: of.last_resort_used,
            })
            .collect(),
    }
}

pub(super) fn room(room: UserRoom) -> RoomSummary {
    summary(room.view, room.first, room.next, room.joined)
}

/// The room as its founder sees it.
pub(super) fn founded(view: RoomView) -> RoomSummary {
    let next = view.feed_next;
    summary(view, 1, next, true)
}

fn summary(view: RoomView, first: u64, next: u64, joined: bool) -> RoomSummary {
    RoomSummary {
        room: view.room.to_string(),
        hub: view.hub.to_string(),
        name: view.name,
        group_id: B64(view.group_id.unwrap_or_default()),
        epoch: view.epoch,
        portal: view.portal,
        first,
        next,
        joined,
    }
}

pub(super) fn state(state: carrier::SubmissionState) -> SubmissionState {
    match state {
        carrier::SubmissionState::Queued => SubmissionState::Queued,
        carrier::SubmissionState::Accepted { at, frank } => SubmissionState::Accepted {
            at: at.0,
            frank: frank.map(|f| B64(f.0)),
        },
        carrier::SubmissionState::Refused {
            code,
            reason,
            current_epoch,
        } => SubmissionState::Refused {
            code: match code {
                SubmissionRefusal::EpochTooOld => RefusalCode::EpochTooOld,
                SubmissionRefusal::NotAllowed => RefusalCode::NotAllowed,
                SubmissionRefusal::Malformed => RefusalCode::Malformed,
                SubmissionRefusal::UnknownRoom => RefusalCode::UnknownRoom,
            },
            reason,
            current_epoch: current_epoch.map(|e| e.0),
        },
    }
}

pub(super) fn wish(wish: room_engine::wish::Wish) -> Wish {
    Wish {
        id: wish.id,
        at: wish.at,
        room: wish.room,
        asked_in: wish.asked_in,
        want: wish.want,
    }
}

pub(super) fn page(page: room_engine::FeedPage) -> LogPage {
    LogPage {
        entries: page.entries.into_iter().map(entry).collect(),
        next: page.next,
    }
}

fn entry(entry: room_engine::FeedEntry) -> FeedEntry {
    use room_engine::FeedItem as From;
    let all = |list: Vec<Vec<u8>>| list.into_iter().map(B64).collect();
    FeedEntry {
        pos: entry.pos,
        at: entry.at,
        event_id: entry.event_id,
        item: match entry.item {
            From::Welcome {
                message,
                ratchet_tree,
            } => FeedItem::Welcome {
                message: B64(message),
                ratchet_tree: B64(ratchet_tree),
            },
            From::Commit {
                message,
                external_proposals,
            } => FeedItem::Commit {
                message: B64(message),
                external_proposals: all(external_proposals),
            },
            From::Proposals { messages } => FeedItem::Proposals {
                messages: all(messages),
            },
            From::Message { message, frank } => FeedItem::Message {
                message: B64(message),
                frank: frank.map(B64),
            },
            From::Wish { wish: made } => FeedItem::Wish(wish(*made)),
            From::Status { id, state: now } => FeedItem::Status(SubmissionStatus {
                id,
                state: state(now),
            }),
        },
    }
}
