//! The background work of installations: lifecycle events, an agency's list, minting, an agency's end, uninstalls in doubt,
//! set-up checks.
//!
//! Everything is read from the store when it is due and written back before the next, so that a restart loses a call at most;
//! only the leader works. What follows what is `domain::agency`'s and `domain::lifecycle`'s. Must not import queue, delivery, http.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::call::{CallError, Tokens};
use super::refresh::Need;
use crate::client::ghl::{GhlError, InstalledPage};
use crate::clock::Clock;
use crate::domain::agency::{Cascade, Doubt, Listing, PAGE};
use crate::domain::checkup::Setting;
use crate::domain::id::{CompanyId, DocId, LocationId};
use crate::domain::installation::{GrantKind, Health, Installation};
use crate::domain::lifecycle::{self, AppEvent, Change, Effect, EventState, StoredEvent};
use crate::domain::retry;
use crate::domain::time::UnixMillis;
use crate::ghl_pace::Turn;
use crate::lifecycle::Stop;
use crate::store::{Inserted, Query, Saved, Store, StoreError};

/// Documents read at once.
const BATCH: usize = 64;
/// Calls to GHL under way at once.
const AT_ONCE: usize = 8;
/// Locations looked at in one step of an agency's end.
const CASCADE_BATCH: usize = 256;
/// Work becomes due with time alone, and through other processes: look this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Writers that lose a race for one installation this often in a row leave the event for later.
const MAX_CONFLICTS: usize = 16;

/// What the work is set to.
#[derive(Debug, Clone)]
pub struct AgencySettings {
    /// The part of the client id before the `-`: GHL's id of our app.
    pub app_id: String,
    /// How long an applied event stays whole.
    pub retention: Duration,
    /// What the set-up check judges by.
    pub setting: Setting,
}

/// The loop; clones share it.
#[derive(Debug, Clone)]
pub struct Agency {
    tokens: Tokens,
    settings: Arc<AgencySettings>,
}

impl Agency {
    /// A loop that has done nothing yet.
    #[must_use]
    pub fn new(tokens: Tokens, settings: AgencySettings) -> Self {
        Self { tokens, settings: Arc::new(settings) }
    }

    /// Applies a batch of events, then does a batch of what is due; answers how many documents moved.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't say what is due.
    pub async fn step(&self) -> Result<usize, StoreError> {
        if self.tokens.0.parts.leadership.right().is_none() {
            return Ok(0);
        }
        let moved = AtomicUsize::new(self.apply_events().await?);
        let now = self.clock().now();
        let due = self.store().find::<Installation>(Query::ReportDue { now, limit: BATCH }).await?;
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |stored| {
                let moved = &moved;
                async move {
                    match self.work(&stored.record, now).await {
                        Ok(()) => _ = moved.fetch_add(1, Ordering::Relaxed),
                        Err(e) => tracing::warn!(error = %e, "background work of an installation could not be noted"),
                    }
                }
            })
            .await;
        Ok(moved.into_inner())
    }

    /// Works until shutdown begins; what is under way then and cut off is done again by the next process.
    pub async fn run(&self, stop: &Stop) {
        loop {
            let rung = self.tokens.0.parts.bells.installs.rung();
            loop {
                match self.step().await {
                    Ok(0) => break,
                    Ok(_) if stop.begun() => return,
                    Ok(_) => {}
                    Err(e) => {
                        tracing::warn!(error = %e, "the work of installations can't be read now");
                        break;
                    }
                }
            }
            tokio::select! {
                () = self.clock().sleep(LOOK_EVERY) => {}
                () = rung => {}
                () = stop.soft() => return,
            }
        }
    }

    /// One piece of work: an agency's end before its list, a doubt before a new token.
    async fn work(&self, seen: &Installation, now: UnixMillis) -> Result<(), StoreError> {
        let due = |at: Option<UnixMillis>| at.is_some_and(|at| at <= now);
        if let (Some(cascade), Some(company)) = (&seen.cascade, &seen.company) {
            return self.follow(company, cascade).await;
        }
        if let (Some(doubt), Some(id)) = (&seen.doubt, seen.id())
            && due(Some(doubt.due_at))
        {
            return self.check(&id, seen, doubt).await;
        }
        if let (Some(listing), Some(company)) = (&seen.listing, &seen.company)
            && due(Some(listing.due_at))
        {
            return self.list(company, listing).await;
        }
        if due(seen.mint.as_ref().and_then(|m| m.due_at)) {
            return self.tokens.mint_due(seen).await;
        }
        if due(seen.recheck.as_ref().and_then(|r| r.due_at)) {
            return self.tokens.recheck_due(seen, &self.settings.setting).await;
        }
        Ok(())
    }

    fn clock(&self) -> &Clock {
        &self.tokens.0.parts.clock
    }

    fn store(&self) -> &Store {
        &self.tokens.0.parts.store
    }
}

