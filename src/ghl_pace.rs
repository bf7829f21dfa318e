//! How fast GHL may be called for one location or company: at most 80 calls in any 10 s, below its 100.
//!
//! Invariant: nobody is let through as the 81st call of 10 s; calls that come of themselves (a second try with a fresh token) are
//! counted, too. Replies go before contacts, both before reports: those are given places evenly and leave some of each 10 s
//! free. Pure but for being mutable; `now` is an argument. Imports `domain` alone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::time::UnixMillis;

/// Calls in any [`WINDOW`] (ghl contract §6).
const MOST: usize = 80;
const WINDOW: Duration = Duration::from_secs(10);
/// A change of a contact goes only below this many, and a report below the next: the rest of each window is kept for replies.
const MOST_WITH_CONTACTS: usize = 78;
const MOST_WITH_REPORTS: usize = 76;
/// Places of reports: 72 per 10 s, so that one that is asked for a little late is still there.
const APART: Duration = Duration::from_millis(139);
/// Reports that may go at once after a quiet time.
const BURST: u32 = 8;
/// A clock set back by more than this: what was promised by the one before would take as long to come.
const SET_BACK: Duration = Duration::from_secs(60);
/// Locations, and promises of one, that are remembered; the past ones are forgotten first.
const REMEMBERED: usize = 65_536;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// GHL names no time zone. Where its day is not UTC's, a new one is looked for this often after midnight.
const LOOK_FOR_A_NEW_DAY: Duration = Duration::from_secs(3600);

/// When a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Now,
    /// Promised for then.
    At(UnixMillis),
}

/// The calls of each location or company, and who was promised a place for the next.
#[derive(Debug, Default)]
pub struct GhlPace {
    owners: HashMap<String, Owner>,
    /// The last `now`.
    now: UnixMillis,
}

#[derive(Debug, Default)]
struct Owner {
    /// Calls of the last window, oldest first.
    calls: VecDeque<UnixMillis>,
    /// The last place given.
    last: UnixMillis,
    promised: HashMap<String, UnixMillis>,
    rests_until: UnixMillis,
    /// When a rest for a spent day ended, or will.
    day_began: Option<UnixMillis>,
}

impl GhlPace {
    /// A place for `who` of `owner`; asked again when it comes, it is kept, or a later one given where too many went before.
    pub fn ask(&mut self, owner: &str, who: &str, now: UnixMillis) -> Turn {
        let owner = self.owner(owner, now);
        let promised = owner.promised.get(who).copied();
        if owner.rests_until > now {
            // Places that pass during a rest are nobody's: all of them would be taken at once at its end.
            if promised.is_some_and(|place| place <= owner.rests_until) {
                owner.promised.remove(who);
            }
            return Turn::At(owner.rests_until);
        }
        match promised {
            Some(place) if place > now => return Turn::At(place),
            Some(_) => {
                owner.promised.remove(who);
                if owner.goes(MOST_WITH_REPORTS, now) {
                    return Turn::Now;
                }
            }
            None => {}
        }
        let place = owner.place(now);
        if place <= now && owner.goes(MOST_WITH_REPORTS, now) {
            return Turn::Now;
        }
        let place = place.max(owner.room(MOST_WITH_REPORTS, now));
        owner.promised.insert(who.to_owned(), place);
        Turn::At(place)
    }

    /// A call that goes before all others: waits for a rest, or for the window to have room.
    pub fn urgent(&mut self, owner: &str, now: UnixMillis) -> Turn {
        self.before_reports(owner, MOST, now)
    }

    /// A change of a contact: before all reports, after replies.
    pub fn contact(&mut self, owner: &str, now: UnixMillis) -> Turn {
        self.before_reports(owner, MOST_WITH_CONTACTS, now)
    }

    fn before_reports(&mut self, owner: &str, most: usize, now: UnixMillis) -> Turn {
        let owner = self.owner(owner, now);
        if owner.rests_until > now {
            return Turn::At(owner.rests_until);
        }
        if !owner.goes(most, now) {
            return Turn::At(owner.room(most, now));
        }
        // Reports give way.
        owner.place(now);
        Turn::Now
    }

