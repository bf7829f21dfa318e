//! Minting: a location's token from its company's, as background work and in place of a refresh that can't be.
//!
//! Invariant: a minted token is stored before it is lent, and only over what the mint began with. Only the leader mints, and
//! every call goes through the company's own place in the limiter. What follows a failure is `domain::agency`'s.

use futures_util::future::BoxFuture;

use super::call::{CallError, Lent, Tokens, grant};
use crate::client::ghl::{GhlError, TokenReply, UserType};
use crate::domain::agency::MintFailure;
use crate::domain::id::{CompanyId, DocId, LocationId};
use crate::domain::installation::{Grant, Health, Installation};
use crate::domain::retry;
use crate::domain::time::UnixMillis;
use crate::ghl_pace::Turn;
use crate::store::StoreError;

/// A token that only minting renews is minted anew with this share of its life gone.
const AGAIN_AFTER: f64 = 0.8;

impl Tokens {
    /// Does the mint that `seen` carries, if its company may be called now; stores what came of it.
    pub(super) async fn mint_due(&self, seen: &Installation) -> Result<(), StoreError> {
        let parts = &self.0.parts;
        let Some(location) = &seen.location else { return Ok(()) };
        let id = DocId::location(location);
        let flight = self.flight(&id);
        let _one = flight.lock().await;
        let failure = match &seen.company {
            None => MintFailure::NoCompanyToken,
            Some(company) => match parts.pace.ask(company.as_str(), id.as_str(), parts.clock.now()) {
                Turn::At(place) => MintFailure::NotBefore(place),
                Turn::Now => match self.mint(location, company, seen).await {
                    Ok(_) => return Ok(()),
                    Err(CallError::Store(e)) => return Err(e),
                    Err(e) => self.failure(&e, location, company, seen),
                },
            },
        };
        let (now, jitter) = (parts.clock.now(), crate::random::unit());
        let noted = parts.store.update::<Installation>(&id, |i| i.not_minted(seen, failure, now, jitter)).await?;
        if let Some(ended) = noted.filter(|_| failure == MintFailure::Refused)
            && ended.record.mint.is_none()
        {
            tracing::warn!(location.id = %location, "the CRM gives no token for this location");
            parts.bells.installation_changed(location.as_str());
        }
        Ok(())
    }

    /// A minted token where the grant can't be refreshed. `None`: there is no company to mint from, or GHL refused. The caller
    /// holds the location's flight. Boxed, since minting lends the company's token, which may have to be refreshed first.
    pub(super) fn mint_instead<'a>(&'a self, id: &'a DocId) -> BoxFuture<'a, Result<Option<Lent>, CallError>> {
        Box::pin(async move {
            let parts = &self.0.parts;
            let seen = self.installation(id).await?.record;
            let (Some(location), Some(company)) = (&seen.location, &seen.company) else { return Ok(None) };
            grant(&seen)?;
            // Somebody waits for the location's token: it goes before the background work, but for a rest.
            if let Turn::At(_) = parts.pace.urgent(company.as_str(), parts.clock.now()) {
                return Err(CallError::MintWaits);
            }
            let error = match self.mint(location, company, &seen).await {
                Ok(lent) => return Ok(Some(lent)),
                Err(e) => e,
            };
            match (self.failure(&error, location, company, &seen), error) {
                (_, CallError::Store(e)) => Err(CallError::Store(e)),
                (MintFailure::NoCompanyToken | MintFailure::Refused, _) => Ok(None),
                (MintFailure::Inactive, _) => Err(CallError::Grant(Health::Suspended)),
                // Not GHL's answer to the call that needs the token.
                (MintFailure::NotBefore(_) | MintFailure::Trouble, CallError::Ghl(e)) => Err(CallError::Refresh(e)),
                (MintFailure::NotBefore(_) | MintFailure::Trouble, _) => Err(CallError::MintWaits),
            }
        })
    }

    async fn mint(&self, location: &LocationId, company: &CompanyId, seen: &Installation) -> Result<Lent, CallError> {
        let parts = &self.0.parts;
        if parts.leadership.right().is_none() {
            return Err(CallError::WaitingForLeader);
        }
        let (ghl, id) = (&parts.ghl, DocId::location(location));
        let mint = |token| async move { ghl.mint_location_token(&token, company.as_str(), location.as_str()).await };
        let reply = self.call_as(&DocId::company(company), mint).await?;
        if !is_for(&reply, location, company) {
            tracing::error!(location.id = %location, "the CRM minted a token for somebody else: not stored");
            return Err(CallError::Ghl(GhlError::Unreadable { status: 201 }));
        }
        let now = parts.clock.now();
        let fresh = self.sealed(&id, &reply, now);
        let (refresh_at, again_at) = (Self::refresh_at(&fresh, now), mint_again_at(&fresh, now));
        parts.store.update::<Installation>(&id, |i| i.minted(seen, fresh.clone(), refresh_at, again_at, now)).await?;
        parts.metrics.refresh("minted");
        tracing::info!(location.id = %location, "token minted");
        parts.bells.token_stored(location.as_str());
        // Whatever is stored now is the newest: ours, or one that beat it.
        let stored = self.installation(&id).await?;
        self.open(&id, grant(&stored.record)?)
    }

    /// What a failed call means for the mint; rests the company when GHL limits it.
    fn failure(
        &self,
        error: &CallError,
        location: &LocationId,
        company: &CompanyId,
        seen: &Installation,
    ) -> MintFailure {
        let now = self.0.parts.clock.now();
        let tries = seen.mint.as_ref().map_or(0, |m| m.tries);
        let failure = match error {
            CallError::Ghl(GhlError::Api(refusal)) if refusal.status == 429 => {
                return MintFailure::NotBefore(self.limited(company.as_str(), "mint", refusal, tries));
            }
            CallError::Ghl(GhlError::Api(refusal)) => match refusal.status {
                _ if refusal.is_location_inactive() => MintFailure::Inactive,
                // The company's token was refused although it is fresh: nobody's location is at fault.
                401 => MintFailure::NotBefore(now.after(retry::token_suspended())),
                _ if refusal.is_trouble() => MintFailure::Trouble,
                _ => MintFailure::Refused,
            },
            CallError::Ghl(_) | CallError::Store(_) => MintFailure::Trouble,
            // Only a new install of the agency brings a token.
            CallError::NotInstalled | CallError::Grant(Health::Reauthorize) => MintFailure::NoCompanyToken,
            CallError::Grant(Health::Active | Health::Suspended) | CallError::Sealed(_) => {
                MintFailure::NotBefore(now.after(retry::token_suspended()))
            }
            CallError::WaitingForLeader | CallError::Refresh(_) | CallError::MintWaits | CallError::RefreshWaits => {
                MintFailure::NotBefore(now.after(retry::token_trouble()))
            }
        };
        tracing::warn!(location.id = %location, error = %error, ?failure, "a token could not be minted");
        failure
    }
}

/// ⚠ User type, company and location may be missing in the reply: then they are those of the request. Others are refused.
fn is_for(reply: &TokenReply, location: &LocationId, company: &CompanyId) -> bool {
    reply.user_type != Some(UserType::Company)
        && reply.location_id.as_deref().is_none_or(|id| id == location.as_str())
        && reply.company_id.as_deref().is_none_or(|id| id == company.as_str())
}

/// When a token without a refresh token is minted anew; each location at its own moment, as its life began at its own.
fn mint_again_at(grant: &Grant, now: UnixMillis) -> Option<UnixMillis> {
    let life = grant.expires_at.since(now);
    grant.refresh.is_none().then(|| now.after(life.mul_f64(AGAIN_AFTER)))
}
