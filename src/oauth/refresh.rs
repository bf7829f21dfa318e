//! Renewing a grant: single-use refresh tokens, spent by the leader, one at a time per installation.
//!
//! Invariant: the new pair is stored before it is used, by comparing the hash of the refresh token that was spent. When the
//! same token is sent again, and what a refusal is worth, is `domain::refresh`'s; this is its shell.

use std::time::Duration;

use tokio::sync::SemaphorePermit;

use super::call::{CallError, Lent, Tokens, grant, limited_for, owner};
use super::spending::Spending;
use crate::client::ghl::{GhlError, TokenReply, UserType};
use crate::domain::id::{DocId, LocationId};
use crate::domain::installation::{Grant, GrantKind, Health, Installation};
use crate::domain::refresh::{LAST_TRY_AFTER, Look, Next, RefreshAnswer, SAME_PAIR, Stage, Weight};
use crate::domain::retry;
use crate::domain::secret::Secret;
use crate::domain::time::{Mono, UnixMillis};

/// A pair being spent is looked at again by the clock after this, should nothing else happen: past the window and its last try.
const LOOK_AGAIN: Duration = SAME_PAIR.saturating_add(LAST_TRY_AFTER);

/// Who wants a newer token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need<'a> {
    /// A call that had the access token with this hash: any newer one will do.
    Call(&'a str),
    /// The clock: the pair is due.
    Clock,
}

/// A refresh token about to be sent, or sent.
struct Sending<'a> {
    spending: Spending,
    location: Option<LocationId>,
    stage: Stage,
    weight: Weight,
    began: Mono,
    /// One of the places there are for refreshes in flight.
    place: SemaphorePermit<'a>,
}

impl Tokens {
    /// A token newer than what `need` had: one refreshed meanwhile, or a new one.
    pub(super) async fn refresh(&self, id: &DocId, need: Need<'_>) -> Result<Lent, CallError> {
        let flight = self.flight(id);
        let _one = flight.lock().await;
        let parts = &self.0.parts;
        let installation = self.installation(id).await?.record;
        let held = grant(&installation)?;
        let current = self.open(id, held)?;
        let now = parts.clock.now();
        let due = installation.refresh_at.is_some_and(|at| at <= now);
        let begun = self.book().knows(id, held.refresh_hash.as_deref());
        let satisfied = match need {
            Need::Call(spent) => current.hash != spent && held.expires_at > now,
            Need::Clock => !due && !begun,
        };
        if satisfied {
            return Ok(current);
        }
        let Some(right) = parts.leadership.right() else { return Err(CallError::WaitingForLeader) };
        match (installation.health, need) {
            (Health::Reauthorize, _) => return Err(CallError::Grant(Health::Reauthorize)),
            (Health::Suspended, Need::Call(_)) if !due => return Err(CallError::Grant(Health::Suspended)),
            (Health::Suspended | Health::Active, Need::Call(_) | Need::Clock) => {}
        }
        let (Some(refresh), Some(hash)) = (&held.refresh, held.refresh_hash.clone()) else {
            return self.dead(id, None).await;
        };
        let refresh = parts.ring.open(id, Grant::REFRESH, refresh)?;
        let spending = Spending { id: id.clone(), hash, epoch: right.epoch };
        let Some(sending) = self.begin(spending, &installation).await? else { return self.newest(id).await };
        let user_type = match installation.kind {
            GrantKind::Location => UserType::Location,
            GrantKind::Company => UserType::Company,
        };
        match parts.ghl.refresh(&parts.app, &refresh, user_type).await {
            Ok(reply) => self.renewed(sending, &refresh, &reply).await,
            Err(e) => self.refused(sending, e).await,
        }
    }

