//! Inbound: a stored reply is routed, its contact found, and the message posted, each step recorded.
//!
//! Invariant: better twice than lost, never guessed into a stranger's CRM, and a wish to stop is heeded before all else. What
//! follows a step is `domain::inbound`'s; how a reply is posted is `post`'s.

mod post;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, stream};

use self::post::Addressed;
use super::LoopParts;
use crate::client::Reached;
use crate::client::ghl::GhlError;
use crate::domain::contact::ContactNote;
use crate::domain::id::{DocId, LocationId};
use crate::domain::inbound::{self, Reply, ReplyProgress, ReplyState, ReplyStep};
use crate::domain::message::DOCUMENT_VERSION;
use crate::domain::phone::Phone;
use crate::domain::time::UnixMillis;
use crate::ghl_pace::Turn;
use crate::lifecycle::Stop;
use crate::oauth::{CallError, several_companies};
use crate::opt_out::{OptOuts, assigned, senders};
use crate::store::{Inserted, Query, StoreError};

/// Replies read at once.
const BATCH: usize = 32;
/// Calls to GHL for replies under way at once.
const AT_ONCE: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A reply whose location has no usable token waits this long; a stored token rings.
const NO_TOKEN_WAIT: Duration = Duration::from_secs(60);
/// Locations looked at to route one reply: more senders than this within a week is a test number.
const SENDERS: usize = 256;

/// What inbound delivery is set to.
#[derive(Debug, Clone)]
pub struct InboundSettings {
    pub provider_id: Option<String>,
    pub default_location: Option<LocationId>,
    pub retention: Duration,
}

/// The inbound loop; clones share it.
#[derive(Clone)]
pub struct InboundWorker(Arc<Inner>);

struct Inner {
    parts: LoopParts,
    opt_outs: OptOuts,
    settings: InboundSettings,
}

impl InboundWorker {
    /// A worker that has posted nothing yet.
    #[must_use]
    pub fn new(parts: LoopParts, opt_outs: OptOuts, settings: InboundSettings) -> Self {
        Self(Arc::new(Inner { parts, opt_outs, settings }))
    }

