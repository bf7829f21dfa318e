//! Connecting: the authorize URL, the exchange of a code, and what the installer is told.
//!
//! Invariant: a code is exchanged once; a reloaded callback of the last ten minutes shows the same result. Runs on any replica.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinError;
use tracing::Instrument as _;
use url::Url;

use super::call::{Tokens, limited_for};
use crate::client::ghl::{GhlError, TokenReply, UserType};
use crate::clock::Clock;
use crate::digest;
use crate::domain::agency::Progress;
use crate::domain::id::{CompanyId, DocId, LocationId};
use crate::domain::installation::{GrantKind, Installation};
use crate::domain::retry;
use crate::domain::time::UnixMillis;
use crate::store::{Query, StoreError};

/// A reload within this time shows the page again.
const REMEMBERED: Duration = Duration::from_secs(600);
/// A spent code's tokens are precious: the store is asked this often before the installer has to begin again.
const STORE_TRIES: u32 = 5;

/// Sub-accounts counted for a page: an agency has some thousands at most.
const MOST: usize = 100_000;

/// What the installer connects with.
#[derive(Debug, Clone)]
pub struct InstallerSettings {
    pub authorize_url: Url,
    pub redirect_uri: String,
    pub scopes: Vec<String>,
}

/// What was connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connected {
    Location(LocationId),
    /// An agency: its sub-accounts follow.
    Company(CompanyId),
}

