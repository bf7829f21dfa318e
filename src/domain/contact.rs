//! What a location's outbound messages taught us of a phone: whose contact it is, and who messaged it last.
//!
//! Learnt only from installed locations. Pure: imports `id`, `phone`, `time`.

use serde::{Deserialize, Serialize};

use super::id::{CompanyId, LocationId};
use super::phone::Phone;
use super::time::UnixMillis;

/// The memory of (location, phone).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactNote {
    pub v: u32,
    pub location: LocationId,
    pub company: Option<CompanyId>,
    pub phone: Phone,
    pub contact_id: Option<String>,
    pub conversation_id: Option<String>,
    /// Absent when the contact was only looked up for a reply.
    pub last_outbound_at: Option<UnixMillis>,
}
