//! What the worker knows between two awaits: the schedule, each key's desk, and what it has seen as leader.
//!
//! Pure but for being mutable; guarded by one short lock and never held across an await.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::super::schedule::{After, Schedule};
use crate::domain::id::{AttemptId, DocId, Epoch};
use crate::domain::outcome::SendOutcome;
use crate::domain::time::{Mono, UnixMillis};
use crate::pacing::{KeyDesk, KeyName, Pace, Start, Ticket};
use crate::store::{Discovered, Discovery};

/// Held messages are looked at again this often, for tokens stored by another replica.
const HELD_LOOK: Duration = Duration::from_secs(2);
/// Locations looked at then, each by a read: a poll must stay short however many hold something.
const HELD_LOOKS: usize = 256;

/// The right to make one call with a key.
#[derive(Debug)]
pub(super) struct Pass {
    pub key: KeyName,
    ticket: Ticket,
}

pub(super) enum Pick {
    Job(DocId, Pass),
    /// How long until something may be picked; `None`: not before some news.
    Nothing(Option<Duration>),
}

/// What a poll leaves to be looked at.
pub(super) struct Polled {
    /// Locations whose key is to be asked for.
    pub strangers: Vec<String>,
    pub held: BTreeSet<String>,
    pub doubts: Vec<DocId>,
}

pub(super) struct Board {
    term: Option<Epoch>,
    /// When the term began here: buckets are empty then, and earn from then on.
    began: Mono,
    schedule: Schedule,
    pace: Pace,
    desks: HashMap<KeyName, KeyDesk>,
    seen: Discovery,
    /// When this process, as leader, first saw a `sending` it does not answer for.
    first_seen: HashMap<(DocId, AttemptId), Mono>,
    held_looked_at: UnixMillis,
}

