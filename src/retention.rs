//! How long documents stay: whole for `RETENTION`, as tombstones for `REPLAY_MEMORY`, then not at all.
//!
//! The hook of an outbound message has no timestamp, so the remembered `_id` is the replay protection. Invariant: only settled
//! documents carry a time to be stripped, so nothing unsettled is ever touched. The leader purges, in small batches.

use std::time::Duration;

use crate::clock::Clock;
use crate::leader::Leadership;
use crate::lifecycle::Stop;
use crate::store::{Collection, Store, StoreError};

/// Documents of one batch: one short transaction on the embedded store.
const BATCH: usize = 200;
/// Between looks when nothing is left to do.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Between batches while there is, so that webhooks are not held up.
const BETWEEN: Duration = Duration::from_millis(50);
/// What is purged: contact memory, installations, settings, suppressions and the leader document stay.
const PURGED: [Collection; 7] = [
    Collection::Messages,
    Collection::Unreadable,
    Collection::Inbound,
    Collection::Events,
    Collection::Receipts,
    Collection::Days,
    Collection::Links,
];

/// Strips and forgets.
#[derive(Debug, Clone)]
pub struct Purger {
    store: Store,
    clock: Clock,
    leadership: Leadership,
    replay_memory: Duration,
}

impl Purger {
    /// A purger that remembers settled messages for `replay_memory`.
    #[must_use]
    pub fn new(store: Store, clock: Clock, leadership: Leadership, replay_memory: Duration) -> Self {
        Self { store, clock, leadership, replay_memory }
    }

    /// One batch of each kind; answers how many documents changed.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn step(&self) -> Result<usize, StoreError> {
        let mut changed = 0;
        for collection in PURGED {
            if self.leadership.right().is_none() {
                return Ok(0);
            }
            let now = self.clock.now();
            // What a receipt said is in its message, and a repeat changes nothing there: its own document needs no memory.
            let memory = if collection == Collection::Receipts { Duration::ZERO } else { self.replay_memory };
            changed += self.store.purge(collection, now, now.before(memory), BATCH).await?;
        }
        Ok(changed)
    }

    /// Purges until shutdown begins.
    pub async fn run(&self, stop: &Stop) {
        loop {
            let pause = match self.step().await {
                Ok(0) => LOOK_EVERY,
                Ok(_) => BETWEEN,
                Err(e) => {
                    tracing::warn!(error = %e, "old documents can't be purged now");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = stop.soft() => return,
            }
        }
    }
}
