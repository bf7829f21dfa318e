//! One message, from claim to recorded outcome.
//!
//! The order is the safety: claim → right → prepare → `sending` → right → call → outcome. Whatever ends early gives its
//! token back; a message that provably never left is written back before anything waits.

use std::future::Future;
use std::time::Duration;

use super::super::schedule::After;
use super::board::Pass;
use super::{Call, Handler, Prepared, Terms, Worker, doubt};
use crate::domain::id::{AttemptId, DocId, Epoch};
use crate::domain::leadership::Right;
use crate::domain::message::{Message, Progress, State};
use crate::domain::outcome::{NotSent, SendOutcome};
use crate::domain::retry;
use crate::domain::transition::{self, Claim, Recorded, Refused};
use crate::pacing::KeyName;
use crate::store::{Revision, Saved, StoreError, Stored};

/// A document this release can't read keeps its lane, and is looked at again this rarely.
const CORRUPT_PAUSE: Duration = Duration::from_secs(300);
/// A claim whose acknowledgement was lost is looked for this often: if it landed it is no crash.
const LOST_CLAIM_TRIES: u32 = 6;
/// A store that does not answer is asked again by the same job no sooner than this.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// A document that is not there is looked for this often before it is believed gone: a read may lag behind after another
/// member became primary. With `retry::store_write` between, a bit more than a minute.
const MISSING_TRIES: u32 = 20;

impl<H: Handler> Worker<H> {
    /// Works on a message that was picked; returns pass and job whatever happens, a panic included.
    pub(super) async fn work(&self, id: &DocId, pass: Pass, right: Right) {
        let mut out = Out { worker: self, id, epoch: right.epoch, pass: Some(pass), after: None };
        let after = match self.attempt(id, right, &mut out).await {
            Ok(after) => after,
            Err(e) => {
                tracing::warn!(job.id = %id, error = %e, "the store did not answer; the message is looked at again");
                let pause = if matches!(e, StoreError::Corrupt { .. }) { CORRUPT_PAUSE } else { STORE_PAUSE };
                After::Open(State::Queued, self.parts().clock.now().after(pause))
            }
        };
        out.after = Some(after);
    }

    async fn attempt(&self, id: &DocId, right: Right, out: &mut Out<'_, H>) -> Result<After, StoreError> {
        let parts = self.parts();
        let Some(stored) = parts.store.get::<Message>(id).await? else { return Ok(self.missing()) };
        if !self.may_act(right.epoch) {
            return Ok(doubt::after(&stored.record));
        }
        let claimed = match transition::claim(&stored.record, right.epoch, parts.clock.now(), &parts.rules) {
            Ok(Claim::Go(p)) => match parts.store.save(&stored, &stored.record.with(p)).await {
                Ok(saved) => saved,
                Err(e) => {
                    self.unclaim_lost(&stored, right.epoch).await;
                    return Err(e);
                }
            },
            Ok(Claim::Settled(p)) => {
                return Ok(match parts.store.save(&stored, &stored.record.with(p)).await? {
                    Saved::Done(done) => self.settled(&done.record),
                    Saved::Conflict => doubt::after(&stored.record),
                });
            }
            // A later term than ours, while our right holds: the leader document was lost or is an older copy.
            Err(Refused::Superseded) => {
                tracing::error!(job.id = %id, "claimed in a later term than this leader's: was the leader document restored?");
                return Ok(After::Open(State::Queued, parts.clock.now().after(CORRUPT_PAUSE)));
            }
            Err(_) => return Ok(doubt::after(&stored.record)),
        };
        let Saved::Done(claimed) = claimed else { return Ok(doubt::after(&stored.record)) };
        if !self.may_act(right.epoch) {
            return self.unclaim(claimed, right.epoch).await;
        }
        let prepared = match parts.handler.prepare(&claimed.record, parts.clock.now()).await {
            Ok(prepared) => prepared,
            Err(e) => {
                self.unclaim(claimed, right.epoch).await?;
                return Err(e);
            }
        };
        match prepared {
            Prepared::Send { key, .. } if out.pass.as_ref().is_some_and(|pass| pass.key != key) => {
                // The location's key changed since it was asked: its message waits for that one's turn.
                let location = claimed.record.accepted.intake.location.clone();
                self.board().assign(location.as_str(), &key);
                self.unclaim(claimed, right.epoch).await
            }
            Prepared::Send { phone, parts: composed, key, terms } => {
                let progress = &claimed.record.progress;
                let composed = if progress.parts.is_empty() { composed } else { progress.parts.clone() };
                let sending = Sending { phone, parts: composed, key, terms, epoch: right.epoch };
                self.send(claimed, sending, out).await
            }
            Prepared::Hold { until, why } => match transition::hold(&claimed.record, right.epoch, until, why) {
                Ok(p) => self.put(claimed, p).await,
                Err(_) => Ok(After::Gone),
            },
            Prepared::Reject { code, sentence } => {
                let now = parts.clock.now();
                match transition::reject(&claimed.record, right.epoch, code, sentence, now, &parts.rules) {
                    Ok(p) => self.put(claimed, p).await,
                    Err(_) => Ok(After::Gone),
                }
            }
        }
    }

