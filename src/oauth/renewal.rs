//! The clock's side of renewing: what is due at 75 to 85 % of its life, what a predecessor began, what waits for its slot.
//!
//! Invariant: only the leader looks, at most [`AT_ONCE`] are under way, and a grant that can't be renewed now is put off, so
//! that it is never asked in a hot loop and never hides the others.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};

use super::call::{AT_ONCE, CallError, Tokens};
use super::refresh::Need;
use super::spending::Spending;
use crate::domain::id::{DocId, Epoch};
use crate::domain::installation::{Health, Installation};
use crate::domain::retry;
use crate::lifecycle::Stop;
use crate::store::{Query, StoreError};

/// Tokens that fall due are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Installations read at once.
const PAGE: usize = 256;

impl Tokens {
    /// Renews what is due, side by side; answers how many were looked at.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't say what is due.
    pub async fn refresh_due(&self) -> Result<usize, StoreError> {
        let due = self.due(&HashSet::new()).await?;
        let count = due.len();
        stream::iter(due).for_each_concurrent(AT_ONCE, |id| async move { self.renew(&id).await }).await;
        Ok(count)
    }

    /// Renews what falls due until shutdown begins; what is under way then ends within the client's own time-out.
    pub async fn run(&self, stop: &Stop) {
        let mut under_way = HashSet::new();
        let mut renewals = FuturesUnordered::new();
        while !stop.begun() {
            match self.due(&under_way).await {
                Ok(due) => {
                    for id in due {
                        under_way.insert(id.clone());
                        renewals.push(async move {
                            self.renew(&id).await;
                            id
                        });
                    }
                }
                Err(e) => tracing::warn!(error = %e, "due tokens can't be read now"),
            }
            tokio::select! {
                Some(id) = renewals.next() => { under_way.remove(&id); }
                () = self.0.parts.clock.sleep(self.pause()) => {}
                () = stop.soft() => {}
            }
        }
        tokio::select! {
            () = async { while renewals.next().await.is_some() {} } => {}
            () = stop.hard() => {}
        }
    }

    /// Until the next look: a slot is kept to the moment.
    fn pause(&self) -> Duration {
        let now = self.0.parts.clock.mono();
        self.book().next(now).map_or(LOOK_EVERY, |next| next.since(now).min(LOOK_EVERY))
    }

    /// What may be renewed now beside what is under way: first what a predecessor began.
    async fn due(&self, under_way: &HashSet<DocId>) -> Result<Vec<DocId>, StoreError> {
        let parts = &self.0.parts;
        let room = AT_ONCE.saturating_sub(under_way.len());
        let Some(right) = parts.leadership.right().filter(|_| room > 0) else { return Ok(Vec::new()) };
        if self.book().taken_up != Some(right.epoch) {
            self.take_up(right.epoch).await?;
        }
        let mut due = self.book().due(parts.clock.mono());
        due.retain(|id| !under_way.contains(id));
        if due.is_empty() {
            let query = Query::Due { now: parts.clock.now(), limit: AT_ONCE + under_way.len() };
            let found = parts.store.find::<Installation>(query).await?;
            due.extend(found.iter().filter_map(|stored| stored.record.id()).filter(|id| !under_way.contains(id)));
        }
        due.truncate(room);
        Ok(due)
    }

    /// Finds what earlier leaders marked: each of those tokens may have been spent, and its new pair be waiting.
    async fn take_up(&self, epoch: Epoch) -> Result<(), StoreError> {
        let (mut begun, mut after) = (Vec::new(), None);
        loop {
            let page = self.0.parts.store.find::<Installation>(Query::Page { after, limit: PAGE }).await?;
            after = page.last().and_then(|stored| stored.record.id());
            if after.is_none() {
                break;
            }
            let marked = page.iter().map(|stored| &stored.record);
            let marked = marked.filter(|i| i.installed() && i.refresh_begun() && i.health != Health::Reauthorize);
            begun.extend(
                marked.filter_map(|i| Some(Spending { id: i.id()?, hash: i.refresh_hash()?.to_owned(), epoch })),
            );
        }
        if !begun.is_empty() {
            tracing::info!(tokens = begun.len(), "refreshes that an earlier leader began are taken up");
        }
        self.book().take_up(epoch, begun);
        Ok(())
    }

    async fn renew(&self, id: &DocId) {
        let Err(e) = self.refresh(id, Need::Clock).await else { return };
        match e {
            CallError::WaitingForLeader => return,
            CallError::RefreshWaits => {}
            // Said where it was found out.
            CallError::Grant(_) => {}
            CallError::NotInstalled | CallError::Sealed(_) => {
                self.book().forget(id);
                tracing::warn!(installation = %id, error = %e, "a token can't be refreshed");
            }
            CallError::Store(_) | CallError::Refresh(_) | CallError::MintWaits | CallError::Ghl(_) => {
                tracing::warn!(installation = %id, error = %detail(&e), "a token could not be refreshed yet");
            }
        }
        if let Err(e) = self.put_off(id).await {
            tracing::warn!(installation = %id, error = %e, "a refresh could not be put off");
        }
    }

    /// The due time moves, if it is still due: a wait that was set meanwhile stands.
    async fn put_off(&self, id: &DocId) -> Result<(), StoreError> {
        let now = self.0.parts.clock.now();
        let later = |i: &Installation| {
            let due = i.refresh_at.is_some_and(|at| at <= now);
            due.then(|| Installation { refresh_at: Some(now.after(retry::token_trouble())), ..i.clone() })
        };
        self.0.parts.store.update(id, later).await?;
        Ok(())
    }
}

/// The error with what GHL said.
fn detail(e: &CallError) -> String {
    match std::error::Error::source(e) {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}
