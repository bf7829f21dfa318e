//! Receipts: what became of an SMS after the gateway took it, part by part, and the one verdict its parts come to.
//!
//! Invariant: what is known of a part only rises (`unclear` < `pending` < `failed` < `delivered`), so receipts end alike in
//! whatever order and however often they come. A phone that confirmed an SMS has it: no later failure takes that back, and
//! nobody is told to send it twice. Pure, as `transition` is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::DocId;
use super::message::{Attempt, AttemptResult, DOCUMENT_VERSION, FailureCode, Message, PartRecord, Progress, State};
use super::report::{Report, ReportSource, ReportStatus, Verdict};
use super::retry;
use super::time::UnixMillis;
use super::transition::{Rules, StatusOnAccept, part_settled, settle};

/// A receipt whose SMS we don't know is looked at again this long: it may be faster than the answer to the send (cast
/// contract).
pub const KEPT_FOR: Duration = Duration::from_secs(3600);

/// What a receipt says, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A status nobody has defined: kept, and changes nothing.
    Unclear,
    /// On its way.
    Pending,
    /// It did not arrive: `failed`, `expired`, `rejected` or `undelivered`.
    Failed,
    /// The phone has it.
    Delivered,
}

impl Fate {
    /// The meaning of the gateway's word (cast contract, "Inbound and receipts").
    #[must_use]
    pub fn of(status: &str) -> Self {
        match status.to_ascii_lowercase().as_str() {
            "delivered" => Self::Delivered,
            "failed" | "expired" | "rejected" | "undelivered" => Self::Failed,
            "pending" => Self::Pending,
            _ => Self::Unclear,
        }
    }

    /// The word shown to operators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unclear => "unclear",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
        }
    }
}

/// One receipt. Its order is its strength: fate first, then the later one; the rest only makes the order total.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Receipt {
    pub fate: Fate,
    /// When it happened, where the gateway said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<UnixMillis>,
    /// The gateway's own word.
    pub status: String,
    /// The gateway's own reason, one line of at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// Shows no words: they may repeat a number.
impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("fate", &self.fate).field("at", &self.at).finish_non_exhaustive()
    }
}

/// A receipt on its way to its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReceipt {
    pub id: DocId,
    pub accepted: ReceiptAccepted,
    pub progress: ReceiptProgress,
}

/// The part of the document written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptAccepted {
    pub v: u32,
    /// Wall time of acceptance of the first receipt for this SMS.
    pub at: UnixMillis,
    /// The gateway's id of the SMS.
    pub gateway_id: String,
}

/// Everything about a kept receipt that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptProgress {
    pub state: ReceiptState,
    /// The strongest that came.
    pub receipt: Receipt,
    pub due_at: UnixMillis,
    /// Looks that found no message.
    #[serde(default)]
    pub tries: u32,
    /// Until then a message is looked for.
    pub until: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<UnixMillis>,
}

/// Where a kept receipt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// For its message, or for the leader to look.
    Waiting,
    /// Its message knows what it says.
    Matched,
    /// No message was found in an hour.
    Unmatched,
}

impl ReceiptState {
    /// The word stored in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Matched => "matched",
            Self::Unmatched => "unmatched",
        }
    }
}

impl KeptReceipt {
    /// The first receipt for an SMS, to be looked at at once by whichever replica leads.
    #[must_use]
    pub fn accept(gateway_id: &str, receipt: Receipt, now: UnixMillis) -> Self {
        Self {
            id: DocId::receipt(gateway_id),
            accepted: ReceiptAccepted { v: DOCUMENT_VERSION, at: now, gateway_id: gateway_id.to_owned() },
            progress: ReceiptProgress {
                state: ReceiptState::Waiting,
                receipt,
                due_at: now.on_any_clock(),
                tries: 0,
                until: now.after(KEPT_FOR),
                settled_at: None,
            },
        }
    }

    /// The same with other progress.
    #[must_use]
    pub fn with(&self, progress: ReceiptProgress) -> Self {
        Self { progress, ..self.clone() }
    }

    /// Another receipt for the same SMS; `None` when it adds nothing to what waits or was passed on.
    #[must_use]
    pub fn joined(&self, receipt: &Receipt, now: UnixMillis) -> Option<Self> {
        let p = &self.progress;
        if *receipt <= p.receipt && p.state != ReceiptState::Unmatched {
            return None;
        }
        let strongest = p.receipt.clone().max(receipt.clone());
        let fresh = Self::accept(&self.accepted.gateway_id, strongest, now).progress;
        Some(self.with(fresh))
    }

    /// Its message knows `passed_on`; `None` when a stronger one came meanwhile, which is to be passed on, too.
    #[must_use]
    pub fn matched(&self, passed_on: &Receipt, now: UnixMillis) -> Option<Self> {
        (self.progress.receipt == *passed_on).then(|| self.settled(ReceiptState::Matched, now))
    }

