//! The leader's view of what is open: lanes in order, locations in turn. Pure: no store, no clock, no text.
//!
//! Invariant: [`Schedule::next`] hands out only the earliest open job of a lane, one job of a lane at a time, and takes turns
//! among locations. It is a view: every decision is taken again on the document by `domain::transition`, so a stale header
//! costs a look, never an SMS. Imports `domain` and the store's header alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::domain::id::DocId;
use crate::domain::message::State;
use crate::domain::time::UnixMillis;
use crate::store::{Discovered, Header};

/// Place in a lane: what was ever claimed precedes what never was; then the order of discovery.
type Place = (bool, u64);

#[derive(Debug, Clone)]
struct Job {
    location: String,
    lane: String,
    place: Place,
    state: State,
    due_at: UnixMillis,
    seat: Seat,
}

/// Where the head of a lane waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// Behind another job of its lane.
    Behind,
    /// In its location's turn.
    Ready,
    /// For its time.
    Timer,
    /// For a judgement: nobody knows what became of its call.
    Doubt,
    /// Handed out.
    Out,
}

/// What became of a job that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Settled, or not ours any more.
    Gone,
    /// Open in this state, to be looked at from then on.
    Open(State, UnixMillis),
    /// Open and to go before everything else of the key.
    First(UnixMillis),
}

/// All open jobs, by lane and by turn.
#[derive(Debug, Default)]
pub struct Schedule {
    jobs: HashMap<DocId, Job>,
    lanes: HashMap<String, BTreeMap<Place, DocId>>,
    ready: HashMap<String, BTreeMap<Place, DocId>>,
    turns: VecDeque<String>,
    /// Messages put back to go before everything else.
    first: VecDeque<DocId>,
    timers: BTreeSet<(UnixMillis, DocId)>,
    doubts: BTreeSet<DocId>,
    /// Lanes with a job handed out.
    out: HashSet<String>,
    held: HashMap<String, usize>,
    numbered: u64,
}

impl Schedule {
    /// Takes in a poll. A whole list also says what is not open any more.
    pub fn discover(&mut self, discovered: Discovered) {
        let headers = match discovered {
            Discovered::New(headers) => headers,
            Discovered::Whole(headers) => {
                let open: HashSet<&DocId> = headers.iter().map(|h| &h.id).collect();
                let closed: Vec<DocId> = self
                    .jobs
                    .iter()
                    .filter(|(id, job)| job.seat != Seat::Out && !open.contains(id))
                    .map(|(id, _)| id.clone())
                    .collect();
                for id in closed {
                    self.remove(&id);
                }
                headers
            }
        };
        for header in headers {
            self.take_in(header);
        }
    }

    /// The next job whose turn it is at `now`; it stays out until [`Schedule::finished`].
    pub fn next(&mut self, now: UnixMillis) -> Option<DocId> {
        self.ripen(now);
        let location = self.whose_turn()?;
        let queue = self.ready.get_mut(&location)?;
        let (_, id) = queue.pop_first()?;
        if queue.is_empty() {
            self.ready.remove(&location);
        } else {
            self.turns.push_back(location);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.seat = Seat::Out;
            self.out.insert(job.lane.clone());
        }
        Some(id)
    }

    /// The location to serve: that of a message put back first, if it is ready at the head of it; else the next in turn.
    fn whose_turn(&mut self) -> Option<String> {
        while let Some(id) = self.first.pop_front() {
            let location = self.jobs.get(&id).filter(|job| job.seat == Seat::Ready).map(|job| job.location.clone());
            if let Some(location) = location
                && let Some(at) = self.turns.iter().position(|l| *l == location)
            {
                self.turns.remove(at);
                return Some(location);
            }
        }
        self.turns.pop_front()
    }

    /// Puts back what [`Schedule::next`] handed out.
    pub fn finished(&mut self, id: &DocId, after: After) {
        let Some(job) = self.jobs.get(id) else { return };
        let lane = job.lane.clone();
        self.set(id, after);
        if matches!(after, After::First(_)) {
            self.first.push_front(id.clone());
        }
        self.seat_head(&lane);
    }

    /// Corrects what is known of a job that is not out.
    pub fn set(&mut self, id: &DocId, after: After) {
        match after {
            After::Gone => self.remove(id),
            After::Open(state, due_at) => self.update(id, state, due_at),
            After::First(due_at) => self.update(id, State::Queued, due_at),
        }
    }

    /// Held jobs of a location may be looked at now.
    pub fn release(&mut self, location: &str, now: UnixMillis) {
        let heads: Vec<DocId> = self
            .timers
            .iter()
            .filter(|(_, id)| self.jobs.get(id).is_some_and(|j| j.location == location && j.state == State::Held))
            .map(|(_, id)| id.clone())
            .collect();
        for id in heads {
            self.update(&id, State::Held, now);
        }
    }

