use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::id::{AttemptId, Epoch, GhlMessageId, LocationId};
use crate::domain::message::{AttemptResult, Intake, PartRecord};
use crate::domain::report::{ReportReply, ReportStatus};
use crate::domain::transition::{
    Claim, Recorded, Refused, UNKNOWN_SENTENCE, begin, claim, idempotency_key, judge, record,
};

const T0: UnixMillis = UnixMillis(1_700_000_000_000);
const E1: Epoch = Epoch(1);

fn message() -> Message {
    let intake = Intake {
        location: LocationId::parse("L1").unwrap(),
        message_id: GhlMessageId::parse("m1").unwrap(),
        contact_id: None,
        conversation_id: None,
        phone: Some("09171234567".into()),
        text: Some("hello".into()),
        attachments: vec![],
        user_id: None,
    };
    Message::accept(intake, T0, "r", 1)
}

fn parts(n: usize) -> Vec<PartRecord> {
    vec![PartRecord { text: "x".into(), segments: 1, accepted: false, gateway_id: None, receipt: None }; n]
}

fn attempt(n: u32) -> AttemptId {
    AttemptId(format!("a{n}"))
}

/// Claimed and recorded as being sent, under attempt `n`.
fn sending(m: &Message, count: usize, n: u32, now: UnixMillis) -> Message {
    let Ok(Claim::Go(p)) = claim(m, E1, now, &Rules::default()) else { panic!("claimable") };
    let m = m.with(p);
    m.with(begin(&m, E1, &parts(count), attempt(n), now).unwrap())
}

fn after(m: &Message, n: u32, outcome: &Recorded, now: UnixMillis) -> Message {
    m.with(record(m, &attempt(n), outcome, now, &Rules::default()).unwrap())
}

fn accepted() -> Recorded {
    Recorded::Accepted { gateway_id: Some("g".into()) }
}

/// Parked at its first part of `count`.
fn parked(count: usize) -> Message {
    let m = sending(&message(), count, 1, T0);
    m.with(judge(&m, &attempt(1), T0, &Rules::default()).unwrap())
}

fn resent(m: &Message, now: UnixMillis) -> Message {
    m.with(resend(m, now).unwrap())
}

fn key(m: &Message) -> String {
    let part = m.progress.newest().unwrap().part;
    idempotency_key(&m.id, part, m.progress.generation)
}

#[test]
fn a_resend_waits_as_if_new_under_another_idempotency_key_and_tells_nobody_before_its_end() {
    let later = T0.after(Duration::from_secs(3600));
    let first = sending(&message(), 1, 1, T0);
    let m = resent(&parked(1), later);
    let p = &m.progress;
    assert_eq!((p.state, p.code, p.crashes, p.generation), (State::Queued, None, 0, 1));
    assert_eq!((p.due_at, p.settled_at, p.strip_at), (later.on_any_clock(), None, None));
    assert!(p.report.as_ref().unwrap().is_withdrawn());
    let again = sending(&m, 1, 2, later);
    assert_ne!(key(&first), key(&again));

    let m = after(&again, 2, &accepted(), later);
    let report = m.progress.report.unwrap();
    assert_eq!((m.progress.state, report.verdict.status), (State::Accepted, ReportStatus::Delivered));
    assert_eq!((report.revision, report.due_at), (3, Some(later)));
}

#[test]
fn only_the_parts_nobody_accepted_are_sent_again() {
    let m = after(&sending(&message(), 3, 1, T0), 1, &accepted(), T0);
    let m = after(&sending(&m, 3, 2, T0), 2, &Recorded::Unknown { gateway_id: None }, T0);
    assert_eq!((m.progress.state, m.progress.accepted_parts()), (State::Parked, 1));
    let mut m = resent(&m, T0);
    for n in 3..5 {
        m = sending(&m, 3, n, T0);
        assert_eq!(m.progress.newest().unwrap().part, usize::try_from(n).unwrap() - 2);
        m = after(&m, n, &accepted(), T0);
    }
    assert_eq!(m.progress.state, State::Accepted);
}

#[test]
fn its_age_counts_from_the_resend() {
    let rules = Rules::default();
    let late = T0.after(rules.message_max_age);
    let Ok(Claim::Settled(p)) = claim(&message(), E1, late, &rules) else { panic!("expired") };
    let m = resent(&message().with(p), late);
    assert!(matches!(claim(&m, E1, late, &rules), Ok(Claim::Go(_))));
    let later = late.after(rules.message_max_age);
    assert!(matches!(claim(&m, E1, later, &rules), Ok(Claim::Settled(p)) if p.state == State::Expired));
}

#[test]
fn a_resend_or_drop_by_a_machine_whose_clock_is_fast_waits_for_nobody() {
    let fast = T0.after(Duration::from_secs(300));
    assert!(matches!(claim(&resent(&parked(1), fast), E1, T0, &Rules::default()), Ok(Claim::Go(_))));
    let dropped = message().with(set_aside(&message(), fast).unwrap());
    assert!(matches!(claim(&dropped, E1, T0, &Rules::default()), Ok(Claim::Settled(_))));
}

#[test]
fn a_late_accepted_cancels_a_resend_not_yet_begun() {
    let m = after(&resent(&parked(1), T0), 1, &accepted(), T0);
    assert_eq!(m.progress.state, State::Accepted);
    assert_eq!(m.progress.report.as_ref().unwrap().verdict.status, ReportStatus::Delivered);
    assert_eq!(claim(&m, E1, T0, &Rules::default()), Err(Refused::NotOpen));
    assert_eq!(resend(&m, T0), Err(Refusal::Sent));
}

