//! What is done with a message: sent to Cast, reported to GHL, and replies posted into the conversation.
//!
//! Implements the queue's `Handler` and runs the two other loops. Invariant: a slow GHL never holds back a send: reports have
//! their own index, loop and pace. Must not import http or config.

mod inbound;
mod outbound;
mod report;

use std::sync::{Arc, Mutex, PoisonError};

pub use inbound::{InboundSettings, InboundWorker};
pub use outbound::{Outbound, OutboundSettings};
pub use report::Reporter;

use crate::clock::Clock;
use crate::domain::time::UnixMillis;
use crate::ghl_pace::{GhlPace, Turn};
use crate::leader::Leadership;
use crate::lifecycle::Bells;
use crate::oauth::Tokens;
use crate::store::Store;
use crate::telemetry::Metrics;

/// What both loops that call GHL work with.
#[derive(Debug, Clone)]
pub struct LoopParts {
    pub store: Store,
    pub tokens: Tokens,
    pub clock: Clock,
    pub leadership: Leadership,
    pub bells: Bells,
    pub metrics: Metrics,
    pub pace: SharedPace,
}

/// The one limiter of all calls to GHL, by location.
#[derive(Debug, Clone, Default)]
pub struct SharedPace(Arc<Mutex<GhlPace>>);

impl SharedPace {
    fn ask(&self, location: &str, who: &str, now: UnixMillis) -> Turn {
        self.guard().ask(location, who, now)
    }

    fn urgent(&self, location: &str, now: UnixMillis) -> Turn {
        self.guard().urgent(location, now)
    }

    fn rest(&self, location: &str, until: UnixMillis) {
        self.guard().rest(location, until);
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, GhlPace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
