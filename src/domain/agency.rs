//! An agency's sub-accounts: what is still to be done for an installation, and what becomes of it.
//!
//! Owns four kinds of background work an installation can carry (mint its token, list an agency's sub-accounts, follow an
//! agency's end, check an uninstall that is in doubt; the fifth is `recheck`'s) and every change of a document they lead to. Invariant: a minted token is
//! stored only over exactly what the mint began with, so it never replaces a newer grant or undoes an uninstall. Pure.

use serde::{Deserialize, Serialize};

use super::id::{CompanyId, LocationId};
use super::installation::{Grant, GrantKind, Health, Installation};
use super::message::DOCUMENT_VERSION;
use super::post::PostMemory;
use super::retry;
use super::time::UnixMillis;

/// Sub-accounts asked for in one page.
pub const PAGE: u32 = 100;
/// A refusal repeated this often is believed: right after an install GHL may not know of it yet.
pub const MINT_TRIES: u32 = 6;
/// A location's token is to be minted from its company's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mint {
    /// Absent while it waits for the company to connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<UnixMillis>,
    #[serde(default)]
    pub tries: u32,
}

impl Mint {
    /// To be done at once, whoever leads.
    #[must_use]
    pub fn at_once(now: UnixMillis) -> Self {
        Self::due(now.on_any_clock())
    }

    /// To be done at `due_at`.
    #[must_use]
    pub fn due(due_at: UnixMillis) -> Self {
        Self { due_at: Some(due_at), tries: 0 }
    }
}

/// An agency's list of sub-accounts is to be read, page by page, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub due_at: UnixMillis,
    /// Entries of this pass that were read.
    #[serde(default)]
    pub skip: u32,
    #[serde(default)]
    pub tries: u32,
    /// When the last whole pass ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<UnixMillis>,
}

impl Listing {
    /// A first pass, to begin at once, whoever leads.
    #[must_use]
    pub fn begin(now: UnixMillis) -> Self {
        Self { due_at: now.on_any_clock(), skip: 0, tries: 0, completed_at: None }
    }

    /// After a page of `length` entries: the next page, or the next pass once one was short or empty.
    #[must_use]
    pub fn after_page(&self, length: usize, now: UnixMillis, jitter: f64) -> Self {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if length < PAGE {
            let due_at = now.after(retry::reconcile(jitter));
            return Self { due_at, skip: 0, tries: 0, completed_at: Some(now) };
        }
        Self {
            due_at: now.on_any_clock(),
            skip: self.skip.saturating_add(length),
            tries: 0,
            completed_at: self.completed_at,
        }
    }
}

/// An agency is gone: its locations follow, one after the other in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cascade {
    pub due_at: UnixMillis,
    /// The last location looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<LocationId>,
    /// The time in GHL's event; absent when it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<UnixMillis>,
}

/// An uninstall that may be an old one: believed only once GHL refuses to renew the grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    pub due_at: UnixMillis,
    #[serde(default)]
    pub tries: u32,
    /// The time in GHL's event; absent when it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<UnixMillis>,
}

/// How far connecting an agency's sub-accounts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// Sub-accounts with a token.
    pub connected: usize,
    /// Those, and the ones that are to have one.
    pub known: usize,
    /// The agency's list was read to its end.
    pub listed: bool,
}

impl Progress {
    /// Counted over all installations of the agency, its own among them.
    #[must_use]
    pub fn of<'a>(installations: impl Iterator<Item = &'a Installation>) -> Self {
        let mut progress = Self::default();
        for installation in installations {
            match installation.kind {
                GrantKind::Company => {
                    progress.listed = installation.listing.as_ref().is_some_and(|l| l.completed_at.is_some());
                }
                GrantKind::Location if installation.installed() => {
                    progress.connected += 1;
                    progress.known += 1;
                }
                GrantKind::Location => progress.known += usize::from(installation.mint.is_some()),
            }
        }
        progress
    }
}

/// Why a token could not be minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintFailure {
    /// The company has no token: wait for one.
    NoCompanyToken,
    /// Not before then: a limit, or a company whose own token does not work now.
    NotBefore(UnixMillis),
    /// The sub-account is paused or unpaid.
    Inactive,
    /// GHL will not have it: the app is not installed there, or not yet.
    Refused,
    /// No answer that decides.
    Trouble,
}

impl Installation {
    /// A location known to be installed, without a token yet.
    #[must_use]
    pub fn awaiting_token(location: LocationId, company: Option<CompanyId>, now: UnixMillis) -> Self {
        let due_at = company.is_some().then_some(now.on_any_clock());
        Self { mint: Some(Mint { due_at, tries: 0 }), ..Self::bare(GrantKind::Location, Some(location), company, now) }
    }

    /// A location or agency that GHL says is gone and that nobody here knew.
    #[must_use]
    pub fn gone(location: Option<LocationId>, company: Option<CompanyId>, now: UnixMillis) -> Self {
        let kind = if location.is_some() { GrantKind::Location } else { GrantKind::Company };
        Self { uninstalled_at: Some(now), ..Self::bare(kind, location, company, now) }
    }

    fn bare(kind: GrantKind, location: Option<LocationId>, company: Option<CompanyId>, now: UnixMillis) -> Self {
        Self {
            v: DOCUMENT_VERSION,
            kind,
            location,
            company,
            grant: None,
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
            listing: None,
            cascade: None,
            doubt: None,
            last_event_at: None,
            recheck: None,
        }
    }

