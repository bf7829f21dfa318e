//! What may follow what: every change of an outbound message, as a pure function from one [`Progress`] to the next.
//!
//! Invariants: nothing leaves `accepted`; an accepted part is never sent again; an outcome is matched by its attempt id
//! alone, a state change by the claimer's epoch. The shells write the result by compare-and-set and add nothing of their own.
//! Rules: docs/architecture.md, "States". Must not do I/O, read time or draw random numbers.

use std::time::Duration;

use super::id::{AttemptId, DocId, Epoch};
pub use super::message::StatusOnAccept;
use super::message::{Attempt, AttemptResult, FailureCode, HeldFor, Message, PartRecord, Progress, State};
use super::receipt;
use super::report::{Report, ReportSource, ReportStatus, Verdict};
use super::resend;
use super::settings::NOT_APPROVED;
use super::time::UnixMillis;

/// A message claimed this often without any outcome takes the process down each time: it is set aside.
pub const MAX_CRASHES: u32 = 5;

/// Of a message that waits for days behind 429s, the oldest tries that were never sent are forgotten beyond this many: the
/// document must not grow without bound.
pub const KEPT_ATTEMPTS: usize = 64;

/// What GHL is told when Cast did not confirm (bridge §3, fixed wording).
pub const UNKNOWN_SENTENCE: &str = "Cast did not confirm this SMS; it may have arrived. Check before sending again.";

/// What is added to a definite failure when an earlier try, repeated since, may have reached the phone.
pub const EARLIER_SENTENCE: &str = "An earlier try may have arrived.";

/// The operator's choices that decide transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub status_on_accept: StatusOnAccept,
    /// Reports start no sooner than this after acceptance of the webhook.
    pub status_delay: Duration,
    pub unknown_send: UnknownSend,
    pub message_max_age: Duration,
    /// Settled documents stay whole this long.
    pub retention: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            status_on_accept: StatusOnAccept::Delivered,
            status_delay: Duration::from_secs(5),
            unknown_send: UnknownSend::Park,
            message_max_age: Duration::from_secs(24 * 3600),
            retention: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// What to do with a send nobody can vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownSend {
    /// Set it aside and say so: at most once.
    Park,
    /// Send again: at least once.
    Resend,
}

/// What became of a try, in the words of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    Accepted {
        gateway_id: Option<String>,
    },
    NotSent,
    Rejected {
        reason: String,
    },
    /// Nobody can say; the gateway may have named it all the same.
    Unknown {
        gateway_id: Option<String>,
    },
}

/// Why a change does not apply to the document as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the message is settled or already being sent")]
    NotOpen,
    #[error("a later term holds the message")]
    Superseded,
    #[error("no such attempt is recorded")]
    UnknownAttempt,
    #[error("nothing would change")]
    NoChange,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Claimed: prepare and send it.
    Go(Progress),
    /// Too old, too deadly or stopped by a person: settled instead.
    Settled(Progress),
}

/// The key the gateway is given with every automatic try at a part; only a person's resend changes it.
#[must_use]
pub fn idempotency_key(id: &DocId, part: usize, generation: u32) -> String {
    format!("{id}/{part}/{generation}")
}

/// Stamps the claimer's term on a waiting message.
///
/// # Errors
/// [`Refused`] when it is settled, in flight, or a later term claimed it.
pub fn claim(message: &Message, epoch: Epoch, now: UnixMillis, rules: &Rules) -> Result<Claim, Refused> {
    let p = &message.progress;
    if !matches!(p.state, State::Queued | State::Held) {
        return Err(Refused::NotOpen);
    }
    if p.epoch > epoch {
        return Err(Refused::Superseded);
    }
    // `due_at` stops nobody: a held message may be looked at any time, and a queued one was due when it was queued, by a clock
    // that may since have been set back.
    if p.dropped_at.is_some() {
        return Ok(Claim::Settled(resend::stopped(message, now, rules)));
    }
    if p.crashes >= MAX_CRASHES {
        return Ok(Claim::Settled(give_up(message, State::Dead, FailureCode::InternalError, now, rules)));
    }
    if now.since(message.waits_since()) >= rules.message_max_age {
        return Ok(Claim::Settled(too_old(message, now, rules)));
    }
    Ok(Claim::Go(Progress { state: State::Queued, epoch, crashes: p.crashes + 1, ..p.clone() }))
}

