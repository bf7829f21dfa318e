use proptest::prelude::*;

use super::*;
use crate::domain::id::{AttemptId, Epoch, GhlMessageId, LocationId};
use crate::domain::message::Intake;
use crate::domain::transition::{Claim, Recorded, begin, claim, record};

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

fn rules(status_on_accept: StatusOnAccept) -> Rules {
    Rules { status_on_accept, ..Rules::default() }
}

fn delivered_on_accept() -> Rules {
    rules(StatusOnAccept::Delivered)
}

/// One more part is tried, and this becomes of it.
fn tried(m: &Message, parts: usize, outcome: &Recorded, rules: &Rules) -> Message {
    let Ok(Claim::Go(p)) = claim(m, E1, T0, rules) else { panic!("claimable") };
    let m = m.with(p);
    let blank = PartRecord { text: "x".into(), segments: 1, accepted: false, gateway_id: None, receipt: None };
    let attempt = AttemptId(format!("a{}", m.progress.attempts.len()));
    let m = m.with(begin(&m, E1, &vec![blank; parts], attempt.clone(), T0).unwrap());
    m.with(record(&m, &attempt, outcome, T0, rules).unwrap())
}

fn taken(id: &str) -> Recorded {
    Recorded::Accepted { gateway_id: Some(id.to_owned()) }
}

/// A message whose parts were accepted as `g0`, `g1` …
fn sent(parts: usize, rules: &Rules) -> Message {
    (0..parts).fold(message(), |m, n| tried(&m, parts, &taken(&format!("g{n}")), rules))
}

fn says(status: &str) -> Receipt {
    Receipt { fate: Fate::of(status), at: None, status: status.to_owned(), words: None }
}

fn after(m: &Message, id: &str, receipt: &Receipt, rules: &Rules) -> Message {
    apply(m, id, receipt, T0, rules).map_or_else(|| m.clone(), |p| m.with(p))
}

fn told(m: &Message) -> (ReportStatus, Option<FailureCode>, ReportSource) {
    let verdict = &m.progress.report.as_ref().unwrap().verdict;
    (verdict.status, verdict.code, verdict.source)
}

fn sentence(m: &Message) -> String {
    m.progress.report.as_ref().unwrap().verdict.sentence.clone().unwrap_or_default()
}

const FAILED: (ReportStatus, Option<FailureCode>, ReportSource) =
    (ReportStatus::Failed, Some(FailureCode::Undelivered), ReportSource::Receipt);

#[test]
fn a_failed_receipt_corrects_what_policy_said_and_the_message_stays_accepted() {
    let rules = delivered_on_accept();
    for status in ["failed", "expired", "rejected", "undelivered"] {
        let m = after(&sent(1, &rules), "g0", &says(status), &rules);
        assert_eq!(told(&m), FAILED, "{status}");
        let p = &m.progress;
        assert_eq!(
            (p.state, p.code, p.report.as_ref().unwrap().revision),
            (State::Accepted, Some(FailureCode::Undelivered), 2)
        );
    }
}

#[test]
fn a_delivered_receipt_that_says_what_was_told_costs_no_second_call() {
    let rules = delivered_on_accept();
    let before = sent(1, &rules);
    let m = after(&before, "g0", &says("delivered"), &rules);
    assert_eq!(told(&m), (ReportStatus::Delivered, None, ReportSource::Receipt));
    let (was, is) = (before.progress.report.unwrap(), m.progress.report.unwrap());
    assert_eq!((is.revision, is.due_at), (was.revision, was.due_at));
}

#[test]
fn under_pending_only_all_delivered_is_delivered_and_nothing_stays_pending() {
    let rules = rules(StatusOnAccept::Pending);
    let m = sent(2, &rules);
    assert_eq!(told(&m), (ReportStatus::Pending, None, ReportSource::Policy));
    let m = after(&m, "g1", &says("delivered"), &rules);
    assert_eq!(told(&m), (ReportStatus::Pending, None, ReportSource::Policy));
    let m = after(&m, "g0", &says("delivered"), &rules);
    assert_eq!(told(&m), (ReportStatus::Delivered, None, ReportSource::Receipt));
}