    /// Waits for a place, marks the token as being spent and checks everything once more. `None`: another pair is stored.
    async fn begin(&self, spending: Spending, of: &Installation) -> Result<Option<Sending<'_>>, CallError> {
        let parts = &self.0.parts;
        let stage = self.book().stage(&spending, of.refresh_begun());
        let place = self.0.places.acquire().await.map_err(|_| CallError::RefreshWaits)?;
        if matches!(stage.look(parts.clock.mono()), Look::Wait(_)) {
            return Err(CallError::RefreshWaits);
        }
        // The mark comes first: a successor that finds it knows that this token may have been spent.
        let look_at = parts.clock.now().after(LOOK_AGAIN);
        let mark = |i: &Installation| i.spending(&spending.hash, look_at);
        if parts.store.update(&spending.id, mark).await?.is_none() {
            return Ok(None);
        }
        if !parts.leadership.holds(spending.epoch) {
            return Err(CallError::WaitingForLeader);
        }
        let began = parts.clock.mono();
        // Marking took its time: the slot may have passed.
        let Look::Send(weight) = stage.look(began) else { return Err(CallError::RefreshWaits) };
        self.book().set(&spending, stage.sent(began));
        Ok(Some(Sending { spending, location: of.location.clone(), stage, weight, began, place }))
    }

    async fn renewed(&self, sending: Sending<'_>, spent: &Secret, reply: &TokenReply) -> Result<Lent, CallError> {
        let Sending { spending, location, place, .. } = sending;
        drop(place);
        let (parts, id) = (&self.0.parts, &spending.id);
        let now = parts.clock.now();
        let mut fresh = self.sealed(id, reply, now);
        if fresh.refresh.is_none() {
            // Not rotated: the token stays good.
            fresh.refresh = Some(parts.ring.seal(id, Grant::REFRESH, spent));
            fresh.refresh_hash = Some(spending.hash.clone());
        }
        self.store_pair(&spending, &fresh, now).await;
        self.book().forget(id);
        if let Some(location) = location {
            parts.bells.token_stored(location.as_str());
        }
        parts.metrics.refresh("renewed");
        tracing::info!(installation = %id, "token refreshed");
        self.newest(id).await
    }

    /// Writes the new pair until it lands: the old one is spent, and nobody else has this one.
    async fn store_pair(&self, spending: &Spending, fresh: &Grant, now: UnixMillis) {
        let (parts, id) = (&self.0.parts, &spending.id);
        let refresh_at = Self::refresh_at(fresh, now);
        let mut tries = 0;
        loop {
            let renewed = |i: &Installation| i.renewed(&spending.hash, fresh, refresh_at);
            match parts.store.update(id, renewed).await {
                Ok(_) => return,
                Err(e) => tracing::error!(installation = %id, error = %e, tries, "a new token pair is not stored yet"),
            }
            parts.clock.sleep(retry::store_write(tries)).await;
            tries += 1;
        }
    }

    /// What follows when no pair came.
    async fn refused(&self, sending: Sending<'_>, error: GhlError) -> Result<Lent, CallError> {
        let Sending { spending, stage, weight, began, place, .. } = sending;
        drop(place);
        let (parts, id) = (&self.0.parts, &spending.id);
        let answer = meaning(&error);
        if let (GhlError::Api(refusal), RefreshAnswer::NotNow(wait)) = (&error, answer)
            && refusal.status == 429
        {
            self.note_limited(owner(id), "refresh", wait);
        }
        let next = stage.answered(weight, began, answer, parts.clock.mono());
        let now = parts.clock.now();
        match (next, answer) {
            (Next::Dead, _) => {
                // Whatever keeps the rest from being done now, the token is not hurried again.
                let from = parts.clock.mono().after(LAST_TRY_AFTER);
                self.book().set(&spending, Stage::LastTry { from });
                self.dead(id, Some(&spending.hash)).await
            }
            (Next::Suspend(stage), _) => {
                self.book().set(&spending, stage);
                let at = Some(now.after(retry::token_suspended()));
                let paused = |i: &Installation| i.marked(Some(&spending.hash), Health::Suspended, at, stage.in_doubt());
                parts.store.update(id, paused).await?;
                parts.metrics.refresh("suspended");
                tracing::warn!(installation = %id, "the CRM says this sub-account is paused: its token is kept");
                Err(CallError::Grant(Health::Suspended))
            }
            (Next::Keep(stage), answer) => {
                self.book().set(&spending, stage);
                if let (RefreshAnswer::NotNow(wait), false) = (answer, stage.in_doubt()) {
                    // Nothing was spent: a successor need not hurry.
                    let at = Some(now.after(wait));
                    let unspent = |i: &Installation| i.marked(Some(&spending.hash), i.health, at, false);
                    parts.store.update(id, unspent).await?;
                }
                parts.metrics.refresh("failed");
                Err(CallError::Refresh(error))
            }
        }
    }

    /// The grant can't be renewed, unless a newer pair is stored by now: a token minted from the company's takes its place, or
    /// somebody has to install again.
    async fn dead(&self, id: &DocId, hash: Option<&str>) -> Result<Lent, CallError> {
        let parts = &self.0.parts;
        if self.installation(id).await?.record.refresh_hash() != hash {
            return self.newest(id).await;
        }
        if let Some(minted) = self.mint_instead(id).await? {
            self.book().forget(id);
            return Ok(minted);
        }
        let dead = |i: &Installation| i.marked(hash, Health::Reauthorize, None, false);
        let marked = parts.store.update(id, dead).await?;
        self.book().forget(id);
        if marked.is_none() {
            return self.newest(id).await;
        }
        parts.metrics.refresh("reauthorize");
        let install = parts.install_url.as_str();
        tracing::error!(installation = %id, install, "the CRM ended this grant: open the install URL to connect it again");
        Err(CallError::Grant(Health::Reauthorize))
    }

    /// Whatever is stored now is the newest pair: ours, or one that beat it.
    async fn newest(&self, id: &DocId) -> Result<Lent, CallError> {
        let stored = self.installation(id).await?;
        let held = grant(&stored.record)?;
        if held.expires_at <= self.0.parts.clock.now() {
            return Err(CallError::RefreshWaits);
        }
        self.open(id, held)
    }
}

/// What GHL's answer says of the refresh token.
fn meaning(error: &GhlError) -> RefreshAnswer {
    match error {
        GhlError::Api(refusal) if refusal.is_location_inactive() => RefreshAnswer::Inactive(retry::token_suspended()),
        GhlError::Api(refusal) if refusal.is_invalid_grant() => RefreshAnswer::InvalidGrant,
        GhlError::Api(refusal) if refusal.status == 429 => RefreshAnswer::NotNow(limited_for(refusal, 0)),
        // A proxy's time-out says nothing about what GHL did.
        GhlError::Api(refusal) if !matches!(refusal.status, 408 | 500..) => {
            RefreshAnswer::NotNow(retry::token_trouble())
        }
        GhlError::Api(_) | GhlError::Transport { .. } | GhlError::Unreadable { .. } | GhlError::NotStored => {
            RefreshAnswer::None
        }
    }
}