/// Lifecycle events.
impl Agency {
    /// In the order they were taken in, each by itself.
    async fn apply_events(&self) -> Result<usize, StoreError> {
        let due = Query::Due { now: self.clock().now(), limit: BATCH };
        let mut applied = 0;
        for stored in self.store().find::<StoredEvent>(due).await? {
            let event = stored.record;
            let settled = match self.apply(&event.accepted.event).await {
                Ok(state) => {
                    applied += 1;
                    tracing::info!(event.id = %event.id, change = ?event.accepted.event.change, state = state.as_str(), "lifecycle");
                    event.settled(state, self.clock().now(), self.settings.retention)
                }
                Err(e) => {
                    tracing::warn!(event.id = %event.id, error = %e, "a lifecycle event could not be applied yet");
                    event.put_off(self.clock().now().after(retry::lifecycle_event()))
                }
            };
            let still_open = |e: &StoredEvent| (e.progress == event.progress).then(|| settled.clone());
            self.store().update::<StoredEvent>(&event.id, still_open).await?;
        }
        Ok(applied)
    }

    /// Changes what the event names. Applied twice, as after a crash, it comes to the same.
    async fn apply(&self, event: &AppEvent) -> Result<EventState, StoreError> {
        let Some(id) = event.target() else { return Ok(EventState::Nothing) };
        for _ in 0..MAX_CONFLICTS {
            let held = self.store().get::<Installation>(&id).await?;
            let (state, next) = match lifecycle::effect(event, held.as_ref().map(|s| &s.record), self.clock().now()) {
                Effect::Older => return Ok(EventState::Older),
                Effect::Nothing => return Ok(EventState::Nothing),
                Effect::Applied(next) => (EventState::Applied, next),
                Effect::InDoubt(next) => (EventState::InDoubt, next),
            };
            let landed = match &held {
                None => self.store().insert(&*next).await? == Inserted::New,
                Some(stored) => matches!(self.store().save(stored, &next).await?, Saved::Done(_)),
            };
            if landed {
                self.tell_of(&next);
                return Ok(state);
            }
        }
        Err(StoreError::Unavailable("an installation is changed by too many at once".into()))
    }

    /// What was held for a location that is gone fails at once.
    fn tell_of(&self, next: &Installation) {
        if let (Some(location), true) = (&next.location, next.uninstalled_at.is_some()) {
            self.tokens.0.parts.bells.installation_changed(location.as_str());
        }
    }
}

/// An agency's end, and uninstalls in doubt.
impl Agency {
    /// The next locations of an agency that is gone go with it, each judged by its own installation.
    async fn follow(&self, company: &CompanyId, cascade: &Cascade) -> Result<(), StoreError> {
        let after = cascade.after.as_ref().map_or_else(DocId::before_locations, DocId::location);
        let page = Query::Page { after: Some(after), limit: CASCADE_BATCH };
        let page = self.store().find::<Installation>(page).await?;
        for record in page.iter().map(|stored| &stored.record).filter(|i| i.company.as_ref() == Some(company)) {
            let event = AppEvent {
                change: Change::Uninstall,
                location: record.location.clone(),
                company: Some(company.clone()),
                version_id: None,
                sent_at: cascade.sent_at,
            };
            self.apply(&event).await?;
        }
        let after = page.last().and_then(|stored| stored.record.location.clone());
        let next = after.map(|last| Cascade { after: Some(last), ..cascade.clone() });
        self.store()
            .update::<Installation>(&DocId::company(company), |i| {
                (i.cascade.as_ref() == Some(cascade)).then(|| Installation { cascade: next.clone(), ..i.clone() })
            })
            .await?;
        Ok(())
    }

    /// Asks GHL: a grant it renews is alive, one it refuses to renew is gone.
    async fn check(&self, id: &DocId, seen: &Installation, doubt: &Doubt) -> Result<(), StoreError> {
        let now = self.clock().now();
        let renewed = match &seen.grant {
            Some(grant) => match self.tokens.open(id, grant) {
                Ok(lent) => self.tokens.refresh(id, Need::Call(&lent.hash)).await.map(drop),
                Err(e) => Err(e),
            },
            // Nothing to renew: minting decides, and without it there is nothing to lose.
            None if seen.mint.is_some() => Err(CallError::Grant(Health::Suspended)),
            None => Err(CallError::Grant(Health::Reauthorize)),
        };
        let later = |by: Duration, tries| Some(Doubt { due_at: now.after(by), tries, ..doubt.clone() });
        let (gone, next) = match renewed {
            Ok(()) | Err(CallError::NotInstalled) => (false, None),
            Err(CallError::Grant(Health::Reauthorize)) => (true, None),
            Err(CallError::Store(e)) => return Err(e),
            Err(CallError::Grant(Health::Active | Health::Suspended) | CallError::Sealed(_)) => {
                (false, later(retry::token_suspended(), doubt.tries))
            }
            Err(
                CallError::WaitingForLeader
                | CallError::MintWaits
                | CallError::RefreshWaits
                | CallError::Refresh(_)
                | CallError::Ghl(_),
            ) => (false, later(retry::report(doubt.tries, crate::random::unit()), doubt.tries.saturating_add(1))),
        };
        tracing::info!(installation = %id, gone, decided = next.is_none(), "an uninstall in doubt was checked");
        let noted = self
            .store()
            .update::<Installation>(id, |i| {
                let same = i.doubt.as_ref() == Some(doubt);
                same.then(|| {
                    if gone {
                        i.uninstalled(doubt.sent_at, now)
                    } else {
                        Installation { doubt: next.clone(), ..i.clone() }
                    }
                })
            })
            .await?;
        if let Some(noted) = noted {
            self.tell_of(&noted.record);
        }
        Ok(())
    }
}

