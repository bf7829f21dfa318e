//! The readings behind admission: how much waits, and how much of the disk is left, taken in the background on every replica.
//!
//! Invariant: a reading that fails changes nothing, and each change of state is logged once, not once a request. Counting
//! takes at most a twentieth of the time, however long the backlog. The rules are `admission`'s.

use std::time::Duration;

use super::admission::{Admission, Reading};
use crate::clock::Clock;
use crate::lifecycle::{Condition, Stop};
use crate::store::{Collection, Store, StoreError};
use crate::telemetry::Metrics;

/// Between readings.
const EVERY: Duration = Duration::from_secs(1);
/// The same after counts that take long: a server walks a million index entries in half a second.
const AT_MOST: Duration = Duration::from_secs(15);
/// Pauses per time spent reading.
const SHARE: u32 = 19;

/// Counts and measures; clones share what they found.
#[derive(Debug, Clone)]
pub struct Census {
    store: Store,
    clock: Clock,
    admission: Admission,
    condition: Condition,
    metrics: Metrics,
}

impl Census {
    /// A census that has read nothing yet.
    #[must_use]
    pub fn new(store: Store, clock: Clock, admission: Admission, condition: Condition, metrics: Metrics) -> Self {
        Self { store, clock, admission, condition, metrics }
    }

    /// One reading of both.
    ///
    /// # Errors
    /// [`StoreError`]: what could not be read stands as it was.
    pub async fn step(&self) -> Result<(), StoreError> {
        let measured = self.measure().await;
        let counted = self.count().await;
        measured.and(counted)
    }

    /// Reads until everything must end: webhooks are still stored while the process stops.
    pub async fn run(&self, stop: &Stop) {
        let mut failing = false;
        loop {
            let began = self.clock.mono();
            let read = tokio::select! {
                read = self.step() => read,
                () = stop.hard() => return,
            };
            if let (Err(e), false) = (&read, failing) {
                tracing::warn!(error = %e, "the backlog and the disk can't be read now; their last reading stands");
            }
            failing = read.is_err();
            let pause = (self.clock.mono().since(began) * SHARE).clamp(EVERY, AT_MOST);
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stop.hard() => return,
            }
        }
    }

    async fn count(&self) -> Result<(), StoreError> {
        let kept = self.admission.kept();
        let open = self.store.count_open(Collection::Messages).await?;
        let Reading { holds, news } = self.admission.counted(kept, open);
        self.metrics.backlog(open);
        self.condition.backlog_full(holds);
        match (news, holds) {
            (true, true) => tracing::error!(open, "BACKLOG_LIMIT is reached: new messages are answered 429"),
            (true, false) => tracing::info!(open, "the backlog is below BACKLOG_LIMIT again"),
            (false, _) => {}
        }
        Ok(())
    }

    async fn measure(&self) -> Result<(), StoreError> {
        let Some(free) = self.store.free_space().await? else { return Ok(()) };
        let Reading { holds, news } = self.admission.measured(free);
        self.metrics.disk_free(free);
        self.condition.disk_low(holds);
        match (news, holds) {
            (true, true) => tracing::error!(free, "the disk is down to DISK_RESERVE: new documents are refused"),
            (true, false) => tracing::info!(free, "the disk has more than DISK_RESERVE left again"),
            (false, _) => {}
        }
        Ok(())
    }
}