/// A claim given up alive: the message waits as before.
///
/// # Errors
/// [`Refused`] when the claim is not in force any more.
pub fn unclaim(message: &Message, epoch: Epoch) -> Result<Progress, Refused> {
    let p = claimed(message, epoch)?;
    Ok(Progress { crashes: p.crashes.saturating_sub(1), ..p.clone() })
}

/// Sets a claimed message aside until its location may send, at the latest until `until`.
///
/// # Errors
/// [`Refused`] when the claim is not in force any more.
pub fn hold(message: &Message, epoch: Epoch, until: UnixMillis, why: HeldFor) -> Result<Progress, Refused> {
    let released = unclaim(message, epoch)?;
    Ok(Progress { state: State::Held, due_at: until, held_for: Some(why), ..released })
}

/// Too old to be sent; one that was held for an approval all the time says so.
fn too_old(message: &Message, now: UnixMillis, rules: &Rules) -> Progress {
    let p = &message.progress;
    if p.state == State::Held && p.held_for == Some(HeldFor::Approval) {
        let verdict = failed(FailureCode::AwaitingApproval, or_earlier(p, NOT_APPROVED.to_owned()));
        return settle(message, p.clone(), State::Rejected, verdict, now, rules);
    }
    give_up(message, State::Expired, FailureCode::Expired, now, rules)
}

/// Ends a claimed message that may not or cannot be sent.
///
/// # Errors
/// [`Refused`] when the claim is not in force any more.
pub fn reject(
    message: &Message,
    epoch: Epoch,
    code: FailureCode,
    sentence: String,
    now: UnixMillis,
    rules: &Rules,
) -> Result<Progress, Refused> {
    let p = claimed(message, epoch)?.clone();
    let sentence = partly_sent(&p).map_or(sentence.clone(), |partly| format!("{sentence} ({partly})"));
    let sentence = or_earlier(&p, sentence);
    Ok(settle(message, p, State::Rejected, failed(code, sentence), now, rules))
}

/// Records a try before it is made. `parts` is taken only for the first one: later tries use what is stored.
///
/// # Errors
/// [`Refused`] when the claim is not in force any more, a person dropped the message, or no part is left.
pub fn begin(
    message: &Message,
    epoch: Epoch,
    parts: &[PartRecord],
    attempt: AttemptId,
    now: UnixMillis,
) -> Result<Progress, Refused> {
    let mut p = claimed(message, epoch)?.clone();
    if p.dropped_at.is_some() {
        return Err(Refused::NotOpen);
    }
    if p.parts.is_empty() {
        p.parts = parts.to_vec();
    }
    let part = p.next_part().ok_or(Refused::NoChange)?;
    p.state = State::Sending;
    p.attempts.push(Attempt { id: attempt, part, epoch, at: now, result: AttemptResult::Open, gateway_id: None });
    if p.attempts.len() > KEPT_ATTEMPTS
        && let Some(oldest) = p.attempts.iter().position(|a| a.result == AttemptResult::NotSent)
    {
        p.attempts.remove(oldest);
    }
    Ok(p)
}

/// A stopping process leaves its unanswered call to its successor.
///
/// # Errors
/// [`Refused`] when the attempt is not the open one.
pub fn doubt(message: &Message, attempt: &AttemptId) -> Result<Progress, Refused> {
    let p = &message.progress;
    match p.newest() {
        Some(newest) if newest.id == *attempt && p.state == State::Sending => {
            Ok(Progress { state: State::InDoubt, ..p.clone() })
        }
        _ => Err(Refused::NoChange),
    }
}

/// Judges a `sending` or `in_doubt` message whose call nobody can answer for. Not an outcome: `crashes` stays.
///
/// # Errors
/// [`Refused`] when it is neither, or a newer try than `attempt` was recorded.
pub fn judge(message: &Message, attempt: &AttemptId, now: UnixMillis, rules: &Rules) -> Result<Progress, Refused> {
    let mut p = message.progress.clone();
    if !matches!(p.state, State::Sending | State::InDoubt) {
        return Err(Refused::NotOpen);
    }
    let newest = p.attempts.last_mut().ok_or(Refused::UnknownAttempt)?;
    if newest.id != *attempt {
        return Err(Refused::NoChange);
    }
    newest.result = AttemptResult::Unknown;
    Ok(unknown(message, p, now, rules))
}