    /// Locations that hold messages back.
    #[must_use]
    pub fn held_locations(&self) -> Vec<String> {
        self.held.keys().cloned().collect()
    }

    /// Heads of lanes nobody knows the outcome of.
    #[must_use]
    pub fn doubts(&self) -> Vec<DocId> {
        self.doubts.iter().cloned().collect()
    }

    /// When the next job becomes due; `None` when nothing waits for its time.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Open jobs known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    fn take_in(&mut self, header: Header) {
        let keys = header.keys;
        let (Some(location), Some(lane), Some(state)) =
            (keys.location, keys.lane, keys.state.as_deref().and_then(State::from_word))
        else {
            return;
        };
        let due_at = UnixMillis(keys.due_at.unwrap_or_default());
        if let Some(known) = self.jobs.get(&header.id) {
            if known.seat != Seat::Out && (known.state, known.due_at) != (state, due_at) {
                // Changed by somebody else, or released by us: a released hold stays released until it is looked at.
                let released = known.state == State::Held && state == State::Held && known.due_at < due_at;
                if !released {
                    self.update(&header.id, state, due_at);
                }
            }
            return;
        }
        self.numbered += 1;
        let place = (!keys.claimed, self.numbered);
        let job = Job { location, lane: lane.clone(), place, state, due_at, seat: Seat::Behind };
        if state == State::Held {
            *self.held.entry(job.location.clone()).or_default() += 1;
        }
        let jobs = self.lanes.entry(lane.clone()).or_default();
        jobs.insert(place, header.id.clone());
        // A job claimed before a take-over precedes the seated head, found earlier but never claimed.
        let displaced =
            jobs.values().nth(1).filter(|_| jobs.first_key_value().is_some_and(|(p, _)| *p == place)).cloned();
        self.jobs.insert(header.id, job);
        if let Some(displaced) = displaced {
            self.unseat(&displaced);
        }
        self.seat_head(&lane);
    }

    /// Sets what is known of a job and seats its lane anew.
    fn update(&mut self, id: &DocId, state: State, due_at: UnixMillis) {
        self.unseat(id);
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was = std::mem::replace(&mut job.state, state);
        job.due_at = due_at;
        let (lane, location) = (job.lane.clone(), job.location.clone());
        if was != State::Held && state == State::Held {
            *self.held.entry(location).or_default() += 1;
        } else if was == State::Held && state != State::Held {
            self.unhold(&location);
        }
        self.seat_head(&lane);
    }

    fn remove(&mut self, id: &DocId) {
        self.unseat(id);
        let Some(job) = self.jobs.remove(id) else { return };
        if job.state == State::Held {
            self.unhold(&job.location);
        }
        if let Some(lane) = self.lanes.get_mut(&job.lane) {
            lane.remove(&job.place);
            if lane.is_empty() {
                self.lanes.remove(&job.lane);
            }
        }
        self.seat_head(&job.lane);
    }

    fn unhold(&mut self, location: &str) {
        if let Some(count) = self.held.get_mut(location) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(location);
            }
        }
    }

    /// Seats the first job of a lane, unless one of the lane is out: one at a time.
    fn seat_head(&mut self, lane: &str) {
        if self.out.contains(lane) {
            return;
        }
        let Some((_, id)) = self.lanes.get(lane).and_then(|jobs| jobs.first_key_value()) else { return };
        let id = id.clone();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.seat != Seat::Behind {
            return;
        }
        match job.state {
            State::Sending | State::InDoubt => {
                job.seat = Seat::Doubt;
                self.doubts.insert(id);
            }
            _ => {
                job.seat = Seat::Timer;
                self.timers.insert((job.due_at, id));
            }
        }
    }

    /// Moves what is due from the timers to its location's turn.
    fn ripen(&mut self, now: UnixMillis) {
        while let Some((due, id)) = self.timers.first().cloned() {
            if due > now {
                return;
            }
            self.timers.pop_first();
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.seat = Seat::Ready;
            let (location, place) = (job.location.clone(), job.place);
            let queue = self.ready.entry(location.clone()).or_default();
            if queue.is_empty() {
                self.turns.push_back(location);
            }
            queue.insert(place, id);
        }
    }

    fn unseat(&mut self, id: &DocId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let seat = std::mem::replace(&mut job.seat, Seat::Behind);
        match seat {
            Seat::Behind => {}
            Seat::Out => {
                self.out.remove(&job.lane);
            }
            Seat::Timer => {
                self.timers.remove(&(job.due_at, id.clone()));
            }
            Seat::Doubt => {
                self.doubts.remove(id);
            }
            Seat::Ready => {
                let (location, place) = (job.location.clone(), job.place);
                if let Some(queue) = self.ready.get_mut(&location) {
                    queue.remove(&place);
                    if queue.is_empty() {
                        self.ready.remove(&location);
                        self.turns.retain(|l| *l != location);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
