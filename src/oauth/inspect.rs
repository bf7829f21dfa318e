//! The set-up check's eyes: what the store, the stored token and GHL say of one installation.
//!
//! Invariant: the token is used as it is and never renewed (bridge §5), so any process may look, beside the leader; at most one
//! call to GHL a look. What the findings mean is `domain::checkup`'s. Must not import queue, delivery, http.

use std::collections::HashSet;
use std::sync::Arc;

use super::call::Tokens;
use crate::client::ghl::{ApiRefusal, GhlClient, GhlError};
use crate::clock::Clock;
use crate::domain::agency::Progress;
use crate::domain::checkup::{Activity, Channel, Clocks, Findings, Granted, ScopeSource, Standing, Token};
use crate::domain::id::{CompanyId, DocId, LocationId};
use crate::domain::installation::{Grant, GrantKind, Health, InstallState, Installation};
use crate::domain::message::Message;
use crate::domain::scope;
use crate::domain::secret::Secret;
use crate::domain::time::UnixMillis;
use crate::seal::KeyRing;
use crate::store::{Query, Store, StoreError};

/// Messages of a sub-account that are looked at: its newest.
const NEWEST: usize = 200;
/// Sub-accounts of one agency that are counted: it has some thousands at most.
const MOST: usize = 100_000;
/// Installations read at once.
const PAGE: usize = 256;

/// Looks at installations; clones share what they look with.
#[derive(Debug, Clone)]
pub struct Inspector {
    store: Store,
    ring: Arc<KeyRing>,
    ghl: GhlClient,
    clock: Clock,
}

/// What one look found.
#[derive(Debug)]
pub struct Looked {
    pub findings: Findings,
    /// Where GHL answered.
    pub clocks: Option<Clocks>,
    /// GHL limits this sub-account.
    pub limited: Option<Box<ApiRefusal>>,
}

impl Inspector {
    /// Nothing is opened or asked yet.
    #[must_use]
    pub fn new(store: Store, ring: Arc<KeyRing>, ghl: GhlClient, clock: Clock) -> Self {
        Self { store, ring, ghl, clock }
    }

    /// One that looks with the keeper's own means.
    pub(super) fn of(tokens: &Tokens) -> Self {
        let parts = &tokens.0.parts;
        Self::new(parts.store.clone(), Arc::clone(&parts.ring), parts.ghl.clone(), parts.clock.clone())
    }

    /// The time by which it judges.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The store it looks into.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Looks at an installation.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn installation(&self, held: &Installation) -> Result<Looked, StoreError> {
        let standing = Standing {
            state: Some(InstallState::of(held)),
            kind: held.kind,
            in_doubt: held.doubt.is_some(),
            since: Some(held.uninstalled_at.unwrap_or(held.installed_at)),
        };
        let mut looked = match &held.location {
            Some(location) if held.kind == GrantKind::Location => self.unconnected(standing, location).await?,
            _ => bare(standing, Activity::default()),
        };
        if let (GrantKind::Company, Some(company), true) = (held.kind, &held.company, held.installed()) {
            let of_company = Query::Lane { lane: company.to_string(), limit: MOST };
            let all = self.store.find::<Installation>(of_company).await?;
            looked.findings.progress = Some(Progress::of(all.iter().map(|stored| &stored.record)));
        }
        if let (Some(id), Some(grant), true) = (held.id(), &held.grant, has_use(held)) {
            self.look_at_grant(&id, grant, held.location.as_ref(), &mut looked).await;
        }
        Ok(looked)
    }

    /// Looks at a sub-account nobody connected.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn stranger(&self, location: &LocationId) -> Result<Looked, StoreError> {
        let standing = Standing { state: None, kind: GrantKind::Location, in_doubt: false, since: None };
        self.unconnected(standing, location).await
    }

    async fn unconnected(&self, standing: Standing, location: &LocationId) -> Result<Looked, StoreError> {
        let newest = Query::Newest { location: location.to_string(), limit: NEWEST };
        let messages = self.store.find::<Message>(newest).await?;
        Ok(bare(standing, Activity::of(messages.iter().map(|stored| &stored.record))))
    }

    /// The token as it is stored, what it says of itself, and what GHL says to it.
    async fn look_at_grant(&self, id: &DocId, grant: &Grant, location: Option<&LocationId>, looked: &mut Looked) {
        let of_grant =
            || grant.scope.as_deref().map(|text| Granted { scopes: scope::listed(text), source: ScopeSource::Grant });
        let token = match self.ring.open(id, Grant::ACCESS, &grant.access) {
            Ok(token) => token,
            Err(e) => {
                looked.findings.token = Some(Token::Sealed(e.to_string()));
                looked.findings.scopes = of_grant();
                return;
            }
        };
        let of_token = scope::of_token(token.expose());
        let of_token = of_token.map(|scopes| Granted { scopes, source: ScopeSource::Token });
        looked.findings.scopes = of_token.or_else(of_grant);
        let ends = grant.expires_at;
        if ends <= self.clock.now() {
            looked.findings.token = Some(Token::Expired);
            return;
        }
        if let Some(location) = location {
            self.ask(&token, location, looked).await;
        }
        looked.findings.token = Some(match &looked.findings.channel {
            Channel::Unauthorized => Token::Refused,
            Channel::Providers(_) | Channel::Forbidden => Token::Accepted { ends },
            Channel::NotAsked | Channel::Limited | Channel::Refused(_) | Channel::NoAnswer => Token::Untried { ends },
        });
    }

    async fn ask(&self, token: &Secret, location: &LocationId, looked: &mut Looked) {
        let asked_at = self.clock.now();
        let asked = self.ghl.sms_channels(token, location.as_str()).await;
        // GHL's clock was read somewhere between; its header counts whole seconds.
        let half_way = self.clock.now().since(asked_at) / 2;
        let ours = asked_at.after(half_way);
        looked.clocks = asked.at.map(|theirs| Clocks { ours, theirs });
        looked.findings.channel = match asked.answer {
            Ok(providers) => Channel::Providers(providers),
            Err(GhlError::Api(refusal)) => match refusal.status {
                401 => Channel::Unauthorized,
                403 => Channel::Forbidden,
                429 => {
                    looked.limited = Some(refusal);
                    Channel::Limited
                }
                408 | 425 | 500.. => Channel::NoAnswer,
                status => Channel::Refused(status),
            },
            Err(GhlError::Transport { .. } | GhlError::Unreadable { .. } | GhlError::NotStored) => Channel::NoAnswer,
        };
    }
}

fn bare(standing: Standing, activity: Activity) -> Looked {
    let findings =
        Findings { standing, token: None, scopes: None, channel: Channel::NotAsked, activity, progress: None };
    Looked { findings, clocks: None, limited: None }
}

/// A dead grant's token is not looked at: the row that says so says it all.
fn has_use(held: &Installation) -> bool {
    held.installed() && held.health != Health::Reauthorize
}

/// Whether installations of more than one company exist: then a reply's company can't be guessed (bridge §7).
///
/// # Errors
/// [`StoreError`]
pub async fn several_companies(store: &Store) -> Result<bool, StoreError> {
    let mut companies: HashSet<Option<CompanyId>> = HashSet::new();
    let mut after: Option<DocId> = None;
    loop {
        let page = store.find::<Installation>(Query::Page { after, limit: PAGE }).await?;
        let Some(last) = page.last() else { return Ok(false) };
        after = last.record.id();
        companies.extend(page.iter().filter(|s| s.record.installed()).map(|s| s.record.company.clone()));
        if companies.len() > 1 {
            return Ok(true);
        }
    }
}
