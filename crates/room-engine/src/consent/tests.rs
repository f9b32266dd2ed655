#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

fn alice() -> MimiUri {
    uri("mimi://a.example/u/alice")
}

fn pair() -> Pair {
    Pair::new(uri("mimi://b.example/u/bob"), alice(), Vec::new())
}

fn room(n: usize) -> Option<MimiUri> {
    (n > 0).then(|| uri(&format!("mimi://a.example/r/{n}")))
}

#[test]
fn silence_is_no_where_consent_is_required_and_yes_elsewhere() {
    assert_eq!(pair().verdict(None, true), Verdict::NoConsent);
    assert_eq!(pair().verdict(room(1).as_ref(), false), Verdict::Granted);
    for (required, foreign, asks) in [
        (RequiredOf::Foreign, true, true),
        (RequiredOf::Foreign, false, false),
        (RequiredOf::Everybody, false, true),
        (RequiredOf::Nobody, true, false),
    ] {
        assert_eq!(required.asks(foreign), asks);
    }
}

#[test]
fn a_grant_covers_its_scope() {
    let mut one = pair();
    assert!(one.settle(room(1).as_ref(), true, 5));
    assert_eq!(one.verdict(room(1).as_ref(), true), Verdict::Granted);
    assert_eq!(one.verdict(room(2).as_ref(), true), Verdict::NotForThisRoom);
    assert_eq!(one.verdict(None, true), Verdict::NotForThisRoom);
    let mut any = pair();
    assert!(any.settle(None, true, 5));
    assert_eq!(any.verdict(room(2).as_ref(), true), Verdict::Granted);
    assert_eq!(any.verdict(None, true), Verdict::Granted);
    assert!(any.settle(room(2).as_ref(), false, 6));
    assert_eq!(any.verdict(room(2).as_ref(), true), Verdict::NotForThisRoom);
    assert_eq!(any.verdict(room(1).as_ref(), true), Verdict::Granted);
}

#[test]
fn a_refusal_for_any_room_ends_what_was_granted_and_counts_where_nothing_is_required() {
    let mut pair = pair();
    pair.settle(room(1).as_ref(), true, 5);
    assert!(pair.settle(None, false, 6));
    assert_eq!(pair.verdict(room(1).as_ref(), false), Verdict::NoConsent);
    // The newer, narrower word counts.
    assert!(pair.settle(room(1).as_ref(), true, 7));
    assert_eq!(pair.verdict(room(1).as_ref(), true), Verdict::Granted);
    assert_eq!(pair.verdict(room(2).as_ref(), false), Verdict::NotForThisRoom);
}

#[test]
fn who_was_refused_asks_in_vain_and_a_repeat_is_no_news() {
    let mut pair = pair();
    assert!(pair.ask(room(1).as_ref(), 1));
    assert!(!pair.ask(room(1).as_ref(), 2), "a repeat");
    assert!(pair.is_asked(room(1).as_ref()));
    assert!(
        pair.settle(None, false, 3),
        "settles the narrower request as well"
    );
    assert!(!pair.is_asked(room(1).as_ref()));
    for n in 0..3 {
        assert!(!pair.ask(room(n).as_ref(), 4));
    }
    assert!(pair.forget(None));
    assert!(pair.ask(None, 5));
    assert!(pair.cancel(None) && !pair.cancel(None));
    assert!(pair.changes().all(|(_, void)| void));
}

#[derive(Clone, Debug)]
enum Act {
    Ask(usize),
    Cancel(usize),
    Settle(usize, bool),
    Forget(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..3_usize).prop_map(Act::Ask),
        (0..3_usize).prop_map(Act::Cancel),
        (0..3_usize, any::<bool>()).prop_map(|(n, granted)| Act::Settle(n, granted)),
        (0..3_usize).prop_map(Act::Forget),
    ]
}

proptest! {
    /// Against a plain model: per scope the last word, where a refusal for any room wipes the grants before it; and what
    /// is written is what is remembered.
    #[test]
    fn the_last_word_counts(acts in prop::collection::vec(act(), 0..40)) {
        let mut model: [Option<bool>; 3] = [None; 3];
        let mut asked = [false; 3];
        let mut stored: Vec<ConsentRecord> = Vec::new();
        for (time, act) in (1_u64..).zip(acts) {
            // As the worker does it: read, change, write.
            let mut pair = Pair::new(uri("mimi://b.example/u/bob"), alice(), stored.clone());
            match act {
                Act::Ask(n) => {
                    let open = model[n].or(model[0]).is_none() && !asked[n];
                    prop_assert_eq!(pair.ask(room(n).as_ref(), time), open);
                    asked[n] |= open;
                }
                Act::Cancel(n) => {
                    prop_assert_eq!(pair.cancel(room(n).as_ref()), asked[n]);
                    asked[n] = false;
                }
                Act::Settle(n, granted) => {
                    pair.settle(room(n).as_ref(), granted, time);
                    asked[n] = false;
                    model[n] = Some(granted);
                    if n == 0 {
                        asked = [false; 3];
                        for word in &mut model[1..] {
                            if !granted && *word == Some(true) {
                                *word = None;
                            }
                        }
                    }
                }
                Act::Forget(n) => {
                    pair.forget(room(n).as_ref());
                    asked[n] = false;
                    model[n] = None;
                }
            }
            for (record, void) in pair.changes() {
                stored.retain(|old| old.room != record.room);
                if !void {
                    stored.push(record.clone());
                }
            }
            let pair = Pair::new(uri("mimi://b.example/u/bob"), alice(), stored.clone());
            for n in 0..3 {
                prop_assert_eq!(pair.is_asked(room(n).as_ref()), asked[n]);
                let word = model[n].or(model[0]);
                prop_assert_eq!(pair.answer(room(n).as_ref()).map(|a| a.granted), word);
                for required in [true, false] {
                    let granted = word.unwrap_or(!required);
                    let verdict = pair.verdict(room(n).as_ref(), required);
                    prop_assert_eq!(verdict == Verdict::Granted, granted);
                    let any = model.contains(&Some(true));
                    prop_assert_eq!(verdict == Verdict::NotForThisRoom, !granted && any);
                }
            }
        }
    }
}
