//! What a person may do to a message: send it again, or set it aside for good.
//!
//! Invariant: nothing that was sent is sent again, whoever asks. A resend is a new generation, so the gateway sees a new
//! idempotency key, and only the parts nobody accepted are in it; a late outcome of an older try still counts (bridge §4).
//! Pure, as `transition` is; the operator's choices (`Rules`) stay with the leader, which alone settles.

use super::message::{FailureCode, Message, Progress, State};
use super::time::UnixMillis;
use super::transition::{Rules, failed, in_doubt, partly_sent, settle, unknown_sentence};

/// Why a person can't do that now, as a sentence that says how things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it was sent: what Cast accepted is never sent again, and needs nobody")]
    Sent,
    #[error("it waits to be sent already")]
    Waiting,
    #[error("it is held until its location is installed, and sent then by itself")]
    Held,
    #[error("it is being sent right now; look again in a minute")]
    Sending,
    #[error("it was dropped, which is for good; send a new message in the CRM instead")]
    Dropped,
    #[error("it failed, and its sender is told so: it needs nobody, and goes by itself when RETENTION ends")]
    Failed,
}

/// A person's resend: of what is parked, rejected, expired or dead. The message waits as if new, but for what is known of
/// its parts and tries; its report is withdrawn until the next verdict, so the CRM goes on showing the last one.
///
/// # Errors
/// [`Refusal`] when it was sent, is on its way already, or was dropped.
pub fn resend(message: &Message, now: UnixMillis) -> Result<Progress, Refusal> {
    let p = &message.progress;
    match p.state {
        State::Accepted => return Err(Refusal::Sent),
        _ if p.dropped_at.is_some() => return Err(Refusal::Dropped),
        State::Queued => return Err(Refusal::Waiting),
        State::Held => return Err(Refusal::Held),
        State::Sending | State::InDoubt => return Err(Refusal::Sending),
        State::Rejected | State::Parked | State::Expired | State::Dead => {}
    }
    Ok(Progress {
        state: State::Queued,
        code: None,
        crashes: 0,
        due_at: now.on_any_clock(),
        generation: p.generation + 1,
        resent_at: Some(now),
        settled_at: None,
        strip_at: None,
        report: p.report.as_ref().map(super::report::Report::withdrawn),
        ..p.clone()
    })
}

/// Sets a message aside for good. Parked and dead ones stay as they are and need nobody any more; one that waits is due at
/// once, and the leader ends it at its next look instead of sending it (`stopped`).
///
/// # Errors
/// [`Refusal`] when it was or is being sent, failed in a way that needs nobody, or was dropped before.
pub fn set_aside(message: &Message, now: UnixMillis) -> Result<Progress, Refusal> {
    let p = &message.progress;
    let dropped = Progress { dropped_at: Some(now), ..p.clone() };
    match p.state {
        State::Accepted => Err(Refusal::Sent),
        _ if p.dropped_at.is_some() => Err(Refusal::Dropped),
        State::Sending | State::InDoubt => Err(Refusal::Sending),
        State::Rejected | State::Expired => Err(Refusal::Failed),
        State::Parked | State::Dead => Ok(dropped),
        State::Queued | State::Held => Ok(Progress { due_at: p.due_at.min(now.on_any_clock()), ..dropped }),
    }
}

/// The end of a waiting message that a person set aside: `rejected`/`not_sent`, or parked again when an earlier try of it
/// may have arrived.
pub(super) fn stopped(message: &Message, now: UnixMillis, rules: &Rules) -> Progress {
    let p = message.progress.clone();
    if in_doubt(&p) {
        let verdict = failed(FailureCode::UnknownOutcome, unknown_sentence(&p));
        return settle(message, p, State::Parked, verdict, now, rules);
    }
    let sentence = partly_sent(&p).map_or_else(
        || "This SMS was stopped and not sent.".to_owned(),
        |partly| format!("This SMS was stopped: {partly}."),
    );
    settle(message, p, State::Rejected, failed(FailureCode::NotSent, sentence), now, rules)
}

#[cfg(test)]
#[path = "resend_tests.rs"]
mod tests;
