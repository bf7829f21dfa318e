//! A Cast that is away, silent, sick, breaks off or talks nonsense: what may be out is never sent again, what is not waits.
//!
//! Ten minutes of an outage pass on the injected clock; calls are counted at the fake, or where there is none, in the metrics.

use std::time::Duration;

use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::domain::transition::KEPT_ATTEMPTS;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::queue::Step;
use cast_ghl_provider::store::StoreError;
use tokio::task::JoinHandle;

use super::{sent, texts};
use crate::support::blunt::{Blunt, Says};
use crate::support::proxy::{End, Proxy, Toward, Way};
use crate::support::step::begin_step;
use crate::support::world::{LOCATION, Place, World};
use crate::{Cases, cases};

const MINUTE: Duration = Duration::from_secs(60);
/// More than a key has in flight at once (bridge §3.4).
const CAMPAIGN: usize = 60;
const IN_FLIGHT: usize = 32;
/// Probes of a sick key in ten minutes: after 5, 10, 20 … 300 s.
const PROBES: usize = 7;

pub fn cases() -> Cases<Place> {
    cases![
        ten_minutes_of_502_cost_the_calls_in_flight_and_the_probes_and_nothing_is_sent_twice,
        ten_minutes_of_accepting_and_hanging_cost_the_calls_in_flight_and_the_probes,
        a_rotated_key_costs_no_message_and_is_probed_once_a_minute,
        a_port_that_refuses_is_asked_a_few_times_a_minute_and_served_within_thirty_seconds,
        a_name_that_does_not_resolve_delays_and_loses_nothing,
        a_storm_of_429_is_waited_out_whatever_it_says_and_the_same_message_goes_first,
        a_connection_cut_at_any_byte_leaves_the_message_unknown_and_is_not_repeated,
        a_request_into_a_connection_just_being_closed_is_unknown_and_one_closed_while_idle_is_replaced,
        an_answer_that_stops_half_way_is_unknown_when_it_breaks,
        an_answer_that_lies_about_its_length_or_is_no_http_is_unknown,
        an_answer_without_end_is_cut_off,
    ]
}

async fn ten_minutes_of_502_cost_the_calls_in_flight_and_the_probes_and_nothing_is_sent_twice(place: Place) {
    let w = World::connected(place).await;
    let answers = campaign(&w).await;
    w.cast.fault_all(Some(CastFault::StatusAfterTaking(502)));
    for step in at_once(&w).await {
        step.await.expect("a step ends").expect("the store answers");
    }
    let first = w.cast.calls().len();
    assert!((3..=IN_FLIGHT).contains(&first), "{first}");
    w.live(10 * MINUTE).await;
    let sick = w.cast.calls().len();
    assert!(sick - first <= PROBES, "{sick} calls, {first} of them at once");
    w.cast.fault_all(None);
    w.live(6 * MINUTE).await;
    assert_only_unknown(&w, &answers, sick).await;
    w.end();
}

async fn ten_minutes_of_accepting_and_hanging_cost_the_calls_in_flight_and_the_probes(place: Place) {
    let w = World::connected(place).await;
    let answers = campaign(&w).await;
    w.cast.fault_all(Some(CastFault::Hang { after_taking: true }));
    let steps = at_once(&w).await;
    w.cast.until(|cast| cast.calls().len() >= IN_FLIGHT).await;
    assert_eq!(w.app.worker().step().await.unwrap(), Step::Idle(None), "no more than that at once");
    time_out(&w).await;
    for step in steps {
        step.await.expect("a step ends").expect("the store answers");
    }
    let mut left = 10 * MINUTE;
    while !left.is_zero() {
        let before = w.cast.calls().len();
        let worker = w.app.worker().clone();
        let mut step = tokio::spawn(async move { worker.step().await });
        let passed = tokio::select! {
            done = &mut step => match done.expect("a step ends").expect("the store answers") {
                Step::Idle(wait) => wait.unwrap_or(MINUTE).min(left),
                other => panic!("{other:?} while Cast hangs"),
            },
            () = w.cast.until(|cast| cast.calls().len() > before) => {
                time_out(&w).await;
                step.await.expect("a step ends").expect("the store answers");
                Duration::from_secs(30).min(left)
            }
        };
        w.pass(passed).await;
        left -= passed;
    }
    let sick = w.cast.calls().len();
    assert!(sick - IN_FLIGHT <= PROBES, "{sick} calls, {IN_FLIGHT} of them at once");
    w.cast.fault_all(None);
    w.live(6 * MINUTE).await;
    assert_only_unknown(&w, &answers, sick).await;
    w.end();
}