    /// Takes every due reply one step further; answers how many moved.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn step(&self) -> Result<usize, StoreError> {
        if self.0.parts.leadership.right().is_none() {
            return Ok(0);
        }
        self.hear().await?;
        let now = self.0.parts.clock.now();
        let due = self.0.parts.store.find::<Reply>(Query::Due { now, limit: BATCH }).await?;
        // In order by sender: only the earliest open reply of a lane moves, and each lane once.
        let mut lanes: HashMap<String, Option<UnixMillis>> = HashMap::new();
        let mut heads = Vec::new();
        let mut moved = 0;
        for stored in due {
            let lane = stored.record.lane();
            if !lanes.contains_key(&lane) {
                let query = Query::OpenLane { lane: lane.clone(), limit: 1 };
                let first = self.0.parts.store.find::<Reply>(query).await?.pop();
                let waits = first.as_ref().map(|s| s.record.progress.due_at).filter(|at| *at > now);
                lanes.insert(lane.clone(), waits);
                // A wish that could not be heeded keeps its lane: nothing is done about the reply before.
                heads.extend(first.filter(|s| waits.is_none() && s.record.unheard().is_none()));
            }
            if let Some(until) = lanes.get(&lane).copied().flatten() {
                self.wait_behind(&stored.record.id, until).await?;
                moved += 1;
            }
        }
        moved += heads.len();
        // Lanes move side by side: one slow answer holds up its own sender alone.
        // Each by itself: an error of one must not cut another's call off.
        stream::iter(heads)
            .for_each_concurrent(AT_ONCE, |stored| async move {
                if let Err(e) = self.advance(&stored.record).await {
                    tracing::warn!(inbound.id = %stored.record.id, error = %e, "a step could not be taken or noted");
                }
            })
            .await;
        Ok(moved)
    }

    /// Wishes that could not be heeded when they came, whatever their lanes wait for.
    async fn hear(&self) -> Result<(), StoreError> {
        for id in self.0.opt_outs.unheard(BATCH).await? {
            if let Err(e) = self.0.opt_outs.hear(&id).await {
                tracing::warn!(inbound.id = %id, error = %e, "a STOP or START can't be heeded now");
            }
        }
        Ok(())
    }

    /// What stands behind a reply that waits is not due either: it would fill the batch, and nobody else would be read.
    async fn wait_behind(&self, id: &DocId, until: UnixMillis) -> Result<(), StoreError> {
        self.0
            .parts
            .store
            .update::<Reply>(id, |r| {
                let behind = r.progress.state == ReplyState::Received && r.progress.due_at < until;
                behind.then(|| r.with(ReplyProgress { due_at: until, ..r.progress.clone() }))
            })
            .await?;
        Ok(())
    }

    /// Moves replies until shutdown begins.
    pub async fn run(&self, stop: &Stop) {
        loop {
            let rung = self.0.parts.bells.replies.rung();
            loop {
                match self.step().await {
                    Ok(0) => break,
                    Ok(_) if stop.begun() => return,
                    Ok(_) => {}
                    Err(e) => {
                        tracing::warn!(error = %e, "replies can't be read now");
                        break;
                    }
                }
            }
            tokio::select! {
                () = self.0.parts.clock.sleep(LOOK_EVERY) => {}
                () = rung => {}
                () = stop.soft() => return,
            }
        }
    }

    async fn advance(&self, reply: &Reply) -> Result<(), StoreError> {
        let Some(phone) = &reply.accepted.phone else { return Ok(()) };
        let p = &reply.progress;
        let step = match (&p.location, &p.contact_id) {
            (None, _) => self.route(reply, phone).await?,
            (Some(location), None) => self.contact(location, phone, p.limited).await?,
            (Some(location), Some(contact)) => {
                let to = Addressed { reply, location, phone, contact };
                if p.look_first { self.look(to).await? } else { self.post(to).await? }
            }
        };
        self.0.parts.metrics.reply(word(&step));
        let jitter = crate::random::unit();
        self.0
            .parts
            .store
            .update::<Reply>(&reply.id, |r| {
                let next =
                    inbound::after_step(r, step.clone(), self.0.parts.clock.now(), self.0.settings.retention, jitter);
                Some(r.with(next))
            })
            .await?;
        tracing::info!(inbound.id = %reply.id, step = word(&step), "inbound");
        if let (ReplyStep::Posted { .. }, Some(_), Some(location)) = (&step, reply.accepted.wish, &p.location) {
            self.0.opt_outs.posted(location, phone).await?;
        }
        Ok(())
    }

    async fn route(&self, reply: &Reply, phone: &Phone) -> Result<ReplyStep, StoreError> {
        let senders = senders(&self.0.parts.store, phone, SENDERS).await?;
        let default = match &self.0.settings.default_location {
            Some(default) if reply.accepted.location.is_none() => self.default_if_one_company(default).await?,
            _ => None,
        };
        let explicit = reply.accepted.location.as_ref();
        let assigned = match explicit {
            Some(_) => None,
            None => assigned(&self.0.parts.store, reply.accepted.to.as_deref()).await?,
        };
        let now = self.0.parts.clock.now();
        let routed = inbound::route(explicit, assigned.as_ref(), &senders, default.as_ref(), now);
        Ok(routed.map_or(ReplyStep::Unrouted, ReplyStep::Routed))
    }

    /// The default is ignored, with a warning, once installations of more than one company exist.
    async fn default_if_one_company(&self, default: &LocationId) -> Result<Option<LocationId>, StoreError> {
        if several_companies(&self.0.parts.store).await? {
            tracing::warn!("DEFAULT_LOCATION_ID is ignored: more than one company is installed");
            return Ok(None);
        }
        Ok(Some(default.clone()))
    }

    async fn contact(&self, location: &LocationId, phone: &Phone, limited: u32) -> Result<ReplyStep, StoreError> {
        let id = DocId::contact(location, phone.e164());
        let known = self.0.parts.store.get::<ContactNote>(&id).await?;
        if let Some(contact) = known.as_ref().and_then(|s| s.record.contact_id.clone()) {
            return Ok(ReplyStep::ContactFound(contact));
        }
        if let Some(wait) = self.not_its_turn(location) {
            return Ok(wait);
        }
        let (tokens, place, number) = (&self.0.parts.tokens, location.as_str(), phone.e164());
        let ghl = tokens.ghl();
        let upsert = |token| async move { ghl.upsert_contact(&token, place, number).await };
        let found = match tokens.call(location, upsert).await {
            // A refusal of the upsert (a duplicate setting, say) still lets us look.
            Err(CallError::Ghl(GhlError::Api(refusal))) if matches!(refusal.status, 400 | 422) => {
                if let Some(wait) = self.not_its_turn(location) {
                    return Ok(wait);
                }
                let look = |token| async move { ghl.find_contact(&token, place, number).await };
                tokens.call(location, look).await.and_then(|found| found.ok_or(CallError::Ghl(GhlError::Api(refusal))))
            }
            answer => answer,
        };
        let contact = match found {
            Ok(contact) => contact,
            Err(e) => return self.failed(e, location, limited),
        };
        let note = ContactNote {
            v: DOCUMENT_VERSION,
            location: location.clone(),
            company: None,
            phone: phone.clone(),
            contact_id: Some(contact.clone()),
            conversation_id: None,
            last_outbound_at: None,
        };
        if self.0.parts.store.insert(&note).await? == Inserted::Duplicate {
            let learnt = |old: &ContactNote| Some(ContactNote { contact_id: Some(contact.clone()), ..old.clone() });
            self.0.parts.store.update::<ContactNote>(&id, learnt).await?;
        }
        Ok(ReplyStep::ContactFound(contact))
    }

    fn not_its_turn(&self, location: &LocationId) -> Option<ReplyStep> {
        let now = self.0.parts.clock.now();
        match self.0.parts.pace.urgent(location.as_str(), now) {
            Turn::Now => None,
            Turn::At(at) => Some(ReplyStep::NotItsTurn(at.since(now))),
        }
    }

    fn failed(&self, error: CallError, location: &LocationId, limited: u32) -> Result<ReplyStep, StoreError> {
        let later = |why| ReplyStep::Later { wait: None, why };
        Ok(match error {
            CallError::Store(e) => return Err(e),
            CallError::NotInstalled
            | CallError::WaitingForLeader
            | CallError::MintWaits
            | CallError::RefreshWaits
            | CallError::Grant(_)
            | CallError::Sealed(_)
            | CallError::Refresh(_) => ReplyStep::Later { wait: Some(NO_TOKEN_WAIT), why: "no usable token" },
            // A 2xx that names no message, readable or not, was not stored.
            CallError::Ghl(GhlError::NotStored | GhlError::Unreadable { .. }) => ReplyStep::NotStored,
            CallError::Ghl(GhlError::Transport { reached: Reached::No, .. }) => later("the CRM can't be reached"),
            CallError::Ghl(GhlError::Transport { reached: Reached::Maybe, .. }) => ReplyStep::Unknown,
            CallError::Ghl(GhlError::Api(refusal)) => match refusal.status {
                429 => {
                    let until = self.0.parts.tokens.limited(location.as_str(), "reply", &refusal, limited);
                    ReplyStep::Limited(until.since(self.0.parts.clock.now()))
                }
                401 => ReplyStep::Later { wait: Some(NO_TOKEN_WAIT), why: "the token is refused" },
                403 | 408 | 425 => later("the CRM does not allow it now"),
                _ if refusal.is_trouble() => ReplyStep::Unknown,
                status => ReplyStep::Refused(format!("the CRM refused it ({status})")),
            },
        })
    }
}

fn word(step: &ReplyStep) -> &'static str {
    match step {
        ReplyStep::Routed(_) => "routed",
        ReplyStep::Unrouted => "unrouted",
        ReplyStep::ContactFound(_) => "contact_found",
        ReplyStep::ContactGone => "contact_gone",
        ReplyStep::Posted { .. } => "posted",
        ReplyStep::NotThere => "not_there",
        ReplyStep::NotStored => "not_stored",
        ReplyStep::Later { .. } => "later",
        ReplyStep::NotItsTurn(_) => "not_its_turn",
        ReplyStep::Limited(_) => "limited",
        ReplyStep::Unknown => "unknown",
        ReplyStep::Refused(_) => "refused",
    }
}

/// RFC 3339 in UTC, to the millisecond.
fn rfc3339(at: UnixMillis) -> String {
    let since = Duration::from_millis(u64::try_from(at.0).unwrap_or_default());
    // Year 9999 is the last one the format knows.
    let at = SystemTime::UNIX_EPOCH + since.min(Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_rfc_3339_even_at_the_ends_of_time() {
        assert_eq!(rfc3339(UnixMillis(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(UnixMillis(-5)), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(UnixMillis(i64::MAX)).starts_with("9999-12-31"));
    }
}