/// Records what became of a try, whatever the term that made it.
///
/// # Errors
/// [`Refused::UnknownAttempt`] when the try was never recorded, [`Refused::NoChange`] when its result is known already.
pub fn record(
    message: &Message,
    attempt: &AttemptId,
    outcome: &Recorded,
    now: UnixMillis,
    rules: &Rules,
) -> Result<Progress, Refused> {
    let mut p = message.progress.clone();
    let index = p.attempts.iter().position(|a| a.id == *attempt).ok_or(Refused::UnknownAttempt)?;
    let newest = index + 1 == p.attempts.len();
    let part = p.attempts[index].part;
    let result = match outcome {
        Recorded::Accepted { .. } => AttemptResult::Accepted,
        Recorded::NotSent => AttemptResult::NotSent,
        Recorded::Rejected { .. } => AttemptResult::Rejected,
        Recorded::Unknown { .. } => AttemptResult::Unknown,
    };
    match p.attempts[index].result {
        AttemptResult::Open => {}
        AttemptResult::Unknown if result != AttemptResult::Unknown => {}
        AttemptResult::Accepted | AttemptResult::NotSent | AttemptResult::Rejected | AttemptResult::Unknown => {
            return Err(Refused::NoChange);
        }
    }
    p.attempts[index].result = result;
    if let Recorded::Unknown { gateway_id } = outcome {
        p.attempts[index].gateway_id.clone_from(gateway_id);
    }
    p.crashes = 0;
    if let Recorded::Accepted { gateway_id } = outcome {
        let record = &mut p.parts[part];
        record.accepted = true;
        record.gateway_id = record.gateway_id.take().or_else(|| gateway_id.clone());
        return Ok(part_settled(message, p, newest, now, rules));
    }
    if !newest {
        return Ok(p);
    }
    if p.parts[part].accepted {
        // An older try of the same part was accepted meanwhile; this one changes nothing but its own record.
        return Ok(part_settled(message, p, newest, now, rules));
    }
    Ok(match (outcome, p.state) {
        (Recorded::Rejected { reason }, State::Sending | State::InDoubt | State::Parked) => {
            let sentence = or_earlier(&p, of_part(&p, part, reason));
            settle(message, p, State::Rejected, failed(FailureCode::CastRejected, sentence), now, rules)
        }
        (Recorded::NotSent, State::Sending | State::InDoubt) => again(p, now),
        (Recorded::NotSent, State::Parked) if !in_doubt(&p) => {
            let sentence = partly_sent(&p).map_or_else(
                || "This SMS was not sent. You can send it again.".to_owned(),
                |partly| format!("{}. You can send the rest again.", capitalised(&partly)),
            );
            settle(message, p, State::Rejected, failed(FailureCode::NotSent, sentence), now, rules)
        }
        (Recorded::Unknown { .. }, State::Sending | State::InDoubt) => unknown(message, p, now, rules),
        _ => p,
    })
}

/// After a part was accepted: the next part, or the end.
pub(super) fn part_settled(message: &Message, p: Progress, newest: bool, now: UnixMillis, rules: &Rules) -> Progress {
    if p.next_part().is_none() {
        if p.state == State::Accepted {
            return p;
        }
        let verdict = receipt::verdict(&p.parts, p.on_accept(rules.status_on_accept));
        return settle(message, p, State::Accepted, verdict, now, rules);
    }
    match p.state {
        State::Sending | State::InDoubt if newest => again(p, now),
        State::Queued | State::Held | State::Sending | State::InDoubt | State::Accepted => p,
        // Settled without all parts: it stays so, and the report says how far it came.
        State::Rejected | State::Parked | State::Expired | State::Dead => {
            let code = p.code.unwrap_or(FailureCode::UnknownOutcome);
            let sentence =
                partly_sent(&p).map_or_else(|| code.sentence().to_owned(), |s| format!("{}.", capitalised(&s)));
            let state = p.state;
            settle(message, p, state, failed(code, sentence), now, rules)
        }
    }
}

fn unknown(message: &Message, p: Progress, now: UnixMillis, rules: &Rules) -> Progress {
    match rules.unknown_send {
        UnknownSend::Park => {
            let verdict = failed(FailureCode::UnknownOutcome, unknown_sentence(&p));
            settle(message, p, State::Parked, verdict, now, rules)
        }
        UnknownSend::Resend => match p.next_part() {
            Some(_) => again(p, now),
            None => part_settled(message, p, true, now, rules),
        },
    }
}