    /// Records the attempt, makes the call if the right still holds, and records the outcome until that lands.
    async fn send(
        &self,
        claimed: Stored<Message>,
        sending: Sending,
        out: &mut Out<'_, H>,
    ) -> Result<After, StoreError> {
        let parts = self.parts();
        let id = &claimed.record.id;
        let attempt = AttemptId(crate::random::hex::<16>());
        let begun =
            transition::begin(&claimed.record, sending.epoch, &sending.parts, attempt.clone(), parts.clock.now());
        let Ok(progress) = begun else { return Ok(doubt::after(&claimed.record)) };
        let progress = Progress { status_on_accept: sending.terms.status_on_accept, ..progress };
        let part = progress.newest().map_or(0, |a| a.part);
        let _mine = self.answer_for(&attempt, id);
        let stored = match parts.store.save(&claimed, &claimed.record.with(progress)).await {
            Ok(Saved::Done(stored)) => stored,
            Ok(Saved::Conflict) => return Ok(doubt::after(&claimed.record)),
            Err(e) => {
                tracing::warn!(job.id = %id, error = %e, "the attempt was not acknowledged; it is withdrawn");
                let after = self.withdraw(id, &attempt, claimed.revision, sending.epoch).await;
                // Whatever keeps the record from landing must not be tried in a hot loop.
                let soon = parts.clock.now().after(STORE_PAUSE);
                return Ok(match after {
                    After::Open(State::Queued, due) => After::Open(State::Queued, due.max(soon)),
                    after => after,
                });
            }
        };
        let outcome = if self.may_act(sending.epoch) {
            let text = stored.record.progress.parts.get(part).map(|p| p.text.clone()).unwrap_or_default();
            let idempotency_key = transition::idempotency_key(id, part, stored.record.progress.generation);
            let location = stored.record.accepted.intake.location.clone();
            let Sending { phone, key, terms, .. } = sending;
            let call = Call { message: id.clone(), location, key, phone, text, idempotency_key, terms };
            self.call(id, call, out).await
        } else {
            // The right lapsed, or the process is stopping: a call begun now could outlive the time it is waited for.
            SendOutcome::NotSent { why: NotSent::NotCalled, retry_after: None }
        };
        let recorded = match outcome {
            SendOutcome::Accepted { gateway_id, .. } => Recorded::Accepted { gateway_id },
            SendOutcome::NotSent { .. } => Recorded::NotSent,
            SendOutcome::Rejected { reason } => Recorded::Rejected { reason },
            SendOutcome::Unknown { gateway_id, .. } => Recorded::Unknown { gateway_id },
        };
        let after = self.record(id, &attempt, &recorded).await;
        Ok(match (recorded, after) {
            // The same message goes first when the key may send again.
            (Recorded::NotSent, After::Open(State::Queued, due)) => After::First(due),
            (_, after) => after,
        })
    }

    async fn call(&self, id: &DocId, call: Call, out: &mut Out<'_, H>) -> SendOutcome {
        let parts = self.parts();
        let began = parts.clock.mono();
        let seen = parts.handler.send(call).await;
        let took = parts.clock.mono().since(began);
        let outcome = match out.pass.take() {
            Some(pass) => self.board().done(out.epoch, pass, seen, parts.clock.mono()),
            None => seen,
        };
        let word = word(&outcome);
        parts.metrics.send(word, took);
        match &outcome {
            SendOutcome::Accepted { .. } | SendOutcome::Rejected { .. } => {
                tracing::info!(job.id = %id, outcome = word, duration_ms = millis(took), "cast.send");
            }
            SendOutcome::NotSent { why: NotSent::KeyRefused { status }, .. } => {
                tracing::error!(job.id = %id, status, "Cast refuses the API key: messages wait until it is accepted again");
            }
            SendOutcome::NotSent { why, .. } => tracing::warn!(job.id = %id, ?why, "cast.send: not sent, waits"),
            SendOutcome::Unknown { evidence, .. } => {
                tracing::warn!(job.id = %id, evidence, duration_ms = millis(took), "cast.send: nobody knows whether it was sent");
            }
        }
        outcome
    }

