//! The worker: the one place that takes messages from the queue. Poll, pick, claim, `sending`, call, outcome.
//!
//! Invariants: no call without a token, a claim, a durable attempt and a right that still holds after each of them; an outcome
//! is written until it lands; a call this process made is in its table of calls in flight until its outcome is recorded.
//! [`Worker::step`] does one piece of that for a test; [`Worker::run`] the same, concurrently. Must not import delivery.

mod board;
mod doubt;
mod job;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use self::board::{Board, Pick, Polled};
use crate::clock::Clock;
use crate::domain::id::{AttemptId, DocId, Epoch, LocationId};
use crate::domain::leadership::Right;
use crate::domain::message::{FailureCode, HeldFor, Message, PartRecord};
use crate::domain::outcome::SendOutcome;
use crate::domain::phone::Phone;
use crate::domain::secret::Secret;
use crate::domain::time::UnixMillis;
use crate::domain::transition::{Rules, StatusOnAccept};
use crate::leader::Leadership;
use crate::lifecycle::{Bell, Bells, Condition, Stop};
use crate::pacing::{KeyName, Pace};
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;

/// What sending means: implemented by `delivery`.
pub trait Handler: Send + Sync + 'static {
    /// May it go, and as what? Called with the message claimed.
    fn prepare(&self, message: &Message, now: UnixMillis) -> impl Future<Output = Result<Prepared, StoreError>> + Send;

    /// Makes the call. Never sleeps, never retries.
    fn send(&self, call: Call) -> impl Future<Output = SendOutcome> + Send;

    /// Which of the gateway's keys pays for a location's messages now.
    fn key_of(&self, location: &LocationId) -> impl Future<Output = Result<KeyName, StoreError>> + Send;

    /// Whether messages held for this location may be looked at again: what they wait for came, or never will.
    fn may_go(&self, location: &LocationId) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What a message came to before it is sent.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// To this phone, in these parts (stored ones win), paid for by this key, on these terms.
    Send { phone: Phone, parts: Vec<PartRecord>, key: KeyName, terms: Terms },
    /// Not before what it waits for, at the latest until then.
    Hold { until: UnixMillis, why: HeldFor },
    /// Never.
    Reject { code: FailureCode, sentence: String },
}

/// The terms of a message's location, its own or the operator's: what `prepare` found holds for the call that follows.
#[derive(Debug, Clone)]
pub struct Terms {
    pub api_key: Secret,
    pub sender_id: Option<String>,
    /// Its own word on what is reported; none is the operator's rule.
    pub status_on_accept: Option<StatusOnAccept>,
    /// Where the parts of the message are reserved, if anywhere.
    pub reserved_in: Option<DocId>,
}

/// One call to the gateway.
#[derive(Clone)]
pub struct Call {
    pub message: DocId,
    pub location: LocationId,
    /// The key the call was paced for.
    pub key: KeyName,
    pub phone: Phone,
    pub text: String,
    pub idempotency_key: String,
    pub terms: Terms,
}

/// What one step of the worker did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It worked on this message.
    Worked(DocId),
    /// Nothing can be done; something will be after this long, if ever.
    Idle(Option<Duration>),
    /// Another process leads.
    NotLeader,
}

/// What a worker is made of.
pub struct WorkerParts<H> {
    pub store: Store,
    pub clock: Clock,
    pub leadership: Leadership,
    pub handler: H,
    pub rules: Rules,
    pub pace: Pace,
    pub bells: Bells,
    pub condition: Condition,
    pub metrics: Metrics,
    /// The embedded store's lock proves that no other process can still answer for a call.
    pub sole: bool,
}

/// The worker; clones share one board.
pub struct Worker<H>(Arc<Shared<H>>);

impl<H> Clone for Worker<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<H> {
    parts: WorkerParts<H>,
    board: Mutex<Board>,
    /// Calls this process answers for: attempt → its message.
    in_flight: Mutex<HashMap<AttemptId, DocId>>,
    /// Something may be handed out that could not be before.
    news: Bell,
    /// One poll at a time.
    polling: tokio::sync::Mutex<()>,
    tracker: TaskTracker,
    stop: Stop,
}

/// A poll of a store that others write to: at most this far apart (bridge §5).
const POLL_EVERY: Duration = Duration::from_millis(500);
/// The longest pause after a slow walk, or one that failed slowly.
const POLL_GAP: Duration = Duration::from_secs(3);
/// Rings of the own bell are answered by a poll no sooner than this after the last one.
const POLL_APART: Duration = Duration::from_millis(20);

impl<H: Handler> Worker<H> {
    /// A worker that has seen nothing yet.
    #[must_use]
    pub fn new(parts: WorkerParts<H>, stop: Stop) -> Self {
        let board = Board::new(parts.pace);
        Self(Arc::new(Shared {
            parts,
            board: Mutex::new(board),
            in_flight: Mutex::default(),
            news: Bell::default(),
            polling: tokio::sync::Mutex::default(),
            tracker: TaskTracker::new(),
            stop,
        }))
    }

    /// Polls, then works on one message to its end.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be polled.
    pub async fn step(&self) -> Result<Step, StoreError> {
        let Some(right) = self.right() else { return Ok(Step::NotLeader) };
        self.poll(right).await?;
        match self.pick(right) {
            Pick::Job(id, pass) => {
                self.work(&id, pass, right).await;
                Ok(Step::Worked(id))
            }
            Pick::Nothing(wait) => Ok(Step::Idle(wait)),
        }
    }

    /// Works until shutdown begins. Calls in flight go on: see [`Worker::drain`].
    pub async fn run(&self) {
        // Counted as a task: `drain` can't find nothing in flight while this may still start something.
        let _running = self.0.tracker.token();
        tokio::join!(self.look_out(), self.hand_out());
    }

