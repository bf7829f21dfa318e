//! The OAuth token reply, read leniently, and what asking for one needs.
//!
//! Owns the spellings GHL has used. Invariant: a reply counts if it has an access token, whatever else is missing or odd;
//! tokens exist as `Secret` only. Must not import `store`: the stored record has its own shape.

use std::time::Duration;

use serde_json::Value;

use crate::client::lenient;
use crate::domain::secret::Secret;

/// The marketplace app's own credentials.
#[derive(Debug, Clone)]
pub struct TokenApp {
    /// `{appId}-{suffix}`.
    pub client_id: String,
    /// Sent in the form body only.
    pub client_secret: Secret,
}

/// Whom a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserType {
    /// One sub-account.
    Location,
    /// An agency; location tokens are minted from it.
    Company,
}

impl UserType {
    /// GHL's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Location => "Location",
            Self::Company => "Company",
        }
    }

    /// GHL's word in any case; `None` for another.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Location, Self::Company].into_iter().find(|known| word.eq_ignore_ascii_case(known.as_str()))
    }
}

/// A token reply; only the access token is certain.
#[derive(Debug, Clone)]
pub struct TokenReply {
    pub access_token: Secret,
    /// Single-use: each refresh brings the next one. A minted location token may lack it.
    pub refresh_token: Option<Secret>,
    /// Life of the access token from now; 86399 s as a rule.
    pub expires_in: Option<Duration>,
    /// Authoritative, unlike the type that was asked for: an agency installer gets `Company`.
    pub user_type: Option<UserType>,
    /// Absent for a company token.
    pub location_id: Option<String>,
    pub company_id: Option<String>,
    pub user_id: Option<String>,
    /// Space-separated, as granted.
    pub scope: Option<String>,
    pub is_bulk_installation: Option<bool>,
    /// Locations the installer chose; empty when GHL names none.
    pub approved_locations: Vec<String>,
    pub install_to_future_locations: Option<bool>,
    /// Every sub-account was approved, those to come included.
    pub approve_all_locations: Option<bool>,
}

impl TokenReply {
    /// `None` without an access token. Both the snake_case and the camelCase spelling of every field is known.
    pub(super) fn read(reply: &Value) -> Option<Self> {
        let secret = |names: &[&str]| lenient::text(reply, names).map(Secret::from);
        let approved = ["approvedLocations", "approved_locations"].iter().find_map(|name| reply.get(name)?.as_array());
        Some(Self {
            access_token: secret(&["access_token", "accessToken"])?,
            refresh_token: secret(&["refresh_token", "refreshToken"]),
            expires_in: lenient::number(reply, &["expires_in", "expiresIn"]).map(Duration::from_secs),
            user_type: lenient::text(reply, &["userType", "user_type"]).and_then(|word| UserType::from_word(&word)),
            location_id: lenient::id(reply, &["locationId", "location_id"]),
            company_id: lenient::id(reply, &["companyId", "company_id"]),
            user_id: lenient::id(reply, &["userId", "user_id"]),
            scope: lenient::words(reply, &["scope", "scopes"]),
            is_bulk_installation: lenient::flag(reply, &["isBulkInstallation", "is_bulk_installation"]),
            approved_locations: approved.into_iter().flatten().filter_map(lenient::id_of_location).collect(),
            approve_all_locations: lenient::flag(reply, &["approveAllLocations", "approve_all_locations"]),
            install_to_future_locations: lenient::flag(
                reply,
                &["installToFutureLocations", "install_to_future_locations"],
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_documented_reply_is_read_whole() {
        let reply = TokenReply::read(&json!({
            "access_token": "at", "refresh_token": "rt", "expires_in": 86399, "token_type": "Bearer",
            "scope": "contacts.readonly contacts.write", "userType": "Location", "locationId": "L1",
            "companyId": "C1", "userId": "U1", "refreshTokenId": "R1", "isBulkInstallation": false,
            "approvedLocations": ["L1", "L2"], "installToFutureLocations": true, "traceId": "t"
        }))
        .expect("a reply");
        assert_eq!(reply.access_token.expose(), "at");
        assert_eq!(reply.refresh_token.as_ref().map(Secret::expose), Some("rt"));
        assert_eq!(reply.expires_in, Some(Duration::from_secs(86399)));
        assert_eq!(reply.user_type, Some(UserType::Location));
        assert_eq!(reply.location_id.as_deref(), Some("L1"));
        assert_eq!(reply.company_id.as_deref(), Some("C1"));
        assert_eq!(reply.approved_locations, ["L1", "L2"]);
        assert_eq!((reply.is_bulk_installation, reply.install_to_future_locations), (Some(false), Some(true)));
    }

    #[test]
    fn camel_case_and_both_spellings_at_once_are_read() {
        let camel = TokenReply::read(&json!({"accessToken": "a", "refreshToken": "r", "expiresIn": "10"}));
        let camel = camel.expect("a reply");
        assert_eq!(camel.refresh_token.as_ref().map(Secret::expose), Some("r"));
        assert_eq!(camel.expires_in, Some(Duration::from_secs(10)));
        assert!(TokenReply::read(&json!({"accessToken": "a", "access_token": "a"})).is_some());
    }

    #[test]
    fn only_the_access_token_is_required_and_odd_fields_do_not_spoil_it() {
        let odd = json!({
            "access_token": "a", "expires_in": "soon", "userType": "Agency", "locationId": "",
            "approvedLocations": "all", "isBulkInstallation": "no", "refresh_token": 7
        });
        let reply = TokenReply::read(&odd).expect("a reply");
        assert!(reply.refresh_token.is_none() && reply.expires_in.is_none() && reply.user_type.is_none());
        assert!(reply.location_id.is_none() && reply.approved_locations.is_empty());
        for missing in [json!({}), json!({"access_token": ""}), json!({"access_token": null}), json!([])] {
            assert!(TokenReply::read(&missing).is_none(), "{missing}");
        }
    }

    #[test]
    fn debug_shows_no_token_and_no_client_secret() {
        let reply = TokenReply::read(&json!({"access_token": "at-1", "refresh_token": "rt-1"})).expect("a reply");
        let app = TokenApp { client_id: "app-1".to_owned(), client_secret: Secret::from("cs-1".to_owned()) };
        let shown = format!("{reply:?} {app:?}");
        for secret in ["at-1", "rt-1", "cs-1"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn user_types_are_read_in_any_case() {
        assert_eq!(UserType::from_word("company"), Some(UserType::Company));
        assert_eq!(UserType::from_word(UserType::Location.as_str()), Some(UserType::Location));
        assert_eq!(UserType::from_word("Agency"), None);
    }
}
