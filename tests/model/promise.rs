//! What is promised, as properties over every state.
//!
//! That something happens in the end is said of states in which nothing happens by itself any more: faults are bounded, so
//! every path comes to one (`every_path_ends` in `main`).

use cast_ghl_provider::domain::message::{FailureCode, State};
use cast_ghl_provider::domain::report::ReportStatus;
use cast_ghl_provider::domain::transition::{EARLIER_SENTENCE, MAX_CRASHES};
use stateright::Property;

use super::book::Doc;
use super::protocol::Protocol;
use super::world::{MESSAGES, World};

pub const NOTHING_TWICE: &str = "under park no part is taken twice";
pub const IN_ORDER: &str = "a lane is taken in order";
pub const NOTHING_LOST: &str = "what was answered 200 ends settled or held";
pub const NOTHING_FORGOTTEN: &str = "what a living process learnt is kept";
pub const FINAL: &str = "what was accepted stays accepted";
pub const TRUE_REPORT: &str = "the last report agrees with what is known";
pub const NO_FALSE_DOUBT: &str = "what provably never left is never in doubt";
pub const NOT_SENT_IS_TRUE: &str = "what is reported as not sent was not taken";
pub const DEAD_OF_CLAIMS: &str = "what dies was claimed in vain five times";

/// All of them, and the states that must turn up.
pub fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut all: Vec<Property<Protocol>> = vec![
        Property::always(NOTHING_TWICE, |p: &Protocol, w: &World| {
            !p.parks() || w.truth.taken.iter().flatten().all(|n| *n <= 1)
        }),
        Property::always(IN_ORDER, |_, w: &World| !w.truth.reordered),
        Property::always(NOTHING_LOST, |p, w: &World| {
            !p.idle(w) || each(w, |m| w[m].safe.as_ref().is_some_and(at_rest))
        }),
        Property::always(NOTHING_FORGOTTEN, |_, w: &World| !w.truth.forgotten),
        Property::always(FINAL, |_, w: &World| each(w, |m| stays_accepted(w, m))),
        Property::always(TRUE_REPORT, |p, w: &World| !p.idle(w) || each(w, |m| told_the_truth(p, w, m))),
        Property::always(NO_FALSE_DOUBT, |_, w: &World| each(w, |m| in_doubt_for_a_reason(w, m))),
        Property::always(NOT_SENT_IS_TRUE, |_, w: &World| each(w, |m| not_sent_is_true(w, m))),
        Property::always(DEAD_OF_CLAIMS, |p, w: &World| each(w, |m| dead_of_claims(p, w, m))),
    ];
    if protocol.late_call {
        all.push(Property::sometimes("a frozen leader's call comes late", |_, w: &World| w.truth.late_call));
    }
    all.extend(protocol.reaches.iter().map(|state| turns_up(*state)));
    all
}

fn each(w: &World, holds: impl Fn(usize) -> bool) -> bool {
    (0..MESSAGES).filter(|m| w[*m].answered).all(holds)
}

fn at_rest(doc: &Doc) -> bool {
    doc.settled() || doc.state() == State::Held
}

fn stays_accepted(w: &World, message: usize) -> bool {
    let truth = &w.truth;
    let Some(doc) = w[message].current() else { return true };
    let parts = (0..2).all(|part| truth.sure[message] & (1 << part) == 0 || doc.accepted(part));
    parts && (!truth.done[message] || doc.state() == State::Accepted)
}

/// State, parts, verdict, what was told and what GHL heard last are one.
fn told_the_truth(p: &Protocol, w: &World, message: usize) -> bool {
    let Some(doc) = w[message].safe.as_ref().filter(|doc| doc.settled()) else { return true };
    let progress = doc.progress();
    let Some(report) = &progress.report else { return false };
    let verdict = &report.verdict;
    let sent = !progress.parts.is_empty() && progress.parts.iter().all(|part| part.accepted);
    let fits = match (progress.state, verdict.code) {
        (State::Accepted, None) => sent && verdict.status == ReportStatus::Delivered,
        (State::Parked, Some(FailureCode::UnknownOutcome)) => !sent,
        (State::Rejected | State::Expired | State::Dead, Some(_)) => !sent && verdict.status == ReportStatus::Failed,
        _ => false,
    };
    let told = report.told == Some(report.revision) && report.due_at.is_none();
    let heard = w.truth.heard[message] == doc.verdict() || w.truth.garbled[message];
    fits && progress.code == verdict.code && (!p.reports || told && heard)
}

fn in_doubt_for_a_reason(w: &World, message: usize) -> bool {
    let Some(doc) = w[message].current().filter(|doc| doc.state() == State::Parked) else { return true };
    doc.newest().is_none_or(|(attempt, _)| w.truth.unsent[message] & (1 << attempt) == 0)
}

fn not_sent_is_true(w: &World, message: usize) -> bool {
    let Some(doc) = w[message].current() else { return true };
    let says_so = match doc.progress().code {
        Some(FailureCode::NotSent | FailureCode::Expired | FailureCode::InternalError) => true,
        Some(FailureCode::CastRejected | FailureCode::EmptyMessage) => !warns_of_an_earlier_try(doc),
        _ => false,
    };
    let untaken = |part: usize| doc.accepted(part) || w.truth.taken[message][part] == 0;
    !says_so || (0..2).all(untaken)
}

/// Under resend a try may be refused after one nobody could vouch for; then it says so.
fn warns_of_an_earlier_try(doc: &Doc) -> bool {
    let report = doc.progress().report.as_ref();
    report.and_then(|r| r.verdict.sentence.as_deref()).is_some_and(|sentence| sentence.ends_with(EARLIER_SENTENCE))
}

/// To a successor, a claim whose maker is cut off is like one that took the process down.
fn dead_of_claims(p: &Protocol, w: &World, message: usize) -> bool {
    let dead = w[message].current().is_some_and(|doc| doc.state() == State::Dead);
    !dead || p.in_vain_before() + w.truth.vain >= MAX_CRASHES
}

fn turns_up(state: State) -> Property<Protocol> {
    fn shows(w: &World, state: State) -> bool {
        w.slots.iter().any(|slot| slot.safe.as_ref().is_some_and(|doc| doc.state() == state))
    }
    match state {
        State::Queued => Property::sometimes("queued", |_, w: &World| shows(w, State::Queued)),
        State::Held => Property::sometimes("held", |_, w: &World| shows(w, State::Held)),
        State::Sending => Property::sometimes("sending", |_, w: &World| shows(w, State::Sending)),
        State::InDoubt => Property::sometimes("in_doubt", |_, w: &World| shows(w, State::InDoubt)),
        State::Accepted => Property::sometimes("accepted", |_, w: &World| shows(w, State::Accepted)),
        State::Rejected => Property::sometimes("rejected", |_, w: &World| shows(w, State::Rejected)),
        State::Parked => Property::sometimes("parked", |_, w: &World| shows(w, State::Parked)),
        State::Expired => Property::sometimes("expired", |_, w: &World| shows(w, State::Expired)),
        State::Dead => Property::sometimes("dead", |_, w: &World| shows(w, State::Dead)),
    }
}
