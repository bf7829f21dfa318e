//! Telling GHL: one loop over the reports that are due, beside and behind the sends.
//!
//! Invariant: what was told is written for the revision it told; everything that may follow is `domain::report`'s. At most
//! [`AT_ONCE`] calls are under way, so a slow GHL costs memory and sockets a fixed amount.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::LoopParts;
use crate::client::Reached;
use crate::client::ghl::{GhlError, MessageStatus, StatusErrorBody, StatusUpdate};
use crate::domain::id::DocId;
use crate::domain::installation::Health;
use crate::domain::message::Message;
use crate::domain::report::{ReportReply, ReportStatus, Verdict};
use crate::domain::retry;
use crate::ghl_pace::Turn;
use crate::lifecycle::Stop;
use crate::oauth::CallError;
use crate::store::{Query, StoreError, Stored};

/// Calls under way at once.
const AT_ONCE: usize = 16;
/// Reports read at once.
const BATCH: usize = 64;
/// A report whose result could not be written waits this long.
const NOT_NOTED: Duration = Duration::from_secs(1);
/// Reports become due with time alone: look this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The reporting loop; clones share it.
#[derive(Clone)]
pub struct Reporter(Arc<Inner>);

struct Inner {
    parts: LoopParts,
    busy: Mutex<HashSet<DocId>>,
    slots: Arc<Semaphore>,
}

impl Reporter {
    /// A reporter that has told nothing yet.
    #[must_use]
    pub fn new(parts: LoopParts) -> Self {
        Self(Arc::new(Inner { parts, busy: Mutex::default(), slots: Arc::new(Semaphore::new(AT_ONCE)) }))
    }

