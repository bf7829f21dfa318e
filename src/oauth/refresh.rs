//! Renewing a grant: single-use refresh tokens, spent by the leader, one at a time per installation.
//!
//! Invariant: the new pair is stored before it is used, by comparing the hash of the refresh token that was spent. A call that
//! got no answer leaves the stored token as it is: GHL answers the same refresh token with the same new pair for 30 s, and
//! the next need sends it again.

use std::time::Duration;

use super::call::{CallError, Lent, Tokens, grant};
use super::field;
use crate::client::ghl::{GhlError, UserType};
use crate::domain::id::DocId;
use crate::domain::installation::{GrantKind, Health, Installation};
use crate::store::{Query, StoreError};

/// A refresh that failed on GHL's side is tried again by the clock this much later.
const RETRY_LATER: Duration = Duration::from_secs(60);
/// A paused sub-account is asked again this often.
const SUSPENDED_RETRY: Duration = Duration::from_secs(6 * 3600);
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
        let (Some(refresh), Some(hash)) = (&held.refresh, held.refresh_hash.clone()) else {
            self.mark(id, None, Health::Reauthorize).await?;
            return Err(CallError::Grant(Health::Reauthorize));
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
            Err(e) => return Err(self.refused(id, &hash, e).await?),
        };
        let now = parts.clock.now();
        let mut fresh = self.sealed(id, &reply, now);
        if fresh.refresh.is_none() {
            // Not rotated: the token stays good.
            fresh.refresh = Some(parts.ring.seal(id, field::REFRESH, &refresh));
            fresh.refresh_hash = Some(hash.clone());
        }
        let refresh_at = Self::refresh_at(&fresh, now);
        parts
            .store
            .update::<Installation>(id, |i| {
                let spent = i.grant.as_ref().and_then(|g| g.refresh_hash.as_ref()) == Some(&hash);
                spent.then(|| Installation {
                    grant: Some(fresh.clone()),
                    health: Health::Active,
                    refresh_at,
                    refresh_started: None,
                    ..i.clone()
                })
            })
            .await?;
        parts.metrics.refresh("renewed");
        tracing::info!(installation = %id, "token refreshed");
        // Whatever is stored now is the newest pair: ours, or one that beat it.
        let stored = self.installation(id).await?;
        self.open(id, grant(&stored.record)?)
    }

    /// Renews what is due; answers how many were looked at.
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
        for stored in &due {
            let Some(id) = stored.record.id() else { continue };
            let spent = match grant(&stored.record).and_then(|g| self.open(&id, g)) {
                Ok(lent) => lent.hash,
                Err(e) => {
                    self.postpone(&id, &e).await?;
                    continue;
                }
            };
            if let Err(e) = self.refresh(&id, &spent).await {
                self.postpone(&id, &e).await?;
            }
        }
        Ok(due.len())
    }

    /// The due time moves, so that one bad grant is not asked in a hot loop.
    async fn postpone(&self, id: &DocId, why: &CallError) -> Result<(), StoreError> {
        let parts = &self.0.parts;
        tracing::warn!(installation = %id, error = %why, "a token could not be refreshed");
        let now = parts.clock.now();
        let later = match why {
            CallError::Grant(Health::Reauthorize) => None,
            CallError::Grant(_) => Some(now.after(SUSPENDED_RETRY)),
            _ => Some(now.after(RETRY_LATER)),
        };
        parts
            .store
            .update::<Installation>(id, |i| {
                let due = i.refresh_at.is_some_and(|at| at <= now);
                due.then(|| Installation { refresh_at: later, ..i.clone() })
            })
            .await?;
        Ok(())
    }

    /// What GHL's refusal of a refresh means: paused, dead, or nothing yet.
    async fn refused(&self, id: &DocId, spent: &str, error: GhlError) -> Result<CallError, StoreError> {
        let parts = &self.0.parts;
        let health = match &error {
            GhlError::Api(refusal) if refusal.is_location_inactive() => Health::Suspended,
            GhlError::Api(refusal) if refusal.is_invalid_grant() => Health::Reauthorize,
            GhlError::Api(_) | GhlError::Transport { .. } | GhlError::Unreadable { .. } | GhlError::NotStored => {
                parts.metrics.refresh("failed");
                return Ok(CallError::Ghl(error));
            }
        };
        parts.metrics.refresh(match health {
            Health::Suspended => "suspended",
            Health::Active | Health::Reauthorize => "reauthorize",
        });
        tracing::error!(installation = %id, ?health, "the CRM refused to renew this grant");
        self.mark(id, Some(spent), health).await?;
        Ok(CallError::Grant(health))
    }

    /// Marks the grant, unless a newer pair is stored by now.
    async fn mark(&self, id: &DocId, spent: Option<&str>, health: Health) -> Result<(), StoreError> {
        self.0
            .parts
            .store
            .update::<Installation>(id, |i| {
                let same = i.grant.as_ref().and_then(|g| g.refresh_hash.as_deref()) == spent;
                (same && i.health != health).then(|| Installation { health, ..i.clone() })
            })
            .await?;
        Ok(())
    }
}
