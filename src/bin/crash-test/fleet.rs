//! All bridges of a run: who runs, who leads, and where webhooks go.
//!
//! Invariant: webhooks go to bridges that are believed to run. One that was killed is believed in until its next life is
//! ready, as a balancer would; a frozen one is taken out where there are others, since it would only swallow webhooks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use cast_ghl_provider::clock::Clock;

use super::dice::Dice;
use super::replica::Replica;
use super::stage::Stage;

/// Where webhooks go. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Targets(Arc<Mutex<Vec<Option<String>>>>);

impl Targets {
    /// One of the bridges.
    pub(super) fn pick(&self, dice: &mut Dice) -> Option<String> {
        let all: Vec<String> = self.list().iter().flatten().cloned().collect();
        dice.pick(&all).cloned()
    }

    fn set(&self, replica: usize, url: Option<&str>) {
        let mut list = self.list();
        if list.len() <= replica {
            list.resize(replica + 1, None);
        }
        list[replica] = url.map(str::to_owned);
    }

    fn list(&self) -> MutexGuard<'_, Vec<Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bridges.
pub(super) struct Fleet {
    replicas: Vec<Replica>,
    targets: Targets,
    clock: Clock,
}

impl Fleet {
    /// Starts them all and waits until they are ready.
    ///
    /// # Errors
    /// One is not.
    pub(super) async fn start(stage: &Stage, count: u8) -> anyhow::Result<Self> {
        let replica = |n| Replica::new(n, stage.dir.clone(), stage.vars.clone(), stage.http.clone());
        let replicas = (0..usize::from(count)).map(replica).collect::<anyhow::Result<_>>()?;
        let mut fleet = Self { replicas, targets: Targets::default(), clock: stage.clock.clone() };
        for at in fleet.all() {
            fleet.restart(at).await?;
        }
        Ok(fleet)
    }

    /// Their numbers.
    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.replicas.len()).collect()
    }

    pub(super) fn targets(&self) -> Targets {
        self.targets.clone()
    }

    /// The address of one that is ready.
    pub(super) fn somewhere(&self) -> Option<String> {
        self.replicas.iter().find_map(|replica| replica.url().map(str::to_owned))
    }

    /// Who leads, by the newest term anybody alive has won; nobody right after the leader was killed.
    ///
    /// # Errors
    /// A log cannot be read.
    pub(super) fn leader(&mut self) -> anyhow::Result<Option<usize>> {
        let mut newest = None;
        for (at, replica) in self.replicas.iter_mut().enumerate() {
            newest = newest.max(replica.term()?.map(|term| (term, at)));
        }
        Ok(newest.map(|(_, at)| at))
    }

    /// Starts the next life of one that does not run.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn launch(&mut self, at: usize) -> anyhow::Result<()> {
        self.at(at)?.start()
    }

    /// Waits until one takes webhooks, and lets it have some.
    ///
    /// # Errors
    /// It does not come up.
    pub(super) async fn ready(&mut self, at: usize) -> anyhow::Result<()> {
        let clock = self.clock.clone();
        let replica = self.at(at)?;
        replica.ready(&clock).await?;
        let url = replica.url().map(str::to_owned);
        self.targets.set(at, url.as_deref());
        Ok(())
    }

    /// Both of them.
    ///
    /// # Errors
    /// Either.
    pub(super) async fn restart(&mut self, at: usize) -> anyhow::Result<()> {
        self.launch(at)?;
        self.ready(at).await
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// One ended before by itself.
    pub(super) fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        let replica = self.at(at)?;
        replica.alive()?;
        replica.kill()
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// It ended before by itself.
    pub(super) fn freeze(&mut self, at: usize) -> anyhow::Result<()> {
        let replica = self.at(at)?;
        replica.alive()?;
        replica.freeze()?;
        if self.replicas.len() > 1 {
            self.targets.set(at, None);
        }
        Ok(())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn thaw(&mut self, at: usize) -> anyhow::Result<()> {
        let replica = self.at(at)?;
        replica.thaw()?;
        let url = replica.url().map(str::to_owned);
        self.targets.set(at, url.as_deref());
        Ok(())
    }

    /// Whatever the rounds left behind: thaws the frozen, starts the dead.
    ///
    /// # Errors
    /// One does not come up.
    pub(super) async fn revive(&mut self) -> anyhow::Result<()> {
        for at in self.all() {
            if !self.at(at)?.runs() {
                self.launch(at)?;
            }
            self.thaw(at)?;
            if self.at(at)?.url().is_none() {
                self.ready(at).await?;
            }
        }
        Ok(())
    }

    /// Fails if one ended by itself.
    ///
    /// # Errors
    /// How it ended.
    pub(super) fn alive(&mut self) -> anyhow::Result<()> {
        self.replicas.iter_mut().try_for_each(Replica::alive)
    }

    fn at(&mut self, at: usize) -> anyhow::Result<&mut Replica> {
        self.replicas.get_mut(at).context("no such replica")
    }
}
