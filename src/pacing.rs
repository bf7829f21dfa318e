//! How fast one Cast key may send: a token bucket, a bound on calls in flight, and the pauses of a sick or refused key.
//!
//! Invariant: whatever the answers, a key starts no call without a token, none beyond 32 in flight, and none during a pause.
//! `now` is an argument: nothing here reads a clock, sleeps or draws random numbers. Imports `domain` and `digest` alone.

use std::sync::Arc;
use std::time::Duration;

use crate::digest;
use crate::domain::outcome::{NotSent, SendOutcome};
use crate::domain::retry;
use crate::domain::secret::Secret;
use crate::domain::time::Mono;

/// Calls of one key under way at once: the full rate up to a second of Cast latency.
pub const MAX_IN_FLIGHT: usize = 32;
/// Unknown outcomes in a row that pause a key.
const SICK_AFTER: u32 = 3;
/// A 403 is about the message, not the key, when another message was accepted this recently.
const RECENTLY_ACCEPTED: Duration = Duration::from_secs(60);

/// Tells one gateway key from another and shows neither: locations with the same key share its desk.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(Arc<str>);

impl KeyName {
    /// The name of a key: the beginning of its SHA-256.
    #[must_use]
    pub fn of(key: &Secret) -> Self {
        let hash = digest::sha256_hex(key.expose().as_bytes());
        Self(hash.get(..16).unwrap_or(&hash).into())
    }
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The gateway's limit, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Requests a second.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// A token bucket trimmed to 99.5 % of the rate and 80 % of the burst, so that jitter on the way costs no 429. Starts empty.
#[derive(Debug, Clone)]
struct Bucket {
    capacity: f64,
    rate: f64,
    tokens: f64,
    at: Mono,
}

impl Bucket {
    fn new(pace: Pace, now: Mono) -> Self {
        Self {
            capacity: (f64::from(pace.burst) * 0.8).floor().max(1.0),
            rate: f64::from(pace.per_second) * 0.995,
            tokens: 0.0,
            at: now,
        }
    }

    fn refill(&mut self, now: Mono) {
        let earned = now.since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + earned).min(self.capacity);
        self.at = self.at.max(now);
    }

    /// How long until a token is there; zero when one is.
    fn wait(&mut self, now: Mono) -> Duration {
        self.refill(now);
        let missing = 1.0 - self.tokens;
        if missing <= 1e-9 { Duration::ZERO } else { Duration::from_secs_f64(missing / self.rate) }
    }
}

/// Why a key waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// 429.
    Limited,
    /// The gateway can't be reached.
    Unreachable,
    /// 401, 402 or 403: the key itself.
    Refused,
    /// Three unknown outcomes in a row.
    Sick,
}

#[derive(Debug, Clone)]
struct Pause {
    trouble: Trouble,
    until: Mono,
    /// Pauses of this kind in a row, from 0.
    streak: u32,
    probing: bool,
}

/// The right to make one call; comes back through [`KeyDesk::done`] or [`KeyDesk::back`].
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    generation: u64,
}

/// Whether a call may start.
#[derive(Debug)]
pub enum Start {
    Go(Ticket),
    /// Not before this long.
    Wait(Duration),
    /// Not before a call in flight has ended.
    Full,
}

/// One key's bucket, pause and calls in flight.
#[derive(Debug, Clone)]
pub struct KeyDesk {
    bucket: Bucket,
    in_flight: usize,
    pause: Option<Pause>,
    /// Rises with each pause: answers to calls from before it neither lengthen nor end it.
    generation: u64,
    unknowns: u32,
    accepted_at: Option<Mono>,
}

impl KeyDesk {
    /// A key that has sent nothing yet.
    #[must_use]
    pub fn new(pace: Pace, now: Mono) -> Self {
        Self {
            bucket: Bucket::new(pace, now),
            in_flight: 0,
            pause: None,
            generation: 0,
            unknowns: 0,
            accepted_at: None,
        }
    }

