//! The composition root: the only place that says `new` for clients, stores and clocks, and that knows every module.
//!
//! [`App::build`] and [`App::run`] are the one path for production, sandbox and tests; a test steps what `run` would loop.
//! Owns the order of starting and stopping (bridge §6).

mod build;
mod command;
mod run;
mod token_key;

pub use build::check_webhook_key;
pub use command::{open_doctor, open_ring, open_store};
pub use run::Ports;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;

use crate::clock::Clock;
use crate::delivery::{InboundWorker, Mirrors, Outbound, Receipts, Reporter};
use crate::leader::Leadership;
use crate::lifecycle::{Condition, Stop};
use crate::oauth::{Agency, Tokens};
use crate::queue::{Census, Worker};
use crate::rekey::Rekeyer;
use crate::retention::Purger;
use crate::store::{Lock, Store, StoreError};
use crate::telemetry::Metrics;

/// Why the bridge could not be built or run, by exit code.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Exit code 2.
    #[error("{0}")]
    Config(#[from] crate::config::ConfigErrors),
    /// Exit code 3.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Exit code 3: the key the store's tokens are sealed with.
    #[error("{0}")]
    TokenKey(String),
    /// Exit code 4.
    #[error("{0}")]
    Port(#[from] crate::http::ServeError),
    /// Exit code 1.
    #[error("{0}")]
    Broken(String),
}

impl AppError {
    /// The process's exit code (bridge §2).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Store(_) | Self::TokenKey(_) => 3,
            Self::Port(_) => 4,
            Self::Broken(_) => 1,
        }
    }
}

/// The bridge, built and not yet running.
pub struct App {
    pub(crate) router: Router,
    pub(crate) worker: Worker<Outbound>,
    pub(crate) reporter: Reporter,
    pub(crate) receipts: Receipts,
    pub(crate) inbound: InboundWorker,
    pub(crate) mirrors: Mirrors,
    pub(crate) tokens: Tokens,
    pub(crate) agency: Agency,
    pub(crate) purger: Purger,
    pub(crate) census: Census,
    pub(crate) rekeyer: Rekeyer,
    pub(crate) leadership: Leadership,
    pub(crate) store: Store,
    pub(crate) condition: Condition,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) stop: Stop,
    pub(crate) drain: Duration,
    pub(crate) http_addr: SocketAddr,
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// The embedded store's directory is ours as long as this lives.
    pub(crate) lock: Option<Lock>,
}

impl App {
    /// The public routes, for a test that serves them without a port.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The queue's worker, to be stepped.
    #[must_use]
    pub fn worker(&self) -> &Worker<Outbound> {
        &self.worker
    }

    /// The reporter, to be stepped.
    #[must_use]
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// The loop over receipts, to be stepped.
    #[must_use]
    pub fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// The inbound worker, to be stepped.
    #[must_use]
    pub fn inbound(&self) -> &InboundWorker {
        &self.inbound
    }

    /// What tells the CRM of opt-outs, to be stepped.
    #[must_use]
    pub fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// The token keeper.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The background work of installations, to be stepped.
    #[must_use]
    pub fn agency(&self) -> &Agency {
        &self.agency
    }

    /// The purger, to be stepped.
    #[must_use]
    pub fn purger(&self) -> &Purger {
        &self.purger
    }

    /// The census, to be stepped.
    #[must_use]
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// What seals tokens anew, to be stepped.
    #[must_use]
    pub fn rekeyer(&self) -> &Rekeyer {
        &self.rekeyer
    }

    /// This process's standing among replicas, to be stepped.
    #[must_use]
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// The store, for looking at what is in it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What stops it.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}