    /// No message has this id yet.
    #[must_use]
    pub fn unmatched(&self, now: UnixMillis) -> Self {
        let p = &self.progress;
        if now >= p.until {
            return self.settled(ReceiptState::Unmatched, now);
        }
        let due_at = now.after(retry::receipt(p.tries)).min(p.until);
        self.with(ReceiptProgress { due_at, tries: p.tries + 1, ..p.clone() })
    }

    fn settled(&self, state: ReceiptState, now: UnixMillis) -> Self {
        self.with(ReceiptProgress { state, settled_at: Some(now), ..self.progress.clone() })
    }
}

/// Whether the gateway calls an SMS of this message so.
#[must_use]
pub fn is_named(message: &Message, gateway_id: &str) -> bool {
    let p = &message.progress;
    let parts = p.parts.iter().filter_map(|part| part.gateway_id.as_deref());
    parts.chain(p.attempts.iter().filter_map(|a| a.gateway_id.as_deref())).any(|id| id == gateway_id)
}

/// What follows for a message one of whose parts has this id; `None` when it knows all that already.
///
/// The gateway alone gives ids: a part that has one was taken, whatever became of the call, and is never sent again. So a
/// receipt settles a part nobody vouched for, and the message is `accepted` once every part is.
#[must_use]
pub fn apply(
    message: &Message,
    gateway_id: &str,
    receipt: &Receipt,
    now: UnixMillis,
    rules: &Rules,
) -> Option<Progress> {
    let mut p = message.progress.clone();
    let (mut taken, mut learnt) = (false, false);
    for (index, part) in p.parts.iter_mut().enumerate() {
        let of_part = |a: &&mut Attempt| a.part == index && a.gateway_id.as_deref() == Some(gateway_id);
        if !part.accepted
            && let Some(attempt) = p.attempts.iter_mut().find(of_part)
        {
            attempt.result = AttemptResult::Accepted;
            part.accepted = true;
            part.gateway_id = Some(gateway_id.to_owned());
            taken = true;
        }
        if part.gateway_id.as_deref() != Some(gateway_id) {
            continue;
        }
        if part.receipt.as_ref().is_none_or(|known| known < receipt) {
            part.receipt = Some(receipt.clone());
            learnt = true;
        }
    }
    if taken {
        p.crashes = 0;
        return Some(part_settled(message, p, false, now, rules));
    }
    learnt.then(|| if p.state == State::Accepted { corrected(message, p, now, rules) } else { p })
}

/// The verdict anew; told again only if it reads otherwise.
fn corrected(message: &Message, p: Progress, now: UnixMillis, rules: &Rules) -> Progress {
    let verdict = verdict(&p.parts, p.on_accept(rules.status_on_accept));
    match &p.report {
        Some(report) if report.verdict.reads_like(&verdict) => {
            let report = Some(Report { verdict, ..report.clone() });
            Progress { report, ..p }
        }
        _ => settle(message, p, State::Accepted, verdict, now, rules),
    }
}

/// What a message is reported as whose every part was accepted: all delivered is delivered, any failed is failed; until then
/// what the operator chose.
#[must_use]
pub fn verdict(parts: &[PartRecord], on_accept: StatusOnAccept) -> Verdict {
    let receipts = || parts.iter().filter_map(|part| part.receipt.as_ref());
    let failed: Vec<&Receipt> = receipts().filter(|receipt| receipt.fate == Fate::Failed).collect();
    if !failed.is_empty() {
        return Verdict {
            status: ReportStatus::Failed,
            source: ReportSource::Receipt,
            code: Some(FailureCode::Undelivered),
            sentence: Some(undelivered(&failed, parts.len())),
        };
    }
    let delivered = receipts().filter(|receipt| receipt.fate == Fate::Delivered).count();
    let (status, source) = match on_accept {
        _ if delivered == parts.len() && delivered > 0 => (ReportStatus::Delivered, ReportSource::Receipt),
        StatusOnAccept::Delivered => (ReportStatus::Delivered, ReportSource::Policy),
        StatusOnAccept::Pending => (ReportStatus::Pending, ReportSource::Policy),
    };
    Verdict { status, source, code: None, sentence: None }
}

/// How many, and why in the gateway's words, or in ours where it has none.
fn undelivered(failed: &[&Receipt], parts: usize) -> String {
    let what = match (failed.len(), parts) {
        (_, 0 | 1) => "This SMS was not delivered".to_owned(),
        (1, parts) => format!("1 of {parts} parts was not delivered"),
        (n, parts) => format!("{n} of {parts} parts were not delivered"),
    };
    let words = failed.iter().find_map(|receipt| receipt.words.as_deref());
    let status = |word: &str| failed.iter().any(|receipt| receipt.status.eq_ignore_ascii_case(word));
    match words {
        Some(words) => format!("{what}: {words}"),
        None if status("expired") => format!("{what}: the phone could not be reached in time. You can send it again."),
        None if status("rejected") => format!("{what}: the network refused it. Check the number and the text."),
        None => format!("{what}. Check the number before sending again."),
    }
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