/// Why connecting failed, as far as the page differs.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The code was refused: expired, used, or of another app.
    #[error("the CRM refused the code")]
    CodeRefused(#[source] GhlError),
    /// The app's own id or secret was refused: for the operator to mend.
    #[error("the CRM refused GHL_CLIENT_ID or GHL_CLIENT_SECRET")]
    AppRefused(#[source] GhlError),
    /// No usable answer.
    #[error("the CRM did not answer")]
    Unavailable(#[source] GhlError),
    /// An answer that names nobody.
    #[error("the CRM's answer names neither a location nor a company")]
    Incomplete,
    /// The process ended meanwhile.
    #[error("the exchange was interrupted")]
    Interrupted,
    /// The tokens could not be stored.
    #[error("the tokens could not be stored")]
    NotStored(#[source] StoreError),
}

/// Connects locations and agencies; clones share what was connected lately.
#[derive(Debug, Clone)]
pub struct Installer {
    tokens: Tokens,
    settings: Arc<InstallerSettings>,
    recent: Arc<Mutex<HashMap<String, (UnixMillis, Connected)>>>,
}

impl Installer {
    /// An installer that has connected nobody yet.
    #[must_use]
    pub fn new(tokens: Tokens, settings: InstallerSettings) -> Self {
        Self { tokens, settings: Arc::new(settings), recent: Arc::default() }
    }

    /// A fresh `state`.
    #[must_use]
    pub fn new_state(&self) -> String {
        crate::random::hex::<16>()
    }

    /// Where the installer chooses the sub-account.
    #[must_use]
    pub fn authorize_url(&self, state: &str) -> String {
        let s = &self.settings;
        let mut url = s.authorize_url.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", &s.redirect_uri)
            .append_pair("client_id", &self.tokens.0.parts.app.client_id)
            .append_pair("scope", &s.scopes.join(" "))
            .append_pair("state", state);
        // The contract says scopes are separated by spaces; `%20` is read everywhere, `+` is not.
        url.as_str().replace('+', "%20")
    }

    /// Exchanges a code and stores what it grants.
    ///
    /// # Errors
    /// [`InstallError`]
    ///
    /// # Panics
    /// When the exchange does.
    pub async fn complete(&self, code: &str) -> Result<Connected, InstallError> {
        let (installer, code) = (self.clone(), code.to_owned());
        // A task of its own: a browser that leaves must not take the tokens of a spent code with it.
        let exchange = tokio::spawn(async move { installer.exchange(&code).await }.in_current_span());
        match exchange.await.map_err(JoinError::try_into_panic) {
            Ok(result) => result,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => Err(InstallError::Interrupted),
        }
    }

    /// How far connecting an agency's sub-accounts is.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn progress(&self, company: &CompanyId) -> Result<Progress, StoreError> {
        let of_company = Query::Lane { lane: company.to_string(), limit: MOST };
        let all = self.tokens.0.parts.store.find::<Installation>(of_company).await?;
        Ok(Progress::of(all.iter().map(|stored| &stored.record)))
    }

    async fn exchange(&self, code: &str) -> Result<Connected, InstallError> {
        let key = digest::sha256_hex(code.as_bytes());
        // A second callback waits for the first one's answer: browsers prefetch and reload.
        let flight = self.tokens.flight(&DocId(key.clone()));
        let _one = flight.lock().await;
        if let Some(connected) = self.remembered(&key) {
            return Ok(connected);
        }
        let parts = &self.tokens.0.parts;
        let reply =
            parts.ghl.exchange_code(&parts.app, code, &self.settings.redirect_uri, UserType::Location).await.map_err(
                |e| match &e {
                    GhlError::Api(refusal) if refusal.status == 401 => InstallError::AppRefused(e),
                    GhlError::Api(refusal) if refusal.status == 429 => {
                        self.tokens.note_limited("app", "install", limited_for(refusal, 0));
                        InstallError::Unavailable(e)
                    }
                    GhlError::Api(refusal) if refusal.status / 100 == 4 => InstallError::CodeRefused(e),
                    _ => InstallError::Unavailable(e),
                },
            )?;
        let (installation, connected) = self.installation(&reply)?;
        self.store(installation).await?;
        self.remember(key, connected.clone());
        tracing::info!(?connected, "connected");
        Ok(connected)
    }

    /// `userType` in the reply is authoritative; without one, whoever it names.
    fn installation(&self, reply: &TokenReply) -> Result<(Installation, Connected), InstallError> {
        let location = reply.location_id.as_deref().and_then(|id| LocationId::parse(id).ok());
        let company = reply.company_id.as_deref().and_then(|id| CompanyId::parse(id).ok());
        let kind = match reply.user_type {
            Some(UserType::Company) => GrantKind::Company,
            Some(UserType::Location) => GrantKind::Location,
            None if location.is_some() => GrantKind::Location,
            None => GrantKind::Company,
        };
        let now = self.clock().now();
        let (id, connected, location) = match (kind, location, &company) {
            (GrantKind::Location, Some(location), _) => {
                (DocId::location(&location), Connected::Location(location.clone()), Some(location))
            }
            (GrantKind::Company, _, Some(company)) => {
                (DocId::company(company), Connected::Company(company.clone()), None)
            }
            _ => return Err(InstallError::Incomplete),
        };
        let grant = self.tokens.sealed(&id, reply, now);
        let refresh_at = Tokens::refresh_at(&grant, now);
        let mut installation = Installation::new(kind, location, company, grant, now);
        installation.refresh_at = refresh_at;
        installation.install_to_future = reply.install_to_future_locations.unwrap_or(false);
        installation.approve_all = reply.approve_all_locations.unwrap_or(false);
        installation.approved_locations =
            reply.approved_locations.iter().filter_map(|id| LocationId::parse(id).ok()).collect();
        Ok((installation, connected))
    }

    async fn store(&self, installation: Installation) -> Result<(), InstallError> {
        let mut tries = 0;
        loop {
            match self.tokens.store_installation(installation.clone()).await {
                Ok(()) => return Ok(()),
                Err(e) if tries + 1 >= STORE_TRIES => return Err(InstallError::NotStored(e)),
                Err(e) => tracing::warn!(error = %e, tries, "tokens could not be stored yet"),
            }
            self.clock().sleep(retry::store_write(tries)).await;
            tries += 1;
        }
    }

    fn clock(&self) -> &Clock {
        &self.tokens.0.parts.clock
    }

    fn remembered(&self, key: &str) -> Option<Connected> {
        let now = self.clock().now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, (at, _)| now.since(*at) < REMEMBERED);
        recent.get(key).map(|(_, connected)| connected.clone())
    }

    fn remember(&self, key: String, connected: Connected) {
        let now = self.clock().now();
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (now, connected));
    }
}
