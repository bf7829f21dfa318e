//! Who may send: the installation of a location or an agency, with its sealed tokens.
//!
//! Owns the stored shape (version 1) and the rule "may this location's messages go?". Token policy lives in `oauth`,
//! sealing in `seal`, what is still to be done for an installation in `agency`. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::agency::{Cascade, Doubt, Listing, Mint};
use super::id::{CompanyId, DocId, LocationId};
use super::message::{DOCUMENT_VERSION, FailureCode};
use super::post::PostMemory;
use super::recheck::Recheck;
use super::time::UnixMillis;

/// A secret at rest: AES-256-GCM under the key `kid`, or in the clear where the operator said so out loud.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sealed {
    Encrypted {
        /// Which key of the ring.
        kid: String,
        /// 12 bytes, base64.
        nonce: String,
        /// Cipher text and tag, base64.
        ct: String,
    },
    Plain {
        plain: String,
    },
}

/// Shows the key id alone.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Encrypted { kid, .. } => write!(f, "Sealed(kid {kid})"),
            Self::Plain { .. } => f.write_str("Sealed(plain)"),
        }
    }
}

/// Whether the grant works. Sending does not depend on it; reports wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Active,
    /// GHL says the sub-account is paused or unpaid: the grant is kept and tried again slowly.
    Suspended,
    /// The grant is dead: somebody has to install again.
    Reauthorize,
}

/// Which of the two GHL accounts a grant belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    Location,
    Company,
}

/// The grant as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub access: Sealed,
    /// Absent on minted tokens that came without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Sealed>,
    /// SHA-256 (hex) of the refresh token: what a refresh compares before it stores a newer pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_hash: Option<String>,
    pub expires_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl Grant {
    /// Names of the sealed fields: part of what a seal is bound to, so never to be changed.
    pub const ACCESS: &str = "access";
    pub const REFRESH: &str = "refresh";
}

/// A document with secrets at rest in it.
pub trait HoldsSealed: Clone {
    /// The document's key, which its seals are bound to.
    fn seal_id(&self) -> Option<DocId>;
    /// Each secret under the name its seal is bound to.
    fn sealed_fields(&mut self) -> Vec<(&'static str, &mut Sealed)>;
}

impl HoldsSealed for Installation {
    fn seal_id(&self) -> Option<DocId> {
        self.id()
    }

    fn sealed_fields(&mut self) -> Vec<(&'static str, &mut Sealed)> {
        let grant = self.grant.iter_mut();
        grant
            .flat_map(|grant| {
                let refresh = grant.refresh.as_mut().map(|refresh| (Grant::REFRESH, refresh));
                std::iter::once((Grant::ACCESS, &mut grant.access)).chain(refresh)
            })
            .collect()
    }
}

/// The installation of a location or an agency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    pub v: u32,
    pub kind: GrantKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<CompanyId>,
    /// `None` once uninstalled.
    pub grant: Option<Grant>,
    pub health: Health,
    /// When the leader refreshes next; absent without a refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_at: Option<UnixMillis>,
    /// A refresh of the pair with this hash was begun: a mark, no time is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_started: Option<String>,
    pub installed_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uninstalled_at: Option<UnixMillis>,
    /// GHL refused the property `phone` on inbound messages of this location.
    #[serde(default)]
    pub inbound_phone_refused: bool,
    /// What else it taught us of how replies are posted there.
    #[serde(default, skip_serializing_if = "PostMemory::is_empty")]
    pub post: PostMemory,
    /// Agency installs: new sub-accounts follow by themselves.
    #[serde(default)]
    pub install_to_future: bool,
    /// Agency installs: every sub-account was approved.
    #[serde(default)]
    pub approve_all: bool,
    /// Agency installs: the sub-accounts the installer chose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_locations: Vec<LocationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// A token is to be minted from the company's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint: Option<Mint>,
    /// Agency installs: the list of sub-accounts is to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
    /// Agency installs: its locations are to be uninstalled with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<Cascade>,
    /// An uninstall that GHL has to confirm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// GHL's time of the last lifecycle event that was applied: an older one changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_at: Option<UnixMillis>,
    /// The set-up check the bridge does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recheck: Option<Recheck>,
}

impl Installation {
    /// A fresh installation; an agency's list is read at once.
    #[must_use]
    pub fn new(
        kind: GrantKind,
        location: Option<LocationId>,
        company: Option<CompanyId>,
        grant: Grant,
        now: UnixMillis,
    ) -> Self {
        Self {
            v: DOCUMENT_VERSION,
            kind,
            location,
            company,
            grant: Some(grant),
            health: Health::Active,
            refresh_at: None,
            refresh_started: None,
            installed_at: now,
            uninstalled_at: None,
            inbound_phone_refused: false,
            post: PostMemory::default(),
            install_to_future: false,
            approve_all: false,
            approved_locations: Vec::new(),
            version_id: None,
            mint: None,
            listing: (kind == GrantKind::Company).then(|| Listing::begin(now)),
            cascade: None,
            doubt: None,
            last_event_at: None,
            recheck: None,
        }
    }