#[test]
fn any_failed_part_fails_the_message_and_says_how_many() {
    let rules = delivered_on_accept();
    let m = after(&sent(3, &rules), "g0", &says("failed"), &rules);
    assert_eq!(sentence(&m), "1 of 3 parts was not delivered. Check the number before sending again.");
    let m = after(&m, "g1", &says("delivered"), &rules);
    let words = Receipt { words: Some("Absent subscriber".into()), ..says("failed") };
    let m = after(&m, "g2", &words, &rules);
    assert_eq!((told(&m), sentence(&m).as_str()), (FAILED, "2 of 3 parts were not delivered: Absent subscriber"));
}

#[test]
fn pending_and_unknown_statuses_are_kept_and_change_nothing() {
    let rules = delivered_on_accept();
    let before = sent(1, &rules);
    for status in ["pending", "enroute"] {
        let m = after(&before, "g0", &says(status), &rules);
        assert_eq!(told(&m), told(&before));
        assert_eq!(m.progress.parts[0].receipt, Some(says(status)));
        assert_eq!(m.progress.report, before.progress.report);
    }
}

#[test]
fn what_a_phone_confirmed_no_later_receipt_takes_back() {
    let rules = delivered_on_accept();
    let m = after(&sent(1, &rules), "g0", &says("delivered"), &rules);
    for weaker in ["failed", "pending", "enroute", "delivered"] {
        assert_eq!(apply(&m, "g0", &says(weaker), T0, &rules), None, "{weaker}");
    }
    let m = after(&after(&sent(1, &rules), "g0", &says("expired"), &rules), "g0", &says("delivered"), &rules);
    assert_eq!((told(&m), m.progress.code), ((ReportStatus::Delivered, None, ReportSource::Receipt), None));
}

#[test]
fn a_receipt_before_the_last_part_is_sent_counts_when_it_is() {
    let rules = delivered_on_accept();
    let m = tried(&message(), 2, &taken("g0"), &rules);
    let m = after(&m, "g0", &says("failed"), &rules);
    assert_eq!((m.progress.state, m.progress.report.is_none()), (State::Queued, true));
    let m = tried(&m, 2, &taken("g1"), &rules);
    assert_eq!((m.progress.state, told(&m)), (State::Accepted, FAILED));
    assert!(sentence(&m).starts_with("1 of 2 parts"));
}

#[test]
fn a_receipt_vouches_for_an_sms_whose_answer_said_nothing_but_its_id() {
    let rules = delivered_on_accept();
    let unclear = Recorded::Unknown { gateway_id: Some("g9".into()) };
    let parked = tried(&message(), 1, &unclear, &rules);
    assert_eq!((parked.progress.state, told(&parked).1), (State::Parked, Some(FailureCode::UnknownOutcome)));
    let m = after(&parked, "g9", &says("pending"), &rules);
    assert_eq!((m.progress.state, told(&m)), (State::Accepted, (ReportStatus::Delivered, None, ReportSource::Policy)));
    let m = after(&parked, "g9", &says("failed"), &rules);
    assert_eq!((m.progress.state, told(&m)), (State::Accepted, FAILED));
    assert_eq!(apply(&parked, "other", &says("failed"), T0, &rules), None);
}

#[test]
fn a_parked_message_becomes_accepted_only_when_every_part_is_known_sent() {
    let rules = delivered_on_accept();
    let m = tried(&message(), 2, &Recorded::Unknown { gateway_id: Some("g0".into()) }, &rules);
    let m = after(&m, "g0", &says("delivered"), &rules);
    assert_eq!((m.progress.state, told(&m).1), (State::Parked, Some(FailureCode::UnknownOutcome)));
    assert_eq!(sentence(&m), "Part 1 of 2 was sent, the rest was not.");
}