impl Board {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            term: None,
            began: Mono::default(),
            schedule: Schedule::default(),
            pace,
            desks: HashMap::new(),
            seen: Discovery::default(),
            first_seen: HashMap::new(),
            held_looked_at: UnixMillis::default(),
        }
    }

    /// A new term starts with empty hands: schedule, desks and sightings.
    pub(super) fn begin_term(&mut self, epoch: Epoch, now: Mono) -> Discovery {
        if self.term != Some(epoch) {
            *self = Self { term: Some(epoch), began: now, ..Self::new(self.pace) };
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
        let doubts = self.schedule.doubts();
        if !self.first_seen.is_empty() {
            // One that its maker settled after all is waited for no more.
            let open: HashSet<&DocId> = doubts.iter().collect();
            self.first_seen.retain(|(id, _), _| open.contains(id));
        }
        Polled { strangers: self.schedule.strangers(), held, doubts }
    }

    /// This key pays for a location's messages from now on. One that is new to this term has sent nothing in it.
    pub(super) fn assign(&mut self, location: &str, key: &KeyName) {
        let (pace, began) = (self.pace, self.began);
        self.desks.entry(key.clone()).or_insert_with(|| KeyDesk::new(pace, began));
        self.schedule.assign(location, key);
    }

    /// Whether a poll of this term filled it.
    pub(super) fn is_of(&self, term: Epoch) -> bool {
        self.term == Some(term)
    }

    pub(super) fn pick(&mut self, term: Epoch, mono: Mono, now: UnixMillis) -> Pick {
        if !self.is_of(term) {
            return Pick::Nothing(None);
        }
        let keys = self.schedule.keys(now);
        let mut soonest = self.schedule.next_due().map(|due| due.since(now));
        for key in keys {
            let Some(desk) = self.desks.get_mut(&key) else { continue };
            // A ticket first: a job is claimed only with a token in hand.
            let ticket = match desk.start(mono) {
                Start::Go(ticket) => ticket,
                Start::Wait(wait) => {
                    soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
                    continue;
                }
                Start::Full => continue,
            };
            if let Some(id) = self.schedule.next(&key, now) {
                return Pick::Job(id, Pass { key, ticket });
            }
            desk.back(ticket);
        }
        Pick::Nothing(soonest)
    }

    /// Takes back the pass of a job that made no call. Hands of another term are empty already.
    pub(super) fn back(&mut self, term: Epoch, pass: Pass) {
        if self.is_of(term)
            && let Some(desk) = self.desks.get_mut(&pass.key)
        {
            desk.back(pass.ticket);
        }
    }

    /// Learns from an answer, if the call was begun in this term; answers the outcome to be recorded.
    pub(super) fn done(&mut self, term: Epoch, pass: Pass, seen: SendOutcome, now: Mono) -> SendOutcome {
        match self.desks.get_mut(&pass.key).filter(|_| self.term == Some(term)) {
            Some(desk) => desk.done(pass.ticket, seen, now),
            None => seen,
        }
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

    /// Open jobs, and how long the key that waits longest still does.
    pub(super) fn gauge(&self, now: Mono) -> (usize, Option<Duration>) {
        let waits = self.desks.values().filter_map(|desk| desk.trouble(now)).map(|(_, wait)| wait);
        (self.schedule.open(), waits.filter(|wait| !wait.is_zero()).max())
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

    fn key(name: &str) -> KeyName {
        KeyName::of(&name.into())
    }

    /// A board whose lane of two is looked at in this term.
    fn begin(board: &mut Board, term: Epoch, seconds: u64) {
        let (mono, now) = at(seconds);
        let seen = board.begin_term(term, mono);
        board.polled(seen, Discovered::Whole(vec![header("first"), header("second")]), BTreeSet::new(), now);
        board.assign("L", &key("shared"));
    }

    fn picked(board: &mut Board, term: Epoch, seconds: u64) -> Option<(DocId, Pass)> {
        let (mono, now) = at(seconds);
        match board.pick(term, mono, now) {
            Pick::Job(id, pass) => Some((id, pass)),
            Pick::Nothing(_) => None,
        }
    }

    #[test]
    fn a_job_of_an_earlier_term_frees_no_lane_and_no_place_of_this_one() {
        let mut board = Board::new(PACE);
        begin(&mut board, Epoch(1), 0);
        let (id, old) = picked(&mut board, Epoch(1), 10).expect("a job");
        begin(&mut board, Epoch(2), 20);
        let (again, _new) = picked(&mut board, Epoch(2), 30).expect("the same job, in the new term");
        assert_eq!(id, again);
        board.back(Epoch(1), old);
        board.finished(Epoch(1), &id, After::Gone);
        assert_eq!(board.desks[&key("shared")].in_flight(), 1, "the call of this term still counts");
        assert!(picked(&mut board, Epoch(2), 40).is_none(), "its lane is still out");
        board.finished(Epoch(2), &again, After::Gone);
        assert_eq!(picked(&mut board, Epoch(2), 50).expect("the next of the lane").0, DocId("second".to_owned()));
    }

    #[test]
    fn nothing_is_picked_for_a_term_before_its_first_poll() {
        let mut board = Board::new(PACE);
        begin(&mut board, Epoch(1), 0);
        assert!(picked(&mut board, Epoch(2), 10).is_none());
        assert!(picked(&mut board, Epoch(1), 10).is_some());
    }

    #[test]
    fn nothing_of_a_location_is_picked_before_its_key_is_known() {
        let mut board = Board::new(PACE);
        let seen = board.begin_term(Epoch(1), at(0).0);
        let polled = board.polled(seen, Discovered::Whole(vec![header("a")]), BTreeSet::new(), at(0).1);
        assert_eq!(polled.strangers, ["L"]);
        assert!(picked(&mut board, Epoch(1), 10).is_none());
        board.assign("L", &key("own"));
        assert_eq!(picked(&mut board, Epoch(1), 20).expect("a job").1.key, key("own"));
    }

    #[test]
    fn a_paused_key_holds_up_its_own_locations_alone() {
        let mut board = Board::new(PACE);
        let seen = board.begin_term(Epoch(1), at(0).0);
        let of = |id: &str, location: &str| {
            let mut header = header(id);
            (header.keys.location, header.keys.lane) = (Some(location.to_owned()), Some(id.to_owned()));
            header
        };
        let found = vec![of("a", "SHARED"), of("b", "SHARED"), of("c", "OWN"), of("d", "OWN")];
        board.polled(seen, Discovered::Whole(found), BTreeSet::new(), at(0).1);
        board.assign("SHARED", &key("shared"));
        board.assign("OWN", &key("own"));
        let mut left: Vec<DocId> = Vec::new();
        for seconds in 10..20 {
            let Some((id, pass)) = picked(&mut board, Epoch(1), seconds) else { continue };
            let outcome = if pass.key == key("shared") {
                SendOutcome::NotSent {
                    why: crate::domain::outcome::NotSent::KeyRefused { status: 401 },
                    retry_after: None,
                }
            } else {
                SendOutcome::Accepted { gateway_id: None, parts: None }
            };
            let _ = board.done(Epoch(1), pass, outcome.clone(), at(seconds).0);
            let accepted = matches!(outcome, SendOutcome::Accepted { .. });
            let due = at(seconds).1;
            board.finished(Epoch(1), &id, if accepted { After::Gone } else { After::First(due) });
            left.extend(accepted.then_some(id));
        }
        left.sort();
        assert_eq!(left, [DocId("c".to_owned()), DocId("d".to_owned())]);
    }

    #[test]
    fn a_sighting_counts_from_its_first_look_and_anew_after_a_lapse() {
        let mut board = Board::new(PACE);
        let (id, attempt) = (DocId("a".to_owned()), AttemptId("1".to_owned()));
        assert_eq!(board.sighting(&id, &attempt, at(10).0), at(10).0);
        assert_eq!(board.sighting(&id, &attempt, at(40).0), at(10).0);
        board.lapse();
        assert_eq!(board.sighting(&id, &attempt, at(50).0), at(50).0);
    }

    #[test]
    fn a_walk_that_read_a_job_before_it_ended_costs_a_look_and_no_order() {
        for state in ["queued", "sending", "held"] {
            let mut board = Board::new(PACE);
            begin(&mut board, Epoch(1), 0);
            let (first, pass) = picked(&mut board, Epoch(1), 10).expect("a job");
            // Read now, and handed over when the job is long gone.
            let mut stale = header("first");
            stale.keys.state = Some(state.to_owned());
            let seen = board.begin_term(Epoch(1), at(10).0);
            board.back(Epoch(1), pass);
            board.finished(Epoch(1), &first, After::Gone);
            board.polled(seen, Discovered::Whole(vec![stale, header("second")]), BTreeSet::new(), at(11).1);
            let (next, pass) = picked(&mut board, Epoch(1), 20).expect("the lane goes on");
            assert_eq!(next, DocId("second".to_owned()), "{state}");
            board.back(Epoch(1), pass);
            board.finished(Epoch(1), &next, After::Gone);
            // The look at the document says that it is gone; nothing else of the lane was held up.
            board.set(&first, After::Gone);
            assert_eq!(board.gauge(at(20).0).0, 0, "{state}");
        }
    }

    #[test]
    fn a_location_that_changes_its_key_is_served_by_the_new_one() {
        let mut board = Board::new(PACE);
        begin(&mut board, Epoch(1), 0);
        board.assign("L", &key("own"));
        let (id, pass) = picked(&mut board, Epoch(1), 10).expect("a job");
        assert_eq!((id, pass.key), (DocId("first".to_owned()), key("own")));
    }
}
