//! The real bridge, running inside the sandbox: started, asked, stopped.
//!
//! Owns its task. Invariant: the port is bound before the configuration is written, since `BASE_URL` names it; so nobody
//! can take it in between. Asks it only what an operator can: `/ready`, `/metrics`, and its store.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, AppError, Ports};
use crate::client::builder::{HttpSettings, http_client};
use crate::clock::Clock;
use crate::config::ServeConfig;
use crate::http::Listener;
use crate::store::{Query, Record, Store};

/// Starting takes milliseconds; a slow disk may stretch that.
const START: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Documents read at once.
const PAGE: usize = 512;

/// The bridge, running.
pub(super) struct Bridge {
    /// Its public address, without a trailing slash.
    pub(super) url: String,
    /// Where its metrics are.
    pub(super) metrics_url: String,
    pub(super) http: reqwest::Client,
    store: Store,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AppError>>,
}

impl Bridge {
    /// Starts it on `listener` and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be built, no port for the metrics, or it is not ready in time.
    pub(super) async fn start(
        listener: Listener,
        metrics: Listener,
        config: &ServeConfig,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let url = config.http.public_url("");
        let metrics_url = format!("http://{}/metrics", metrics.addr());
        let app = App::build(config, clock.clone()).await.context("the bridge can't be built")?;
        let store = app.store().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let ports = Ports { http: listener, metrics: Some(metrics) };
        let task = tokio::spawn(async move { app.run(ports, stopped.cancelled()).await });
        let http = http_client(&HttpSettings::default())?;
        let bridge = Self { url, metrics_url, http, store, stop, task };
        bridge.ready(clock).await?;
        Ok(bridge)
    }

    async fn ready(&self, clock: &Clock) -> anyhow::Result<()> {
        let began = clock.mono();
        let url = format!("{}/ready", self.url);
        loop {
            anyhow::ensure!(self.is_running(), "the bridge ended while it was starting");
            if self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let waited = clock.mono().since(began);
            anyhow::ensure!(waited < START, "waited {} s in vain for the bridge to be ready", START.as_secs());
            clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Whether it has not ended by itself.
    pub(super) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// What it counts.
    ///
    /// # Errors
    /// `/metrics` does not answer.
    pub(super) async fn metrics(&self) -> anyhow::Result<Counts> {
        let page = self.http.get(&self.metrics_url).send().await?.error_for_status()?.text().await?;
        Ok(Counts(page))
    }

    /// How many documents of a kind its store holds.
    ///
    /// # Errors
    /// The store can't be read.
    pub(super) async fn count<R: Record>(&self) -> anyhow::Result<usize> {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.store.find::<R>(Query::Page { after, limit: PAGE }).await?;
            count += page.len();
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.record.id()),
                _ => return Ok(count),
            }
        }
    }

    /// Stops it as SIGTERM does, and waits until it has stopped.
    ///
    /// # Errors
    /// What it ended with.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await?.context("the bridge ended with an error")
    }
}

/// The page of `/metrics`.
pub(super) struct Counts(String);

impl Counts {
    /// The counter `cast_ghl_{name}` of `kind`; one that never counted is 0.
    pub(super) fn of(&self, name: &str, kind: &str) -> usize {
        let series = format!("cast_ghl_{name}_total{{kind=\"{kind}\"}} ");
        let value = self.0.lines().find_map(|line| line.strip_prefix(&series));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn counters_are_read_from_the_page_the_bridge_writes() {
        let metrics = Metrics::default();
        metrics.webhook("accepted", Duration::ZERO);
        metrics.webhook("accepted", Duration::ZERO);
        metrics.signature("signature_invalid");
        let counts = Counts(metrics.render());
        assert_eq!(counts.of("webhooks", "accepted"), 2);
        assert_eq!(counts.of("signatures", "signature_invalid"), 1);
        assert_eq!(counts.of("webhooks", "duplicate"), 0);
    }
}
