//! The line that says how far a run is, about every ten seconds.
//!
//! Owns the counters of the rounds; everything else is asked of the ledgers when a line is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cast_ghl_provider::domain::time::Mono;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::stage::Stage;

const EVERY: Duration = Duration::from_secs(10);

/// Counts, and tells. Clones share it.
#[derive(Clone)]
pub(super) struct Progress(Arc<Inner>);

struct Inner {
    stage: Stage,
    ledger: Ledger,
    began: Mono,
    of: u32,
    rounds: AtomicU32,
    kills: AtomicU32,
    freezes: AtomicU32,
    ended: CancellationToken,
}

impl Progress {
    /// Tells about a run of so many rounds until [`Progress::end`].
    pub(super) fn start(stage: &Stage, ledger: &Ledger, of: u32) -> Self {
        let progress = Self(Arc::new(Inner {
            began: stage.clock.mono(),
            stage: stage.clone(),
            ledger: ledger.clone(),
            of,
            rounds: AtomicU32::new(0),
            kills: AtomicU32::new(0),
            freezes: AtomicU32::new(0),
            ended: CancellationToken::new(),
        }));
        tokio::spawn({
            let progress = progress.clone();
            async move {
                loop {
                    tokio::select! {
                        () = progress.0.stage.clock.sleep(EVERY) => progress.tell(),
                        () = progress.0.ended.cancelled() => return,
                    }
                }
            }
        });
        progress
    }

    pub(super) fn round(&self) {
        self.0.rounds.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn kill(&self) {
        self.0.kills.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn freeze(&self) {
        self.0.freezes.fetch_add(1, Ordering::Relaxed);
    }

    /// Kills and freezes so far.
    pub(super) fn blows(&self) -> usize {
        let [_, kills, freezes] = self.counts();
        usize::try_from(kills.saturating_add(freezes)).unwrap_or(usize::MAX)
    }

    /// Rounds, kills and freezes so far.
    pub(super) fn counts(&self) -> [u32; 3] {
        [&self.0.rounds, &self.0.kills, &self.0.freezes].map(|count| count.load(Ordering::Relaxed))
    }

    /// Says a sentence, with the time.
    pub(super) fn say(&self, sentence: &str) {
        let seconds = self.0.stage.clock.mono().since(self.0.began).as_secs();
        println!("{seconds:>5} s  {sentence}");
    }

    /// No more lines.
    pub(super) fn end(&self) {
        self.0.ended.cancel();
    }

    fn tell(&self) {
        let [rounds, kills, freezes] = self.counts();
        let (messages, accepted) = self.0.ledger.counts();
        let (taken, told) = (self.0.stage.cast.taken_count(), self.0.stage.ghl.told_count());
        self.say(&format!(
            "round {rounds}/{}: {kills} kills, {freezes} freezes; {messages} messages, {accepted} accepted, {told} told; \
             {taken} SMS taken",
            self.0.of
        ));
    }
}
