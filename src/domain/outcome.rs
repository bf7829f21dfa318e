//! What is known after a send was tried: the four outcomes of Cast's contract, as a type without a default arm.
//!
//! Owns the words; the meaning for a message's state lives in `message`. Pure: imports nothing.

use std::time::Duration;

/// The outcome of one call to the gateway (cast contract, "Outcome of a send").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// The gateway took the SMS.
    Accepted {
        /// The gateway's id, when it gave one.
        gateway_id: Option<String>,
        /// SMS parts charged, when it said so.
        parts: Option<u32>,
    },
    /// The SMS provably never left: it may be tried again without doubt.
    NotSent {
        /// Why, which decides who waits: the message or the whole key.
        why: NotSent,
        /// The gateway's own hint (`Retry-After`), already parsed, not yet capped.
        retry_after: Option<Duration>,
    },
    /// The gateway refused this SMS for good.
    Rejected {
        /// The gateway's words, at most 200 characters, no control characters.
        reason: String,
    },
    /// The SMS may be out: nobody can say.
    Unknown {
        /// What was seen, for logs and operators: never message text.
        evidence: String,
        /// The gateway's id all the same, where the answer has one: a receipt may vouch for it.
        gateway_id: Option<String>,
    },
}

/// Why a send provably did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// 429: the whole key waits.
    RateLimited,
    /// 401, 402 or 403: the key is refused.
    KeyRefused {
        /// The HTTP status seen.
        status: u16,
    },
    /// DNS failure, connection refused, connect timeout, TLS handshake failure: the key waits.
    Unreachable,
    /// We ourselves did not make the call (the right to act lapsed, or the record was not acknowledged).
    NotCalled,
}
