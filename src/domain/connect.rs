//! A link by which an installer enters the location's own gateway key: once, within half an hour.
//!
//! Owns the stored shape (version 1), which names the token by its hash alone, and whether a link still holds. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{DocId, LocationId};
use super::message::DOCUMENT_VERSION;
use super::time::UnixMillis;

/// How long a link holds.
pub const LINK_LIFE: Duration = Duration::from_secs(30 * 60);

/// A link as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectLink {
    pub v: u32,
    /// `link:{sha256 of the token}`.
    pub id: DocId,
    pub location: LocationId,
    pub ends_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<UnixMillis>,
}

impl ConnectLink {
    /// A link that holds from now on.
    #[must_use]
    pub fn new(token_sha256: &str, location: LocationId, now: UnixMillis) -> Self {
        let id = DocId::link(token_sha256);
        Self { v: DOCUMENT_VERSION, id, location, ends_at: now.after(LINK_LIFE), used_at: None }
    }

    /// Neither used nor too old.
    #[must_use]
    pub fn holds(&self, now: UnixMillis) -> bool {
        self.used_at.is_none() && now < self.ends_at
    }

    /// The link after it was used; `None` when it does not hold.
    #[must_use]
    pub fn used(&self, now: UnixMillis) -> Option<Self> {
        self.holds(now).then(|| Self { used_at: Some(now), ..self.clone() })
    }

    /// The link as it was before it was used at `at`: what it was used for did not come about.
    #[must_use]
    pub fn unused(&self, at: UnixMillis) -> Option<Self> {
        (self.used_at == Some(at)).then(|| Self { used_at: None, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_for_half_an_hour_and_once() {
        let (location, now) = (LocationId::parse("L1").expect("an id"), UnixMillis(5));
        let link = ConnectLink::new("ab", location, now);
        assert!(link.holds(now) && !link.holds(now.after(LINK_LIFE)));
        let used = link.used(now).expect("it holds");
        assert_eq!((used.holds(now), used.used(now)), (false, None));
        assert_eq!(used.unused(now), Some(link));
        assert_eq!(used.unused(UnixMillis(6)), None);
    }
}