async fn a_rotated_key_costs_no_message_and_is_probed_once_a_minute(place: Place) {
    let w = World::connected(place).await;
    let answers = campaign(&w).await;
    w.cast.set_api_keys(vec!["cast_the_next_one".into()]);
    for step in at_once(&w).await {
        step.await.expect("a step ends").expect("the store answers");
    }
    let first = w.cast.calls().len();
    assert!(first <= IN_FLIGHT, "{first}");
    w.live(10 * MINUTE).await;
    assert!((9..=11).contains(&(w.cast.calls().len() - first)), "{} probes", w.cast.calls().len() - first);
    for answer in &answers {
        let progress = w.message(answer).await.progress;
        assert_eq!((progress.state, progress.crashes), (State::Queued, 0));
    }
    let w = w.restart_with(&[("CAST_API_KEY", "cast_the_next_one")]).await;
    w.live(MINUTE).await;
    assert_eq!(sent(&w, &answers).await, CAMPAIGN);
    assert_eq!(w.cast.taken_count(), CAMPAIGN);
    w.end();
}

async fn a_port_that_refuses_is_asked_a_few_times_a_minute_and_served_within_thirty_seconds(place: Place) {
    let w = World::connected(place).await;
    w.cast.stop().await;
    let answers = campaign(&w).await;
    w.live(MINUTE).await;
    // After 1, 2, 4, 8, 16 and 30 s.
    assert!(w.counted("sends", "unreachable") <= 7, "{}", w.counted("sends", "unreachable"));
    w.live(9 * MINUTE).await;
    let tried = w.counted("sends", "unreachable");
    assert!((18..=7 + 18).contains(&tried), "every half minute, {tried}");
    w.cast.restart().await.expect("its port is free");
    w.live(Duration::from_secs(30)).await;
    assert!(w.cast.taken_count() > 0, "sending resumes");
    w.live(Duration::from_secs(5)).await;
    assert_eq!(sent(&w, &answers).await, CAMPAIGN);
    assert_eq!(w.cast.calls().len(), CAMPAIGN);
    w.end();
}

