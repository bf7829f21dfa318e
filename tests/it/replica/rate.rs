//! How fast three replicas send together: judged by the moments at which the fake Cast was called, on the injected clock.

use std::time::Duration;

use libtest_mimic::Trial;

use super::member::{Member, leader, live};
use crate::support::dice::Dice;
use crate::support::step::settle;
use crate::support::world::{LOCATION, Place, World};
use crate::{Cases, cases};

const RATE: f64 = 30.0;
const BURST: f64 = 50.0;

pub fn cases() -> Cases<Place> {
    cases![three_replicas_never_send_faster_than_thirty_a_second_and_one_burst_through_take_overs]
}

pub fn trials() -> Vec<Trial> {
    let cases: [(&str, fn()); 2] = [
        ("the_window_sees_a_burst_wherever_it_begins", the_window_sees_a_burst_wherever_it_begins),
        ("the_window_agrees_with_a_bucket_that_is_emptied_at_the_rate", the_window_agrees_with_a_bucket),
    ];
    let trial = |(name, case): (&str, fn())| {
        Trial::test(format!("replica::rate::{name}"), move || {
            case();
            Ok(())
        })
    };
    cases.into_iter().map(trial).collect()
}

async fn three_replicas_never_send_faster_than_thirty_a_second_and_one_burst_through_take_overs(place: Place) {
    let w = World::connected(place).await;
    w.app.leadership().release().await;
    let mut dice = Dice::of(7);
    let mut members = vec![];
    for _ in 0..3 {
        members.push(Member::start(&w, &w.clock, &[]).await);
    }
    let mut asleep: Option<Member> = None;
    let mut sent = 0;
    let mut terms = 0;
    while terms < 9 {
        // A quiet time fills the leader's bucket; then more comes than it may send before it goes.
        live(&w, &mut members, Duration::from_secs(2)).await;
        let Some(first) = leader(&members) else { continue };
        crate::order::enqueue(&w, LOCATION, sent, 90).await;
        sent += 90;
        live(&w, &mut members, Duration::from_millis([250, 500, 1_000][dice.below(3)])).await;
        terms += 1;
        match terms % 3 {
            // A clean stop: somebody else leads within a second.
            0 => members[first].app.leadership().release().await,
            // Killed, and another process in its place.
            1 => members[first] = Member::start(&w, &w.clock, &[]).await,
            // Frozen, and back when another leads.
            _ => {
                members.extend(asleep.take());
                asleep = Some(members.remove(first));
            }
        }
    }
    members.extend(asleep);
    live(&w, &mut members, Duration::from_secs(20)).await;
    settle(&w, &members[leader(&members).expect("one leads")].app).await;
    let calls = w.cast.calls();
    assert_eq!(calls.len(), w.cast.taken_count(), "some call met a limit: {:?}", calls.iter().find(|c| !c.taken));
    assert_eq!(w.cast.taken_count(), usize::try_from(sent).expect("few"));
    let times: Vec<Duration> = calls.iter().map(|c| Duration::from_millis(c.at.0.cast_unsigned())).collect();
    let (most, window) = largest_excess(&times, RATE);
    assert!(most <= BURST, "{most:.1} calls above {RATE}/s in the window {window:?}");
    assert!(most > BURST / 2.0, "no burst was ever sent: {most:.1}");
    w.end();
}

/// By how many calls any window of time exceeds the rate: the burst a limiter must allow for this log. And that window.
fn largest_excess(times: &[Duration], per_second: f64) -> (f64, (Duration, Duration)) {
    let mut largest = (0.0, (Duration::ZERO, Duration::ZERO));
    for (n, from) in times.iter().enumerate() {
        let mut count = 0.0;
        for to in &times[n..] {
            count += 1.0;
            let excess = count - per_second * (*to - *from).as_secs_f64();
            if excess > largest.0 {
                largest = (excess, (*from, *to));
            }
        }
    }
    largest
}

fn the_window_sees_a_burst_wherever_it_begins() {
    let ms = |times: &[u64]| times.iter().map(|t| Duration::from_millis(*t)).collect::<Vec<_>>();
    assert_eq!(largest_excess(&[], 10.0).0, 0.0);
    assert_eq!(largest_excess(&ms(&[0, 100, 200, 300]), 10.0).0, 1.0);
    let (excess, window) = largest_excess(&ms(&[0, 1_000, 5_000, 5_000, 5_000, 5_100, 9_000]), 10.0);
    assert_eq!((excess, window), (3.0, (Duration::from_secs(5), Duration::from_secs(5))));
    // Two bursts that a window of one second would not see together.
    assert!(largest_excess(&ms(&[0, 0, 0, 0, 1_001, 1_001, 1_001, 1_001, 1_001]), 1.0).0 > 7.9);
}

fn the_window_agrees_with_a_bucket() {
    let mut dice = Dice::of(3);
    for _ in 0..50 {
        let mut at = Duration::ZERO;
        let (mut level, mut fullest, mut before) = (0.0_f64, 0.0_f64, Duration::ZERO);
        let mut times = vec![];
        for _ in 0..200 {
            at += Duration::from_millis([0, 5, 40, 400][dice.below(4)]);
            times.push(at);
            level = (level - 12.0 * (at - before).as_secs_f64()).max(0.0) + 1.0;
            (fullest, before) = (fullest.max(level), at);
        }
        assert!((largest_excess(&times, 12.0).0 - fullest).abs() < 1e-6);
    }
}
