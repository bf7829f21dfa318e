//! Who may act: the leader document's rules over one process's own monotonic clock.
//!
//! Invariant: a leader's right ends 10 s after the *start* of its last successful beat, and nobody takes over before having
//! seen the same (epoch, beat) for 15 s; no wall clocks are compared (bridge §5). Pure: imports `id` and `time`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::Epoch;
use super::time::Mono;

/// The leader raises `beat` this often.
pub const BEAT_EVERY: Duration = Duration::from_secs(3);
/// Stand-bys look this often.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The right to act, from the start of the last successful beat.
pub const RIGHT: Duration = Duration::from_secs(10);
/// A standby takes over after seeing the same (epoch, beat) this long.
pub const TAKE_OVER_AFTER: Duration = Duration::from_secs(15);
/// A `sending` of somebody else is judged this long after it was first seen: Cast's 30 s time-out and 15 s.
pub const JUDGE_AFTER: Duration = Duration::from_secs(45);

/// The document `leader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderDoc {
    /// Random per process start; `None` after a clean stop.
    pub holder: Option<String>,
    pub epoch: Epoch,
    pub beat: u64,
}

impl LeaderDoc {
    /// The very first term.
    #[must_use]
    pub fn first(me: &str) -> Self {
        Self { holder: Some(me.to_owned()), epoch: Epoch(1), beat: 1 }
    }

    /// The next term, of `me`.
    #[must_use]
    pub fn taken_by(&self, me: &str) -> Self {
        Self { holder: Some(me.to_owned()), epoch: Epoch(self.epoch.0 + 1), beat: self.beat + 1 }
    }

    /// The next beat of `me` in `epoch`; `None` when the term is over.
    #[must_use]
    pub fn beaten_by(&self, me: &str, epoch: Epoch) -> Option<Self> {
        let mine = self.holder.as_deref() == Some(me) && self.epoch == epoch;
        mine.then(|| Self { beat: self.beat + 1, ..self.clone() })
    }

    /// The document after a clean stop of `me`; `None` when the term is over already.
    #[must_use]
    pub fn released_by(&self, me: &str, epoch: Epoch) -> Option<Self> {
        let mine = self.holder.as_deref() == Some(me) && self.epoch == epoch;
        mine.then(|| Self { holder: None, ..self.clone() })
    }
}

/// What a standby has seen, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standby {
    seen: Option<(Epoch, u64, Mono)>,
}

/// What a standby should do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The leader lives, or has not been silent long enough.
    Wait,
    /// Nobody ever led: write the first document.
    Found,
    /// Take over, filtered on exactly the document seen.
    TakeOver,
}

impl Standby {
    /// Judges one look at the leader document.
    pub fn look(&mut self, doc: Option<&LeaderDoc>, now: Mono) -> Look {
        let Some(doc) = doc else { return Look::Found };
        if doc.holder.is_none() {
            return Look::TakeOver;
        }
        match self.seen {
            Some((epoch, beat, since)) if (epoch, beat) == (doc.epoch, doc.beat) => {
                if now.since(since) >= TAKE_OVER_AFTER { Look::TakeOver } else { Look::Wait }
            }
            _ => {
                self.seen = Some((doc.epoch, doc.beat, now));
                Look::Wait
            }
        }
    }
}

/// The right to act as a value: what claims, reports and refreshes demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    pub epoch: Epoch,
    /// `None`: the kernel lock on the embedded store holds as long as the process does.
    pub until: Option<Mono>,
}

impl Right {
    /// The right a beat gives that was begun at `started` and succeeded.
    #[must_use]
    pub fn from_beat(epoch: Epoch, started: Mono) -> Self {
        Self { epoch, until: Some(started.after(RIGHT)) }
    }

    /// Whether it still holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Mono) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(Duration::from_secs(s))
    }

    #[test]
    fn a_standby_takes_over_only_after_fifteen_seconds_of_the_same_beat() {
        let mut doc = LeaderDoc::first("a");
        let mut standby = Standby::default();
        assert_eq!(standby.look(Some(&doc), at(0)), Look::Wait);
        assert_eq!(standby.look(Some(&doc), at(14)), Look::Wait);
        doc = doc.beaten_by("a", Epoch(1)).unwrap();
        assert_eq!(standby.look(Some(&doc), at(15)), Look::Wait);
        assert_eq!(standby.look(Some(&doc), at(29)), Look::Wait);
        assert_eq!(standby.look(Some(&doc), at(30)), Look::TakeOver);
    }

    #[test]
    fn a_released_or_missing_document_is_taken_at_once() {
        let mut standby = Standby::default();
        assert_eq!(standby.look(None, at(0)), Look::Found);
        let doc = LeaderDoc::first("a").released_by("a", Epoch(1)).unwrap();
        assert_eq!(standby.look(Some(&doc), at(0)), Look::TakeOver);
    }

    #[test]
    fn the_right_ends_before_anybody_can_take_over() {
        assert!(RIGHT < TAKE_OVER_AFTER);
        let right = Right::from_beat(Epoch(1), at(5));
        assert!(right.holds(at(14)));
        assert!(!right.holds(at(15)));
    }

    #[test]
    fn a_beat_of_an_ended_term_does_not_exist() {
        let doc = LeaderDoc::first("a").taken_by("b");
        assert_eq!(doc.beaten_by("a", Epoch(1)), None);
        assert_eq!(doc.released_by("a", Epoch(1)), None);
        assert_eq!(doc.epoch, Epoch(2));
    }
}
