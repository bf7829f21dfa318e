//! The set-up check the leader does by itself, after GHL told that the app changed somewhere (ghl contract §2, UPDATE).
//!
//! Invariant: background work like any other of an installation: due in its document, done by the leader alone, through the one
//! limiter of its location. What follows is `domain::recheck`'s.

use super::call::Tokens;
use super::inspect::{Inspector, Looked};
use crate::domain::checkup::{self, Channel, Row, Setting, Token, Verdict};
use crate::domain::id::DocId;
use crate::domain::installation::{GrantKind, Installation};
use crate::domain::recheck::{Asked, Recheck};
use crate::domain::time::UnixMillis;
use crate::ghl_pace::Turn;
use crate::store::StoreError;

impl Tokens {
    /// Does the check that `seen` carries, if its location may be called now, and notes what was found.
    pub(super) async fn recheck_due(&self, seen: &Installation, setting: &Setting) -> Result<(), StoreError> {
        let (Some(id), Some(due)) = (seen.id(), &seen.recheck) else { return Ok(()) };
        let parts = &self.0.parts;
        if !seen.installed() {
            return self.note(&id, due, Asked::Gone).await;
        }
        if let (GrantKind::Location, Some(location)) = (seen.kind, &seen.location) {
            let who = format!("check:{location}");
            if let Turn::At(place) = parts.pace.ask(location.as_str(), &who, parts.clock.now()) {
                return self.note(&id, due, Asked::NotBefore(place)).await;
            }
        }
        let looked = Inspector::of(self).installation(seen).await?;
        let rows = checkup::installation(&looked.findings, setting, parts.clock.now());
        if let Some(until) = self.rested(seen, &looked, due.tries) {
            return self.note(&id, due, Asked::NotBefore(until)).await;
        }
        let asked = if answered(&looked) { Asked::Answered(&rows) } else { Asked::Unanswered(&rows) };
        self.note(&id, due, asked).await
    }

    /// GHL's 429 binds every call of the location.
    fn rested(&self, seen: &Installation, looked: &Looked, tries: u32) -> Option<UnixMillis> {
        let (refusal, location) = looked.limited.as_ref().zip(seen.location.as_ref())?;
        Some(self.limited(location.as_str(), "check", refusal, tries))
    }

    async fn note(&self, id: &DocId, due: &Recheck, asked: Asked<'_>) -> Result<(), StoreError> {
        let (now, jitter) = (self.0.parts.clock.now(), crate::random::unit());
        let decide = |i: &Installation| i.rechecked(due, asked, now, jitter);
        let noted = self.0.parts.store.update::<Installation>(id, decide).await?;
        let done = noted.and_then(|stored| stored.record.recheck).is_some_and(|held| held.due_at.is_none());
        if let (true, Asked::Answered(rows) | Asked::Unanswered(rows)) = (done, asked) {
            rows.iter().for_each(|row| say(id, row));
        }
        Ok(())
    }
}

/// Whether another try would tell more.
fn answered(looked: &Looked) -> bool {
    let found = &looked.findings;
    let waits = matches!(found.token, Some(Token::Expired | Token::Refused));
    !waits && found.channel != Channel::NoAnswer
}

fn say(id: &DocId, row: &Row) {
    let (check, verdict, next) = (row.check.as_str(), row.verdict.as_str(), row.next.as_deref().unwrap_or_default());
    match row.verdict {
        Verdict::Ok | Verdict::Unknown => {
            tracing::info!(installation = %id, check, verdict, "set-up check: {}", row.means)
        }
        Verdict::Warn | Verdict::Bad => {
            tracing::warn!(installation = %id, check, verdict, next, "set-up check: {}", row.means);
        }
    }
}
