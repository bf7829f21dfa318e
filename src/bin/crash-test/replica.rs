//! One bridge as a process: started, waited for, killed, frozen, thawed.
//!
//! Invariant: a process ends with its handle and with the harness. Everything it says goes to one log, over all its lives.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use cast_ghl_provider::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};

use super::log_tail::{LogTail, News};

/// What the harness calls itself to be the bridge: the product's own name.
pub(super) const NAME: &str = "cast-ghl";
/// Only something broken takes longer, even while a build has all cores.
const READY: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A bridge.
pub(super) struct Replica {
    number: usize,
    dir: PathBuf,
    vars: Vec<(String, String)>,
    http: reqwest::Client,
    log: LogTail,
    process: Option<Child>,
    /// Where it takes webhooks, once it is ready.
    url: Option<String>,
    /// The newest term it won in this life.
    epoch: Option<u64>,
    frozen: bool,
}

impl Replica {
    /// One that does not run yet.
    ///
    /// # Errors
    /// Its directory cannot be made.
    pub(super) fn new(
        number: usize,
        dir: PathBuf,
        vars: Vec<(String, String)>,
        http: reqwest::Client,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let log = dir.join(format!("replica-{number}.log"));
        File::create(&log)?;
        let log = LogTail::new(log);
        Ok(Self { number, dir, vars, http, log, process: None, url: None, epoch: None, frozen: false })
    }

    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    pub(super) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Starts its next life; does not wait until it is ready.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.log.skip()?;
        let log = File::options().append(true).open(self.log.path())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg0(NAME).arg("serve").env_clear().envs(self.vars.iter().cloned()).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Ctrl-C is for the harness: it still has to account for everything.
        command.process_group(0);
        self.process = Some(command.spawn().context("a bridge can't be started")?);
        (self.url, self.epoch, self.frozen) = (None, None, false);
        Ok(())
    }

    /// Waits until it takes webhooks.
    ///
    /// # Errors
    /// It ended by itself, or is not ready in time.
    pub(super) async fn ready(&mut self, clock: &Clock) -> anyhow::Result<()> {
        let began = clock.mono();
        let mut url = None;
        loop {
            self.alive()?;
            for news in self.log.news()? {
                match news {
                    News::Listens(addr) => url = Some(format!("http://{addr}")),
                    News::Leads { epoch } => self.epoch = Some(epoch),
                }
            }
            if let Some(url) = &url
                && self.http.get(format!("{url}/ready")).send().await.is_ok_and(|answer| answer.status().is_success())
            {
                self.url = Some(url.clone());
                return Ok(());
            }
            let waited = clock.mono().since(began);
            anyhow::ensure!(waited < READY, "replica {} is not ready after {} s", self.number, READY.as_secs());
            clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Fails if it ended by itself, which no round asked for.
    ///
    /// # Errors
    /// How it ended.
    pub(super) fn alive(&mut self) -> anyhow::Result<()> {
        if let Some(process) = &mut self.process
            && let Some(status) = process.try_wait()?
        {
            anyhow::bail!("replica {} ended by itself: {status}; its log: {}", self.number, self.log.path().display());
        }
        Ok(())
    }

    /// The newest term it won in this life.
    ///
    /// # Errors
    /// Its log cannot be read.
    pub(super) fn term(&mut self) -> anyhow::Result<Option<u64>> {
        for news in self.log.news()? {
            if let News::Leads { epoch } = news {
                self.epoch = Some(epoch);
            }
        }
        Ok(self.epoch)
    }

    /// SIGKILL; returns when it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        (self.url, self.epoch, self.frozen) = (None, None, false);
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn freeze(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        self.frozen = true;
        Ok(())
    }

    /// SIGCONT, if it is frozen.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn thaw(&mut self) -> anyhow::Result<()> {
        if self.frozen {
            self.signal(Signal::CONT)?;
            self.frozen = false;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().with_context(|| format!("replica {} does not run", self.number))?;
        kill_process(Pid::from_child(process), signal)?;
        Ok(())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Fails only for a process that is gone already.
        let _ = self.kill();
    }
}
