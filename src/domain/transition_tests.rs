use proptest::prelude::*;

use super::*;
use crate::domain::id::{GhlMessageId, LocationId};
use crate::domain::message::Intake;

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

fn resend() -> Rules {
    Rules { unknown_send: UnknownSend::Resend, ..Rules::default() }
}

/// Claimed by `E1` and recorded as being sent, under attempt `n`.
fn sending(m: &Message, count: usize, n: u32, rules: &Rules) -> Message {
    let Ok(Claim::Go(p)) = claim(m, E1, T0, rules) else { panic!("claimable") };
    let m = m.with(p);
    m.with(begin(&m, E1, &parts(count), attempt(n), T0).unwrap())
}

fn after(m: &Message, n: u32, outcome: &Recorded, rules: &Rules) -> Message {
    m.with(record(m, &attempt(n), outcome, T0, rules).unwrap())
}

fn accepted() -> Recorded {
    Recorded::Accepted { gateway_id: Some("g".into()) }
}

fn sentence(m: &Message) -> String {
    m.progress.report.as_ref().unwrap().verdict.sentence.clone().unwrap_or_default()
}

#[test]
fn one_part_accepted_is_reported_delivered_no_sooner_than_the_status_delay() {
    let rules = Rules::default();
    let m = after(&sending(&message(), 1, 1, &rules), 1, &accepted(), &rules);
    assert_eq!(m.progress.state, State::Accepted);
    let report = m.progress.report.unwrap();
    assert_eq!(report.verdict.status, ReportStatus::Delivered);
    assert_eq!(report.due_at, Some(T0.after(rules.status_delay)));
}

#[test]
fn an_accepted_part_leads_to_the_next_part_and_the_last_one_settles() {
    let rules = Rules::default();
    let m = after(&sending(&message(), 2, 1, &rules), 1, &accepted(), &rules);
    assert_eq!((m.progress.state, m.progress.next_part()), (State::Queued, Some(1)));
    let m = after(&sending(&m, 2, 2, &rules), 2, &accepted(), &rules);
    assert_eq!(m.progress.state, State::Accepted);
}

#[test]
fn a_late_accepted_corrects_a_parked_message_and_its_report() {
    let rules = Rules::default();
    let m = sending(&message(), 1, 1, &rules);
    let parked = m.with(judge(&m, &attempt(1), T0, &rules).unwrap());
    assert_eq!(parked.progress.state, State::Parked);
    assert_eq!(sentence(&parked), UNKNOWN_SENTENCE);
    let m = after(&parked, 1, &accepted(), &rules);
    assert_eq!(m.progress.state, State::Accepted);
    assert_eq!(m.progress.report.unwrap().revision, 2);
}

#[test]
fn a_parked_message_whose_first_part_is_late_accepted_stays_parked_and_says_how_far_it_came() {
    let rules = Rules::default();
    let m = sending(&message(), 3, 1, &rules);
    let parked = m.with(judge(&m, &attempt(1), T0, &rules).unwrap());
    let m = after(&parked, 1, &accepted(), &rules);
    assert_eq!(m.progress.state, State::Parked);
    assert_eq!(sentence(&m), "Part 1 of 3 was sent, the rest was not.");
}

#[test]
fn a_parked_message_that_provably_was_not_sent_is_rejected_with_the_sentence() {
    let rules = Rules::default();
    let m = sending(&message(), 1, 1, &rules);
    let parked = m.with(judge(&m, &attempt(1), T0, &rules).unwrap());
    let m = after(&parked, 1, &Recorded::NotSent, &rules);
    assert_eq!((m.progress.state, m.progress.code), (State::Rejected, Some(FailureCode::NotSent)));
    assert_eq!(sentence(&m), "This SMS was not sent. You can send it again.");
}

#[test]
fn a_refused_second_part_stops_the_rest_and_says_which() {
    let rules = Rules::default();
    let m = after(&sending(&message(), 3, 1, &rules), 1, &accepted(), &rules);
    let m = after(&sending(&m, 3, 2, &rules), 2, &Recorded::Rejected { reason: "blocked".into() }, &rules);
    assert_eq!(m.progress.code, Some(FailureCode::CastRejected));
    assert_eq!(sentence(&m), "Part 2 of 3 was refused: blocked");
}

#[test]
fn a_late_accepted_of_an_older_try_cancels_a_resend_not_yet_begun() {
    let rules = resend();
    let m = after(&sending(&message(), 1, 1, &rules), 1, &Recorded::Unknown { gateway_id: None }, &rules);
    assert_eq!(m.progress.state, State::Queued);
    let m = after(&m, 1, &accepted(), &rules);
    assert_eq!(m.progress.state, State::Accepted);
    assert_eq!(claim(&m, E1, T0, &rules), Err(Refused::NotOpen));
}

