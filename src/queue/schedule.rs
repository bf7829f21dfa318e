//! The leader's view of what is open: lanes in order, locations in turn. Pure: no store, no clock, no text.
//!
//! Invariant: [`Schedule::next`] hands out only the earliest open job of a lane, one job of a lane at a time, and takes turns
//! among the locations of a key. It is a view: every decision is taken again on the document by `domain::transition`, so a stale header
//! costs a look, never an SMS. Every operation on one job is flat in the number of jobs and of locations (benches/queue.rs).
//! Imports `domain`, names of keys, the store's header and the schedule's own lanes and turns alone.

mod lane;
mod turn;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::num::NonZeroU64;
use std::sync::Arc;

use self::lane::Lanes;
use self::turn::Turns;
use crate::domain::id::DocId;
use crate::domain::message::State;
use crate::domain::time::UnixMillis;
use crate::pacing::KeyName;
use crate::store::{Discovered, Header};

/// A job's number, in order of discovery; never given twice.
type Number = NonZeroU64;

/// Place in a lane and in a location: what was ever claimed precedes what never was; then the order of discovery.
type Place = (bool, Number);

#[derive(Debug)]
struct Job {
    id: Arc<str>,
    location: Arc<str>,
    /// The hash of its name: lanes that shared one would wait for each other, and nothing worse.
    lane: u64,
    due_at: UnixMillis,
    state: State,
    seat: Seat,
    claimed: bool,
    /// Held, and to be looked at all the same: its location was installed meanwhile.
    released: bool,
    /// The last whole poll that listed it.
    listed: u32,
}

/// Where a job waits.
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
    jobs: HashMap<Number, Job>,
    numbers: HashMap<Arc<str>, Number>,
    lanes: Lanes,
    turns: Turns,
    /// Messages put back to go before everything else.
    first: VecDeque<Number>,
    timers: BTreeSet<(UnixMillis, Number)>,
    doubts: BTreeSet<Number>,
    lane_names: RandomState,
    numbered: u64,
    polls: u32,
    /// The last `now`: an earlier one means that the clock was set back.
    now: UnixMillis,
}

impl Schedule {
    /// Takes in a poll. A whole list also says what is not open any more.
    pub fn discover(&mut self, discovered: Discovered) {
        let (headers, whole) = match discovered {
            Discovered::New(headers) => (headers, false),
            Discovered::Whole(headers) => (headers, !self.jobs.is_empty()),
        };
        self.polls = self.polls.wrapping_add(u32::from(whole));
        for header in headers {
            self.take_in(header);
        }
        if whole {
            let closed = |job: &Job| job.seat != Seat::Out && job.listed != self.polls;
            let closed: Vec<Number> = self.jobs.iter().filter(|(_, job)| closed(job)).map(|(n, _)| *n).collect();
            for number in closed {
                self.remove(number);
            }
        }
    }

    /// Keys that have something to send at `now`.
    #[must_use]
    pub fn keys(&mut self, now: UnixMillis) -> Vec<KeyName> {
        self.ripen(now);
        self.turns.keys()
    }

    /// Locations that nothing is handed out for until [`Schedule::assign`] says which key pays.
    #[must_use]
    pub fn strangers(&self) -> Vec<String> {
        self.turns.strangers().map(ToString::to_string).collect()
    }

    /// This key pays for a location's messages from now on.
    pub fn assign(&mut self, location: &str, key: &KeyName) {
        self.turns.assign(location, key);
    }

    /// The next job of this key whose turn it is at `now`; it stays out until [`Schedule::finished`].
    pub fn next(&mut self, key: &KeyName, now: UnixMillis) -> Option<DocId> {
        self.ripen(now);
        let number = self.put_back_first(key).or_else(|| self.turns.next(key))?;
        let job = self.jobs.get_mut(&number)?;
        job.seat = Seat::Out;
        self.lanes.hand_out(job.lane, number);
        Some(DocId(job.id.as_ref().to_owned()))
    }

    /// Puts back what [`Schedule::next`] handed out.
    pub fn finished(&mut self, id: &DocId, after: After) {
        let Some(&number) = self.numbers.get(id.as_str()) else { return };
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let lane = job.lane;
        if job.seat == Seat::Out {
            job.seat = Seat::Behind;
            self.lanes.put_back(lane, number);
        }
        self.set(id, after);
        if matches!(after, After::First(_)) {
            self.first.push_front(number);
        }
        self.seat_head(lane);
    }

    /// Corrects what is known of a job that is not out.
    pub fn set(&mut self, id: &DocId, after: After) {
        let Some(&number) = self.numbers.get(id.as_str()) else { return };
        if self.jobs.get(&number).is_none_or(|job| job.seat == Seat::Out) {
            return;
        }
        match after {
            After::Gone => self.remove(number),
            After::Open(state, due_at) => self.update(number, state, due_at),
            After::First(due_at) => self.update(number, State::Queued, due_at),
        }
    }

    /// Held jobs of a location may be looked at now.
    pub fn release(&mut self, location: &str, now: UnixMillis) {
        for number in self.turns.release(location) {
            self.unseat(number);
            let Some(job) = self.jobs.get_mut(&number) else { continue };
            (job.due_at, job.released) = (now, true);
            let lane = job.lane;
            self.seat_head(lane);
        }
    }

    /// Some of the locations that hold messages back, at most `most`: others with each call, until all had their turn.
    #[must_use]
    pub fn held_locations(&mut self, most: usize) -> Vec<String> {
        self.turns.held_locations(most)
    }

