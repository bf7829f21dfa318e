//! Renewing a grant: single-use refresh tokens, spent by the leader, one at a time per installation.
//!
//! Invariant: the new pair is stored before it is used, by comparing the hash of the refresh token that was spent. A call that
//! got no answer leaves the stored token as it is: GHL answers the same refresh token with the same new pair for 30 s, and
//! it is sent again within that window.

use std::sync::PoisonError;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::call::{CallError, Lent, Tokens, grant};
use super::field;
use crate::client::ghl::{GhlError, UserType};
use crate::domain::id::DocId;
use crate::domain::installation::{Grant, GrantKind, Health, Installation};
use crate::domain::retry;
use crate::domain::time::UnixMillis;
use crate::store::{Query, StoreError};

/// Renewals looked at in one step.
const BATCH: usize = 16;

impl Tokens {
    /// A token newer than the one with the hash `spent`: one refreshed meanwhile, or a new one.
    pub(super) async fn refresh(&self, id: &DocId, spent: &str) -> Result<Lent, CallError> {
        let flight = self.flight(id);
        let _one = flight.lock().await;
        let parts = &self.0.parts;
        let stored = self.installation(id).await?;
        let held = grant(&stored.record)?;
        let current = self.open(id, held)?;
        if current.hash != spent && held.expires_at > parts.clock.now() {
            return Ok(current);
        }
        if parts.leadership.right().is_none() {
            return Err(CallError::WaitingForLeader);
        }
        let waits = stored.record.refresh_at.is_some_and(|at| at > parts.clock.now());
        match stored.record.health {
            Health::Reauthorize => return Err(CallError::Grant(Health::Reauthorize)),
            Health::Suspended if waits => return Err(CallError::Grant(Health::Suspended)),
            Health::Suspended | Health::Active => {}
        }
        let (Some(refresh), Some(hash)) = (&held.refresh, held.refresh_hash.clone()) else {
            return self.dead(id, None).await;
        };
        let refresh = parts.ring.open(id, field::REFRESH, refresh)?;
        let user_type = match stored.record.kind {
            GrantKind::Location => UserType::Location,
            GrantKind::Company => UserType::Company,
        };
        // The mark comes first: a successor that finds it knows that this token may have been spent.
        let begun = hash.clone();
        parts
            .store
            .update::<Installation>(id, move |i| {
                let marked = i.refresh_started.as_ref() == Some(&begun);
                (!marked).then(|| Installation { refresh_started: Some(begun.clone()), ..i.clone() })
            })
            .await?;
        let reply = match parts.ghl.refresh(&parts.app, &refresh, user_type).await {
            Ok(reply) => reply,
            Err(e) => return self.refused(id, &hash, e).await,
        };
        self.answered(id);
        let now = parts.clock.now();
        let mut fresh = self.sealed(id, &reply, now);
        if fresh.refresh.is_none() {
            // Not rotated: the token stays good.
            fresh.refresh = Some(parts.ring.seal(id, field::REFRESH, &refresh));
            fresh.refresh_hash = Some(hash.clone());
        }
        self.store_pair(id, &hash, fresh, now).await;
        if let Some(location) = &stored.record.location {
            parts.bells.token_stored(location.as_str());
        }
        parts.metrics.refresh("renewed");
        tracing::info!(installation = %id, "token refreshed");
        // Whatever is stored now is the newest pair: ours, or one that beat it.
        let stored = self.installation(id).await?;
        self.open(id, grant(&stored.record)?)
    }

    /// Writes the new pair until it lands: the old one is spent, and nobody else has this one.
    async fn store_pair(&self, id: &DocId, spent: &str, fresh: Grant, now: UnixMillis) {
        let parts = &self.0.parts;
        let refresh_at = Self::refresh_at(&fresh, now);
        let mut tries = 0;
        loop {
            let written = parts.store.update::<Installation>(id, |i| {
                let same = i.grant.as_ref().and_then(|g| g.refresh_hash.as_deref()) == Some(spent);
                same.then(|| Installation {
                    grant: Some(fresh.clone()),
                    health: Health::Active,
                    refresh_at,
                    refresh_started: None,
                    ..i.clone()
                })
            });
            match written.await {
                Ok(_) => return,
                Err(e) => tracing::error!(installation = %id, error = %e, tries, "a new token pair is not stored yet"),
            }
            parts.clock.sleep(retry::store_write(tries)).await;
            tries += 1;
        }
    }

    fn answered(&self, id: &DocId) {
        self.0.unanswered.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// When the same refresh token is sent again after no answer: the next free slot of the window in which GHL repeats its
    /// reply; after it, the usual wait.
    fn next_slot(&self, id: &DocId) -> Duration {
        let now = self.0.parts.clock.mono();
        let mut unanswered = self.0.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, sent) = unanswered.entry(id.clone()).or_insert((now, 0));
        let spent = now.since(*first);
        *sent += 1;
        retry::token_unanswered(*sent, spent)
    }