#[test]
fn a_call_for_the_report_before_the_resend_is_told_over_once_the_resend_has_ended() {
    let m = after(&sending(&resent(&parked(1), T0), 1, 2, T0), 2, &accepted(), T0);
    let told = m.progress.report.unwrap().after_reply(3, &ReportReply::Told, T0, 0.5);
    let late = told.after_reply(1, &ReportReply::Told, T0, 0.5);
    assert_eq!((late.due_at, late.verdict.status), (Some(T0), ReportStatus::Delivered));
}

#[test]
fn what_is_open_or_was_sent_or_dropped_is_not_sent_again() {
    let m = sending(&message(), 1, 1, T0);
    assert_eq!(resend(&message(), T0), Err(Refusal::Waiting));
    assert_eq!(resend(&m, T0), Err(Refusal::Sending));
    assert_eq!(resend(&after(&m, 1, &accepted(), T0), T0), Err(Refusal::Sent));
    let dropped = parked(1).with(set_aside(&parked(1), T0).unwrap());
    assert_eq!(resend(&dropped, T0), Err(Refusal::Dropped));
    assert_eq!(set_aside(&dropped, T0), Err(Refusal::Dropped));
}

#[test]
fn a_waiting_message_that_is_dropped_ends_unsent_at_the_next_look() {
    let rules = Rules::default();
    let later = message().with(Progress { due_at: T0.after(Duration::from_secs(60)), ..message().progress });
    let m = later.with(set_aside(&later, T0).unwrap());
    let Ok(Claim::Settled(p)) = claim(&m, E1, T0, &rules) else { panic!("stopped") };
    assert_eq!((p.state, p.code), (State::Rejected, Some(FailureCode::NotSent)));
    assert_eq!(p.report.unwrap().verdict.sentence.as_deref(), Some("This SMS was stopped and not sent."));
}

#[test]
fn a_dropped_resend_says_that_the_first_try_may_have_arrived() {
    let m = resent(&parked(1), T0);
    let m = m.with(set_aside(&m, T0).unwrap());
    let Ok(Claim::Settled(p)) = claim(&m, E1, T0, &Rules::default()) else { panic!("stopped") };
    assert_eq!((p.state, p.code), (State::Parked, Some(FailureCode::UnknownOutcome)));
    assert_eq!(p.report.unwrap().verdict.sentence.as_deref(), Some(UNKNOWN_SENTENCE));
}

/// One random step of the leader, of the gateway or of a person, on one message.
#[derive(Debug, Clone)]
enum Step {
    Claim,
    Begin,
    Outcome(usize, u8),
    Judge,
    Resend,
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Claim),
        4 => Just(Step::Begin),
        4 => (0usize..8, 0u8..4).prop_map(|(a, o)| Step::Outcome(a, o)),
        2 => Just(Step::Judge),
        3 => Just(Step::Resend),
        1 => Just(Step::Drop),
    ]
}

fn apply(m: &Message, step: &Step, next: u32, count: usize) -> Option<Progress> {
    let rules = Rules::default();
    match step {
        Step::Claim => match claim(m, E1, T0, &rules).ok()? {
            Claim::Go(p) | Claim::Settled(p) => Some(p),
        },
        Step::Begin => begin(m, E1, &parts(count), attempt(next), T0).ok(),
        Step::Outcome(index, kind) => {
            let id = m.progress.attempts.get(*index)?.id.clone();
            let outcome = match kind {
                0 => accepted(),
                1 => Recorded::NotSent,
                2 => Recorded::Rejected { reason: "no".into() },
                _ => Recorded::Unknown { gateway_id: None },
            };
            record(m, &id, &outcome, T0, &rules).ok()
        }
        Step::Judge => judge(m, &m.progress.newest()?.id, T0, &rules).ok(),
        Step::Resend => resend(m, T0).ok(),
        Step::Drop => set_aside(m, T0).ok(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn only_a_person_sends_a_part_in_doubt_again_and_nobody_sends_what_was_accepted(
        steps in proptest::collection::vec(step(), 1..60), count in 1usize..4
    ) {
        let mut m = message();
        // Each try with its generation.
        let mut tries: Vec<(AttemptId, u32)> = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            let before = m.progress.clone();
            let Some(p) = apply(&m, step, u32::try_from(n).unwrap(), count) else { continue };
            prop_assert!(before.state != State::Accepted || p.state == State::Accepted);
            let person = matches!(step, Step::Resend);
            prop_assert_eq!(p.generation, before.generation + u32::from(person));
            prop_assert!(before.dropped_at.is_none() || p.dropped_at.is_some());
            if p.attempts.len() > before.attempts.len() {
                let newest = p.newest().unwrap();
                prop_assert!(!before.parts.get(newest.part).is_some_and(|x| x.accepted));
                prop_assert!(before.dropped_at.is_none());
                let of_generation = |a: &&crate::domain::message::Attempt| {
                    a.part == newest.part && tries.contains(&(a.id.clone(), p.generation))
                };
                prop_assert!(before.attempts.iter().filter(of_generation).all(|a| a.result == AttemptResult::NotSent));
                tries.push((newest.id.clone(), p.generation));
            }
            for (old, new) in before.parts.iter().zip(&p.parts) {
                prop_assert!(!old.accepted || new.accepted);
            }
            prop_assert_eq!(p.state.settled(), p.settled_at.is_some());
            prop_assert_eq!(p.state.settled(), p.strip_at.is_some());
            let withdrawn = p.report.as_ref().is_none_or(crate::domain::report::Report::is_withdrawn);
            prop_assert_eq!(p.state.settled(), !withdrawn, "a settled message tells, an open one does not");
            let revision = |p: &Progress| p.report.as_ref().map(|r| r.revision);
            prop_assert!(revision(&before) <= revision(&p));
            m = m.with(p);
        }
    }
}