    /// Heads of lanes nobody knows the outcome of.
    #[must_use]
    pub fn doubts(&self) -> Vec<DocId> {
        let jobs = self.doubts.iter().filter_map(|number| self.jobs.get(number));
        jobs.map(|job| DocId(job.id.as_ref().to_owned())).collect()
    }

    /// When the next job becomes due; `None` when nothing waits for its time.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Open jobs known.
    #[must_use]
    pub fn open(&self) -> usize {
        self.jobs.len()
    }

    fn take_in(&mut self, header: Header) {
        let keys = header.keys;
        let (Some(location), Some(lane), Some(state)) =
            (keys.location, keys.lane, keys.state.as_deref().and_then(State::from_word))
        else {
            return;
        };
        // Only a hold has an end. A queued job was due when it was queued, by a clock that may since have been set back.
        let due_at = UnixMillis(keys.due_at.filter(|_| state == State::Held).unwrap_or_default());
        if let Some(&number) = self.numbers.get(header.id.as_str()) {
            self.correct(number, state, due_at);
            return;
        }
        let Some(number) = NonZeroU64::new(self.numbered + 1) else { return };
        self.numbered = number.get();
        let id: Arc<str> = header.id.0.into();
        let lane = self.lane_names.hash_one(lane);
        self.numbers.insert(Arc::clone(&id), number);
        let location = self.turns.enter(&location);
        let (claimed, listed) = (keys.claimed, self.polls);
        let job = Job { id, location, lane, due_at, state, seat: Seat::Behind, claimed, released: false, listed };
        let place = place(&job, number);
        self.jobs.insert(number, job);
        // A job claimed before a take-over precedes the seated head, found earlier but never claimed.
        if let Some(displaced) = self.lanes.enter(lane, place) {
            self.unseat(displaced);
        }
        self.seat_head(lane);
    }

    /// A poll lists a job that is known.
    fn correct(&mut self, number: Number, state: State, due_at: UnixMillis) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.listed = self.polls;
        // What is queued is due at once: if it waits, it is for a pause of ours. A released hold stays released until it is
        // looked at.
        let ours = job.state == state && (state == State::Queued || job.released);
        if job.seat != Seat::Out && !ours && (job.state, job.due_at) != (state, due_at) {
            self.update(number, state, due_at);
        }
    }

    /// Sets what is known of a job and seats its lane anew.
    fn update(&mut self, number: Number, state: State, due_at: UnixMillis) {
        self.unseat(number);
        let Some(job) = self.jobs.get_mut(&number) else { return };
        (job.state, job.due_at, job.released) = (state, due_at, false);
        let lane = job.lane;
        self.seat_head(lane);
    }

    fn remove(&mut self, number: Number) {
        self.unseat(number);
        let Some(job) = self.jobs.remove(&number) else { return };
        self.numbers.remove(&job.id);
        self.turns.leave(&job.location);
        self.lanes.leave(job.lane, place(&job, number));
        self.seat_head(job.lane);
    }

    /// Seats the first job of a lane, unless one of the lane is out: one at a time.
    fn seat_head(&mut self, lane: u64) {
        let Some(number) = self.lanes.may_go(lane) else { return };
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if job.seat != Seat::Behind {
            return;
        }
        match job.state {
            State::Sending | State::InDoubt => {
                job.seat = Seat::Doubt;
                self.doubts.insert(number);
            }
            state => {
                job.seat = Seat::Timer;
                self.timers.insert((job.due_at, number));
                if state == State::Held && !job.released {
                    self.turns.hold(&job.location, number);
                }
            }
        }
    }

    /// A clock that was set back must not make an hour of a second's pause.
    fn set_back(&mut self, now: UnixMillis) {
        if std::mem::replace(&mut self.now, now) <= now {
            return;
        }
        let paused = self.timers.iter().map(|(_, number)| *number);
        let paused: Vec<Number> =
            paused.filter(|number| self.jobs.get(number).is_some_and(|job| job.state == State::Queued)).collect();
        for number in paused {
            self.update(number, State::Queued, now);
        }
    }

    /// Moves what is due from the timers to its location's turn.
    fn ripen(&mut self, now: UnixMillis) {
        self.set_back(now);
        while let Some(&(due, number)) = self.timers.first() {
            if due > now {
                return;
            }
            self.timers.pop_first();
            let Some(job) = self.jobs.get_mut(&number) else { continue };
            job.seat = Seat::Ready;
            self.turns.unhold(&job.location, number);
            self.turns.ready(&job.location, place(job, number));
        }
    }

    /// The earliest message of this key that was put back first and is ready, out of its location's turn.
    fn put_back_first(&mut self, key: &KeyName) -> Option<Number> {
        let (jobs, turns) = (&self.jobs, &self.turns);
        // One that waits for its time again comes back by `finished`.
        self.first.retain(|number| jobs.get(number).is_some_and(|job| job.seat == Seat::Ready));
        let at = self.first.iter().position(|n| jobs.get(n).is_some_and(|job| turns.pays(key, &job.location)))?;
        let number = self.first.remove(at)?;
        let job = self.jobs.get(&number)?;
        self.turns.out_of_turn(&job.location, place(job, number));
        Some(number)
    }

    /// Takes a job that is not out from where it waits.
    fn unseat(&mut self, number: Number) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        match job.seat {
            Seat::Behind | Seat::Out => return,
            Seat::Timer => {
                self.timers.remove(&(job.due_at, number));
                self.turns.unhold(&job.location, number);
            }
            Seat::Doubt => {
                self.doubts.remove(&number);
            }
            Seat::Ready => self.turns.not_ready(&job.location, place(job, number)),
        }
        job.seat = Seat::Behind;
    }
}

fn place(job: &Job, number: Number) -> Place {
    (!job.claimed, number)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