    /// Renews what is due, side by side; answers how many were looked at.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't say what is due.
    pub async fn refresh_due(&self) -> Result<usize, StoreError> {
        let parts = &self.0.parts;
        if parts.leadership.right().is_none() {
            return Ok(0);
        }
        let now = parts.clock.now();
        let due = parts.store.find::<Installation>(Query::Due { now, limit: BATCH }).await?;
        let count = due.len();
        stream::iter(due)
            .for_each_concurrent(BATCH, |stored| async move {
                let Some(id) = stored.record.id() else { return };
                let renewed = match grant(&stored.record).and_then(|g| self.open(&id, g)) {
                    Ok(lent) => self.refresh(&id, &lent.hash).await.map(drop),
                    Err(e) => Err(e),
                };
                if let Err(e) = renewed
                    && let Err(e) = self.postpone(&id, &e).await
                {
                    tracing::warn!(installation = %id, error = %e, "a refresh could not be put off");
                }
            })
            .await;
        Ok(count)
    }

    /// The due time moves, so that one bad grant is not asked in a hot loop.
    async fn postpone(&self, id: &DocId, why: &CallError) -> Result<(), StoreError> {
        let parts = &self.0.parts;
        tracing::warn!(installation = %id, error = %why, "a token could not be refreshed");
        let now = parts.clock.now();
        let later = match why {
            CallError::Grant(Health::Reauthorize) => None,
            _ => Some(now.after(retry::token_trouble())),
        };
        parts
            .store
            .update::<Installation>(id, |i| {
                // A wait that was set meanwhile (suspended, renewed by somebody else) stands.
                let due = i.refresh_at.is_some_and(|at| at <= now);
                due.then(|| Installation { refresh_at: later, ..i.clone() })
            })
            .await?;
        Ok(())
    }

    /// No answer, or none that decides: the clock sends the same token again, within GHL's window if it can.
    async fn soon(&self, id: &DocId) -> Result<(), StoreError> {
        let at = self.0.parts.clock.now().after(self.next_slot(id));
        let sooner = |i: &Installation| Some(Installation { refresh_at: Some(at), ..i.clone() });
        self.0.parts.store.update::<Installation>(id, sooner).await?;
        Ok(())
    }

    /// What GHL's refusal of a refresh means: paused, dead, or nothing yet.
    async fn refused(&self, id: &DocId, spent: &str, error: GhlError) -> Result<Lent, CallError> {
        let parts = &self.0.parts;
        match &error {
            GhlError::Api(refusal) if refusal.is_location_inactive() => {
                parts.metrics.refresh("suspended");
                tracing::error!(installation = %id, "the CRM says this sub-account is paused: its token is kept");
                self.mark(id, Some(spent), Health::Suspended).await?;
                Err(CallError::Grant(Health::Suspended))
            }
            GhlError::Api(refusal) if refusal.is_invalid_grant() => self.dead(id, Some(spent)).await,
            GhlError::Api(_) | GhlError::Transport { .. } | GhlError::Unreadable { .. } | GhlError::NotStored => {
                parts.metrics.refresh("failed");
                self.soon(id).await?;
                Err(CallError::Refresh(error))
            }
        }
    }

    /// The grant can't be renewed: a token minted from the company's takes its place, or somebody has to install again.
    async fn dead(&self, id: &DocId, spent: Option<&str>) -> Result<Lent, CallError> {
        if let Some(minted) = self.mint_instead(id).await? {
            return Ok(minted);
        }
        self.0.parts.metrics.refresh("reauthorize");
        tracing::error!(installation = %id, "the CRM refused to renew this grant");
        self.mark(id, spent, Health::Reauthorize).await?;
        Err(CallError::Grant(Health::Reauthorize))
    }

    /// Marks the grant, unless a newer pair is stored by now.
    async fn mark(&self, id: &DocId, spent: Option<&str>, health: Health) -> Result<(), StoreError> {
        let retry = self.0.parts.clock.now().after(retry::token_suspended());
        self.0
            .parts
            .store
            .update::<Installation>(id, |i| {
                let same = i.grant.as_ref().and_then(|g| g.refresh_hash.as_deref()) == spent;
                let refresh_at = match health {
                    Health::Active => i.refresh_at,
                    Health::Suspended => Some(retry),
                    Health::Reauthorize => None,
                };
                same.then(|| Installation { health, refresh_at, ..i.clone() })
            })
            .await?;
        Ok(())
    }
}
