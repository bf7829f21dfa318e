//! What the worker knows between two awaits: the schedule, the key's desk, and what it has seen as leader.
//!
//! Pure but for being mutable; guarded by one short lock and never held across an await.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::super::schedule::{After, Schedule};
use crate::domain::id::{AttemptId, DocId, Epoch};
use crate::domain::outcome::SendOutcome;
use crate::domain::time::{Mono, UnixMillis};
use crate::pacing::{KeyDesk, Pace, Start, Ticket};
use crate::store::{Discovered, Discovery};

/// Held messages are looked at again this often, for tokens stored by another replica.
const HELD_LOOK: Duration = Duration::from_secs(2);
/// Locations looked at then, each by a read: a poll must stay short however many hold something.
const HELD_LOOKS: usize = 256;

pub(super) enum Pick {
    Job(DocId, Ticket),
    /// How long until something may be picked; `None`: not before some news.
    Nothing(Option<Duration>),
}

/// What a poll leaves to be looked at.
pub(super) struct Polled {
    pub held: BTreeSet<String>,
    pub doubts: Vec<DocId>,
}

pub(super) struct Board {
    term: Option<Epoch>,
    schedule: Schedule,
    desk: KeyDesk,
    seen: Discovery,
    /// When this process, as leader, first saw a `sending` it does not answer for.
    first_seen: HashMap<(DocId, AttemptId), Mono>,
    held_looked_at: UnixMillis,
}

impl Board {
    pub(super) fn new(pace: Pace, now: Mono) -> Self {
        Self {
            term: None,
            schedule: Schedule::default(),
            desk: KeyDesk::new(pace, now),
            seen: Discovery::default(),
            first_seen: HashMap::new(),
            held_looked_at: UnixMillis::default(),
        }
    }

    /// A new term starts with empty hands: schedule, bucket and sightings.
    pub(super) fn begin_term(&mut self, epoch: Epoch, pace: Pace, now: Mono) -> Discovery {
        if self.term != Some(epoch) {
            *self = Self { term: Some(epoch), ..Self::new(pace, now) };
        }
        self.seen.clone()
    }

    /// The right lapsed: what was seen as leader does not count any more, even if the same term is regained.
    pub(super) fn lapse(&mut self) {
        self.first_seen.clear();
    }

    pub(super) fn polled(
        &mut self,
        seen: Discovery,
        found: Discovered,
        tokens: BTreeSet<String>,
        now: UnixMillis,
    ) -> Polled {
        self.seen = seen;
        self.schedule.discover(found);
        let mut held = tokens;
        if now.since(self.held_looked_at) >= HELD_LOOK || now < self.held_looked_at {
            self.held_looked_at = now;
            held.extend(self.schedule.held_locations(HELD_LOOKS));
        }
        Polled { held, doubts: self.schedule.doubts() }
    }

    /// Whether a poll of this term filled it.
    pub(super) fn is_of(&self, term: Epoch) -> bool {
        self.term == Some(term)
    }

    pub(super) fn pick(&mut self, term: Epoch, mono: Mono, now: UnixMillis) -> Pick {
        if !self.is_of(term) {
            return Pick::Nothing(None);
        }
        // A ticket first: a job is claimed only with a token in hand.
        let ticket = match self.desk.start(mono) {
            Start::Go(ticket) => ticket,
            Start::Wait(wait) => return Pick::Nothing((!self.schedule.is_empty()).then_some(wait)),
            Start::Full => return Pick::Nothing(None),
        };
        if let Some(id) = self.schedule.next(now) {
            return Pick::Job(id, ticket);
        }
        self.desk.back(ticket);
        Pick::Nothing(self.schedule.next_due().map(|due| due.since(now)))
    }

    /// Takes back a ticket of a job that made no call. Hands of another term are empty already.
    pub(super) fn back(&mut self, term: Epoch, ticket: Ticket) {
        if self.is_of(term) {
            self.desk.back(ticket);
        }
    }

