//! Calls nobody may answer for any more: seen, waited for, judged; and those a stopping process leaves behind.
//!
//! Rule (bridge §4): a `sending` that is not in our own table of calls in flight is judged 45 s after this process first saw
//! it as leader; at once where the kernel lock proves that its maker is gone, or its maker said so (`in_doubt`).

use super::super::schedule::After;
use super::{Handler, Worker};
use crate::domain::id::{AttemptId, DocId};
use crate::domain::leadership::{JUDGE_AFTER, Right};
use crate::domain::message::{Message, State};
use crate::domain::time::UnixMillis;
use crate::domain::transition;
use crate::store::{Saved, StoreError};

impl<H: Handler> Worker<H> {
    /// Looks at one head of a lane that is `sending` or `in_doubt`, and judges it when its time has come.
    pub(super) async fn look_at_doubt(&self, id: &DocId, right: Right) -> Result<(), StoreError> {
        let parts = self.parts();
        let Some(stored) = parts.store.get::<Message>(id).await? else {
            let missing = self.missing();
            self.board().set(id, missing);
            return Ok(());
        };
        let p = &stored.record.progress;
        let (State::Sending | State::InDoubt, Some(attempt)) = (p.state, p.newest()) else {
            self.board().set(id, after(&stored.record));
            return Ok(());
        };
        if self.in_flight().contains_key(&attempt.id) {
            return Ok(());
        }
        let maker_is_gone = p.state == State::InDoubt || (parts.sole && attempt.epoch < right.epoch);
        let now = parts.clock.mono();
        let seen = self.board().sighting(id, &attempt.id, now);
        if !maker_is_gone && now.since(seen) < JUDGE_AFTER {
            return Ok(());
        }
        let judged = transition::judge(&stored.record, &attempt.id, parts.clock.now(), &parts.rules);
        let attempt = attempt.id.clone();
        let Ok(progress) = judged else { return Ok(()) };
        if !self.holds(right.epoch) {
            return Ok(());
        }
        let next = stored.record.with(progress);
        if let Saved::Done(done) = parts.store.save(&stored, &next).await? {
            tracing::warn!(job.id = %id, state = done.record.progress.state.as_str(), "nobody answers for a call: judged");
            self.board().judged(id, &attempt);
            self.note_settled(&done.record);
            self.board().set(id, after(&done.record));
        }
        Ok(())
    }

    /// Marks the calls still in flight for the successor. Best effort: what can't be written stays `sending`.
    pub(super) async fn leave_in_doubt(&self) {
        let left: Vec<(AttemptId, DocId)> = self.in_flight().iter().map(|(a, d)| (a.clone(), d.clone())).collect();
        let marks = left.iter().map(|(attempt, id)| async move {
            let marked = self
                .parts()
                .store
                .update::<Message>(id, |m| transition::doubt(m, attempt).ok().map(|p| m.with(p)))
                .await;
            match marked {
                Ok(_) => tracing::warn!(job.id = %id, "left in doubt at shutdown"),
                Err(e) => tracing::warn!(job.id = %id, error = %e, "left as being sent at shutdown"),
            }
        });
        // Side by side: a store that does not answer must not outlast the grace period, one call after the other.
        futures_util::future::join_all(marks).await;
    }
}

/// A document's place in the schedule. Only a held message waits for its `due_at`.
pub(super) fn after(message: &Message) -> After {
    let p = &message.progress;
    let due = if p.state == State::Held { p.due_at } else { UnixMillis::default() };
    if p.state.settled() { After::Gone } else { After::Open(p.state, due) }
}
