//! What a fake GHL saw and keeps: the views a test asserts on and the sandbox prints.
//!
//! Plain data. Holds message text and numbers, since comparing them is its purpose: it is for assertions, not for logs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::time::UnixMillis;

/// One call to a path of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GhlCall {
    /// When it came.
    pub at: UnixMillis,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The status it was answered with; `None` when it was left hanging or reset.
    pub status: Option<u16>,
    /// The location (or company) it acted for: its token's, or the one a token was given to.
    pub location: Option<String>,
    /// Why it was refused, in the words of the answer.
    pub problem: Option<String>,
    /// Whether it broke the contract by itself: no fault, limit, expiry or variation is behind the problem.
    pub breach: bool,
}

/// A status GHL accepted for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSeen {
    /// When.
    pub at: UnixMillis,
    /// `delivered`, `failed`, `pending` or `read`.
    pub status: String,
    /// The error that came with it.
    pub error: Option<StatusError>,
}

/// The error object of a status (ghl contract §4): all three are strings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusError {
    /// A code.
    pub code: String,
    /// `saas` for ours.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sentence an agent reads.
    pub message: String,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the contact.
    Inbound,
    /// To the contact. ⚠ What GHL assumes of an inbound message that does not say (§5).
    Outbound,
}

/// An inbound message GHL stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundSeen {
    /// When.
    pub at: UnixMillis,
    /// Its location.
    pub location_id: String,
    /// Its contact.
    pub contact_id: String,
    /// Its conversation.
    pub conversation_id: String,
    /// The id GHL gave it.
    pub message_id: String,
    /// `SMS` or `Custom`.
    pub kind: String,
    /// Its text.
    pub message: Option<String>,
    /// Which way GHL shows it.
    pub direction: Direction,
    /// The provider it named.
    pub provider_id: Option<String>,
    /// The number it named.
    pub phone: Option<String>,
    /// When the person sent it, as the caller wrote it.
    pub date: Option<String>,
    /// The caller's own id.
    pub alt_id: Option<String>,
    /// Links.
    pub attachments: Vec<String>,
}

/// A contact.
#[derive(Debug, Clone, PartialEq)]
pub struct ContactSeen {
    /// Its id.
    pub id: String,
    /// Its location.
    pub location_id: String,
    /// The id of its one conversation.
    pub conversation_id: String,
    /// Its number, E.164.
    pub phone: String,
    /// Where it came from, if an upsert said so.
    pub source: Option<String>,
    /// Its do-not-disturb settings, as last set.
    pub dnd: Option<Value>,
}

/// How often a grant was refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refreshes {
    /// A refresh token was spent and a new pair given.
    pub rotated: u32,
    /// The same pair was given again, within 30 s.
    pub repeated: u32,
    /// Refused.
    pub refused: u32,
}
