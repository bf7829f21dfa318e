//! How fast GHL may be called for one location or company: evenly, below its 100 calls per 10 s.
//!
//! Invariant: reports of a location, and the background work of a company, are given no more than 96 places in any 10 s, each
//! place once; who was promised one goes when it comes. Replies go before reports. Pure but for being mutable; `now` is an
//! argument. Imports `domain` alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::time::UnixMillis;

/// 80 calls per 10 s (ghl contract §6).
const APART: Duration = Duration::from_millis(125);
/// Calls that may go at once after a quiet time: with 80 in the rest of the window still below 100.
const BURST: u32 = 16;
/// A clock set back by more than this: what was promised by the one before would take as long to come.
const SET_BACK: Duration = Duration::from_secs(60);
/// Locations and promises remembered; the past ones are forgotten first.
const REMEMBERED: usize = 65_536;

/// When a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Now,
    /// Promised for then.
    At(UnixMillis),
}

/// The next free place of each location or company, and who was promised which.
#[derive(Debug, Default)]
pub struct GhlPace {
    next: HashMap<String, UnixMillis>,
    resting: HashMap<String, UnixMillis>,
    promised: HashMap<String, UnixMillis>,
    /// The last `now`.
    now: UnixMillis,
}

impl GhlPace {
    /// A place for `who` of `location`; asked again when it comes, it is kept.
    pub fn ask(&mut self, location: &str, who: &str, now: UnixMillis) -> Turn {
        self.forget(now);
        if let Some(until) = self.resting.get(location).copied().filter(|until| *until > now) {
            // Places that pass during a rest are nobody's: all of them would be taken at once at its end.
            if self.promised.get(who).is_some_and(|place| *place <= until) {
                self.promised.remove(who);
            }
            return Turn::At(until);
        }
        match self.promised.get(who) {
            Some(place) if *place > now => return Turn::At(*place),
            Some(_) => {
                self.promised.remove(who);
                return Turn::Now;
            }
            None => {}
        }
        let place = self.take(location, now);
        if place <= now {
            return Turn::Now;
        }
        self.promised.insert(who.to_owned(), place);
        Turn::At(place)
    }

    /// A call that goes before all reports: waits for a rest alone.
    pub fn urgent(&mut self, location: &str, now: UnixMillis) -> Turn {
        self.forget(now);
        if let Some(until) = self.resting.get(location).filter(|until| **until > now) {
            return Turn::At(*until);
        }
        self.take(location, now);
        Turn::Now
    }

    /// GHL itself says to wait: nothing of this location before `until`.
    pub fn rest(&mut self, location: &str, until: UnixMillis) {
        let rest = self.resting.entry(location.to_owned()).or_insert(until);
        *rest = (*rest).max(until);
    }

    fn take(&mut self, location: &str, now: UnixMillis) -> UnixMillis {
        let idle = now.before(APART * BURST);
        let next = self.next.entry(location.to_owned()).or_insert(idle);
        *next = (*next).max(idle).after(APART);
        *next
    }

    fn forget(&mut self, now: UnixMillis) {
        let was = std::mem::replace(&mut self.now, now);
        if was.since(now) > SET_BACK {
            *self = Self { now, ..Self::default() };
        }
        let long_past = now.before(Duration::from_secs(3600));
        for map in [&mut self.next, &mut self.resting, &mut self.promised] {
            if map.len() >= REMEMBERED {
                map.retain(|_, at| *at > long_past);
            }
        }
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

    /// See [`GhlPace::rest`].
    pub fn rest(&self, owner: &str, until: UnixMillis) {
        self.guard().rest(owner, until);
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, GhlPace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    #[test]
    fn a_thousand_reports_never_take_more_than_ninety_six_places_in_ten_seconds() {
        let mut pace = GhlPace::default();
        let places: Vec<i64> = (0..1000)
            .map(|n| match pace.ask("L", &n.to_string(), NOW) {
                Turn::Now => NOW.0,
                Turn::At(at) => at.0,
            })
            .collect();
        for (i, from) in places.iter().enumerate() {
            let within = places[i..].iter().take_while(|p| **p - from < 10_000).count();
            assert!(within <= 96, "{within}");
        }
        assert_eq!(places.iter().filter(|p| **p == NOW.0).count(), 16);
    }

    #[test]
    fn a_clock_set_back_makes_nobody_wait_as_long() {
        let mut pace = GhlPace::default();
        pace.rest("L", NOW.after(Duration::from_secs(10)));
        for n in 0..100 {
            pace.ask("L", &n.to_string(), NOW);
        }
        let back = NOW.before(Duration::from_secs(600));
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
        let mut pace = GhlPace::default();
        let until = NOW.after(Duration::from_secs(30));
        let mut due: HashMap<usize, i64> = (0..300).map(|who| (who, NOW.0)).collect();
        let mut went = Vec::new();
        for at in (NOW.0..NOW.0 + 120_000).step_by(25) {
            if at == NOW.0 + 1000 {
                pace.rest("L", until);
            }
            let asking: Vec<usize> = due.iter().filter(|(_, due)| **due <= at).map(|(who, _)| *who).collect();
            for who in asking {
                match pace.ask("L", &who.to_string(), UnixMillis(at)) {
                    Turn::Now => {
                        due.remove(&who);
                        went.push(at);
                    }
                    Turn::At(place) => _ = due.insert(who, place.0),
                }
            }
        }
        assert_eq!(went.len(), 300);
        for (i, from) in went.iter().enumerate() {
            let within = went[i..].iter().take_while(|at| **at - from < 10_000).count();
            assert!(within <= 96, "{within} in 10 s");
        }
    }

    #[test]
    fn locations_do_not_wait_for_each_other_and_a_rest_binds_replies_too() {
        let mut pace = GhlPace::default();
        for n in 0..200 {
            pace.ask("A", &n.to_string(), NOW);
        }
        assert_eq!(pace.ask("B", "b", NOW), Turn::Now);
        assert_eq!(pace.urgent("A", NOW), Turn::Now);
        let until = NOW.after(Duration::from_secs(60));
        pace.rest("B", until);
        assert_eq!(pace.urgent("B", NOW), Turn::At(until));
        assert_eq!(pace.ask("B", "c", NOW), Turn::At(until));
    }
}