#[test]
fn a_rejection_of_an_older_try_changes_nothing_but_its_record() {
    let rules = resend();
    let m = after(&sending(&message(), 1, 1, &rules), 1, &Recorded::Unknown { gateway_id: None }, &rules);
    let m = sending(&m, 1, 2, &rules);
    let late = after(&m, 1, &Recorded::Rejected { reason: "no".into() }, &rules);
    assert_eq!(late.progress.state, State::Sending);
}

#[test]
fn the_old_leader_cannot_begin_what_a_successor_has_claimed() {
    let rules = Rules::default();
    let Ok(Claim::Go(p)) = claim(&message(), Epoch(2), T0, &rules) else { panic!() };
    let m = message().with(p);
    assert_eq!(begin(&m, E1, &parts(1), attempt(1), T0), Err(Refused::Superseded));
    assert_eq!(claim(&m, E1, T0, &rules), Err(Refused::Superseded));
}

#[test]
fn five_claims_without_an_outcome_set_the_message_aside_as_dead() {
    let rules = Rules::default();
    let mut m = message();
    for _ in 0..MAX_CRASHES {
        let Ok(Claim::Go(p)) = claim(&m, E1, T0, &rules) else { panic!() };
        m = m.with(p);
    }
    let Ok(Claim::Settled(p)) = claim(&m, E1, T0, &rules) else { panic!() };
    assert_eq!((p.state, p.code), (State::Dead, Some(FailureCode::InternalError)));
}

#[test]
fn a_dead_message_with_a_try_in_doubt_is_reported_unknown() {
    let rules = resend();
    let mut m = message();
    for n in 0..MAX_CRASHES {
        m = sending(&m, 1, n, &rules);
        m = m.with(judge(&m, &attempt(n), T0, &rules).unwrap());
    }
    let Ok(Claim::Settled(p)) = claim(&m, E1, T0, &rules) else { panic!() };
    assert_eq!((p.state, p.code), (State::Dead, Some(FailureCode::UnknownOutcome)));
}

#[test]
fn a_message_older_than_its_age_expires_at_the_claim() {
    let rules = Rules::default();
    let late = T0.after(rules.message_max_age);
    let Ok(Claim::Settled(p)) = claim(&message(), E1, late, &rules) else { panic!() };
    assert_eq!((p.state, p.code), (State::Expired, Some(FailureCode::Expired)));
}

#[test]
fn a_message_held_for_an_approval_till_it_is_too_old_says_so_and_one_held_for_an_installation_expired() {
    let rules = Rules::default();
    let late = T0.after(rules.message_max_age);
    for (why, state, code) in [
        (HeldFor::Approval, State::Rejected, FailureCode::AwaitingApproval),
        (HeldFor::Installation, State::Expired, FailureCode::Expired),
    ] {
        let Ok(Claim::Go(p)) = claim(&message(), E1, T0, &rules) else { panic!() };
        let m = message().with(p);
        let held = m.with(hold(&m, E1, late, why).unwrap());
        let Ok(Claim::Settled(p)) = claim(&held, E1, late, &rules) else { panic!() };
        assert_eq!((p.state, p.code), (state, Some(code)));
    }
}

#[test]
fn a_held_message_may_be_looked_at_any_time_and_keeps_no_crash() {
    let rules = Rules::default();
    let Ok(Claim::Go(p)) = claim(&message(), E1, T0, &rules) else { panic!() };
    let m = message().with(p);
    let until = T0.after(Duration::from_secs(900));
    let held = m.with(hold(&m, E1, until, HeldFor::Installation).unwrap());
    assert_eq!((held.progress.state, held.progress.crashes), (State::Held, 0));
    assert!(matches!(claim(&held, E1, T0, &rules), Ok(Claim::Go(_))));
}

/// One random step of one of two leaders, on one message.
#[derive(Debug, Clone)]
enum Step {
    Claim(u64),
    Begin(u64),
    Outcome(usize, u8),
    Judge,
    Doubt,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u64..3).prop_map(Step::Claim),
        (1u64..3).prop_map(Step::Begin),
        (0usize..6, 0u8..4).prop_map(|(a, o)| Step::Outcome(a, o)),
        Just(Step::Judge),
        Just(Step::Doubt),
    ]
}