    /// Writes an outcome until it lands: for as long as the process lives, it is the only one that knows.
    async fn record(&self, id: &DocId, attempt: &AttemptId, outcome: &Recorded) -> After {
        self.until_landed(id, "an outcome could not be recorded yet", || self.try_record(id, attempt, outcome)).await
    }

    async fn try_record(&self, id: &DocId, attempt: &AttemptId, outcome: &Recorded) -> Result<Try, StoreError> {
        let parts = self.parts();
        let Some(stored) = parts.store.get::<Message>(id).await? else { return Ok(Try::Missing) };
        let message = &stored.record;
        let next = match transition::record(message, attempt, outcome, parts.clock.now(), &parts.rules) {
            Ok(p) => message.with(p),
            // One of many that were never sent is not kept for ever; nothing is lost with it.
            Err(Refused::UnknownAttempt)
                if *outcome == Recorded::NotSent && message.progress.attempts.len() >= transition::KEPT_ATTEMPTS =>
            {
                return Ok(Try::Landed(doubt::after(message)));
            }
            // Its record was acknowledged: this read is older than that.
            Err(Refused::UnknownAttempt) => return Ok(Try::Again),
            Err(_) => return Ok(Try::Landed(doubt::after(message))),
        };
        Ok(match parts.store.save(&stored, &next).await? {
            Saved::Done(done) => Try::Landed(self.settled(&done.record)),
            Saved::Conflict => Try::Again,
        })
    }

    /// An attempt whose record was not acknowledged: no call was made, and this is written until the record can't land
    /// any more, or is there and says `NotSent`.
    async fn withdraw(&self, id: &DocId, attempt: &AttemptId, before: Revision, epoch: Epoch) -> After {
        let withdraw = || self.try_withdraw(id, attempt, before, epoch);
        self.until_landed(id, "an attempt could not be withdrawn yet", withdraw).await
    }

    async fn try_withdraw(
        &self,
        id: &DocId,
        attempt: &AttemptId,
        before: Revision,
        epoch: Epoch,
    ) -> Result<Try, StoreError> {
        let parts = self.parts();
        let Some(stored) = parts.store.get::<Message>(id).await? else { return Ok(Try::Missing) };
        let message = &stored.record;
        let next = match transition::record(message, attempt, &Recorded::NotSent, parts.clock.now(), &parts.rules) {
            Ok(p) => p,
            // Not there yet, or not seen yet: a save of this very version proves it the newest, and gives the document a
            // revision the record can't land on.
            Err(Refused::UnknownAttempt) if stored.revision == before => {
                transition::unclaim(message, epoch).unwrap_or_else(|_| message.progress.clone())
            }
            Err(Refused::UnknownAttempt) => message.progress.clone(),
            Err(_) => return Ok(Try::Landed(doubt::after(message))),
        };
        Ok(match parts.store.save(&stored, &message.with(next)).await? {
            Saved::Done(done) => Try::Landed(doubt::after(&done.record)),
            Saved::Conflict => Try::Again,
        })
    }