    /// Tells everything that is due, one after the other; answers how many reports were looked at.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn step(&self) -> Result<usize, StoreError> {
        let due = self.due(BATCH).await?;
        for stored in &due {
            self.tell(stored).await?;
        }
        Ok(due.len())
    }

    /// Tells what is due until shutdown begins; calls under way then end within the client's own time-out.
    pub async fn run(&self, stop: &Stop) {
        while !stop.begun() {
            let rung = self.0.parts.bells.reports.rung();
            let more = match self.dispatch(stop).await {
                Ok(more) => more,
                Err(e) => {
                    tracing::warn!(error = %e, "due reports can't be read now");
                    false
                }
            };
            if more {
                continue;
            }
            tokio::select! {
                () = self.0.parts.clock.sleep(LOOK_EVERY) => {}
                () = async {
                    rung.await;
                    self.0.parts.clock.sleep(LOOK_EVERY / 10).await;
                } => {}
                () = stop.soft() => {}
            }
        }
        tokio::select! {
            _ = self.0.slots.acquire_many(u32::try_from(AT_ONCE).unwrap_or(u32::MAX)) => {}
            () = stop.hard() => {}
        }
    }

    /// Starts one batch; `true` when there may be more at once.
    async fn dispatch(&self, stop: &Stop) -> Result<bool, StoreError> {
        // Seen before the reports are read: one told meanwhile would be told again from a stale copy.
        let under_way = self.busy().clone();
        let due = self.due(BATCH).await?;
        let mut started = 0;
        for stored in due {
            let id = stored.record.id.clone();
            if stop.begun() || under_way.contains(&id) || !self.busy().insert(id.clone()) {
                continue;
            }
            started += 1;
            let busy = Busy(self.clone(), id);
            let Ok(slot) = Arc::clone(&self.0.slots).acquire_owned().await else { return Ok(false) };
            tokio::spawn(async move {
                let _slot = slot;
                if let Err(e) = busy.0.tell(&stored).await {
                    tracing::warn!(error = %e, "a report could not be noted");
                    // Still due, and still busy for a while: a store that can't be written must not be a hot loop.
                    busy.0.0.parts.clock.sleep(NOT_NOTED).await;
                }
            });
        }
        Ok(started == BATCH)
    }

    async fn due(&self, limit: usize) -> Result<Vec<Stored<Message>>, StoreError> {
        if self.0.parts.leadership.right().is_none() {
            return Ok(Vec::new());
        }
        for location in self.0.parts.bells.untold.take() {
            self.wake(&location).await?;
        }
        self.0.parts.store.find(Query::ReportDue { now: self.0.parts.clock.now(), limit }).await
    }

    /// A token came: what waited for it is due now.
    async fn wake(&self, location: &str) -> Result<(), StoreError> {
        loop {
            let query = Query::Waiting { location: location.to_owned(), limit: BATCH };
            let waiting = self.0.parts.store.find::<Message>(query).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            let now = self.0.parts.clock.now();
            for stored in waiting {
                self.0
                    .parts
                    .store
                    .update::<Message>(&stored.record.id, |m| {
                        let report = m.progress.report.as_ref().filter(|r| r.no_token)?.woken(now);
                        let mut progress = m.progress.clone();
                        progress.report = Some(report);
                        Some(m.with(progress))
                    })
                    .await?;
            }
        }
    }

    async fn tell(&self, stored: &Stored<Message>) -> Result<(), StoreError> {
        let message = &stored.record;
        let Some(report) = &message.progress.report else { return Ok(()) };
        if self.0.parts.leadership.right().is_none() {
            return Ok(());
        }
        let now = self.0.parts.clock.now();
        let location = &message.accepted.intake.location;
        if let Turn::At(place) = self.0.parts.pace.ask(location.as_str(), message.id.as_str(), now) {
            return self.defer(&message.id, report.revision, place).await;
        }
        let update = status_update(&report.verdict);
        let message_id = message.accepted.intake.message_id.as_str();
        let ghl = self.0.parts.tokens.ghl();
        let update = &update;
        let answer = self
            .0
            .parts
            .tokens
            .call(location, |token| async move { ghl.update_status(&token, message_id, update).await })
            .await;
        let reply = match answer {
            Err(CallError::Store(e)) => return Err(e),
            answer => self.reply(answer, location.as_str(), report.limited),
        };
        self.0.parts.metrics.report(word(&reply));
        if report.shown == Some(ReportStatus::Delivered) && report.verdict.status == ReportStatus::Failed {
            // Nobody documents whether GHL takes that.
            tracing::info!(job.id = %message.id, reply = word(&reply), "ghl.status: delivered before, failed now");
        }
        self.note(&message.id, report.revision, &reply).await;
        Ok(())
    }

    /// Writes down what a call came to until it lands: GHL may have heard an older verdict last, and nobody else knows.
    async fn note(&self, id: &DocId, revision: u32, reply: &ReportReply) {
        let parts = &self.0.parts;
        let jitter = crate::random::unit();
        let mut tries = 0;
        loop {
            let noted = parts.store.update::<Message>(id, |m| {
                let next = m.progress.report.as_ref()?.after_reply(revision, reply, parts.clock.now(), jitter);
                let mut progress = m.progress.clone();
                progress.report = Some(next);
                Some(m.with(progress))
            });
            match noted.await {
                Ok(noted) => {
                    if let Some(end) = noted.and_then(|s| s.record.progress.report.and_then(|r| r.given_up)) {
                        tracing::warn!(job.id = %id, ?end, "ghl.status: given up");
                    }
                    return;
                }
                Err(e) => tracing::warn!(job.id = %id, error = %e, tries, "what GHL was told could not be noted yet"),
            }
            parts.clock.sleep(retry::store_write(tries)).await;
            tries += 1;
        }
    }

    /// Not its turn yet: the place it was given is written down, so that it is not read again before.
    async fn defer(&self, id: &DocId, revision: u32, place: crate::domain::time::UnixMillis) -> Result<(), StoreError> {
        self.0
            .parts
            .store
            .update::<Message>(id, |m| {
                let mut report = m.progress.report.clone().filter(|r| r.revision == revision)?;
                report.due_at = Some(place);
                let mut progress = m.progress.clone();
                progress.report = Some(report);
                Some(m.with(progress))
            })
            .await?;
        Ok(())
    }

    fn reply(&self, answer: Result<(), CallError>, location: &str, limited: u32) -> ReportReply {
        let refusal = match answer {
            Ok(()) => return ReportReply::Told,
            Err(CallError::Ghl(GhlError::Api(refusal))) => refusal,
            Err(CallError::Ghl(GhlError::Transport { reached: Reached::No | Reached::Maybe, .. })) => {
                return ReportReply::Trouble;
            }
            Err(CallError::Ghl(GhlError::Unreadable { .. } | GhlError::NotStored) | CallError::Store(_)) => {
                return ReportReply::Trouble;
            }
            // Refused, and not for an unpaid or dead grant: our own credentials, for a person to mend.
            Err(CallError::Refresh(GhlError::Api(refusal))) if refusal.status < 500 => return ReportReply::NoToken,
            Err(CallError::Refresh(_)) => return ReportReply::Trouble,
            Err(
                CallError::NotInstalled
                | CallError::WaitingForLeader
                | CallError::MintWaits
                | CallError::RefreshWaits
                | CallError::Sealed(_)
                | CallError::Grant(Health::Active | Health::Suspended | Health::Reauthorize),
            ) => return ReportReply::NoToken,
        };
        tracing::debug!(status = refusal.status, trace = refusal.trace_id, "ghl.status refused");
        match refusal.status {
            _ if refusal.is_not_yet() => ReportReply::NotYet,
            401 => ReportReply::NoToken,
            403 => ReportReply::Forbidden,
            404 => ReportReply::NotFound,
            429 => {
                let until = self.0.parts.tokens.limited(location, "status", &refusal, limited);
                ReportReply::Limited { wait: until.since(self.0.parts.clock.now()) }
            }
            _ if refusal.is_trouble() => ReportReply::Trouble,
            _ => ReportReply::Refused,
        }
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<DocId>> {
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A report under way; leaves the set on every way out.
struct Busy(Reporter, DocId);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy().remove(&self.1);
    }
}

fn status_update(verdict: &Verdict) -> StatusUpdate {
    let status = match verdict.status {
        ReportStatus::Delivered => MessageStatus::Delivered,
        ReportStatus::Failed => MessageStatus::Failed,
        ReportStatus::Pending => MessageStatus::Pending,
    };
    let error = verdict.code.map(|code| StatusErrorBody {
        code: code.as_str().to_owned(),
        message: verdict.sentence.clone().unwrap_or_else(|| code.sentence().to_owned()),
    });
    StatusUpdate { status, error }
}

fn word(reply: &ReportReply) -> &'static str {
    match reply {
        ReportReply::Told => "told",
        ReportReply::NotYet => "not_yet",
        ReportReply::Forbidden => "forbidden",
        ReportReply::NotFound => "not_found",
        ReportReply::Refused => "refused",
        ReportReply::Limited { .. } => "limited",
        ReportReply::Trouble => "trouble",
        ReportReply::NoToken => "no_token",
    }
}
