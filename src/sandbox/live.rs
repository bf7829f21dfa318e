//! The one who watches and waits: prints what is new while something is awaited.
//!
//! Invariant: a wait ends when its condition holds, when the bridge is gone, or when nothing has moved for
//! [`PATIENCE`]; the last two say what was waited for.

use std::time::Duration;

use super::stage::Stage;
use super::watch::Watch;

/// Longest time without any progress.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A stage under watch.
pub(super) struct Live<'a> {
    pub(super) stage: &'a Stage,
    pub(super) watch: Watch,
    telling: bool,
}

impl<'a> Live<'a> {
    pub(super) fn new(stage: &'a Stage) -> Self {
        Self { stage, watch: Watch::default(), telling: true }
    }

    /// One that only waits: what the fakes see is too much to tell.
    pub(super) fn quiet(stage: &'a Stage) -> Self {
        Self { telling: false, ..Self::new(stage) }
    }

    /// Says a sentence.
    pub(super) fn say(&self, sentence: &str) {
        self.stage.screen.say(sentence);
    }

    /// Says what the fakes have seen since the last look.
    pub(super) fn look(&mut self) {
        if !self.telling {
            return;
        }
        for sentence in self.watch.look(&self.stage.cast, &self.stage.ghl) {
            self.stage.screen.say(&sentence);
        }
    }

    /// Waits until `done`, telling what happens and `progress` meanwhile. `what` completes "waited in vain for …".
    ///
    /// # Errors
    /// `progress` has not changed for 60 s, or the bridge has ended.
    pub(super) async fn wait(
        &mut self,
        what: &str,
        progress: impl Fn(&Stage) -> String,
        done: impl Fn(&Stage) -> bool,
    ) -> anyhow::Result<()> {
        let Stage { clock, screen, bridge, .. } = self.stage;
        let (mut moved, mut last) = (clock.mono(), String::new());
        loop {
            self.look();
            if done(self.stage) {
                screen.rest();
                return Ok(());
            }
            anyhow::ensure!(bridge.is_running(), "the bridge ended while the sandbox waited for {what}");
            let (now, line) = (clock.mono(), progress(self.stage));
            if line != last {
                (moved, last) = (now, line);
            }
            anyhow::ensure!(now.since(moved) < PATIENCE, "waited {} s in vain for {what}", PATIENCE.as_secs());
            screen.progress(&last);
            clock.sleep(LOOK_EVERY).await;
        }
    }
}