    /// Learns from an answer, if the call was begun in this term; answers the outcome to be recorded.
    pub(super) fn done(&mut self, term: Epoch, ticket: Ticket, seen: SendOutcome, now: Mono) -> SendOutcome {
        if self.is_of(term) { self.desk.done(ticket, seen, now) } else { seen }
    }

    /// Takes back a job. One of an earlier term knows nothing of this one's lanes.
    pub(super) fn finished(&mut self, term: Epoch, id: &DocId, after: After) {
        if self.is_of(term) {
            self.schedule.finished(id, after);
        }
    }

    pub(super) fn release(&mut self, location: &str, now: UnixMillis) {
        self.schedule.release(location, now);
    }

    /// When this attempt was first seen by this leader: now, unless before.
    pub(super) fn sighting(&mut self, id: &DocId, attempt: &AttemptId, now: Mono) -> Mono {
        *self.first_seen.entry((id.clone(), attempt.clone())).or_insert(now)
    }

    pub(super) fn judged(&mut self, id: &DocId, attempt: &AttemptId) {
        self.first_seen.remove(&(id.clone(), attempt.clone()));
    }

    pub(super) fn set(&mut self, id: &DocId, after: After) {
        self.schedule.set(id, after);
    }

    /// Open jobs, and how long the key still waits.
    pub(super) fn gauge(&self, now: Mono) -> (usize, Option<Duration>) {
        (self.schedule.len(), self.desk.trouble(now).map(|(_, wait)| wait).filter(|wait| !wait.is_zero()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Header, Keys};

    const PACE: Pace = Pace { per_second: 1, burst: 2 };

    fn header(id: &str) -> Header {
        let word = |w: &str| Some(w.to_owned());
        let keys = Keys { location: word("L"), lane: word("lane"), state: word("queued"), ..Keys::default() };
        Header { id: DocId(id.to_owned()), keys }
    }

    fn at(seconds: u64) -> (Mono, UnixMillis) {
        (Mono(Duration::from_secs(seconds)), UnixMillis(i64::try_from(seconds).unwrap_or_default() * 1000))
    }

    /// A board whose lane of two is looked at in this term.
    fn begin(board: &mut Board, term: Epoch, seconds: u64) {
        let (mono, now) = at(seconds);
        let seen = board.begin_term(term, PACE, mono);
        board.polled(seen, Discovered::Whole(vec![header("first"), header("second")]), BTreeSet::new(), now);
    }

    fn picked(board: &mut Board, term: Epoch, seconds: u64) -> Option<(DocId, Ticket)> {
        let (mono, now) = at(seconds);
        match board.pick(term, mono, now) {
            Pick::Job(id, ticket) => Some((id, ticket)),
            Pick::Nothing(_) => None,
        }
    }

    #[test]
    fn a_job_of_an_earlier_term_frees_no_lane_and_no_place_of_this_one() {
        let mut board = Board::new(PACE, at(0).0);
        begin(&mut board, Epoch(1), 0);
        let (id, old) = picked(&mut board, Epoch(1), 10).expect("a job");
        begin(&mut board, Epoch(2), 20);
        let (again, _new) = picked(&mut board, Epoch(2), 30).expect("the same job, in the new term");
        assert_eq!(id, again);
        board.back(Epoch(1), old);
        board.finished(Epoch(1), &id, After::Gone);
        assert_eq!(board.desk.in_flight(), 1, "the call of this term still counts");
        assert!(picked(&mut board, Epoch(2), 40).is_none(), "its lane is still out");
        board.finished(Epoch(2), &again, After::Gone);
        assert_eq!(picked(&mut board, Epoch(2), 50).expect("the next of the lane").0, DocId("second".to_owned()));
    }

    #[test]
    fn nothing_is_picked_for_a_term_before_its_first_poll() {
        let mut board = Board::new(PACE, at(0).0);
        begin(&mut board, Epoch(1), 0);
        assert!(picked(&mut board, Epoch(2), 10).is_none());
        assert!(picked(&mut board, Epoch(1), 10).is_some());
    }
}
