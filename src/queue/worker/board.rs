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
            held.extend(self.schedule.held_locations());
        }
        Polled { held, doubts: self.schedule.doubts() }
    }

    pub(super) fn pick(&mut self, mono: Mono, now: UnixMillis) -> Pick {
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

    pub(super) fn back(&mut self, ticket: Ticket) {
        self.desk.back(ticket);
    }

    pub(super) fn done(&mut self, ticket: Ticket, seen: SendOutcome, now: Mono) -> SendOutcome {
        self.desk.done(ticket, seen, now)
    }

    pub(super) fn finished(&mut self, id: &DocId, after: After) {
        self.schedule.finished(id, after);
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
