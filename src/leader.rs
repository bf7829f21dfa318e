//! Leadership of this process: beats, looks and take-overs against the leader document; the right to act as a value.
//!
//! Invariant: [`Leadership::right`] answers only while the last successful beat *began* less than 10 s ago on this process's
//! own monotonic clock. The rules are `domain::leadership`; this is their shell. Must not import queue, oauth or delivery.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::domain::id::Epoch;
use crate::domain::leadership::{BEAT_EVERY, LOOK_EVERY, LeaderDoc, Look, Right, Standby};
use crate::domain::time::Mono;
use crate::lifecycle::{Bell, Stop};
use crate::store::{Inserted, LeaderRecord, Saved, Store, StoreError};
use crate::telemetry::Metrics;

/// How a process comes to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel lock on the data directory: always, in a new term at each start.
    Sole,
    /// By the leader document, against other replicas.
    Elected,
}

/// This process's standing; clones share it.
#[derive(Debug, Clone)]
pub struct Leadership(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    /// Random per process start.
    me: String,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    elected: Bell,
    standing: Mutex<Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    right: Option<Right>,
    standby: Standby,
    beat_at: Option<Mono>,
    /// A beat failed: the next one is tried at the standby's pace.
    anxious: bool,
}

impl Leadership {
    /// Nobody yet. `elected` rings when this process comes to lead.
    #[must_use]
    pub fn new(kind: Kind, store: Store, clock: Clock, metrics: Metrics, elected: Bell) -> Self {
        let me = crate::random::hex::<8>();
        Self(Arc::new(Inner { kind, me, store, clock, metrics, elected, standing: Mutex::default() }))
    }

    /// The random name of this process, also the `replica` of what it accepts.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.0.me
    }

    /// The right to act, while it holds.
    #[must_use]
    pub fn right(&self) -> Option<Right> {
        let right = self.standing().right?;
        right.holds(self.0.clock.mono()).then_some(right)
    }

    /// Whether the right given for `epoch` holds now.
    #[must_use]
    pub fn holds(&self, epoch: Epoch) -> bool {
        self.right().is_some_and(|right| right.epoch == epoch)
    }

    /// One beat or one look, whichever is due.
    ///
    /// # Errors
    /// [`StoreError`]: nothing changed; the right runs out by itself.
    pub async fn step(&self) -> Result<(), StoreError> {
        let leads = self.standing().right;
        let result = match (self.0.kind, leads) {
            (Kind::Sole, Some(_)) => Ok(()),
            (Kind::Sole, None) => self.begin_sole_term().await,
            (Kind::Elected, Some(right)) => self.beat(right.epoch).await,
            (Kind::Elected, None) => self.look().await,
        };
        self.standing().anxious = result.is_err();
        self.0.metrics.leading(self.right().is_some());
        result
    }

    /// Beats and looks until everything must end.
    pub async fn run(&self, stop: &Stop) {
        loop {
            if let Err(e) = self.step().await {
                tracing::warn!(error = %e, "leadership can't be kept or sought now");
            }
            let calm = self.right().is_some() && !self.standing().anxious;
            let pause = if calm { BEAT_EVERY } else { LOOK_EVERY };
            tokio::select! {
                () = self.0.clock.sleep(pause) => {}
                () = stop.hard() => return,
            }
        }
    }

    /// A clean stop: a standby that sees no holder takes over at once.
    pub async fn release(&self) {
        let Some(right) = self.standing().right.take() else { return };
        if self.0.kind == Kind::Sole {
            return;
        }
        let me = self.0.me.clone();
        let released = self
            .0
            .store
            .update::<LeaderRecord>(&LeaderRecord::key(), |doc| doc.0.released_by(&me, right.epoch).map(LeaderRecord))
            .await;
        if let Err(e) = released {
            tracing::warn!(error = %e, "the leader document could not be released; a standby waits it out");
        }
    }

    async fn begin_sole_term(&self) -> Result<(), StoreError> {
        let first = LeaderRecord(LeaderDoc::first(&self.0.me));
        let epoch = match self.0.store.get::<LeaderRecord>(&LeaderRecord::key()).await? {
            None if self.0.store.insert(&first).await? == Inserted::New => first.0.epoch,
            None => return Err(StoreError::Unavailable("the leader document appeared meanwhile".into())),
            Some(stored) => {
                let next = stored.record.0.taken_by(&self.0.me);
                let epoch = next.epoch;
                match self.0.store.save(&stored, &LeaderRecord(next)).await? {
                    Saved::Done(_) => epoch,
                    Saved::Conflict => return Err(StoreError::Unavailable("the leader document moved".into())),
                }
            }
        };
        self.won(Right { epoch, until: None });
        Ok(())
    }

    async fn beat(&self, epoch: Epoch) -> Result<(), StoreError> {
        let began = self.0.clock.mono();
        let me = &self.0.me;
        let beaten = self
            .0
            .store
            .update::<LeaderRecord>(&LeaderRecord::key(), |doc| doc.0.beaten_by(me, epoch).map(LeaderRecord))
            .await?;
        let mut standing = self.standing();
        standing.beat_at = Some(began);
        if beaten.is_some() {
            standing.right = Some(Right::from_beat(epoch, began));
        } else {
            tracing::warn!(epoch = epoch.0, "the term is over: another process leads");
            standing.right = None;
            standing.standby = Standby::default();
        }
        Ok(())
    }

    async fn look(&self) -> Result<(), StoreError> {
        let began = self.0.clock.mono();
        let seen = self.0.store.get::<LeaderRecord>(&LeaderRecord::key()).await?;
        let look = self.standing().standby.look(seen.as_ref().map(|s| &s.record.0), self.0.clock.mono());
        let won = match (look, seen) {
            (Look::Wait, _) | (Look::TakeOver, None) => None,
            (Look::Found, _) => {
                let first = LeaderDoc::first(&self.0.me);
                let new = self.0.store.insert(&LeaderRecord(first.clone())).await? == Inserted::New;
                new.then_some(first.epoch)
            }
            (Look::TakeOver, Some(stored)) => {
                let next = stored.record.0.taken_by(&self.0.me);
                let epoch = next.epoch;
                let saved = self.0.store.save(&stored, &LeaderRecord(next)).await?;
                matches!(saved, Saved::Done(_)).then_some(epoch)
            }
        };
        if let Some(epoch) = won {
            self.won(Right::from_beat(epoch, began));
        }
        Ok(())
    }

    fn won(&self, right: Right) {
        tracing::info!(epoch = right.epoch.0, "this process leads");
        let mut standing = self.standing();
        standing.right = Some(right);
        standing.standby = Standby::default();
        drop(standing);
        self.0.elected.ring();
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