    /// Takes a token and a place in flight, if there are both and no pause.
    pub fn start(&mut self, now: Mono) -> Start {
        if self.in_flight >= MAX_IN_FLIGHT {
            return Start::Full;
        }
        if let Some(pause) = &self.pause {
            if now < pause.until {
                return Start::Wait(pause.until.since(now));
            }
            // A key in trouble is probed by one message; a limited one just goes on at its pace.
            if pause.probing && pause.trouble != Trouble::Limited {
                return Start::Full;
            }
        }
        let wait = self.bucket.wait(now);
        if !wait.is_zero() {
            return Start::Wait(wait);
        }
        self.bucket.tokens -= 1.0;
        self.in_flight += 1;
        if let Some(pause) = &mut self.pause {
            pause.probing = true;
        }
        Start::Go(Ticket { generation: self.generation })
    }

    /// The call was not made after all.
    pub fn back(&mut self, ticket: Ticket) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bucket.tokens = (self.bucket.tokens + 1.0).min(self.bucket.capacity);
        if ticket.generation == self.generation
            && let Some(pause) = &mut self.pause
        {
            pause.probing = false;
        }
    }

    /// Learns from an answer; answers the outcome that is to be recorded, which differs from what was seen only for a 403.
    pub fn done(&mut self, ticket: Ticket, seen: SendOutcome, now: Mono) -> SendOutcome {
        self.in_flight = self.in_flight.saturating_sub(1);
        let current = ticket.generation == self.generation;
        match &seen {
            SendOutcome::Accepted { .. } => {
                self.accepted_at = Some(now);
                self.answered(current);
            }
            SendOutcome::Rejected { .. } => self.answered(current),
            SendOutcome::Unknown { .. } => {
                self.unknowns += 1;
                let probe_failed = current && self.pause.as_ref().is_some_and(|p| p.trouble == Trouble::Sick);
                if probe_failed || self.unknowns >= SICK_AFTER {
                    self.halt(Trouble::Sick, current, now, retry::cast_sick);
                } else if current && let Some(pause) = &mut self.pause {
                    pause.probing = false;
                }
            }
            SendOutcome::NotSent { why: NotSent::KeyRefused { status: 403 }, .. }
                if self.accepted_at.is_some_and(|at| now.since(at) <= RECENTLY_ACCEPTED) =>
            {
                self.answered(current);
                return SendOutcome::Rejected { reason: "Cast refused this SMS (403).".to_owned() };
            }
            SendOutcome::NotSent { why, retry_after } => self.not_sent(why, *retry_after, current, now),
        }
        seen
    }

    /// What the key waits for, and how long, if it does.
    #[must_use]
    pub fn trouble(&self, now: Mono) -> Option<(Trouble, Duration)> {
        self.pause.as_ref().map(|p| (p.trouble, p.until.since(now)))
    }

    /// Calls under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn not_sent(&mut self, why: &NotSent, hint: Option<Duration>, current: bool, now: Mono) {
        match why {
            NotSent::RateLimited => {
                self.unknowns = 0;
                self.halt(Trouble::Limited, current, now, |streak| retry::cast_limited(hint, streak));
                if let (false, Some(hint), Some(pause)) = (current, hint, &mut self.pause) {
                    pause.until = pause.until.max(now.after(retry::cast_limited(Some(hint), 0)));
                }
            }
            NotSent::Unreachable => self.halt(Trouble::Unreachable, current, now, retry::cast_unreachable),
            NotSent::KeyRefused { .. } => {
                self.unknowns = 0;
                self.halt(Trouble::Refused, current, now, retry::cast_refused);
            }
            NotSent::NotCalled => {
                if current && let Some(pause) = &mut self.pause {
                    pause.probing = false;
                }
            }
        }
    }

    /// The gateway answered in earnest: it is neither sick nor out of reach, and the key is good.
    fn answered(&mut self, current: bool) {
        self.unknowns = 0;
        if current {
            self.pause = None;
        }
    }

    fn halt(&mut self, trouble: Trouble, current: bool, now: Mono, wait: impl Fn(u32) -> Duration) {
        if !current && self.pause.is_some() {
            // A call from before the pause: it tells nothing new.
            return;
        }
        let streak = self.pause.as_ref().filter(|p| p.trouble == trouble).map_or(0, |p| p.streak + 1);
        self.pause = Some(Pause { trouble, until: now.after(wait(streak)), streak, probing: false });
        self.generation += 1;
        self.unknowns = 0;
        self.bucket.refill(now);
        self.bucket.tokens = 0.0;
    }
}

#[cfg(test)]
#[path = "pacing_tests.rs"]
mod tests;