async fn a_name_that_does_not_resolve_delays_and_loses_nothing(place: Place) {
    // A label of 64 characters is refused by every resolver before it asks the network.
    let nowhere = format!("http://{}.test", "a".repeat(64));
    let w = World::connected(place).await;
    let address = w.cast.url();
    let w = w.restart_with(&[("CAST_API_URL", &nowhere)]).await;
    let answer = w.sms("to whom").await;
    w.live(10 * MINUTE).await;
    assert!((18..=25).contains(&w.counted("sends", "unreachable")), "{}", w.counted("sends", "unreachable"));
    let progress = w.message(&answer).await.progress;
    assert_eq!((progress.state, progress.crashes), (State::Queued, 0));
    let w = w.restart_with(&[("CAST_API_URL", &address)]).await;
    w.live(MINUTE).await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

async fn a_storm_of_429_is_waited_out_whatever_it_says_and_the_same_message_goes_first(place: Place) {
    let w = World::connected(place).await;
    // What it says, and at most how many calls that is in three minutes. The test's clock starts in May 2026.
    let storms = [
        // 1, 2, 4 … 60 s.
        (None, 9),
        (Some("7"), 27),
        (Some("3600"), 4),
        (Some("99999999999999999999999"), 4),
        (Some("Fri, 01 Jan 2100 00:00:00 GMT"), 4),
        // Once a second: it says that the wait is over.
        (Some("Thu, 01 Jan 2015 00:00:00 GMT"), 180),
        (Some("0"), 180),
        (Some("soon, I think"), 9),
    ];
    let mut expected = Vec::new();
    for (n, (says, most)) in storms.into_iter().enumerate() {
        w.cast.fault_all(Some(CastFault::RateLimited { retry_after: says.map(str::to_owned) }));
        let mut answers = Vec::new();
        for phone in 0..3 {
            let text = format!("storm {n}, message {phone}");
            answers.push(w.sms_to(LOCATION, &format!("0917000000{phone}"), &text).await);
            expected.push(text);
        }
        let before = w.cast.calls().len();
        w.live(3 * MINUTE).await;
        let calls = w.cast.calls().split_off(before);
        assert!((2..=most).contains(&calls.len()), "{says:?}: {} calls", calls.len());
        assert!(calls.iter().all(|call| call.message == calls[0].message), "{says:?}: always the same message");
        w.cast.fault_all(None);
        w.live(MINUTE).await;
        assert_eq!(sent(&w, &answers).await, 3, "{says:?}");
        let tries = w.message(&answers[0]).await.progress.attempts.len();
        assert!(tries >= calls.len().min(KEPT_ATTEMPTS), "every try is on record, of very many the newest");
    }
    assert_eq!(texts(&w), expected, "each message in its turn, and once");
    w.end();
}

async fn a_connection_cut_at_any_byte_leaves_the_message_unknown_and_is_not_repeated(place: Place) {
    let (w, proxy) = behind_a_proxy(place).await;
    let mut calls = 0;
    for toward in [Toward::Server, Toward::Client] {
        for after in [0, 1, 20, 150] {
            for end in [End::Reset, End::Close] {
                proxy.set(Way::Cut { toward, after, end }).await;
                let answer = w.sms(&format!("{toward:?} {after} {end:?}")).await;
                w.send_all().await;
                assert_eq!(w.message(&answer).await.progress.state, State::Parked, "{toward:?} {after} {end:?}");
                calls += usize::from(toward == Toward::Client);
                assert_eq!(w.cast.calls().len(), calls, "{toward:?} {after} {end:?}: not repeated");
                proxy.set(Way::Pass).await;
                // Three in a row would pause the key.
                let between = w.sms("between").await;
                w.send_all().await;
                assert_eq!(w.message(&between).await.progress.state, State::Accepted);
                calls += 1;
            }
        }
    }
    w.end();
}

async fn a_request_into_a_connection_just_being_closed_is_unknown_and_one_closed_while_idle_is_replaced(place: Place) {
    let (w, proxy) = behind_a_proxy(place).await;
    let first = w.sms("opens the connection").await;
    w.send_all().await;
    assert_eq!((sent(&w, &[first]).await, proxy.taken()), (1, 1));
    // Closed with the request already on the way: nobody can tell whether Cast has read it.
    proxy.set(Way::Cut { toward: Toward::Server, after: 0, end: End::Close }).await;
    let second = w.sms("into a closing one").await;
    w.send_all().await;
    assert_eq!(w.message(&second).await.progress.state, State::Parked);
    assert_eq!(proxy.taken(), 1, "on the same connection, and on no other");
    proxy.set(Way::Pass).await;
    let third = w.sms("opens another").await;
    w.send_all().await;
    proxy.end_open(End::Close).await;
    let fourth = w.sms("on a fresh one").await;
    w.send_all().await;
    assert_eq!(sent(&w, &[third, fourth]).await, 2);
    assert_eq!(w.cast.calls().len(), 3);
    w.end();
}

async fn an_answer_that_stops_half_way_is_unknown_when_it_breaks(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::SlowBody);
    let answer = w.sms("half an answer").await;
    let step = begin_step(&w, w.app.worker()).await;
    w.cast.stop().await;
    step.await.expect("a step ends").expect("the store answers");
    w.cast.restart().await.expect("its port is free");
    w.live(MINUTE).await;
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))));
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

