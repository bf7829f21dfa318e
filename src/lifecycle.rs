//! A process's life: starting, ready, draining, stopped; the tokens that end it and the bells that wake its loops.
//!
//! Invariant: the soft stop is the hard one's child, so that a hard stop ends everything. Imports `domain::time` alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::time::Mono;

/// What stops what.
#[derive(Debug, Clone)]
pub struct Stop {
    hard: CancellationToken,
    soft: CancellationToken,
}

impl Default for Stop {
    fn default() -> Self {
        let hard = CancellationToken::new();
        Self { soft: hard.child_token(), hard }
    }
}

impl Stop {
    /// No new work: claims end, webhooks are still stored.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Everything ends now.
    pub fn abort(&self) {
        self.hard.cancel();
    }

    /// Whether shutdown has begun.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Ends when shutdown begins.
    pub async fn soft(&self) {
        self.soft.cancelled().await;
    }

    /// Ends when everything must end.
    pub async fn hard(&self) {
        self.hard.cancelled().await;
    }
}

/// Wakes one loop; a ring while nobody waits is kept. Arm it before looking at what it guards.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Wakes the loop, now or at its next wait.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Waits for a ring.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

/// The bells of the process: who has news for whom.
#[derive(Debug, Clone, Default)]
pub struct Bells {
    /// A message was stored or became due.
    pub messages: Bell,
    /// A report became due.
    pub reports: Bell,
    /// A reply was stored.
    pub replies: Bell,
    /// A receipt was stored.
    pub receipts: Bell,
    /// A lifecycle event was stored, or an agency connected.
    pub installs: Bell,
    /// Locations whose token was stored, for who holds their messages.
    pub held: TokenNews,
    /// The same, for who holds their reports.
    pub untold: TokenNews,
}

impl Bells {
    /// What is set for `location` changed: what was held for it may be looked at.
    pub fn settings_changed(&self, location: &str) {
        self.held.add(location.to_owned());
        self.messages.ring();
    }

    /// A token of `location` was stored: what waited for it may go.
    pub fn token_stored(&self, location: &str) {
        self.held.add(location.to_owned());
        self.untold.add(location.to_owned());
        self.messages.ring();
        self.reports.ring();
        self.replies.ring();
    }

    /// `location` was uninstalled, or will get no token: what was held for it may be looked at.
    pub fn installation_changed(&self, location: &str) {
        self.held.add(location.to_owned());
        self.messages.ring();
    }
}

/// Locations that may send now, or whose token was just stored, for the loops that hold something for them; a replica that does not lead keeps
/// each once.
#[derive(Debug, Clone, Default)]
pub struct TokenNews(Arc<std::sync::Mutex<BTreeSet<String>>>);

impl TokenNews {
    /// A token of `location` was stored.
    pub fn add(&self, location: String) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(location);
    }

    /// Takes all news.
    #[must_use]
    pub fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// The worker's loop turns at least every half second; a store that hangs stretches that.
const WORKER_STUCK: Duration = Duration::from_secs(60);

/// What the process says of itself to a load balancer and an operator.
#[derive(Debug, Clone, Default)]
pub struct Condition(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    started: AtomicBool,
    stopping: AtomicBool,
    store_lost: AtomicBool,
    /// Milliseconds of monotonic time at the worker's last turn; 0 before the first.
    worker_turned: AtomicU64,
    key_paused: AtomicBool,
    backlog_full: AtomicBool,
    disk_low: AtomicBool,
}

impl Condition {
    /// Start-up is complete.
    pub fn started(&self) {
        self.0.started.store(true, Ordering::Relaxed);
    }

    /// Shutdown has begun.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// The store answers, or does not.
    pub fn store(&self, reachable: bool) {
        self.0.store_lost.store(!reachable, Ordering::Relaxed);
    }

    /// The worker's loop took another turn.
    pub fn worker_turned(&self, at: Mono) {
        self.0.worker_turned.store(millis(at), Ordering::Relaxed);
    }

    /// The gateway key is paused, or not.
    pub fn key_paused(&self, paused: bool) {
        self.0.key_paused.store(paused, Ordering::Relaxed);
    }

    /// `BACKLOG_LIMIT` is reached, or not.
    pub fn backlog_full(&self, full: bool) {
        self.0.backlog_full.store(full, Ordering::Relaxed);
    }

    /// The disk is down to `DISK_RESERVE`, or not.
    pub fn disk_low(&self, low: bool) {
        self.0.disk_low.store(low, Ordering::Relaxed);
    }

    /// Ready to be sent traffic: after start-up and before shutdown, whatever else is wrong.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.0.started.load(Ordering::Relaxed) && !self.stopping_now()
    }

    /// Whether shutdown has begun.
    #[must_use]
    pub fn stopping_now(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    /// What is wrong although webhooks are still answered.
    #[must_use]
    pub fn degraded(&self, now: Mono) -> Vec<&'static str> {
        let turned = self.0.worker_turned.load(Ordering::Relaxed);
        let stuck = turned > 0 && millis(now).saturating_sub(turned) > millis(Mono(WORKER_STUCK));
        [
            (self.0.store_lost.load(Ordering::Relaxed), "store_unreachable"),
            (stuck, "worker_stuck"),
            (self.0.key_paused.load(Ordering::Relaxed), "cast_key_paused"),
            (self.0.backlog_full.load(Ordering::Relaxed), "backlog"),
            (self.0.disk_low.load(Ordering::Relaxed), "disk"),
        ]
        .into_iter()
        .filter(|(wrong, _)| *wrong)
        .map(|(_, word)| word)
        .collect()
    }
}

fn millis(at: Mono) -> u64 {
    u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX)
}
