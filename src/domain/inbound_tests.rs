//! Routing, identity, and what a person may do to a stranded reply.

use super::*;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

fn sender(location: &str, company: Option<&str>, hours_ago: u64) -> Sender {
    Sender {
        location: LocationId::parse(location).unwrap(),
        company: company.map(|c| CompanyId::parse(c).unwrap()),
        last_outbound_at: NOW.before(Duration::from_secs(hours_ago * 3600)),
    }
}

fn accepted() -> ReplyAccepted {
    ReplyAccepted {
        v: DOCUMENT_VERSION,
        at: NOW,
        replica: "r".into(),
        counter: 1,
        from: "09171234567".into(),
        phone: Phone::parse("09171234567").ok(),
        to: None,
        text: None,
        attachments: Vec::new(),
        sent_at: NOW,
        location: None,
        wish: None,
    }
}

fn name(location: Option<LocationId>) -> Option<String> {
    location.map(|l| l.to_string())
}

#[test]
fn a_reply_goes_to_the_location_that_messaged_last_within_one_company() {
    let senders = [sender("A", Some("c"), 5), sender("B", Some("c"), 1)];
    assert_eq!(name(route(None, None, &senders, None, NOW)), Some("B".into()));
}

#[test]
fn two_companies_within_seven_days_leave_a_reply_unrouted_even_with_a_default() {
    let senders = [sender("A", Some("c"), 5), sender("B", Some("d"), 1)];
    let default = LocationId::parse("D").unwrap();
    assert_eq!(route(None, None, &senders, Some(&default), NOW), None);
    let old = [sender("A", Some("c"), 24 * 8), sender("B", Some("d"), 1)];
    assert_eq!(name(route(None, None, &old, None, NOW)), Some("B".into()));
}

#[test]
fn a_phone_nobody_messaged_within_a_week_belongs_to_the_last_who_did() {
    let senders = [sender("A", Some("c"), 24 * 9), sender("B", Some("d"), 24 * 8)];
    let default = LocationId::parse("D").unwrap();
    assert_eq!(name(route(None, None, &senders, Some(&default), NOW)), Some("B".into()));
}

#[test]
fn unknown_companies_count_as_strangers_to_each_other() {
    let senders = [sender("A", None, 5), sender("B", None, 1)];
    assert_eq!(route(None, None, &senders, None, NOW), None);
    assert_eq!(name(route(None, None, &senders[..1], None, NOW)), Some("A".into()));
}

#[test]
fn an_explicit_location_beats_memory_and_the_default_comes_last() {
    let d = LocationId::parse("D").unwrap();
    assert_eq!(name(route(Some(&d), None, &[sender("A", None, 1)], None, NOW)), Some("D".into()));
    assert_eq!(name(route(None, None, &[], Some(&d), NOW)), Some("D".into()));
    assert_eq!(route(None, None, &[], None, NOW), None);
}

#[test]
fn the_receiving_numbers_location_beats_memory_and_an_explicit_one_beats_both() {
    let (a, b) = (LocationId::parse("A").unwrap(), LocationId::parse("B").unwrap());
    let strangers = [sender("C", Some("c"), 1), sender("D", Some("d"), 2)];
    assert_eq!(name(route(None, Some(&a), &strangers, None, NOW)), Some("A".into()));
    assert_eq!(name(route(Some(&b), Some(&a), &strangers, None, NOW)), Some("B".into()));
}