    /// When the earliest background work is due.
    #[must_use]
    pub fn work_at(&self) -> Option<UnixMillis> {
        [
            self.mint.as_ref().and_then(|m| m.due_at),
            self.listing.as_ref().map(|l| l.due_at),
            self.cascade.as_ref().map(|c| c.due_at),
            self.doubt.as_ref().map(|d| d.due_at),
            self.recheck.as_ref().and_then(|r| r.due_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The company whose token this location waits for.
    #[must_use]
    pub fn waits_for(&self) -> Option<&CompanyId> {
        self.company.as_ref().filter(|_| self.mint.as_ref().is_some_and(|m| m.due_at.is_none()))
    }

    /// The company has a token now.
    #[must_use]
    pub fn woken(&self, now: UnixMillis) -> Option<Self> {
        self.waits_for()?;
        Some(Self { mint: Some(Mint::at_once(now)), ..self.clone() })
    }

    /// After the company's list named this location; `None` when nothing changes. Being absent from a list changes nothing:
    /// an uninstall is told by its event, or by GHL's refusal.
    #[must_use]
    pub fn listed(&self, company: &CompanyId, now: UnixMillis) -> Option<Self> {
        let mut next = Self { company: Some(company.clone()), ..self.clone() };
        let connected = self.installed() && self.health != Health::Reauthorize;
        let under_way = self.mint.as_ref().is_some_and(|m| m.due_at.is_some());
        if !connected && !under_way {
            next.mint = Some(Mint::at_once(now));
        }
        (next != *self).then_some(next)
    }

    /// The minted token stored; `None` when this is not any more what the mint began with: a newer grant, an uninstall or
    /// another mint stands. `again_at` is when a token that can't be refreshed is minted anew.
    #[must_use]
    pub fn minted(
        &self,
        seen: &Self,
        grant: Grant,
        refresh_at: Option<UnixMillis>,
        again_at: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Option<Self> {
        self.is_as_seen(seen).then(|| Self {
            grant: Some(grant),
            health: Health::Active,
            refresh_at,
            refresh_started: None,
            installed_at: if self.installed() { self.installed_at } else { now },
            uninstalled_at: None,
            mint: again_at.map(Mint::due),
            // A doubt that came during the call may be later than GHL's answer: it is checked with the new token.
            doubt: self
                .doubt
                .clone()
                .filter(|d| seen.doubt.as_ref() != Some(d))
                .map(|d| Doubt { due_at: now.on_any_clock(), ..d }),
            ..self.clone()
        })
    }

    fn is_as_seen(&self, seen: &Self) -> bool {
        self.mint == seen.mint && self.grant == seen.grant && self.uninstalled_at == seen.uninstalled_at
    }

    /// After a mint that brought nothing; `None` as for [`Self::minted`].
    #[must_use]
    pub fn not_minted(&self, seen: &Self, failure: MintFailure, now: UnixMillis, jitter: f64) -> Option<Self> {
        let mint = self.mint.as_ref().filter(|_| self.is_as_seen(seen))?;
        let later = |due_at, tries| Some(Self { mint: Some(Mint { due_at, tries }), ..self.clone() });
        match failure {
            MintFailure::NoCompanyToken => later(None, 0),
            MintFailure::NotBefore(at) => later(Some(at), mint.tries),
            MintFailure::Inactive => {
                let health = if self.lives_by_minting() { Health::Suspended } else { self.health };
                let mint = Some(Mint { due_at: Some(now.after(retry::token_suspended())), tries: mint.tries });
                Some(Self { mint, health, ..self.clone() })
            }
            MintFailure::Trouble => {
                later(Some(now.after(retry::report(mint.tries, jitter))), mint.tries.saturating_add(1))
            }
            MintFailure::Refused if mint.tries.saturating_add(1) < MINT_TRIES => {
                later(Some(now.after(retry::report(mint.tries, jitter))), mint.tries + 1)
            }
            MintFailure::Refused => Some(self.refused_for_good(now)),
        }
    }

    /// GHL will not give a token: an uninstall in doubt is true, a token that only minting renews is dead, and a location that
    /// never had one stays unconnected until the list names it again.
    fn refused_for_good(&self, now: UnixMillis) -> Self {
        match &self.doubt {
            Some(doubt) => self.uninstalled(doubt.sent_at, now),
            None => {
                let health = if self.lives_by_minting() { Health::Reauthorize } else { self.health };
                Self { mint: None, health, ..self.clone() }
            }
        }
    }

    /// Its token came without a refresh token.
    fn lives_by_minting(&self) -> bool {
        self.grant.as_ref().is_some_and(|g| g.refresh.is_none())
    }

    /// The tokens are purged and all work ends, but for an agency's: its locations follow.
    #[must_use]
    pub fn uninstalled(&self, sent_at: Option<UnixMillis>, now: UnixMillis) -> Self {
        let cascade = match self.kind {
            GrantKind::Location => None,
            GrantKind::Company => Some(Cascade { due_at: now.on_any_clock(), after: None, sent_at }),
        };
        Self {
            grant: None,
            health: Health::Active,
            refresh_at: None,
            refresh_started: None,
            uninstalled_at: Some(now),
            mint: None,
            listing: None,
            cascade,
            doubt: None,
            last_event_at: self.last_event_at.max(sent_at),
            recheck: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
#[path = "agency_tests.rs"]
mod tests;