/// Ends a message that waited too long or crashed too often; what may have been sent is said to be unknown.
fn give_up(message: &Message, state: State, code: FailureCode, now: UnixMillis, rules: &Rules) -> Progress {
    let p = message.progress.clone();
    let verdict = if in_doubt(&p) {
        failed(FailureCode::UnknownOutcome, unknown_sentence(&p))
    } else {
        let why = match state {
            State::Expired => "This SMS waited too long and was not sent",
            _ => "This SMS could not be processed and was not sent",
        };
        let sentence =
            partly_sent(&p).map_or_else(|| format!("{why}."), |partly| format!("{why} completely: {partly}."));
        failed(code, sentence)
    };
    settle(message, p, state, verdict, now, rules)
}

/// Waits for its next try: at once, by whichever replica.
fn again(p: Progress, now: UnixMillis) -> Progress {
    Progress { state: State::Queued, due_at: now.on_any_clock(), ..p }
}

pub(super) fn settle(
    message: &Message,
    p: Progress,
    state: State,
    verdict: Verdict,
    now: UnixMillis,
    rules: &Rules,
) -> Progress {
    // The delay runs from acceptance by the clock of whoever accepted, and never longer than from now by ours.
    let due = now.max(message.accepted.at.after(rules.status_delay)).min(now.after(rules.status_delay));
    let settled_at = p.settled_at.unwrap_or(now);
    let report =
        p.report.as_ref().map_or_else(|| Report::new(verdict.clone(), due), |r| r.corrected(verdict.clone(), due));
    Progress {
        state,
        code: verdict.code,
        settled_at: Some(settled_at),
        strip_at: Some(settled_at.after(rules.retention)),
        report: Some(report),
        ..p
    }
}

fn claimed(message: &Message, epoch: Epoch) -> Result<&Progress, Refused> {
    let p = &message.progress;
    match p.state {
        State::Queued if p.epoch == epoch => Ok(p),
        State::Queued | State::Held if p.epoch > epoch => Err(Refused::Superseded),
        _ => Err(Refused::NotOpen),
    }
}

/// Some try of a part that nobody accepted may have reached the gateway.
pub(super) fn in_doubt(p: &Progress) -> bool {
    p.attempts.iter().any(|a| {
        matches!(a.result, AttemptResult::Open | AttemptResult::Unknown)
            && p.parts.get(a.part).is_some_and(|x| !x.accepted)
    })
}

pub(super) fn failed(code: FailureCode, sentence: String) -> Verdict {
    let source = match code {
        FailureCode::UnknownOutcome => ReportSource::Unknown,
        _ => ReportSource::Policy,
    };
    Verdict { status: ReportStatus::Failed, source, code: Some(code), sentence: Some(sentence) }
}

pub(super) fn unknown_sentence(p: &Progress) -> String {
    match (p.parts.len(), p.next_part()) {
        (n, Some(part)) if n > 1 => format!("Part {} of {n}: {UNKNOWN_SENTENCE}", part + 1),
        _ => UNKNOWN_SENTENCE.to_owned(),
    }
}

fn of_part(p: &Progress, part: usize, reason: &str) -> String {
    match p.parts.len() {
        0 | 1 => reason.to_owned(),
        n => format!("Part {} of {n} was refused: {reason}", part + 1),
    }
}

/// Says so when an earlier try, repeated since (`UNKNOWN_SEND=resend`), may have arrived.
fn or_earlier(p: &Progress, sentence: String) -> String {
    if !in_doubt(p) {
        return sentence;
    }
    let stop = if sentence.ends_with(['.', '!', '?', ')']) { "" } else { "." };
    format!("{sentence}{stop} {EARLIER_SENTENCE}")
}

/// "part 1 of 3 was sent, the rest was not", when some but not all parts were accepted.
pub(super) fn partly_sent(p: &Progress) -> Option<String> {
    let sent: Vec<String> =
        p.parts.iter().enumerate().filter(|(_, x)| x.accepted).map(|(i, _)| (i + 1).to_string()).collect();
    let all = p.parts.len();
    match sent.len() {
        0 => None,
        n if n == all => None,
        1 => Some(format!("part {} of {all} was sent, the rest was not", sent[0])),
        _ => Some(format!("parts {} of {all} were sent, the rest was not", sent.join(", "))),
    }
}

fn capitalised(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
#[path = "transition_tests.rs"]
mod tests;
