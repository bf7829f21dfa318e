//! The rounds: who is killed or frozen, when, for how long.
//!
//! Owns the choice of victims. Invariant: a leader is done away with only once Cast has seen SMS of its term, so that the
//! rounds are not all without one; while nobody leads one standby is spared, since only one that lives long enough takes
//! over. Everything random is the seed's. Deeds take as long as they take: bounds are for what is broken.

use std::time::Duration;

use anyhow::Context as _;
use cast_ghl_provider::domain::time::{Mono, UnixMillis};

use super::dice::Dice;
use super::fleet::Fleet;
use super::progress::Progress;
use super::stage::Stage;

/// What a killed process had written to a socket may still arrive.
const ECHO: Duration = Duration::from_millis(200);
/// A take-over takes 20 s after a kill; lanes in doubt may hold back what is sent for another 45 s.
const TAKE_OVER: Duration = Duration::from_secs(240);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a round does where one of several bridges leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    KillStandby,
    KillLeader,
    KillAll,
    /// Until another has taken over, and then some.
    FreezeLeader,
    /// Longer than a leader may be silent.
    FreezeStandby,
}

impl Deed {
    fn draw(dice: &mut Dice, alone: bool) -> Self {
        match dice.within(0..=99) {
            0..=5 => Self::FreezeLeader,
            _ if alone => Self::KillLeader,
            6..=8 => Self::FreezeStandby,
            9..=12 => Self::KillAll,
            13..=38 => Self::KillLeader,
            _ => Self::KillStandby,
        }
    }
}

/// Since when nobody leads, as far as Cast can tell.
struct Gap {
    since: UnixMillis,
    /// SMS taken by then.
    taken: usize,
    /// The standby that is spared.
    heir: Option<usize>,
    cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Kill,
    Freeze,
}

/// Take-overs of one cause.
#[derive(Debug, Clone, Copy, Default)]
struct TakeOvers {
    count: u32,
    longest: Duration,
}

/// The rounds of a run.
pub(super) struct Rounds {
    stage: Stage,
    dice: Dice,
    progress: Progress,
    gap: Option<Gap>,
    after_kill: TakeOvers,
    after_freeze: TakeOvers,
}

impl Rounds {
    pub(super) fn new(stage: &Stage, seed: u64, progress: Progress) -> Self {
        Self {
            stage: stage.clone(),
            dice: Dice::new(seed, "rounds"),
            progress,
            gap: None,
            after_kill: TakeOvers::default(),
            after_freeze: TakeOvers::default(),
        }
    }

    /// Plays so many rounds.
    ///
    /// # Errors
    /// A bridge ended by itself or does not come up; nobody takes over.
    pub(super) async fn play(&mut self, fleet: &mut Fleet, rounds: u32) -> anyhow::Result<()> {
        for _ in 0..rounds {
            if self.stage.elected {
                self.elected_round(fleet).await?;
            } else {
                self.sole_round(fleet).await?;
            }
            fleet.alive()?;
            self.progress.round();
        }
        if self.gap.is_some() {
            self.led(fleet).await?;
        }
        Ok(())
    }

    /// What the summary says about the rounds.
    pub(super) fn figures(&self) -> Vec<(&'static str, String)> {
        let [rounds, kills, freezes] = self.progress.counts();
        let mut figures =
            vec![("rounds", rounds.to_string()), ("kills", kills.to_string()), ("freezes", freezes.to_string())];
        let take_overs = [("take-overs, kill", self.after_kill), ("take-overs, freeze", self.after_freeze)];
        for (name, of) in take_overs.into_iter().filter(|(_, of)| of.count > 0) {
            figures.push((name, format!("{}, the longest {:.1} s", of.count, of.longest.as_secs_f64())));
        }
        figures
    }

    /// The one bridge of an embedded store.
    async fn sole_round(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        match self.dice.within(0..=99) {
            // While it starts.
            0..=4 => {
                self.kill(fleet, 0)?;
                fleet.launch(0)?;
                self.pause(0..=60).await;
            }
            5..=9 => {
                fleet.freeze(0)?;
                self.progress.freeze();
                self.pause(200..=3000).await;
                fleet.thaw(0)?;
                self.pause(20..=500).await;
            }
            // Long enough to catch up, or the backlog would only grow.
            10..=29 => self.pause(1000..=3000).await,
            _ => self.pause(20..=500).await,
        }
        self.kill(fleet, 0)?;
        if self.dice.chance(100) {
            self.pause(0..=500).await;
        }
        fleet.restart(0).await
    }

