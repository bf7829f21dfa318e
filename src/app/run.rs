//! Starting, running, stopping: the order in which things begin and end.
//!
//! Shutdown (bridge §6): not ready, no new claims; webhooks are still stored for `DRAIN`; the listener closes; calls in flight
//! end or are left `in_doubt`; the leader beats until then and releases; exit.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::build::STORE_LOOK;
use super::{App, AppError};
use crate::client::builder::TIMEOUT;
use crate::domain::leadership::JUDGE_AFTER;
use crate::http::{Listener, metrics_router, serve};
use crate::store::StoreError;

/// More than Cast's 30 s time-out.
const CALLS_IN_FLIGHT: Duration = Duration::from_secs(35);
/// A call ends before its process gives it up, and that before a successor judges it.
const _: () = assert!(
    TIMEOUT.as_secs() < CALLS_IN_FLIGHT.as_secs() && CALLS_IN_FLIGHT.as_secs() < JUDGE_AFTER.as_secs(),
    "30 s < 35 s < 45 s (bridge §4, §6)"
);
/// A store that does not answer a look within this is lost for now.
const REACH: Duration = Duration::from_secs(5);
/// After everything was told to end, the loops get this long: a refresh under way takes 6 s at most.
const LOOPS_END: Duration = Duration::from_secs(8);

/// The ports, bound.
#[derive(Debug)]
pub struct Ports {
    pub http: Listener,
    pub metrics: Option<Listener>,
}

impl App {
    /// Binds the ports of the configuration.
    ///
    /// # Errors
    /// [`AppError::Port`]
    pub async fn bind(&self) -> Result<Ports, AppError> {
        let http = Listener::bind(self.http_addr).await?;
        let metrics = match self.metrics_addr {
            Some(addr) => Some(Listener::bind(addr).await?),
            None => None,
        };
        Ok(Ports { http, metrics })
    }

    /// Runs until `shutdown` ends and everything that had to end after it has.
    ///
    /// # Errors
    /// [`AppError::Store`] when the store refuses us; [`AppError::Broken`] when a loop ended by itself.
    pub async fn run(self, ports: Ports, shutdown: impl Future<Output = ()> + Send) -> Result<(), AppError> {
        let close = CancellationToken::new();
        let web = tokio::spawn(serve(ports.http, self.router.clone(), close.clone()));
        let metrics_closed = CancellationToken::new();
        if let Some(listener) = ports.metrics {
            tokio::spawn(serve(listener, metrics_router(self.metrics.clone()), metrics_closed.clone()));
        }
        let mut loops = self.loops();
        // Whatever ends it, calls in flight are waited for: only their process knows what becomes of them.
        let end = tokio::select! {
            () = shutdown => Ok(()),
            ended = self.prepared() => match ended {
                Ok(never) => match never {},
                Err(e) => return Err(AppError::Store(e)),
            },
            Some(ended) = loops.join_next() => {
                let why = ended.map_or_else(|e| e.to_string(), |name| format!("the {name} loop ended"));
                tracing::error!(why, "this process is broken and stops");
                Err(AppError::Broken(why))
            }
        };
        tracing::info!("shutting down: webhooks are still stored for a while");
        self.condition.stopping();
        self.stop.begin();
        let worker = self.worker.clone();
        let calls = tokio::spawn(async move { worker.drain(CALLS_IN_FLIGHT).await });
        self.clock.sleep(self.drain).await;
        close.cancel();
        // Both have limits of their own.
        let _ = tokio::join!(web, calls);
        self.stop.abort();
        let ended = async { while loops.join_next().await.is_some() {} };
        if tokio::time::timeout(LOOPS_END, ended).await.is_err() {
            tracing::warn!("a loop did not end in time; it is cut off");
        }
        self.leadership.release().await;
        metrics_closed.cancel();
        drop(self.lock);
        tracing::info!("stopped");
        end
    }

    fn loops(&self) -> JoinSet<&'static str> {
        let mut loops = JoinSet::new();
        let (leadership, stop) = (self.leadership.clone(), self.stop.clone());
        loops.spawn(async move {
            leadership.run(&stop).await;
            "leader"
        });
        let worker = self.worker.clone();
        loops.spawn(async move {
            worker.run().await;
            "worker"
        });
        let (reporter, stop) = (self.reporter.clone(), self.stop.clone());
        loops.spawn(async move {
            reporter.run(&stop).await;
            "report"
        });
        let (receipts, stop) = (self.receipts.clone(), self.stop.clone());
        loops.spawn(async move {
            receipts.run(&stop).await;
            "receipt"
        });
        let (inbound, stop) = (self.inbound.clone(), self.stop.clone());
        loops.spawn(async move {
            inbound.run(&stop).await;
            "inbound"
        });
        let (agency, stop) = (self.agency.clone(), self.stop.clone());
        loops.spawn(async move {
            agency.run(&stop).await;
            "installation"
        });
        let (mirrors, stop) = (self.mirrors.clone(), self.stop.clone());
        loops.spawn(async move {
            mirrors.run(&stop).await;
            "opt-out"
        });
        let (purger, stop) = (self.purger.clone(), self.stop.clone());
        loops.spawn(async move {
            purger.run(&stop).await;
            "retention"
        });
        let (census, stop) = (self.census.clone(), self.stop.clone());
        loops.spawn(async move {
            census.run(&stop).await;
            "census"
        });
        let (rekeyer, stop) = (self.rekeyer.clone(), self.stop.clone());
        loops.spawn(async move {
            rekeyer.run(&stop).await;
            "rekey"
        });
        let (tokens, stop) = (self.tokens.clone(), self.stop.clone());
        loops.spawn(async move {
            tokens.run(&stop).await;
            "refresh"
        });
        loops
    }

    /// Prepares the store as soon as it can be reached, says so, and then only watches; ends only when the store refuses us.
    async fn prepared(&self) -> Result<Infallible, StoreError> {
        let (store, condition, clock) = (&self.store, &self.condition, &self.clock);
        loop {
            match store.prepare().await {
                Ok(()) => break,
                Err(e @ (StoreError::Refused(_) | StoreError::Held(_) | StoreError::Corrupt { .. })) => return Err(e),
                Err(e) => {
                    condition.store(false);
                    tracing::warn!(error = %e, "the store can't be reached yet: webhooks are answered 429");
                }
            }
            clock.sleep(STORE_LOOK).await;
        }
        condition.store(true);
        condition.started();
        tracing::info!(store = store.kind(), "ready");
        match self.rekeyer.survey().await {
            Ok(survey) => {
                for (document, why) in survey.unreadable {
                    tracing::error!(%document, %why, "no key opens what is sealed in this document: kept, unreadable");
                }
            }
            Err(e) => tracing::warn!(error = %e, "the tokens could not be looked through"),
        }
        loop {
            clock.sleep(STORE_LOOK * 5).await;
            condition.store(store.reachable(REACH).await);
        }
    }
}