    /// Polls: every half second, sooner after a ring; a long walk over a big backlog holds up nothing that is known already.
    async fn look_out(&self) {
        while !self.0.stop.begun() {
            // Armed before looking: a ring during the poll is kept for the wait below.
            let rung = self.parts().bells.messages.rung();
            let began = self.parts().clock.mono();
            self.parts().condition.worker_turned(began);
            let mut apart = POLL_APART;
            if let Some(right) = self.right() {
                let polled = self.poll(right).await;
                self.parts().condition.store(polled.is_ok());
                if let Err(e) = polled {
                    tracing::warn!(error = %e, "the queue can't be read now");
                }
                self.0.news.ring();
                // A tenth of the time for polls; of a slow walk more, since news waits for the next one.
                apart = (self.parts().clock.mono().since(began) * 9).clamp(POLL_APART, POLL_GAP);
            }
            let clock = &self.parts().clock;
            tokio::select! {
                () = async {
                    clock.sleep(apart).await;
                    tokio::select! {
                        () = rung => {}
                        () = clock.sleep(POLL_EVERY.saturating_sub(apart)) => {}
                    }
                } => {}
                () = self.0.stop.soft() => {}
            }
        }
    }

    /// Starts whatever may start, at each news and at each time something becomes due.
    async fn hand_out(&self) {
        while !self.0.stop.begun() {
            let news = self.0.news.rung();
            let wait = self.right().and_then(|right| self.dispatch(right)).map_or(POLL_EVERY, |w| w.min(POLL_EVERY));
            tokio::select! {
                () = news => {}
                () = self.parts().clock.sleep(wait.max(Duration::from_millis(1))) => {}
                () = self.0.stop.soft() => {}
            }
        }
    }

    /// After shutdown began: waits for the calls in flight, at most `limit`; what remains is left `in_doubt`.
    pub async fn drain(&self, limit: Duration) {
        self.0.tracker.close();
        let ended = tokio::select! {
            () = self.0.tracker.wait() => true,
            () = self.parts().clock.sleep(limit) => false,
            () = self.0.stop.hard() => false,
        };
        if !ended {
            self.leave_in_doubt().await;
        }
    }

    /// Starts everything that may start now; answers how long until more may.
    fn dispatch(&self, right: Right) -> Option<Duration> {
        loop {
            match self.pick(right) {
                Pick::Job(id, pass) => {
                    let worker = self.clone();
                    self.0.tracker.spawn(async move {
                        worker.work(&id, pass, right).await;
                        worker.0.news.ring();
                    });
                }
                Pick::Nothing(wait) => return wait,
            }
        }
    }

    /// The right to act; a lapse forgets what was seen as leader.
    fn right(&self) -> Option<Right> {
        let right = self.parts().leadership.right();
        if right.is_none() {
            self.board().lapse();
        }
        right
    }

    fn parts(&self) -> &WorkerParts<H> {
        &self.0.parts
    }

    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptId, DocId>> {
        self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds(&self, epoch: Epoch) -> bool {
        self.parts().leadership.holds(epoch)
    }

    /// May something be begun for the outside? Not after shutdown began, though the right holds until the last outcome.
    fn may_act(&self, epoch: Epoch) -> bool {
        self.holds(epoch) && !self.0.stop.begun()
    }

    /// Looks for news: new messages, released holds, calls nobody answers for.
    async fn poll(&self, right: Right) -> Result<(), StoreError> {
        let _one = self.0.polling.lock().await;
        let parts = self.parts();
        let mut seen = self.board().begin_term(right.epoch, parts.clock.mono());
        let found = parts.store.discover(crate::store::Collection::Messages, &mut seen).await?;
        let now = parts.clock.now();
        let Polled { strangers, held, doubts } = self.board().polled(seen, found, parts.bells.held.take(), now);
        for location in strangers {
            if let Err(e) = self.introduce(&location).await {
                tracing::warn!(location.id = location, error = %e, "the key of a location can't be read now");
            }
        }
        // One document that can't be read must not keep the others from being looked at.
        for location in held {
            if let Err(e) = self.look_at_held(&location, now).await {
                tracing::warn!(location.id = location, error = %e, "held messages can't be looked at now");
            }
        }
        for id in doubts {
            if let Err(e) = self.look_at_doubt(&id, right).await {
                tracing::warn!(job.id = %id, error = %e, "a call in doubt can't be looked at now");
            }
        }
        let (open, pause) = self.board().gauge(parts.clock.mono());
        parts.metrics.queue(open, pause.unwrap_or_default());
        parts.condition.key_paused(pause.is_some());
        Ok(())
    }

    /// Finds out which key pays for a location's messages.
    async fn introduce(&self, location: &str) -> Result<(), StoreError> {
        let Ok(id) = LocationId::parse(location) else { return Ok(()) };
        let key = self.parts().handler.key_of(&id).await?;
        self.board().assign(location, &key);
        Ok(())
    }

    async fn look_at_held(&self, location: &str, now: UnixMillis) -> Result<(), StoreError> {
        let Ok(id) = LocationId::parse(location) else { return Ok(()) };
        if self.parts().handler.may_go(&id).await? {
            // What it waited for may have been a key of its own.
            self.introduce(location).await?;
            self.board().release(location, now);
        }
        Ok(())
    }

    fn pick(&self, right: Right) -> Pick {
        let (mono, now) = (self.parts().clock.mono(), self.parts().clock.now());
        if self.0.stop.begun() {
            return Pick::Nothing(None);
        }
        self.board().pick(right.epoch, mono, now)
    }
}

#[cfg(test)]
mod tests;
