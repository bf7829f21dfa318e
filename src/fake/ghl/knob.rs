//! How a fake GHL starts and what a test may turn: the vendor's documented and seen-in-the-wild variations.
//!
//! Owns the words for them, each with its source in the ghl contract. Plain data; imports nothing of the server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limit::RateLimit;
use crate::clock::Clock;

/// A location of a fake GHL, used where a test does not care.
pub const DEFAULT_LOCATION: &str = "LOCfake0000000000001";
/// The company of [`DEFAULT_LOCATION`].
pub const DEFAULT_COMPANY: &str = "COMfake0000000000001";
/// The user who installs.
pub const DEFAULT_USER: &str = "USRfake0000000000001";

/// The nine scopes the app asks for (ghl contract §3).
pub const SCOPES: [&str; 9] = [
    "conversations/message.write",
    "conversations/message.readonly",
    "conversations.write",
    "conversations.readonly",
    "contacts.readonly",
    "contacts.write",
    "oauth.readonly",
    "oauth.write",
    "locations.readonly",
];

/// How a fake GHL starts.
#[derive(Clone)]
pub struct FakeGhlOptions {
    /// `<app id>-<suffix>`.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: String,
    /// The only redirect URI the app may use; `None`: any absolute http(s) URL.
    pub redirect_uri: Option<String>,
    /// The scopes the app was published with.
    pub scopes: Vec<String>,
    /// The app's conversation provider.
    pub provider_id: String,
    /// The provider's name in the sub-account's settings.
    pub provider_name: String,
    /// Time for everything that is dated, expires or waits. Durations run on its monotonic side.
    pub clock: Clock,
    /// Calls allowed per location or company; `None`: any number.
    pub rate_limit: Option<RateLimit>,
    /// Life of an access token.
    pub token_life: Duration,
    /// How long after a message's webhook its status cannot be set (§4: 5 to 10 s, sometimes longer).
    pub status_ready_after: Duration,
}

impl Default for FakeGhlOptions {
    /// The documented limits and lives, on the machine's clock.
    fn default() -> Self {
        Self {
            client_id: "64f0c0ffee64f0c0ffee0001-lmfake01".to_owned(),
            client_secret: "fake-client-secret-of-no-use".to_owned(),
            redirect_uri: None,
            scopes: SCOPES.map(str::to_owned).to_vec(),
            provider_id: "PRVfake0000000000001".to_owned(),
            provider_name: "Cast SMS".to_owned(),
            clock: Clock::default(),
            rate_limit: Some(RateLimit::default()),
            token_life: Duration::from_secs(86_399),
            status_ready_after: Duration::from_secs(5),
        }
    }
}

/// What a token acts for, in the words of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserType {
    /// One sub-account.
    Location,
    /// An agency.
    Company,
}

/// What the person on the authorize page chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The company the app is installed in.
    pub company_id: String,
    /// Who installs.
    pub user_id: String,
    /// For what.
    pub target: InstallTarget,
    /// An agency's install: every sub-account was approved, and those to come (`approveAllLocations`,
    /// `installToFutureLocations`).
    pub for_all: bool,
}

/// For what the app is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallTarget {
    /// One sub-account: the reply's `userType` is `Location`.
    Location(String),
    /// The agency with these sub-accounts approved: the reply's `userType` is `Company`.
    Company(Vec<String>),
}

impl Install {
    /// A sub-account's install.
    #[must_use]
    pub fn location(location_id: &str, company_id: &str) -> Self {
        Self {
            company_id: company_id.to_owned(),
            user_id: DEFAULT_USER.to_owned(),
            target: InstallTarget::Location(location_id.to_owned()),
            for_all: false,
        }
    }

    /// An agency's install with some of its sub-accounts approved.
    #[must_use]
    pub fn company(company_id: &str, approved: &[&str]) -> Self {
        Self {
            company_id: company_id.to_owned(),
            user_id: DEFAULT_USER.to_owned(),
            target: InstallTarget::Company(approved.iter().map(|id| (*id).to_owned()).collect()),
            for_all: false,
        }
    }
}

impl Default for Install {
    /// [`DEFAULT_LOCATION`] of [`DEFAULT_COMPANY`].
    fn default() -> Self {
        Self::location(DEFAULT_LOCATION, DEFAULT_COMPANY)
    }
}

/// What a refresh, or minting a location's token, comes to (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GrantHealth {
    /// A new pair.
    #[default]
    Alive,
    /// 400 `Location is not active`: paused or unpaid, the grant is not dead.
    NotActive,
    /// 400 `Invalid grant: refresh token is invalid` in GHL's own shape.
    Invalid,
    /// 400 `{"error":"invalid_grant"}` in OAuth's shape.
    InvalidOauth,
}

/// How a token reply spells its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenSpelling {
    /// `access_token`.
    #[default]
    Snake,
    /// `accessToken`.
    Camel,
}

/// What a minted location token's reply holds (§3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MintShape {
    /// As usually seen: with its own refresh token, user type, company and location.
    #[default]
    Full,
    /// As [`MintShape::Full`], without a refresh token: it can only be minted again.
    WithoutRefresh,
    /// The officially declared properties alone: neither refresh token nor user type nor company nor location.
    Bare,
}

/// Which kind of provider the app is, which decides the `type` of an inbound message (§5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProviderKind {
    /// The default SMS provider: `type` must be `SMS`.
    #[default]
    Default,
    /// An extra provider: `type` must be `Custom`.
    Custom,
}

/// What GHL makes of `conversationProviderId` on an inbound message (§5: guide and schema disagree).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProviderIdRule {
    /// May be there and must then be right.
    #[default]
    Optional,
    /// Must be there and right.
    Required,
    /// Refused by name.
    Refused,
}

/// Whether an inbound message may carry `phone` (§5: the user's reference has it, the official schema does not).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PhoneRule {
    /// It may.
    #[default]
    Accepted,
    /// 422 that names it.
    Refused,
}

/// By what an inbound message is addressed (§5: one of the two is enough).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddresseeRule {
    /// By contact or conversation.
    #[default]
    Either,
    /// 400 unless it names the conversation.
    Conversation,
}

/// The key of the set-up check's list (§7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelSpelling {
    /// `SMS`
    #[default]
    Upper,
    /// `sms`
    Lower,
}

/// What the set-up check's list holds (§7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelList {
    /// Our provider and another.
    #[default]
    All,
    /// The other alone: ours under no id and no name we know.
    OthersAlone,
}

/// What an access token looks like; its scopes may be read from it for diagnosis (§7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenForm {
    /// A JWT with its scopes in the payload, as seen.
    #[default]
    Jwt,
    /// Anything else: nobody promises that it is a JWT.
    Opaque,
}
