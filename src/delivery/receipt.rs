//! Receipts: a stored one finds its message, which learns what became of its SMS.
//!
//! Invariant: the message knows before the receipt is settled, and knowing twice changes nothing, so a crash between the two
//! costs a repeat. What a receipt means is `domain::receipt`'s. Calls nobody: the report it may make due has its own loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::LoopParts;
use crate::domain::id::DocId;
use crate::domain::message::Message;
use crate::domain::receipt::{self, KeptReceipt, ReceiptState};
use crate::domain::transition::Rules;
use crate::lifecycle::Stop;
use crate::store::{Query, StoreError};

/// Receipts read at once, and how many of them are looked after side by side: their commits share the disk's wait.
const BATCH: usize = 64;
const AT_ONCE: usize = 16;
/// Receipts without a message become due with time alone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Messages a name may have: more than this is no name.
const NAMESAKES: usize = 64;

/// The loop over receipts; clones share it.
#[derive(Clone)]
pub struct Receipts(Arc<Inner>);

struct Inner {
    parts: LoopParts,
    rules: Rules,
}

impl Receipts {
    /// A loop that has matched nothing yet.
    #[must_use]
    pub fn new(parts: LoopParts, rules: Rules) -> Self {
        Self(Arc::new(Inner { parts, rules }))
    }

    /// Looks for the messages of the receipts that are due; answers how many moved.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't say what is due.
    pub async fn step(&self) -> Result<usize, StoreError> {
        let parts = &self.0.parts;
        if parts.leadership.right().is_none() {
            return Ok(0);
        }
        let due = Query::Due { now: parts.clock.now(), limit: BATCH };
        let due = parts.store.find::<KeptReceipt>(due).await?;
        let moved = AtomicUsize::new(0);
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |stored| {
                let moved = &moved;
                async move {
                    match self.pass_on(&stored.record).await {
                        Ok(()) => _ = moved.fetch_add(1, Ordering::Relaxed),
                        Err(e) => {
                            tracing::warn!(receipt.id = %stored.record.id, error = %e, "a receipt can't be passed on now");
                        }
                    }
                }
            })
            .await;
        Ok(moved.into_inner())
    }

    /// Passes receipts on until shutdown begins.
    pub async fn run(&self, stop: &Stop) {
        while !stop.begun() {
            let rung = self.0.parts.bells.receipts.rung();
            match self.step().await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(e) => tracing::warn!(error = %e, "receipts can't be read now"),
            }
            tokio::select! {
                () = self.0.parts.clock.sleep(LOOK_EVERY) => {}
                () = rung => {}
                () = stop.soft() => return,
            }
        }
    }

    async fn pass_on(&self, kept: &KeptReceipt) -> Result<(), StoreError> {
        let parts = &self.0.parts;
        let (gateway_id, receipt) = (&kept.accepted.gateway_id, &kept.progress.receipt);
        let now = parts.clock.now();
        let Some(id) = self.message_of(gateway_id).await? else {
            let settled = parts.store.update::<KeptReceipt>(&kept.id, |k| Some(k.unmatched(now))).await?;
            if settled.is_some_and(|s| s.record.progress.state == ReceiptState::Unmatched) {
                parts.metrics.receipt("unmatched");
                tracing::info!(receipt.id = %kept.id, "no message has had this id for an hour: the receipt is forgotten");
            }
            return Ok(());
        };
        let learnt = parts
            .store
            .update::<Message>(&id, |m| receipt::apply(m, gateway_id, receipt, now, &self.0.rules).map(|p| m.with(p)))
            .await?;
        if let Some(stored) = learnt {
            let p = &stored.record.progress;
            let code = p.code.map(|code| code.as_str());
            tracing::info!(job.id = %id, fate = receipt.fate.as_str(), state = p.state.as_str(), code, "receipt");
            parts.metrics.receipt(receipt.fate.as_str());
            if p.report.as_ref().is_some_and(|report| report.due_at.is_some()) {
                parts.bells.reports.ring();
            }
        }
        parts.store.update::<KeptReceipt>(&kept.id, |k| k.matched(receipt, now)).await?;
        Ok(())
    }

    /// The message one of whose SMS the gateway calls so. Gateways that count anew repeat their ids: the newest is meant.
    async fn message_of(&self, gateway_id: &str) -> Result<Option<DocId>, StoreError> {
        let query = Query::Named { name: gateway_id.to_owned(), limit: NAMESAKES };
        let named = self.0.parts.store.find::<Message>(query).await?;
        // A message of the CRM may be called the same.
        let theirs = named.into_iter().map(|stored| stored.record).filter(|m| receipt::is_named(m, gateway_id));
        Ok(theirs.max_by_key(|m| m.accepted.at).map(|m| m.id))
    }
}