#[test]
fn a_kept_receipt_is_looked_for_an_hour_and_the_stronger_one_stays() {
    let kept = KeptReceipt::accept("g0", says("pending"), T0);
    let mut looked = kept.clone();
    let (mut now, mut looks) = (T0, 0);
    while looked.progress.state == ReceiptState::Waiting {
        now = now.max(looked.progress.due_at);
        looked = looked.unmatched(now);
        looks += 1;
    }
    assert_eq!((looked.progress.state, now), (ReceiptState::Unmatched, T0.after(KEPT_FOR)));
    assert!((10..40).contains(&looks), "{looks}");

    assert_eq!(kept.joined(&says("pending"), T0), None);
    let joined = kept.joined(&says("delivered"), T0).unwrap();
    assert_eq!(joined.matched(&says("pending"), T0), None, "the stronger one came meanwhile");
    let matched = joined.matched(&says("delivered"), T0).unwrap();
    assert_eq!(matched.joined(&says("failed"), T0), None);
    assert_eq!(looked.joined(&says("pending"), now).unwrap().progress.state, ReceiptState::Waiting, "it came again");
}

fn receipt() -> impl Strategy<Value = (usize, Receipt)> {
    let status = proptest::sample::select(vec!["delivered", "failed", "expired", "rejected", "pending", "odd"]);
    let words = proptest::option::of(proptest::sample::select(vec!["absent", "barred"]).prop_map(str::to_owned));
    (0..3usize, status, words, proptest::option::of(0..3i64)).prop_map(|(part, status, words, at)| {
        (part, Receipt { fate: Fate::of(status), at: at.map(UnixMillis), status: status.to_owned(), words })
    })
}

proptest! {
    #[test]
    fn in_any_order_and_however_often_they_come_receipts_end_in_the_same_verdict(
        receipts in proptest::collection::vec(receipt(), 0..10),
        shuffled in any::<u64>(),
        pending in any::<bool>(),
        early in 0..4usize,
    ) {
        let rules = rules(if pending { StatusOnAccept::Pending } else { StatusOnAccept::Delivered });
        let run = |order: &[(usize, Receipt)], early: usize| {
            // Some of them before the parts are sent, as far as their ids are known.
            let mut m = message();
            for n in 0..3 {
                m = tried(&m, 3, &taken(&format!("g{n}")), &rules);
                if n < early {
                    m = order.iter().fold(m, |m, (part, r)| after(&m, &format!("g{part}"), r, &rules));
                }
            }
            order.iter().chain(order).fold(m, |m, (part, r)| after(&m, &format!("g{part}"), r, &rules))
        };
        let mut other = receipts.clone();
        for i in (1..other.len()).rev() {
            other.swap(i, usize::try_from(shuffled % (i as u64 + 1)).unwrap());
        }
        let (a, b) = (run(&receipts, 0), run(&other, early));
        prop_assert_eq!(&a.progress.parts, &b.progress.parts);
        let verdict = |m: &Message| m.progress.report.as_ref().unwrap().verdict.clone();
        prop_assert_eq!(verdict(&a), verdict(&b));
        prop_assert_eq!((a.progress.state, a.progress.code), (State::Accepted, verdict(&a).code));
        prop_assert!(sentence(&a).chars().count() <= 200);
        prop_assert!(!sentence(&a).to_lowercase().contains("ghl"));
    }

    #[test]
    fn no_receipt_makes_a_taken_part_untaken_or_a_settled_message_open(
        receipts in proptest::collection::vec(receipt(), 0..6), sent_parts in 0..3usize
    ) {
        let rules = delivered_on_accept();
        let mut m = (0..sent_parts).fold(message(), |m, n| tried(&m, 3, &taken(&format!("g{n}")), &rules));
        if sent_parts < 3 {
            m = tried(&m, 3, &Recorded::Unknown { gateway_id: Some(format!("g{sent_parts}")) }, &rules);
        }
        for (part, r) in receipts {
            let next = after(&m, &format!("g{part}"), &r, &rules);
            prop_assert!(next.progress.accepted_parts() >= m.progress.accepted_parts());
            prop_assert!(next.progress.state.settled() || !m.progress.state.settled());
            m = next;
        }
    }
}