    async fn elected_round(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        match Deed::draw(&mut self.dice, fleet.all().len() == 1) {
            Deed::KillStandby => self.kill_standby(fleet).await,
            Deed::KillLeader => {
                let leader = self.reign(fleet).await?;
                self.kill(fleet, leader)?;
                self.leaderless(fleet, leader, Cause::Kill).await?;
                if self.dice.chance(100) {
                    self.pause(0..=3000).await;
                }
                fleet.restart(leader).await
            }
            Deed::KillAll => {
                let leader = self.reign(fleet).await?;
                for at in fleet.all() {
                    self.kill(fleet, at)?;
                }
                self.leaderless(fleet, leader, Cause::Kill).await?;
                for at in fleet.all() {
                    fleet.launch(at)?;
                }
                for at in fleet.all() {
                    fleet.ready(at).await?;
                }
                Ok(())
            }
            Deed::FreezeLeader => self.freeze_leader(fleet).await,
            Deed::FreezeStandby => {
                let leader = self.led(fleet).await?;
                let standbys = others(fleet, &[leader]);
                let victim = self.dice.pick(&standbys).copied().context("no standby")?;
                fleet.freeze(victim)?;
                self.progress.freeze();
                self.pause(16_000..=19_000).await;
                fleet.thaw(victim)
            }
        }
    }

    async fn kill_standby(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        self.pause(20..=500).await;
        let spared = [fleet.leader()?, self.gap.as_ref().and_then(|gap| gap.heir)];
        let standbys = others(fleet, &spared.into_iter().flatten().collect::<Vec<_>>());
        // Two bridges and no leader: both are needed.
        let Some(victim) = self.dice.pick(&standbys).copied() else { return Ok(()) };
        self.kill(fleet, victim)?;
        fleet.restart(victim).await
    }

    async fn freeze_leader(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let leader = self.reign(fleet).await?;
        fleet.freeze(leader)?;
        self.progress.freeze();
        if fleet.all().len() == 1 {
            self.pause(1000..=18_000).await;
            return fleet.thaw(leader);
        }
        self.leaderless(fleet, leader, Cause::Freeze).await?;
        self.led(fleet).await?;
        if self.dice.chance(250) {
            // Until its successor has judged the calls it left.
            self.pause(45_000..=55_000).await;
        } else {
            self.pause(0..=3000).await;
        }
        fleet.thaw(leader)
    }

    fn kill(&mut self, fleet: &mut Fleet, at: usize) -> anyhow::Result<()> {
        fleet.kill(at)?;
        self.progress.kill();
        Ok(())
    }

    /// From now on nobody leads.
    async fn leaderless(&mut self, fleet: &Fleet, leader: usize, cause: Cause) -> anyhow::Result<()> {
        let since = self.stage.clock.now();
        self.stage.clock.sleep(ECHO).await;
        let heir = self.dice.pick(&others(fleet, &[leader])).copied();
        self.gap = Some(Gap { since, taken: self.stage.cast.taken_count(), heir, cause });
        Ok(())
    }

    /// Lets the leader reign for a while; who it is. As a rule it catches up with some of what waited for it, else the
    /// backlog would only grow; now and then it reigns long enough to judge what its predecessors left in doubt.
    async fn reign(&mut self, fleet: &mut Fleet) -> anyhow::Result<usize> {
        self.led(fleet).await?;
        let reign = match self.dice.within(0..=99) {
            0..=2 => 46_000..=55_000,
            3..=59 => 3000..=12_000,
            _ => 20..=500,
        };
        self.pause(reign).await;
        self.led(fleet).await
    }

    /// Waits until Cast sees SMS again, if nobody led; who leads.
    async fn led(&mut self, fleet: &mut Fleet) -> anyhow::Result<usize> {
        if let Some(gap) = self.gap.take() {
            let limit: Mono = self.stage.clock.mono().after(TAKE_OVER);
            while self.stage.cast.taken_count() <= gap.taken {
                fleet.alive()?;
                anyhow::ensure!(self.stage.clock.mono() < limit, "nobody took over within {} s", TAKE_OVER.as_secs());
                self.stage.clock.sleep(LOOK_EVERY).await;
            }
            if let Some(first) = self.stage.cast.taken().get(gap.taken) {
                let of = match gap.cause {
                    Cause::Kill => &mut self.after_kill,
                    Cause::Freeze => &mut self.after_freeze,
                };
                of.count += 1;
                of.longest = of.longest.max(first.at.since(gap.since));
            }
        }
        fleet.leader()?.context("Cast sees SMS and nobody leads")
    }

    async fn pause(&mut self, millis: std::ops::RangeInclusive<u32>) {
        let pause = self.dice.millis(millis);
        self.stage.clock.sleep(pause).await;
    }
}

fn others(fleet: &Fleet, spared: &[usize]) -> Vec<usize> {
    fleet.all().into_iter().filter(|at| !spared.contains(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deed_comes_up_and_alone_there_is_only_the_leader() {
        let mut dice = Dice::new(1, "deeds");
        let drawn: Vec<Deed> = (0..1000).map(|_| Deed::draw(&mut dice, false)).collect();
        for deed in [Deed::KillStandby, Deed::KillLeader, Deed::KillAll, Deed::FreezeLeader, Deed::FreezeStandby] {
            assert!(drawn.contains(&deed), "{deed:?}");
        }
        let alone = |_| Deed::draw(&mut dice, true);
        assert!((0..1000).map(alone).all(|deed| matches!(deed, Deed::KillLeader | Deed::FreezeLeader)));
    }
}