/// An agency's list.
impl Agency {
    /// Reads one page, makes its locations known, and notes how far it came.
    async fn list(&self, company: &CompanyId, listing: &Listing) -> Result<(), StoreError> {
        let parts = &self.tokens.0.parts;
        let id = DocId::company(company);
        let (now, skip) = (self.clock().now(), usize::try_from(listing.skip).unwrap_or(usize::MAX));
        if let Turn::At(place) = parts.pace.ask(company.as_str(), id.as_str(), now) {
            return self.note(&id, listing, Listing { due_at: place, ..listing.clone() }, None).await;
        }
        if listing.skip == 0 {
            self.wake(company).await?;
        }
        let (ghl, app_id) = (&parts.ghl, self.settings.app_id.as_str());
        let limit = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let page = self
            .tokens
            .call_as(&id, |token| async move {
                ghl.installed_locations(&token, company.as_str(), app_id, skip, limit).await
            })
            .await;
        let (next, future) = match page {
            Ok(page) => {
                self.know(company, &page).await?;
                tracing::info!(company.id = %company, skip, length = page.length, "an agency's list was read");
                (listing.after_page(page.length, self.clock().now(), crate::random::unit()), page.install_to_future)
            }
            Err(CallError::Store(e)) => return Err(e),
            Err(e) => (self.list_later(company, listing, &e), None),
        };
        self.note(&id, listing, next, future).await
    }

    /// When to ask again after a page that did not come.
    fn list_later(&self, company: &CompanyId, listing: &Listing, error: &CallError) -> Listing {
        tracing::warn!(company.id = %company, error = %error, "an agency's list can't be read now");
        let now = self.clock().now();
        let due_at = match error {
            CallError::Ghl(GhlError::Api(refusal)) if refusal.status == 429 => {
                self.tokens.limited(company.as_str(), "list", refusal, listing.tries)
            }
            // Only a new install brings a token, and a list of its own.
            CallError::NotInstalled | CallError::Grant(Health::Reauthorize) => now.after(retry::reconcile(0.0)),
            CallError::Grant(Health::Active | Health::Suspended) | CallError::Sealed(_) => {
                now.after(retry::token_suspended())
            }
            CallError::WaitingForLeader
            | CallError::MintWaits
            | CallError::RefreshWaits
            | CallError::Refresh(_)
            | CallError::Ghl(_)
            | CallError::Store(_) => now.after(retry::report(listing.tries, crate::random::unit())),
        };
        Listing { due_at, tries: listing.tries.saturating_add(1), ..listing.clone() }
    }

    /// Everything on the page that has no token gets one.
    async fn know(&self, company: &CompanyId, page: &InstalledPage) -> Result<(), StoreError> {
        for location in page.locations.iter().filter_map(|id| LocationId::parse(id).ok()) {
            let now = self.clock().now();
            let id = DocId::location(&location);
            if self.store().get::<Installation>(&id).await?.is_none() {
                let new = Installation::awaiting_token(location, Some(company.clone()), now);
                if self.store().insert(&new).await? == Inserted::New {
                    continue;
                }
            }
            self.store().update::<Installation>(&id, |i| i.listed(company, now)).await?;
        }
        Ok(())
    }

    /// ⚠ Locations whose INSTALL came before the agency's callback wait for this moment.
    async fn wake(&self, company: &CompanyId) -> Result<(), StoreError> {
        loop {
            let waiting = Query::Waiting { location: company.to_string(), limit: BATCH };
            let waiting = self.store().find::<Installation>(waiting).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            let now = self.clock().now();
            for id in waiting.iter().filter_map(|stored| stored.record.id()) {
                self.store().update::<Installation>(&id, |i| i.woken(now)).await?;
            }
        }
    }

    async fn note(
        &self,
        id: &DocId,
        seen: &Listing,
        next: Listing,
        install_to_future: Option<bool>,
    ) -> Result<(), StoreError> {
        self.store()
            .update::<Installation>(id, |i| {
                let same = i.kind == GrantKind::Company && i.listing.as_ref() == Some(seen);
                same.then(|| Installation {
                    listing: Some(next.clone()),
                    install_to_future: install_to_future.unwrap_or(i.install_to_future),
                    ..i.clone()
                })
            })
            .await?;
        Ok(())
    }
}