async fn an_answer_that_lies_about_its_length_or_is_no_http_is_unknown(place: Place) {
    let taken = r#"{"success":true,"message_id":"abc","parts":1}"#;
    let mut w = World::connected(place).await;
    for says in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n{taken}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{taken}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 45\r\nContent-Length: 46\r\n\r\n{taken}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{taken}"),
        "220 smtp.example.com ESMTP\r\n".to_owned(),
        String::new(),
    ] {
        let blunt = Blunt::start(Says::Bytes(says.clone())).await;
        w = w.restart_with(&[("CAST_API_URL", blunt.url())]).await;
        let answer = w.sms("hello").await;
        w.live(MINUTE).await;
        assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))), "{says}");
        assert_eq!(blunt.asked(), 1, "{says}");
    }
    w.end();
}

async fn an_answer_without_end_is_cut_off(place: Place) {
    const HALF_A_GIBIBYTE: usize = 512 * 1024 * 1024;
    let mut w = World::connected(place).await;
    for head in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {HALF_A_GIBIBYTE}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 500 Oops\r\n\r\n".to_owned(),
        // Not even its head ends.
        "HTTP/1.1 200 OK\r\nX-Pad: ".to_owned(),
    ] {
        let blunt = Blunt::start(Says::Flood { head: head.clone(), most: HALF_A_GIBIBYTE }).await;
        w = w.restart_with(&[("CAST_API_URL", blunt.url())]).await;
        let answer = w.sms("hello").await;
        w.live(MINUTE).await;
        assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))), "{head}");
        // What the sockets between hold, and no more.
        assert!(blunt.written() < 32 * 1024 * 1024, "{} bytes of {head:?}", blunt.written());
        assert_eq!(blunt.asked(), 1);
    }
    w.end();
}

/// Messages to as many phones.
async fn campaign(w: &World) -> Vec<WebhookAnswer> {
    let mut answers = Vec::new();
    for n in 0..CAMPAIGN {
        answers.push(w.sms_to(LOCATION, &format!("0917{n:07}"), &format!("message {n}")).await);
    }
    answers
}

/// Starts as many steps as there are messages, with all the tokens a key can save up.
async fn at_once(w: &World) -> Vec<JoinHandle<Result<Step, StoreError>>> {
    // The first look begins the term, whose bucket starts empty.
    w.app.worker().step().await.expect("the store answers");
    w.pass(Duration::from_secs(3)).await;
    let step = |_| {
        let worker = w.app.worker().clone();
        tokio::spawn(async move { worker.step().await })
    };
    (0..CAMPAIGN).map(step).collect()
}

/// What a time-out comes to, half a minute later: the call ends, and no answer was seen. The client's own limit runs on
/// real time, so Cast closes its connections instead.
async fn time_out(w: &World) {
    w.pass(Duration::from_secs(30)).await;
    w.cast.stop().await;
    w.cast.restart().await.expect("its port is free");
}

/// Every message that Cast saw while it was sick is unknown and says so, all the others were sent, and none twice.
async fn assert_only_unknown(w: &World, answers: &[WebhookAnswer], sick: usize) {
    let mut unknown = 0;
    for answer in answers {
        match w.message(answer).await.progress.state {
            State::Accepted => assert_eq!(w.told(answer), Some(("delivered".into(), None))),
            State::Parked => {
                assert_eq!(w.told(answer), Some(("failed".into(), Some("unknown_outcome".into()))));
                unknown += 1;
            }
            state => panic!("{state:?}"),
        }
    }
    assert_eq!(unknown, sick);
    let mut texts = texts(w);
    texts.sort_unstable();
    texts.dedup();
    assert_eq!((texts.len(), w.cast.calls().len()), (answers.len(), answers.len()), "each once");
}

/// A bridge that reaches Cast through a proxy.
async fn behind_a_proxy(place: Place) -> (World, Proxy) {
    let w = World::connected(place).await;
    let proxy = Proxy::to(w.cast.url().trim_start_matches("http://")).await;
    let w = w.restart_with(&[("CAST_API_URL", &proxy.url())]).await;
    (w, proxy)
}