    /// A call that is made without asking, as part of one that was asked for.
    pub fn extra(&mut self, owner: &str, now: UnixMillis) {
        let owner = self.owner(owner, now);
        owner.calls.push_back(now);
        owner.place(now);
    }

    /// GHL answered 429: nothing of `owner` for `wait`, or until the next day where nothing is left of this one. Answers until
    /// when.
    pub fn limited(&mut self, owner: &str, wait: Duration, left_today: Option<u64>, now: UnixMillis) -> UnixMillis {
        let owner = self.owner(owner, now);
        let until = if left_today == Some(0) { owner.next_day(now) } else { now.after(wait) };
        owner.rests_until = owner.rests_until.max(until);
        owner.rests_until
    }

    fn owner(&mut self, name: &str, now: UnixMillis) -> &mut Owner {
        let was = std::mem::replace(&mut self.now, now);
        if was.since(now) > SET_BACK {
            self.owners.clear();
        }
        if self.owners.len() >= REMEMBERED && !self.owners.contains_key(name) {
            let long_past = now.before(DAY);
            self.owners.retain(|_, owner| owner.last.max(owner.rests_until) > long_past);
        }
        let owner = self.owners.entry(name.to_owned()).or_default();
        while owner.calls.front().is_some_and(|at| now.since(*at) >= WINDOW) {
            owner.calls.pop_front();
        }
        if owner.promised.len() >= REMEMBERED {
            let long_past = now.before(LOOK_FOR_A_NEW_DAY);
            owner.promised.retain(|_, at| *at > long_past);
        }
        owner
    }
}

impl Owner {
    /// Counts a call made now, if the window holds fewer than `most`.
    fn goes(&mut self, most: usize, now: UnixMillis) -> bool {
        let goes = self.calls.len() < most;
        if goes {
            self.calls.push_back(now);
        }
        goes
    }

    /// When the window holds fewer than `most` of the calls made so far.
    fn room(&self, most: usize, now: UnixMillis) -> UnixMillis {
        let leaves = self.calls.len().checked_sub(most).and_then(|over| self.calls.get(over));
        leaves.map_or(now, |at| at.after(WINDOW))
    }

    /// The next place: evenly after the last one, and from the past after a quiet time.
    fn place(&mut self, now: UnixMillis) -> UnixMillis {
        self.last = self.last.max(now.before(APART * BURST)).after(APART);
        self.last
    }

    /// Midnight UTC; if that brought no new day, an hour from now.
    fn next_day(&mut self, now: UnixMillis) -> UnixMillis {
        let day_ms = 24 * 3600 * 1000;
        let midnight = UnixMillis((now.0.div_euclid(day_ms) + 1) * day_ms);
        let looked = self.day_began.is_some_and(|began| began <= now && now.since(began) < DAY / 2);
        if looked {
            return midnight.min(now.after(LOOK_FOR_A_NEW_DAY));
        }
        self.day_began = Some(midnight);
        midnight
    }
}

/// The one limiter of all calls to GHL, by location or company; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SharedPace(Arc<Mutex<GhlPace>>);

impl SharedPace {
    /// See [`GhlPace::ask`].
    #[must_use]
    pub fn ask(&self, owner: &str, who: &str, now: UnixMillis) -> Turn {
        self.guard().ask(owner, who, now)
    }

    /// See [`GhlPace::urgent`].
    #[must_use]
    pub fn urgent(&self, owner: &str, now: UnixMillis) -> Turn {
        self.guard().urgent(owner, now)
    }

    /// See [`GhlPace::contact`].
    #[must_use]
    pub fn contact(&self, owner: &str, now: UnixMillis) -> Turn {
        self.guard().contact(owner, now)
    }

    /// See [`GhlPace::extra`].
    pub fn extra(&self, owner: &str, now: UnixMillis) {
        self.guard().extra(owner, now);
    }