fn apply(m: &Message, step: &Step, next: u32, count: usize, rules: &Rules) -> Option<Progress> {
    match step {
        Step::Claim(e) => match claim(m, Epoch(*e), T0, rules).ok()? {
            Claim::Go(p) | Claim::Settled(p) => Some(p),
        },
        Step::Begin(e) => begin(m, Epoch(*e), &parts(count), attempt(next), T0).ok(),
        Step::Outcome(index, kind) => {
            let id = m.progress.attempts.get(*index)?.id.clone();
            let outcome = match kind {
                0 => accepted(),
                1 => Recorded::NotSent,
                2 => Recorded::Rejected { reason: "no".into() },
                _ => Recorded::Unknown { gateway_id: None },
            };
            record(m, &id, &outcome, T0, rules).ok()
        }
        Step::Judge => judge(m, &m.progress.newest()?.id, T0, rules).ok(),
        Step::Doubt => doubt(m, &m.progress.newest()?.id).ok(),
    }
}

#[test]
fn a_message_accepted_by_a_clock_ahead_of_ours_is_claimed_at_once_and_reported_after_one_delay() {
    let rules = Rules::default();
    let behind = T0.before(Duration::from_secs(300));
    let Ok(Claim::Go(p)) = claim(&message(), E1, behind, &rules) else { panic!("claimable") };
    let claimed = message().with(p);
    let p = reject(&claimed, E1, FailureCode::TooLong, "Too long.".into(), behind, &rules).unwrap();
    assert_eq!(p.report.unwrap().due_at, Some(behind.after(rules.status_delay)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn accepted_is_final_a_settled_message_has_a_report_and_an_accepted_part_is_never_tried_again(
        steps in proptest::collection::vec(step(), 1..40), count in 1usize..4, park in any::<bool>()
    ) {
        let rules = if park { Rules::default() } else { resend() };
        let mut m = message();
        for (n, step) in steps.iter().enumerate() {
            let before = m.progress.clone();
            let Some(p) = apply(&m, step, u32::try_from(n).unwrap(), count, &rules) else { continue };
            if before.state == State::Accepted {
                prop_assert_eq!(p.state, State::Accepted);
            }
            if p.attempts.len() > before.attempts.len() {
                prop_assert!(!before.parts.get(p.newest().unwrap().part).is_some_and(|x| x.accepted));
                if park {
                    // Under `park` a new try is made only when every earlier try of the part provably did not happen.
                    let part = p.newest().unwrap().part;
                    prop_assert!(before.attempts.iter().filter(|a| a.part == part).all(|a| a.result == AttemptResult::NotSent));
                }
            }
            for (old, new) in before.parts.iter().zip(&p.parts) {
                prop_assert!(!old.accepted || new.accepted);
            }
            prop_assert_eq!(p.state.settled(), p.settled_at.is_some());
            prop_assert_eq!(p.state.settled(), p.report.is_some());
            prop_assert!(p.state != State::Accepted || p.next_part().is_none());
            prop_assert!(p.state != State::Sending || p.newest().is_some());
            m = m.with(p);
        }
    }
}

#[test]
fn under_resend_a_refusal_says_that_an_earlier_try_may_have_arrived() {
    let rules = resend();
    let doubted = after(&sending(&message(), 1, 1, &rules), 1, &Recorded::Unknown { gateway_id: None }, &rules);
    let refused = Recorded::Rejected { reason: "blocked".into() };
    let m = after(&sending(&doubted, 1, 2, &rules), 2, &refused, &rules);
    assert_eq!(sentence(&m), "blocked. An earlier try may have arrived.");
    let Ok(Claim::Go(p)) = claim(&doubted, E1, T0, &rules) else { panic!("claimable") };
    let claimed = doubted.with(p);
    let rejected = reject(&claimed, E1, FailureCode::OptedOut, "They replied STOP.".into(), T0, &rules).unwrap();
    assert_eq!(sentence(&claimed.with(rejected)), "They replied STOP. An earlier try may have arrived.");
}

#[test]
fn a_refusal_after_tries_that_never_left_says_nothing_of_an_earlier_one() {
    let rules = resend();
    let waiting = after(&sending(&message(), 1, 1, &rules), 1, &Recorded::NotSent, &rules);
    let m = after(&sending(&waiting, 1, 2, &rules), 2, &Recorded::Rejected { reason: "blocked".into() }, &rules);
    assert_eq!(sentence(&m), "blocked");
}

#[test]
fn of_very_many_tries_the_oldest_that_were_never_sent_are_left_out_and_one_in_doubt_never() {
    let rules = resend();
    let mut m = after(&sending(&message(), 1, 0, &rules), 0, &Recorded::Unknown { gateway_id: None }, &rules);
    for n in 1..200 {
        m = after(&sending(&m, 1, n, &rules), n, &Recorded::NotSent, &rules);
    }
    let tries = &m.progress.attempts;
    assert_eq!(tries.len(), KEPT_ATTEMPTS);
    assert_eq!((&tries[0].id, tries[0].result), (&attempt(0), AttemptResult::Unknown));
    assert_eq!(m.progress.newest().map(|a| &a.id), Some(&attempt(199)));
}