    /// Repeats a write until it landed. Only a document that stays missing ends it otherwise: somebody removed it.
    async fn until_landed<F>(&self, id: &DocId, not_yet: &'static str, write: impl Fn() -> F + Send) -> After
    where
        F: Future<Output = Result<Try, StoreError>> + Send,
    {
        let (mut tries, mut missing) = (0, 0);
        loop {
            match write().await {
                Ok(Try::Landed(after)) => return after,
                Ok(Try::Again) => {}
                Ok(Try::Missing) if self.parts().sole || missing == MISSING_TRIES => {
                    tracing::error!(job.id = %id, "the message is gone from the store: what became of a try is not kept");
                    return After::Gone;
                }
                Ok(Try::Missing) => missing += 1,
                Err(e) => tracing::warn!(job.id = %id, error = %e, tries, "{not_yet}"),
            }
            self.parts().clock.sleep(retry::store_write(tries)).await;
            tries += 1;
        }
    }

    async fn unclaim(&self, claimed: Stored<Message>, epoch: Epoch) -> Result<After, StoreError> {
        match transition::unclaim(&claimed.record, epoch) {
            Ok(p) => self.put(claimed, p).await,
            Err(_) => Ok(After::Gone),
        }
    }

    /// A claim that may have landed unseen is given up: nobody died, so it must not count as a crash.
    async fn unclaim_lost(&self, before: &Stored<Message>, epoch: Epoch) {
        let crashes = before.record.progress.crashes + 1;
        for tries in 0..LOST_CLAIM_TRIES {
            let given_up = self.parts().store.update::<Message>(&before.record.id, |m| {
                let ours = m.progress.crashes == crashes && m.progress.attempts == before.record.progress.attempts;
                transition::unclaim(m, epoch).ok().filter(|_| ours).map(|p| m.with(p))
            });
            if given_up.await.is_ok() {
                return;
            }
            self.parts().clock.sleep(retry::store_write(tries)).await;
        }
    }

    async fn put(&self, from: Stored<Message>, progress: Progress) -> Result<After, StoreError> {
        let next = from.record.with(progress);
        Ok(match self.parts().store.save(&from, &next).await? {
            Saved::Done(done) => self.settled(&done.record),
            Saved::Conflict => self.now(&next.id).await,
        })
    }

    /// Where the document stands now; when the store does not say, it is looked at again.
    async fn now(&self, id: &DocId) -> After {
        match self.parts().store.get::<Message>(id).await {
            Ok(Some(stored)) => doubt::after(&stored.record),
            Ok(None) => self.missing(),
            Err(_) => After::Open(State::Queued, self.parts().clock.now().after(STORE_PAUSE)),
        }
    }

    /// A document that is open in our view and not in what was read: gone where every read is the newest; elsewhere it keeps
    /// its lane until it is seen again, or a poll of everything open lacks it.
    pub(super) fn missing(&self) -> After {
        if self.parts().sole {
            After::Gone
        } else {
            After::Open(State::Queued, self.parts().clock.now().after(STORE_PAUSE))
        }
    }

    fn settled(&self, message: &Message) -> After {
        self.note_settled(message);
        doubt::after(message)
    }

    /// Counts and announces a message that was settled or corrected.
    pub(super) fn note_settled(&self, message: &Message) {
        let p = &message.progress;
        if p.state.settled() {
            let kind = p.code.map_or_else(|| p.state.as_str(), |code| code.as_str());
            self.parts().metrics.settled(kind);
            tracing::info!(job.id = %message.id, state = p.state.as_str(), code = p.code.map(|c| c.as_str()), "job.settled");
        }
        if p.report.as_ref().is_some_and(|r| r.due_at.is_some()) {
            self.parts().bells.reports.ring();
        }
    }

    fn answer_for(&self, attempt: &AttemptId, id: &DocId) -> Mine<'_, H> {
        self.in_flight().insert(attempt.clone(), id.clone());
        Mine { worker: self, attempt: attempt.clone() }
    }
}

/// What one try at a write that must land came to.
enum Try {
    Landed(After),
    /// Somebody else was faster, or the read lagged behind.
    Again,
    /// The document was not there.
    Missing,
}

struct Sending {
    phone: crate::domain::phone::Phone,
    parts: Vec<crate::domain::message::PartRecord>,
    key: KeyName,
    terms: Terms,
    epoch: Epoch,
}

/// An entry of the table of calls in flight; leaves it on every way out.
struct Mine<'a, H: Handler> {
    worker: &'a Worker<H>,
    attempt: AttemptId,
}

impl<H: Handler> Drop for Mine<'_, H> {
    fn drop(&mut self) {
        self.worker.in_flight().remove(&self.attempt);
    }
}

/// A job handed out in a term, with its pass; both are returned on every way out, a panic included.
struct Out<'a, H: Handler> {
    worker: &'a Worker<H>,
    id: &'a DocId,
    epoch: Epoch,
    pass: Option<Pass>,
    after: Option<After>,
}

impl<H: Handler> Drop for Out<'_, H> {
    fn drop(&mut self) {
        let mut board = self.worker.board();
        if let Some(pass) = self.pass.take() {
            board.back(self.epoch, pass);
        }
        match self.after.take() {
            Some(after) => board.finished(self.epoch, self.id, after),
            // A panic: the document says where it stands.
            None => {
                let soon = self.worker.parts().clock.now().after(STORE_PAUSE);
                board.finished(self.epoch, self.id, After::Open(State::Queued, soon));
            }
        }
    }
}

fn word(outcome: &SendOutcome) -> &'static str {
    match outcome {
        SendOutcome::Accepted { .. } => "accepted",
        SendOutcome::NotSent { why: NotSent::RateLimited, .. } => "rate_limited",
        SendOutcome::NotSent { why: NotSent::KeyRefused { .. }, .. } => "key_refused",
        SendOutcome::NotSent { why: NotSent::Unreachable, .. } => "unreachable",
        SendOutcome::NotSent { why: NotSent::NotCalled, .. } => "not_called",
        SendOutcome::Rejected { .. } => "rejected",
        SendOutcome::Unknown { .. } => "unknown",
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