    /// See [`GhlPace::limited`].
    pub fn limited(&self, owner: &str, wait: Duration, left_today: Option<u64>, now: UnixMillis) -> UnixMillis {
        self.guard().limited(owner, wait, left_today, now)
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, GhlPace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    /// Reports that want to go from `NOW` on, asking when told to, up to `late` ms late; answers when they went. `meanwhile` is
    /// called at each tick.
    fn run(reports: usize, late: i64, mut meanwhile: impl FnMut(&mut GhlPace, UnixMillis)) -> Vec<i64> {
        let mut pace = GhlPace::default();
        let mut due: Vec<Option<i64>> = vec![Some(NOW.0); reports];
        let mut went = Vec::new();
        let mut at = NOW.0;
        while due.iter().any(Option::is_some) {
            meanwhile(&mut pace, UnixMillis(at));
            for (who, place) in due.iter_mut().enumerate() {
                if place.is_none_or(|place| place > at) {
                    continue;
                }
                *place = match pace.ask("L", &who.to_string(), UnixMillis(at)) {
                    Turn::Now => {
                        went.push(at);
                        None
                    }
                    Turn::At(next) => Some(next.0),
                };
            }
            at += 1 + late;
        }
        went
    }

    fn most_in_a_window(times: &[i64]) -> usize {
        let window = i64::try_from(WINDOW.as_millis()).unwrap();
        (0..times.len()).map(|i| times[i..].iter().take_while(|at| **at - times[i] < window).count()).max().unwrap_or(0)
    }

    #[test]
    fn a_thousand_reports_go_seventy_to_eighty_in_ten_seconds_however_late_they_ask() {
        for late in [0, 24, 499] {
            let went = run(1000, late, |_, _| {});
            assert_eq!(went.len(), 1000);
            assert!(most_in_a_window(&went) <= MOST_WITH_REPORTS, "{late}");
            let took = went.last().unwrap() - NOW.0;
            assert!((125_000..165_000).contains(&took), "{late}: {took} ms");
        }
    }

    #[test]
    fn replies_go_before_reports_and_all_calls_together_are_eighty_in_ten_seconds() {
        let mut replies = Vec::new();
        let (mut asked, mut waited) = (0_i64, 0);
        let reports = run(400, 24, |pace, now| {
            // Two replies a second, among as many reports as can go.
            if (now.0 - NOW.0) >= asked * 500 {
                match pace.urgent("L", now) {
                    Turn::Now => {
                        asked += 1;
                        replies.push(now.0);
                        waited = 0;
                    }
                    Turn::At(_) => waited += 25,
                }
                assert!(waited <= 1000, "a reply waits {waited} ms");
            }
        });
        assert!(replies.len() >= 80 && reports.len() == 400);
        let mut all = [replies, reports].concat();
        all.sort_unstable();
        assert!(most_in_a_window(&all) <= MOST, "{}", most_in_a_window(&all));
    }

    #[test]
    fn a_crowd_of_replies_is_bounded_too_and_told_when_there_is_room() {
        let mut pace = GhlPace::default();
        let turns: Vec<Turn> = (0..100).map(|_| pace.urgent("L", NOW)).collect();
        assert_eq!(turns.iter().filter(|turn| **turn == Turn::Now).count(), MOST);
        assert_eq!(turns[MOST], Turn::At(NOW.after(WINDOW)));
        assert_eq!(pace.urgent("L", NOW.after(WINDOW)), Turn::Now);
        assert_eq!(pace.urgent("other", NOW), Turn::Now);
    }

    #[test]
    fn changes_of_contacts_leave_room_for_replies_and_reports_for_both() {
        let mut pace = GhlPace::default();
        let contacts = (0..100).filter(|_| pace.contact("L", NOW) == Turn::Now).count();
        assert_eq!(contacts, MOST_WITH_CONTACTS);
        assert!(matches!(pace.ask("L", "report", NOW), Turn::At(_)));
        let replies = (0..100).filter(|_| pace.urgent("L", NOW) == Turn::Now).count();
        assert_eq!(replies, MOST - MOST_WITH_CONTACTS);
    }

    #[test]
    fn a_call_made_without_asking_takes_the_place_of_another() {
        let mut pace = GhlPace::default();
        for _ in 0..MOST {
            pace.extra("L", NOW);
        }
        assert!(matches!(pace.urgent("L", NOW), Turn::At(_)));
        assert!(matches!(pace.ask("L", "r", NOW), Turn::At(_)));
    }

    #[test]
    fn a_clock_set_back_makes_nobody_wait_as_long() {
        let mut pace = GhlPace::default();
        pace.limited("L", 10 * SECOND, None, NOW);
        for n in 0..100 {
            pace.ask("L", &n.to_string(), NOW);
        }
        let back = NOW.before(600 * SECOND);
        assert_eq!(pace.ask("L", "mine", back), Turn::Now);
        assert_eq!(pace.urgent("L", back), Turn::Now);
    }

    #[test]
    fn a_promised_place_is_kept_when_it_comes() {
        let mut pace = GhlPace::default();
        for n in 0..100 {
            pace.ask("L", &n.to_string(), NOW);
        }
        let Turn::At(place) = pace.ask("L", "mine", NOW) else { panic!("the burst is spent") };
        assert_eq!(pace.ask("L", "mine", NOW), Turn::At(place));
        assert_eq!(pace.ask("L", "mine", place), Turn::Now);
    }

    #[test]
    fn what_waited_out_a_rest_takes_new_places_and_does_not_go_all_at_once() {
        let mut rested = false;
        let went = run(300, 24, |pace, now| {
            if !rested && now >= NOW.after(SECOND) {
                rested = true;
                assert_eq!(pace.limited("L", 30 * SECOND, Some(5), now), now.after(30 * SECOND));
            }
        });
        assert_eq!(went.len(), 300);
        assert!(most_in_a_window(&went) <= MOST_WITH_REPORTS);
    }

    #[test]
    fn locations_do_not_wait_for_each_other_and_a_rest_binds_replies_too() {
        let mut pace = GhlPace::default();
        for n in 0..200 {
            pace.ask("A", &n.to_string(), NOW);
        }
        assert_eq!(pace.ask("B", "b", NOW), Turn::Now);
        assert_eq!(pace.urgent("A", NOW), Turn::Now);
        let until = pace.limited("B", 60 * SECOND, None, NOW);
        assert_eq!(until, NOW.after(60 * SECOND));
        assert_eq!(pace.urgent("B", NOW), Turn::At(until));
        assert_eq!(pace.ask("B", "c", NOW), Turn::At(until));
    }

    #[test]
    fn a_spent_day_rests_until_midnight_utc_and_then_looks_every_hour_for_a_new_one() {
        const HOUR: Duration = Duration::from_secs(3600);
        let evening = UnixMillis(1_780_000_000_000);
        let mut pace = GhlPace::default();
        let midnight = pace.limited("L", SECOND, Some(0), evening);
        assert_eq!(midnight.0 % (24 * 3600 * 1000), 0);
        assert!(midnight > evening && midnight.since(evening) <= DAY);
        assert_eq!(pace.urgent("L", midnight.before(SECOND)), Turn::At(midnight));
        // Its day is another: the first calls are refused again.
        let at = midnight.after(SECOND);
        assert_eq!(pace.urgent("L", at), Turn::Now);
        assert_eq!(pace.limited("L", SECOND, Some(0), at), at.after(HOUR));
        // A day later spent again: until the next midnight.
        let evening = midnight.after(20 * HOUR);
        assert_eq!(pace.limited("L", SECOND, Some(0), evening), midnight.after(DAY));
    }

    proptest! {
        #[test]
        fn whatever_asks_in_whatever_order_no_ten_seconds_hold_more_than_eighty_calls(
            asks in proptest::collection::vec((0..3u8, 0..200i64), 0..600)
        ) {
            let mut pace = GhlPace::default();
            let (mut at, mut went) = (NOW.0, Vec::new());
            for (n, (kind, later)) in asks.into_iter().enumerate() {
                at += later;
                let now = UnixMillis(at);
                let turn = match kind {
                    0 => pace.urgent("L", now),
                    1 => pace.contact("L", now),
                    _ => pace.ask("L", &(n % 40).to_string(), now),
                };
                if turn == Turn::Now {
                    went.push(at);
                } else if let Turn::At(then) = turn {
                    prop_assert!(then > now);
                }
            }
            prop_assert!(most_in_a_window(&went) <= MOST);
        }
    }
}
