use proptest::prelude::*;

use super::*;

const PACE: Pace = Pace { per_second: 30, burst: 50 };

fn at(ms: u64) -> Mono {
    Mono(Duration::from_millis(ms))
}

fn go(desk: &mut KeyDesk, now: Mono) -> Ticket {
    match desk.start(now) {
        Start::Go(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn accepted() -> SendOutcome {
    SendOutcome::Accepted { gateway_id: None, parts: None }
}

fn unknown() -> SendOutcome {
    SendOutcome::Unknown { evidence: "502".into(), gateway_id: None }
}

fn not_sent(why: NotSent, hint: Option<u64>) -> SendOutcome {
    SendOutcome::NotSent { why, retry_after: hint.map(Duration::from_secs) }
}

#[test]
fn a_bucket_starts_empty_and_a_capacity_is_four_fifths_of_the_burst() {
    let mut desk = KeyDesk::new(PACE, at(0));
    assert!(matches!(desk.start(at(0)), Start::Wait(_)));
    let mut taken = 0;
    while let Start::Go(ticket) = desk.start(at(60_000)) {
        let _ = desk.done(ticket, accepted(), at(60_000));
        taken += 1;
    }
    assert_eq!(taken, 40);
}

#[test]
fn no_more_than_thirty_two_calls_are_in_flight() {
    let mut desk = KeyDesk::new(PACE, at(0));
    let tickets: Vec<Ticket> = (0..32).map(|_| go(&mut desk, at(10_000))).collect();
    assert!(matches!(desk.start(at(10_000)), Start::Full));
    drop(tickets);
}

#[test]
fn a_429_halts_the_whole_key_for_its_hint_at_most_a_minute() {
    for (hint, wait) in [(Some(7), 7), (Some(9_999), 60), (None, 1)] {
        let mut desk = KeyDesk::new(PACE, at(0));
        let ticket = go(&mut desk, at(1000));
        let _ = desk.done(ticket, not_sent(NotSent::RateLimited, hint), at(1000));
        let Start::Wait(left) = desk.start(at(1000)) else { panic!() };
        assert_eq!(left, Duration::from_secs(wait));
    }
}

#[test]
fn thirty_two_calls_that_all_get_429_count_as_one_pause() {
    let mut desk = KeyDesk::new(PACE, at(0));
    let tickets: Vec<Ticket> = (0..32).map(|_| go(&mut desk, at(10_000))).collect();
    for ticket in tickets {
        let _ = desk.done(ticket, not_sent(NotSent::RateLimited, None), at(10_000));
    }
    assert_eq!(desk.trouble(at(10_000)), Some((Trouble::Limited, Duration::from_secs(1))));
}

#[test]
fn three_unknowns_in_a_row_pause_the_key_and_one_message_probes() {
    let mut desk = KeyDesk::new(PACE, at(0));
    for _ in 0..3 {
        let ticket = go(&mut desk, at(5000));
        let _ = desk.done(ticket, unknown(), at(5000));
    }
    assert_eq!(desk.trouble(at(5000)), Some((Trouble::Sick, Duration::from_secs(5))));
    let probe = go(&mut desk, at(11_000));
    assert!(matches!(desk.start(at(12_000)), Start::Full));
    let _ = desk.done(probe, unknown(), at(12_000));
    assert_eq!(desk.trouble(at(12_000)), Some((Trouble::Sick, Duration::from_secs(10))));
    let probe = go(&mut desk, at(23_000));
    let _ = desk.done(probe, accepted(), at(23_000));
    assert_eq!(desk.trouble(at(23_000)), None);
}

#[test]
fn an_accepted_between_two_unknowns_starts_the_count_anew() {
    let mut desk = KeyDesk::new(PACE, at(0));
    for outcome in [unknown(), unknown(), accepted(), unknown(), unknown()] {
        let ticket = go(&mut desk, at(5000));
        let _ = desk.done(ticket, outcome, at(5000));
    }
    assert_eq!(desk.trouble(at(5000)), None);
}

#[test]
fn ten_minutes_of_sickness_cost_the_first_three_and_the_probes() {
    let mut desk = KeyDesk::new(PACE, at(0));
    let mut unknowns = 0;
    let mut now = 1000;
    while now < 601_000 {
        match desk.start(at(now)) {
            Start::Go(ticket) => {
                let _ = desk.done(ticket, unknown(), at(now));
                unknowns += 1;
            }
            Start::Wait(wait) => now += u64::try_from(wait.as_millis()).unwrap() + 1,
            Start::Full => panic!("one call at a time is never full"),
        }
    }
    assert!(unknowns <= 3 + 8, "{unknowns}");
}

#[test]
fn a_refused_key_is_probed_once_a_minute() {
    let mut desk = KeyDesk::new(PACE, at(0));
    let ticket = go(&mut desk, at(1000));
    let _ = desk.done(ticket, not_sent(NotSent::KeyRefused { status: 401 }, None), at(1000));
    assert_eq!(desk.trouble(at(1000)), Some((Trouble::Refused, Duration::from_secs(60))));
    let _probe = go(&mut desk, at(61_500));
    assert!(matches!(desk.start(at(62_000)), Start::Full));
}

#[test]
fn a_403_soon_after_an_accepted_message_is_about_the_message() {
    let mut desk = KeyDesk::new(PACE, at(0));
    let ticket = go(&mut desk, at(1000));
    let _ = desk.done(ticket, accepted(), at(1000));
    let ticket = go(&mut desk, at(2000));
    let outcome = desk.done(ticket, not_sent(NotSent::KeyRefused { status: 403 }, None), at(2000));
    assert!(matches!(outcome, SendOutcome::Rejected { .. }));
    assert_eq!(desk.trouble(at(2000)), None);
}

#[test]
fn sending_resumes_within_thirty_seconds_of_a_gateway_that_was_out_of_reach() {
    let mut desk = KeyDesk::new(PACE, at(0));
    let mut now = 1000;
    for _ in 0..20 {
        loop {
            match desk.start(at(now)) {
                Start::Go(ticket) => {
                    let _ = desk.done(ticket, not_sent(NotSent::Unreachable, None), at(now));
                    break;
                }
                Start::Wait(wait) => {
                    assert!(wait <= Duration::from_secs(30));
                    now += u64::try_from(wait.as_millis()).unwrap() + 1;
                }
                Start::Full => panic!(),
            }
        }
    }
}

#[test]
fn a_probe_that_was_not_made_lets_another_one_probe() {
    let mut desk = KeyDesk::new(PACE, at(0));
    let ticket = go(&mut desk, at(1000));
    let _ = desk.done(ticket, not_sent(NotSent::Unreachable, None), at(1000));
    let probe = go(&mut desk, at(3000));
    desk.back(probe);
    let _probe = go(&mut desk, at(3100));
}

proptest! {
    /// Any window of starts stays within rate × time + capacity, whatever comes back.
    #[test]
    fn starts_never_exceed_the_pace(
        rate in 1u32..200, burst in 1u32..300, steps in proptest::collection::vec((0u64..400, 0u8..6), 1..300)
    ) {
        let pace = Pace { per_second: rate, burst };
        let mut desk = KeyDesk::new(pace, at(0));
        let mut now = 0;
        let mut starts: Vec<u64> = vec![];
        let mut open: Vec<Ticket> = vec![];
        for (pass, kind) in steps {
            now += pass;
            while let Start::Go(ticket) = desk.start(at(now)) {
                starts.push(now);
                open.push(ticket);
                if open.len() >= 32 { break; }
            }
            prop_assert!(desk.in_flight() <= MAX_IN_FLIGHT);
            for ticket in open.drain(..) {
                let outcome = match kind {
                    0 => unknown(),
                    1 => not_sent(NotSent::RateLimited, Some(1)),
                    2 => not_sent(NotSent::Unreachable, None),
                    _ => accepted(),
                };
                let _ = desk.done(ticket, outcome, at(now));
            }
        }
        for (i, &from) in starts.iter().enumerate() {
            for (j, &to) in starts.iter().enumerate().skip(i) {
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let allowed = (to - from) as f64 / 1000.0 * f64::from(rate) + f64::from(burst).max(1.0) + 1.0;
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let seen = (j - i + 1) as f64;
                prop_assert!(seen <= allowed, "{} in {} ms", seen, to - from);
            }
        }
    }
}
