//! Identifiers: what GHL calls things, and the `_id`s we derive from them.
//!
//! Invariant: a value of these types is safe as a document key, a URL segment after encoding, and a log field.
//! Changing a format here is a migration (docs/architecture.md, "Decided once"). Pure: imports `phone` for its mask, `day`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::day::Day;
use super::phone::mask;

/// A GHL identifier that is not 1 to 64 of `[A-Za-z0-9_-]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 64 letters, digits, `_` or `-`")]
pub struct InvalidId;

macro_rules! ghl_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the loose rule of the contract: 1 to 64 of `[A-Za-z0-9_-]`.
            ///
            /// # Errors
            /// [`InvalidId`] for anything else.
            pub fn parse(raw: &str) -> Result<Self, InvalidId> {
                let fits = (1..=64).contains(&raw.len())
                    && raw.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                if fits { Ok(Self(raw.to_owned())) } else { Err(InvalidId) }
            }

            /// The id as GHL wrote it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(raw: String) -> Result<Self, InvalidId> {
                Self::parse(&raw)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

ghl_id!(
    /// A sub-account of an agency.
    LocationId
);
ghl_id!(
    /// An agency.
    CompanyId
);
ghl_id!(
    /// GHL's own id of a conversation message.
    GhlMessageId
);

/// The key of a document: `out:…`, `dead:…`, `in:…`, `loc:…`, `company:…`, `contact:…`,
/// `stop:…`, `event:…`, `receipt:…`, `set:…`, `day:…`, `link:…`, `leader`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DocId(pub String);

impl DocId {
    /// An outbound message: unique by (location, GHL message), which is the replay protection of a hook without a timestamp.
    #[must_use]
    pub fn outbound(location: &LocationId, message: &GhlMessageId) -> Self {
        Self(format!("out:{location}:{message}"))
    }

    /// A webhook that could not be read, by the SHA-256 of its bytes.
    #[must_use]
    pub fn dead(sha256_hex: &str) -> Self {
        Self(format!("dead:{sha256_hex}"))
    }

    /// A reply, by the SHA-256 of what identifies it (see `inbound::identity`).
    #[must_use]
    pub fn inbound(sha256_hex: &str) -> Self {
        Self(format!("in:{sha256_hex}"))
    }

    /// The installation of a location.
    #[must_use]
    pub fn location(location: &LocationId) -> Self {
        Self(format!("loc:{location}"))
    }

    /// Stands before every location's installation in the order of keys.
    #[must_use]
    pub fn before_locations() -> Self {
        Self("loc:".to_owned())
    }

    /// The installation of an agency.
    #[must_use]
    pub fn company(company: &CompanyId) -> Self {
        Self(format!("company:{company}"))
    }

    /// What is known of a phone in a location.
    #[must_use]
    pub fn contact(location: &LocationId, e164: &str) -> Self {
        Self(format!("contact:{location}:{e164}"))
    }

    /// A lifecycle event, by GHL's id of the webhook or the SHA-256 of its bytes: the same over redeliveries.
    #[must_use]
    pub fn event(key: &str) -> Self {
        Self(format!("event:{key}"))
    }

    /// A suppression of a phone: of one location, or everywhere (`*`).
    #[must_use]
    pub fn suppression(scope: &str, e164: &str) -> Self {
        Self(format!("stop:{scope}:{e164}"))
    }

    /// The receipts of an SMS, by the gateway's id of it.
    #[must_use]
    pub fn receipt(gateway_id: &str) -> Self {
        Self(format!("receipt:{gateway_id}"))
    }

    /// What was set for a location.
    #[must_use]
    pub fn settings(location: &LocationId) -> Self {
        Self(format!("set:{location}"))
    }

    /// What a location sent on the shared key on a day.
    #[must_use]
    pub fn day(location: &LocationId, day: Day) -> Self {
        Self(format!("day:{location}:{}", day.number()))
    }

    /// A link to enter a key by, named by the SHA-256 of its token.
    #[must_use]
    pub fn link(sha256_hex: &str) -> Self {
        Self(format!("link:{sha256_hex}"))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For logs: the key of a contact or a suppression shows its phone masked. Keys are written with [`DocId::as_str`].
impl fmt::Display for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.0.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(kind @ ("contact" | "stop")), Some(scope), Some(phone)) => {
                write!(f, "{kind}:{scope}:{}", mask(phone))
            }
            _ => f.write_str(&self.0),
        }
    }
}

/// One try at one part: 16 random bytes in hex, made by the process that makes the call and written before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub String);

/// The term of a leader: rises at each take-over and, on the embedded store, at each start. 0 means "never claimed".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_a_slash_a_space_or_nothing_in_it_is_refused() {
        for bad in ["", "a/b", "a b", "ä", "../x", &"x".repeat(65)] {
            assert_eq!(LocationId::parse(bad), Err(InvalidId), "{bad}");
        }
        assert!(LocationId::parse("GKAWb4yu7A4LSc0skQ6g").is_ok());
    }

    #[test]
    fn a_contacts_key_is_shown_with_its_phone_masked() {
        let id = DocId::contact(&LocationId::parse("L1").unwrap(), "+639171234567");
        assert_eq!(id.as_str(), "contact:L1:+639171234567");
        assert!(!id.to_string().contains("1234567"), "{id}");
        let id = DocId::suppression("*", "+639171234567");
        assert_eq!((id.as_str(), id.to_string()), ("stop:*:+639171234567", "stop:*:+63917*****67".to_owned()));
    }

    #[test]
    fn an_outbound_key_names_location_and_message() {
        let id = DocId::outbound(&LocationId::parse("L1").unwrap(), &GhlMessageId::parse("m-2").unwrap());
        assert_eq!(id.as_str(), "out:L1:m-2");
    }
}
