//! What is done with a message: sent to Cast, reported to GHL, its receipts matched, and replies posted into the conversation.
//!
//! Implements the queue's `Handler` and runs the loops beside it: reports, receipts, replies, do-not-disturb. Invariant: a slow
//! GHL never holds back a send: reports have their own index, loop and pace. Must not import http or config.

mod account;
mod inbound;
mod mirror;
mod outbound;
mod receipt;
mod report;

pub use account::AccountSettings;
pub use inbound::{InboundSettings, InboundWorker};
pub use mirror::Mirrors;
pub use outbound::{Outbound, OutboundSettings};
pub use receipt::Receipts;
pub use report::Reporter;

use crate::client::ghl::ApiRefusal;
use crate::clock::Clock;
use crate::ghl_pace::SharedPace;
use crate::leader::Leadership;
use crate::lifecycle::Bells;
use crate::oauth::Tokens;
use crate::store::Store;
use crate::telemetry::Metrics;

/// What the loops of this module work with.
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

/// "Contact not found", and its like for a conversation: deleted or merged since we learnt of it.
fn gone(refusal: &ApiRefusal, what: &str) -> bool {
    let says = refusal.message.to_ascii_lowercase();
    matches!(refusal.status, 400 | 404 | 422) && says.contains(what) && says.contains("not found")
}
