use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::store::Keys;

/// A schedule whose locations all share one key.
#[derive(Default)]
struct OneKey(Schedule);

impl OneKey {
    fn discover(&mut self, found: Discovered) {
        self.0.discover(found);
        for location in self.0.strangers() {
            self.0.assign(&location, &key());
        }
    }

    fn next(&mut self, now: UnixMillis) -> Option<DocId> {
        self.0.next(&key(), now)
    }
}

impl std::ops::Deref for OneKey {
    type Target = Schedule;

    fn deref(&self) -> &Schedule {
        &self.0
    }
}

impl std::ops::DerefMut for OneKey {
    fn deref_mut(&mut self) -> &mut Schedule {
        &mut self.0
    }
}

fn key() -> KeyName {
    KeyName::of(&"cast_key".into())
}

fn header(id: &str, location: &str, lane: &str, state: State, due: i64, claimed: bool) -> Header {
    let keys = Keys {
        open: true,
        location: Some(location.into()),
        lane: Some(format!("{location}:{lane}")),
        state: Some(state.as_str().into()),
        due_at: Some(due),
        claimed,
        ..Keys::default()
    };
    Header { id: DocId(id.into()), keys }
}

fn queued(id: &str, location: &str, lane: &str) -> Header {
    header(id, location, lane, State::Queued, 0, false)
}

fn id(s: &str) -> DocId {
    DocId(s.into())
}

fn drain(schedule: &mut OneKey, now: i64) -> Vec<String> {
    let mut out = vec![];
    while let Some(next) = schedule.next(UnixMillis(now)) {
        out.push(next.0.clone());
        schedule.finished(&next, After::Gone);
    }
    out
}

#[test]
fn a_lane_is_handed_out_one_job_at_a_time_and_in_order() {
    let mut s = OneKey::default();
    s.discover(Discovered::New(vec![queued("a", "L", "1"), queued("b", "L", "1")]));
    assert_eq!(s.next(UnixMillis(0)), Some(id("a")));
    assert_eq!(s.next(UnixMillis(0)), None);
    s.finished(&id("a"), After::Gone);
    assert_eq!(s.next(UnixMillis(0)), Some(id("b")));
}

#[test]
fn a_campaign_of_one_location_does_not_hold_up_another() {
    let mut s = OneKey::default();
    let campaign = (0..10_000).map(|n| queued(&format!("c{n}"), "BIG", &n.to_string()));
    s.discover(Discovered::New(campaign.chain([queued("single", "SMALL", "1")]).collect()));
    let first: Vec<String> = (0..2).filter_map(|_| s.next(UnixMillis(0))).map(|d| d.0).collect();
    assert!(first.contains(&"single".to_owned()), "{first:?}");
}

#[test]
fn a_held_head_blocks_its_lane_until_it_is_released_or_its_wait_ends() {
    let mut s = OneKey::default();
    s.discover(Discovered::New(vec![header("h", "L", "1", State::Held, 900, false), queued("b", "L", "1")]));
    assert_eq!(s.next(UnixMillis(0)), None);
    assert_eq!(s.held_locations(8), ["L"]);
    s.release("L", UnixMillis(5));
    assert_eq!(s.next(UnixMillis(5)), Some(id("h")));
    s.finished(&id("h"), After::Open(State::Held, UnixMillis(900)));
    assert_eq!(s.next(UnixMillis(899)), None);
    assert_eq!(s.next(UnixMillis(900)), Some(id("h")));
}

#[test]
fn a_sending_head_is_a_doubt_and_blocks_its_lane() {
    let mut s = OneKey::default();
    s.discover(Discovered::Whole(vec![queued("b", "L", "1"), header("x", "L", "1", State::Sending, 0, true)]));
    assert_eq!(s.doubts(), [id("x")]);
    assert_eq!(s.next(UnixMillis(0)), None);
}

#[test]
fn a_message_put_back_first_goes_before_other_locations() {
    let mut s = OneKey::default();
    s.discover(Discovered::New(vec![queued("a", "A", "1"), queued("b", "B", "1"), queued("a2", "A", "2")]));
    assert_eq!(s.next(UnixMillis(0)), Some(id("a")));
    s.finished(&id("a"), After::First(UnixMillis(0)));
    assert_eq!(drain(&mut s, 0), ["a", "b", "a2"]);
}

#[test]
fn a_whole_poll_forgets_what_is_not_open_any_more_but_not_what_is_out() {
    let mut s = OneKey::default();
    s.discover(Discovered::New(vec![queued("a", "L", "1"), queued("b", "L", "2"), queued("c", "L", "3")]));
    let out = s.next(UnixMillis(0)).unwrap();
    s.discover(Discovered::Whole(vec![queued("c", "L", "3")]));
    assert_eq!(s.open(), 2);
    s.finished(&out, After::Gone);
    assert_eq!(drain(&mut s, 0), ["c"]);
}

#[test]
fn the_very_message_that_was_put_back_goes_first_even_after_an_earlier_one_of_its_location() {
    let mut s = OneKey::default();
    s.discover(Discovered::New(vec![
        header("a", "A", "1", State::Held, 5, false),
        queued("b", "A", "2"),
        queued("c", "C", "1"),
    ]));
    assert_eq!(s.next(UnixMillis(0)), Some(id("b")));
    s.finished(&id("b"), After::First(UnixMillis(0)));
    assert_eq!(drain(&mut s, 5), ["b", "c", "a"]);
}