    /// The document's key; `None` for a record that names neither location nor company.
    #[must_use]
    pub fn id(&self) -> Option<DocId> {
        match self.kind {
            GrantKind::Location => self.location.as_ref().map(DocId::location),
            GrantKind::Company => self.company.as_ref().map(DocId::company),
        }
    }

    /// Installed: a stored token, not marked uninstalled. The token's health does not matter to sending.
    #[must_use]
    pub fn installed(&self) -> bool {
        self.grant.is_some() && self.uninstalled_at.is_none()
    }
}

/// How an installation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallState {
    /// It has a grant that works, as far as is known.
    Active,
    /// The CRM says the sub-account is paused or unpaid: asked again by itself.
    Suspended,
    /// The grant is dead: somebody has to connect again.
    Reauthorize,
    /// Its token is still to be minted from its agency's.
    WaitingForToken,
    /// The CRM gave no token for it: connect it by itself.
    NotConnected,
    Uninstalled,
}

impl InstallState {
    /// How it stands by its document.
    #[must_use]
    pub fn of(installation: &Installation) -> Self {
        match (&installation.grant, installation.health) {
            _ if installation.uninstalled_at.is_some() => Self::Uninstalled,
            (Some(_), Health::Active) => Self::Active,
            (Some(_), Health::Suspended) => Self::Suspended,
            (Some(_), Health::Reauthorize) => Self::Reauthorize,
            (None, _) if installation.mint.is_some() => Self::WaitingForToken,
            (None, _) => Self::NotConnected,
        }
    }

    /// The word in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Reauthorize => "reauthorize",
            Self::WaitingForToken => "waiting_for_token",
            Self::NotConnected => "not_connected",
            Self::Uninstalled => "uninstalled",
        }
    }
}

/// What may happen to a message of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaySend {
    Yes,
    /// Wait for an installation, at the latest until then.
    HoldUntil(UnixMillis),
    Never(FailureCode, &'static str),
}

/// May a message that waits since `since` go? A good signature proves GHL, not our app: only an installed location sends.
#[must_use]
pub fn may_send(
    installation: Option<&Installation>,
    since: UnixMillis,
    now: UnixMillis,
    install_wait: Duration,
) -> MaySend {
    const NEVER: &str = "This sub-account has not connected Cast SMS. Connect it and send again.";
    match installation {
        Some(i) if i.installed() => MaySend::Yes,
        Some(i) if i.uninstalled_at.is_some() => MaySend::Never(
            FailureCode::NotInstalled,
            "Cast SMS was disconnected from this sub-account. Connect it again and send again.",
        ),
        Some(_) | None => {
            let until = since.after(install_wait);
            if now < until { MaySend::HoldUntil(until) } else { MaySend::Never(FailureCode::NotInstalled, NEVER) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: UnixMillis = UnixMillis(1_000_000);
    const WAIT: Duration = Duration::from_secs(900);

    fn installation() -> Installation {
        let grant = Grant {
            access: Sealed::Plain { plain: "a".into() },
            refresh: None,
            refresh_hash: None,
            expires_at: T0,
            scope: None,
        };
        Installation::new(GrantKind::Location, LocationId::parse("L1").ok(), None, grant, T0)
    }

    #[test]
    fn a_message_of_an_unknown_location_waits_and_then_fails() {
        assert_eq!(may_send(None, T0, T0, WAIT), MaySend::HoldUntil(T0.after(WAIT)));
        assert!(matches!(may_send(None, T0, T0.after(WAIT), WAIT), MaySend::Never(FailureCode::NotInstalled, _)));
    }

    #[test]
    fn an_expired_suspended_or_dead_grant_still_sends() {
        for health in [Health::Active, Health::Suspended, Health::Reauthorize] {
            let i = Installation { health, ..installation() };
            assert_eq!(may_send(Some(&i), T0, T0.after(WAIT), WAIT), MaySend::Yes);
        }
    }

    #[test]
    fn an_uninstalled_location_fails_at_once() {
        let i = Installation { uninstalled_at: Some(T0), grant: None, ..installation() };
        assert!(matches!(may_send(Some(&i), T0, T0, WAIT), MaySend::Never(FailureCode::NotInstalled, _)));
    }

    #[test]
    fn a_sealed_record_shows_no_token() {
        assert_eq!(format!("{:?}", Sealed::Plain { plain: "tok".into() }), "Sealed(plain)");
    }
}
