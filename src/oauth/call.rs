//! The authorised call: lend a location's token to a client, refresh once on a 401, and say in a type why it can't be done.
//!
//! Imports clients and store; decides nothing about what follows a refusal.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::refresh::Need;
use super::spending::Book;
use crate::client::ghl::{ApiRefusal, GhlClient, GhlError, TokenApp, TokenReply};
use crate::clock::Clock;
use crate::digest;
use crate::domain::id::{DocId, LocationId};
use crate::domain::installation::{Grant, Health, Installation};
use crate::domain::retry;
use crate::domain::secret::Secret;
use crate::domain::time::{Mono, UnixMillis};
use crate::ghl_pace::SharedPace;
use crate::leader::Leadership;
use crate::lifecycle::Bells;
use crate::seal::{KeyRing, SealError};
use crate::store::{Inserted, Store, StoreError, Stored};
use crate::telemetry::Metrics;

/// GHL's tokens live a day.
const USUAL_LIFE: std::time::Duration = std::time::Duration::from_secs(86_399);

/// After a fresh token was refused, the next refresh for a 401 waits this long.
const COOL_DOWN: std::time::Duration = std::time::Duration::from_secs(300);
/// Refreshes in flight at once.
pub(super) const AT_ONCE: usize = 16;

/// Why a call could not be made with a good token.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody installed the app there, or it was removed.
    #[error("no token is stored for this location")]
    NotInstalled,
    /// Only the leader refreshes.
    #[error("the token has expired: waiting for the leader")]
    WaitingForLeader,
    /// GHL limits the company whose token would mint this location's.
    #[error("the token can't be minted now: the company has to wait")]
    MintWaits,
    /// The grant does not work now, or not any more.
    #[error("the grant is {0:?}")]
    Grant(Health),
    /// The token has expired, and its refresh is put off or waits for the moment it may be asked for again.
    #[error("the token has expired: its refresh waits")]
    RefreshWaits,
    /// No key opens the stored token.
    #[error("the stored token can't be read")]
    Sealed(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// GHL's answer to a refresh: it says nothing about the call that needed the token.
    #[error("the token could not be refreshed")]
    Refresh(#[source] GhlError),
    /// GHL's own answer to the call.
    #[error(transparent)]
    Ghl(#[from] GhlError),
}

/// What the token keeper is made of.
#[derive(Debug)]
pub struct TokensParts {
    pub store: Store,
    pub ring: Arc<KeyRing>,
    pub ghl: GhlClient,
    pub app: TokenApp,
    /// Where a person connects again when a grant is dead.
    pub install_url: String,
    pub clock: Clock,
    pub leadership: Leadership,
    pub bells: Bells,
    pub metrics: Metrics,
    pub pace: SharedPace,
}

/// Keeps, lends and renews tokens; clones share it.
#[derive(Debug, Clone)]
pub struct Tokens(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) parts: TokensParts,
    /// One refresh at a time per installation, one exchange per code.
    flights: Mutex<HashMap<DocId, Arc<tokio::sync::Mutex<()>>>>,
    /// Grants whose fresh token was refused, and until when another refresh would be no use.
    pub(super) cooling: Mutex<HashMap<DocId, Mono>>,
    /// Refresh tokens being spent.
    book: Mutex<Book>,
    /// Places for refreshes in flight.
    pub(super) places: Semaphore,
}

/// A token as lent, with what tells it from its successor.
pub(super) struct Lent {
    pub(super) token: Secret,
    pub(super) hash: String,
}

impl Tokens {
    /// A keeper without any token in memory: each is opened when it is lent.
    #[must_use]
    pub fn new(parts: TokensParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            flights: Mutex::default(),
            cooling: Mutex::default(),
            book: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }))
    }

    /// The client tokens are lent to.
    #[must_use]
    pub fn ghl(&self) -> &GhlClient {
        &self.0.parts.ghl
    }

    /// Makes `call` with the location's token; on a 401 refreshes once and calls once more.
    ///
    /// # Errors
    /// [`CallError`]. A 401 after a refresh is [`CallError::Ghl`].
    pub async fn call<T, F>(&self, location: &LocationId, call: impl Fn(Secret) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, GhlError>>,
    {
        self.call_as(&DocId::location(location), call).await
    }

    /// The same for any installation: with a company's token for its agency's calls.
    pub(super) async fn call_as<T, F>(&self, id: &DocId, call: impl Fn(Secret) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, GhlError>>,
    {
        let lent = self.lend(id).await?;
        match call(lent.token.clone()).await {
            // "Not yet" comes as a 401, too: no token would mend that.
            Err(GhlError::Api(refusal)) if refusal.status == 401 && !refusal.is_not_yet() && !self.cooling(id) => {
                let fresh = self.refresh(id, Need::Call(&lent.hash)).await?;
                self.0.parts.pace.extra(owner(id), self.0.parts.clock.now());
                let again = call(fresh.token).await;
                if matches!(&again, Err(GhlError::Api(refusal)) if refusal.status == 401 && !refusal.is_not_yet()) {
                    self.cool(id.clone());
                }
                Ok(again?)
            }
            answer => Ok(answer?),
        }
    }

    /// GHL answered 429, as often `in_a_row` before: nothing of `owner` goes before the moment answered (ghl contract §6).
    /// Logged and counted as `what`.
    #[must_use]
    pub fn limited(&self, owner: &str, what: &'static str, refusal: &ApiRefusal, in_a_row: u32) -> UnixMillis {
        let parts = &self.0.parts;
        let now = parts.clock.now();
        let wait = limited_for(refusal, in_a_row);
        let until = parts.pace.limited(owner, wait, refusal.limits.daily_remaining, now);
        self.note_limited(owner, what, until.since(now));
        until
    }

    /// A 429 that rests nobody else: it is logged and counted.
    pub(super) fn note_limited(&self, owner: &str, what: &'static str, wait: std::time::Duration) {
        self.0.parts.metrics.limited(what);
        tracing::warn!(owner, what, wait_s = wait.as_secs(), "GHL answers 429: too many calls");
    }

    /// The current token; an expired one is refreshed first.
    pub(super) async fn lend(&self, id: &DocId) -> Result<Lent, CallError> {
        let stored = self.0.parts.store.get::<Installation>(id).await?.ok_or(CallError::NotInstalled)?;
        let installation = &stored.record;
        let grant = grant(installation)?;
        match installation.health {
            Health::Reauthorize => return Err(CallError::Grant(Health::Reauthorize)),
            Health::Suspended | Health::Active => {}
        }
        let lent = self.open(id, grant)?;
        if grant.expires_at > self.0.parts.clock.now() {
            return Ok(lent);
        }
        self.refresh(id, Need::Call(&lent.hash)).await
    }

    pub(super) fn open(&self, id: &DocId, grant: &Grant) -> Result<Lent, CallError> {
        let token = self.0.parts.ring.open(id, Grant::ACCESS, &grant.access)?;
        let hash = digest::sha256_hex(token.expose().as_bytes());
        Ok(Lent { token, hash })
    }

    fn cooling(&self, id: &DocId) -> bool {
        let now = self.0.parts.clock.mono();
        let mut cooling = self.0.cooling.lock().unwrap_or_else(PoisonError::into_inner);
        cooling.retain(|_, until| *until > now);
        cooling.contains_key(id)
    }

    /// A fresh token was refused: rotating the pair for every call would not help.
    fn cool(&self, id: DocId) {
        let until = self.0.parts.clock.mono().after(COOL_DOWN);
        self.0.cooling.lock().unwrap_or_else(PoisonError::into_inner).insert(id, until);
    }

    pub(super) fn flight(&self, id: &DocId) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        Arc::clone(flights.entry(id.clone()).or_default())
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stored form of a token reply.
    pub(super) fn sealed(&self, id: &DocId, reply: &TokenReply, now: UnixMillis) -> Grant {
        let ring = &self.0.parts.ring;
        let refresh = reply.refresh_token.as_ref();
        Grant {
            access: ring.seal(id, Grant::ACCESS, &reply.access_token),
            refresh: refresh.map(|token| ring.seal(id, Grant::REFRESH, token)),
            refresh_hash: refresh.map(|token| digest::sha256_hex(token.expose().as_bytes())),
            expires_at: now.after(reply.expires_in.unwrap_or(USUAL_LIFE)),
            scope: reply.scope.clone(),
        }
    }

    /// When to renew: at 75 to 85 % of the token's life, each location at its own moment.
    pub(super) fn refresh_at(grant: &Grant, now: UnixMillis) -> Option<UnixMillis> {
        let life = grant.expires_at.since(now);
        grant.refresh.as_ref().map(|_| now.after(life.mul_f64(0.75 + 0.1 * crate::random::unit())))
    }

    /// Stores a new installation over whatever was there: a new install beats an old refresh.
    pub(super) async fn store_installation(&self, fresh: Installation) -> Result<(), StoreError> {
        let Some(id) = fresh.id() else {
            return Err(StoreError::Unavailable("the installation names neither location nor company".into()));
        };
        let store = &self.0.parts.store;
        if store.insert(&fresh).await? == Inserted::Duplicate {
            store
                .update::<Installation>(&id, |old| {
                    Some(Installation {
                        // What GHL taught us of the location outlives the grant; so does the order of its events, and an
                        // agency's end goes on for the locations it had before.
                        inbound_phone_refused: old.inbound_phone_refused,
                        post: old.post.clone(),
                        version_id: old.version_id.clone().or_else(|| fresh.version_id.clone()),
                        company: fresh.company.clone().or_else(|| old.company.clone()),
                        last_event_at: old.last_event_at,
                        cascade: old.cascade.clone(),
                        ..fresh.clone()
                    })
                })
                .await?;
        }
        match &fresh.location {
            Some(location) => self.0.parts.bells.token_stored(location.as_str()),
            None => self.0.parts.bells.installs.ring(),
        }
        Ok(())
    }

    pub(super) async fn installation(&self, id: &DocId) -> Result<Stored<Installation>, CallError> {
        self.0.parts.store.get::<Installation>(id).await?.ok_or(CallError::NotInstalled)
    }
}

/// The wait a 429 names, or its interval.
pub(super) fn limited_for(refusal: &ApiRefusal, in_a_row: u32) -> std::time::Duration {
    let interval = refusal.limits.interval_ms.map(std::time::Duration::from_millis);
    retry::ghl_limited(refusal.retry_after, interval, in_a_row)
}

/// The location or company an installation is of, as the limiter knows it.
pub(super) fn owner(installation: &DocId) -> &str {
    installation.as_str().split_once(':').map_or(installation.as_str(), |(_, owner)| owner)
}

pub(super) fn grant(installation: &Installation) -> Result<&Grant, CallError> {
    match &installation.grant {
        Some(grant) if installation.uninstalled_at.is_none() => Ok(grant),
        _ => Err(CallError::NotInstalled),
    }
}