#[test]
fn a_lane_with_a_job_out_gives_no_other_even_when_an_earlier_one_is_found() {
    let mut s = OneKey::default();
    s.discover(Discovered::New(vec![queued("b", "L", "1"), queued("c", "L", "1")]));
    assert_eq!(s.next(UnixMillis(0)), Some(id("b")));
    s.discover(Discovered::New(vec![header("again", "L", "1", State::Queued, 0, true)]));
    assert_eq!(s.next(UnixMillis(0)), None);
    s.finished(&id("b"), After::Open(State::Queued, UnixMillis(0)));
    assert_eq!(drain(&mut s, 0), ["again", "b", "c"]);
}

#[test]
fn locations_that_hold_messages_are_looked_at_in_turn_and_not_again_once_released() {
    let mut s = OneKey::default();
    let held = |l: &str| header(l, l, "1", State::Held, 900, false);
    s.discover(Discovered::New(["A", "B", "C"].map(held).into()));
    assert_eq!(s.held_locations(2), ["A", "B"]);
    assert_eq!(s.held_locations(2), ["C"]);
    assert_eq!(s.held_locations(2), ["A", "B"]);
    s.release("B", UnixMillis(5));
    assert_eq!(s.held_locations(8), ["C"]);
    assert_eq!(s.held_locations(8), ["A", "C"]);
    assert_eq!(drain(&mut s, 5), ["B"]);
    assert_eq!(drain(&mut s, 900), ["A", "C"]);
    assert!(s.held_locations(8).is_empty());
}

#[test]
fn a_poll_does_not_undo_a_release_but_a_look_that_holds_again_does() {
    let mut s = OneKey::default();
    let held = || header("h", "L", "1", State::Held, 900, false);
    s.discover(Discovered::Whole(vec![held()]));
    s.release("L", UnixMillis(5));
    s.discover(Discovered::Whole(vec![held()]));
    assert_eq!(s.next(UnixMillis(5)), Some(id("h")));
    s.finished(&id("h"), After::Open(State::Held, UnixMillis(900)));
    assert_eq!(s.held_locations(8), ["L"]);
    assert_eq!(s.next(UnixMillis(899)), None);
}

#[test]
fn a_pause_of_a_queued_message_outlives_the_polls_that_list_it() {
    let mut s = OneKey::default();
    s.discover(Discovered::Whole(vec![queued("a", "L", "1")]));
    assert_eq!(s.next(UnixMillis(0)), Some(id("a")));
    s.finished(&id("a"), After::Open(State::Queued, UnixMillis(300)));
    s.discover(Discovered::Whole(vec![queued("a", "L", "1")]));
    assert_eq!(s.next(UnixMillis(299)), None);
    assert_eq!(s.next(UnixMillis(300)), Some(id("a")));
}

#[test]
fn a_message_stamped_by_a_clock_ahead_of_ours_goes_at_once() {
    let mut s = OneKey::default();
    s.discover(Discovered::New(vec![header("ahead", "L", "1", State::Queued, 300_000, false)]));
    assert_eq!(s.next(UnixMillis(0)), Some(id("ahead")));
}

#[test]
fn a_pause_ends_when_the_clock_is_set_back_and_a_hold_does_not() {
    let mut s = OneKey::default();
    let hold = header("held", "L", "2", State::Held, 3_600_900, false);
    s.discover(Discovered::New(vec![queued("paused", "L", "1"), hold]));
    assert_eq!(s.next(UnixMillis(3_600_000)), Some(id("paused")));
    s.finished(&id("paused"), After::Open(State::Queued, UnixMillis(3_601_000)));
    assert_eq!(s.next(UnixMillis(3_600_500)), None);
    assert_eq!(drain(&mut s, 0), ["paused"]);
}

proptest! {
    #[test]
    fn every_job_is_handed_out_once_in_lane_order_whatever_the_answers(
        jobs in proptest::collection::vec((0u8..4, 0u8..4), 1..80),
        again in proptest::collection::vec(0u8..4, 400),
    ) {
        let mut s = OneKey::default();
        let headers: Vec<Header> = jobs.iter().enumerate()
            .map(|(n, (l, p))| queued(&format!("{n:03}"), &format!("L{l}"), &p.to_string())).collect();
        let lane_of: HashMap<String, String> =
            headers.iter().map(|h| (h.id.0.clone(), h.keys.lane.clone().unwrap())).collect();
        s.discover(Discovered::New(headers.clone()));
        s.discover(Discovered::Whole(headers));
        let mut again = again.into_iter();
        let mut done: Vec<String> = vec![];
        let mut now = 0i64;
        while s.open() > 0 {
            let mut out = vec![];
            while let Some(id) = s.next(UnixMillis(now)) { out.push(id); }
            let lanes: HashSet<&String> = out.iter().map(|id| &lane_of[&id.0]).collect();
            prop_assert_eq!(lanes.len(), out.len(), "two of one lane at once");
            for id in out {
                let after = match again.next() {
                    Some(0) => After::First(UnixMillis(now)),
                    Some(1) => After::Open(State::Held, UnixMillis(now + 7)),
                    Some(2) => After::Open(State::Queued, UnixMillis(now + 3)),
                    _ => After::Gone,
                };
                s.finished(&id, after);
                if after == After::Gone { done.push(id.0); }
            }
            now += 1;
        }
        prop_assert_eq!(done.len(), jobs.len());
        let mut last: HashMap<&String, &String> = HashMap::new();
        for id in &done {
            if let Some(before) = last.insert(&lane_of[id], id) { prop_assert!(before < id); }
        }
    }
}