#[test]
fn a_reply_routed_by_hand_forgets_the_contact_of_another_location_and_its_wish_names_the_new_one() {
    let accepted = ReplyAccepted { wish: Some(Wish::Stop), ..accepted() };
    let reply = Reply::accept(DocId::inbound("ab"), accepted, Duration::from_secs(60));
    let (a, b) = (LocationId::parse("A").unwrap(), LocationId::parse("B").unwrap());
    assert_eq!(reroute(&reply, &a, NOW), Err(ReplyRefusal::OnItsWay));
    let stranded = ReplyProgress {
        state: ReplyState::Dead,
        location: Some(a.clone()),
        contact_id: Some("c".into()),
        heard_at: Some(NOW),
        ..reply.progress.clone()
    };
    let stranded = reply.with(stranded);
    assert_eq!(stranded.unheard(), None);
    let there = stranded.with(reroute(&stranded, &a, NOW).unwrap());
    assert_eq!(there.progress.contact_id.as_deref(), Some("c"));
    let elsewhere = stranded.with(reroute(&stranded, &b, NOW).unwrap());
    assert_eq!((&elsewhere.progress.contact_id, &elsewhere.progress.location), (&None, &Some(b)));
    assert_eq!((elsewhere.unheard(), elsewhere.progress.routed_by_hand), (Some(Wish::Stop), true));
}

#[test]
fn a_429_costs_a_reply_no_try_and_is_counted_only_while_they_come_in_a_row() {
    let wait = Duration::from_secs(10);
    let mut reply = Reply::accept(DocId::inbound("ab"), accepted(), REPLY_MAX_AGE);
    let step = |reply: &Reply, step, now| reply.with(after_step(reply, step, now, REPLY_MAX_AGE, 0.5));
    let mut now = NOW;
    for n in 1..4 {
        reply = step(&reply, ReplyStep::Limited(wait), now);
        assert_eq!((reply.progress.limited, reply.progress.tries, reply.progress.due_at), (n, 0, now.after(wait)));
        now = now.after(wait);
    }
    let turn = step(&reply, ReplyStep::NotItsTurn(wait), now);
    assert_eq!((turn.progress.limited, turn.progress.tries, turn.progress.due_at), (3, 0, now.after(wait)));
    assert_eq!(step(&turn, ReplyStep::Unknown, now).progress.limited, 0);
    let old = step(&turn, ReplyStep::Limited(wait), NOW.after(REPLY_MAX_AGE * 2));
    assert_eq!(old.progress.state, ReplyState::Received, "nothing is dropped for a limit");
}

#[test]
fn a_dead_reply_is_tried_anew_for_as_long_as_a_new_one_and_a_dropped_one_never() {
    let retention = Duration::from_secs(3600);
    let reply = Reply::accept(DocId::inbound("ab"), accepted(), retention);
    assert_eq!(retry(&reply, NOW), Err(ReplyRefusal::OnItsWay));
    let old = NOW.after(REPLY_MAX_AGE);
    let later = |reply: &Reply, now| {
        reply.with(after_step(reply, ReplyStep::Later { wait: None, why: "no token" }, now, retention, 0.5))
    };
    let dead = later(&reply, old);
    assert_eq!(dead.progress.state, ReplyState::Dead);
    let again = dead.with(retry(&dead, old).unwrap());
    assert_eq!((again.progress.state, again.progress.settled_at), (ReplyState::Received, None));
    assert_eq!(later(&again, old).progress.state, ReplyState::Received);
    assert_eq!(later(&again, old.after(REPLY_MAX_AGE)).progress.state, ReplyState::Dead);
    let dropped = dead.with(set_aside(&dead, old).unwrap());
    assert_eq!(retry(&dropped, old), Err(ReplyRefusal::Dropped));
}

#[test]
fn without_id_and_time_a_reply_is_its_content_in_a_minute() {
    let Identity::Minute { this, before } = identity(None, "a", None, Some("Yes"), None, NOW) else { panic!() };
    let next = UnixMillis(NOW.0 + 60_000);
    let Identity::Minute { before: was, .. } = identity(None, "a", None, Some("Yes"), None, next) else { panic!() };
    assert_eq!(this, was);
    assert_ne!(this, before);
}

#[test]
fn fields_cannot_be_shifted_into_each_other() {
    let a = identity(None, "ab", Some("c"), Some("x"), Some(NOW), NOW);
    let b = identity(None, "a", Some("bc"), Some("x"), Some(NOW), NOW);
    assert_ne!(a, b);
}
