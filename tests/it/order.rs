//! Order and fairness: a lane keeps its order whatever Cast answers and whenever the process dies, and a campaign of one
//! location does not hold up another's message. Judged by what the fake Cast took, when, on the injected clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cast_ghl_provider::domain::id::{DocId, GhlMessageId, LocationId};
use cast_ghl_provider::domain::message::{Intake, Message, State};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::fake::cast::{CastCall, CastFault};
use cast_ghl_provider::queue::Step;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};

use crate::support::dice::Dice;
use crate::support::step;
use crate::support::world::{LOCATION, Place, World, json};
use crate::{Cases, cases};

const OTHER: &str = "LOCother000000000002";
const PHONES: [&str; 3] = ["+639171110001", "+639171110002", "+639171110003"];
/// More than Cast takes at once: two or three parts.
const LONG: usize = 900;

pub fn cases() -> Cases<Place> {
    cases![
        lanes_keep_their_order_through_refusals_outages_and_crashes_seed_1,
        lanes_keep_their_order_through_refusals_outages_and_crashes_seed_2,
        lanes_keep_their_order_through_refusals_outages_and_crashes_seed_3,
        a_campaign_delays_the_single_message_of_another_location_by_two_seconds_at_most,
        a_campaign_of_long_messages_delays_another_location_no_more_than_one_of_short_ones,
        a_single_message_of_several_parts_passes_a_campaign_within_two_seconds_too,
    ]
}

/// Cases for the embedded store alone: on MongoDB a step walks all that is open, which takes the stand-in seconds.
pub fn embedded_cases() -> Cases<Place> {
    cases![a_campaign_of_ten_thousand_delays_the_single_message_of_another_location_by_two_seconds_at_most]
}

async fn lanes_keep_their_order_through_refusals_outages_and_crashes_seed_1(place: Place) {
    play(place, 1).await;
}

async fn lanes_keep_their_order_through_refusals_outages_and_crashes_seed_2(place: Place) {
    play(place, 2).await;
}

async fn lanes_keep_their_order_through_refusals_outages_and_crashes_seed_3(place: Place) {
    play(place, 3).await;
}

/// The messages of each lane in order of acceptance, by `_id`.
type Ledger = BTreeMap<(&'static str, &'static str), Vec<String>>;

/// A random life of six lanes, until everything is settled.
async fn play(place: Place, seed: u64) {
    let mut dice = Dice::of(seed);
    let mut w = World::connected(place).await;
    w.install(OTHER).await;
    let mut ledger = Ledger::new();
    for _ in 0..90 {
        match dice.below(20) {
            0..8 => {
                let lane = ([LOCATION, OTHER][dice.below(2)], PHONES[dice.below(3)]);
                let text = if dice.below(8) == 0 { "word ".repeat(LONG / 5) } else { "word".to_owned() };
                let answer = w.sms_to(lane.0, lane.1, &text).await;
                let id = json(&answer)["id"].as_str().expect("accepted").to_owned();
                ledger.entry(lane).or_default().push(id);
            }
            8..11 => w.cast.fault_next(some_fault(&mut dice)),
            11..15 => one_step(&w).await,
            15..18 => several_steps(&w).await,
            18 => w.pass(Duration::from_secs(40)).await,
            _ => w = die(w, &mut dice).await,
        }
    }
    step::settle(&w, &w.app).await;
    w.pass(Duration::from_secs(60)).await;
    let taken = w.cast.taken();
    assert!(taken.len() > 10, "too little happened: {}", taken.len());
    for ((location, phone), sent) in &ledger {
        in_order(&taken, sent, &format!("seed {seed}, lane {location} {phone}"));
        for id in sent {
            accounted_for(&w, &taken, id).await;
        }
    }
    w.end();
}

/// Everything Cast can answer that leaves the order promised: a part nobody knows of is parked, and what follows it goes on.
fn some_fault(dice: &mut Dice) -> CastFault {
    match dice.below(10) {
        0 => CastFault::RateLimited { retry_after: None },
        1 => CastFault::RateLimited { retry_after: Some("3".to_owned()) },
        2 => CastFault::KeyRefused(401),
        3 => CastFault::Status(400, r#"{"success":false,"error":"Invalid content"}"#.to_owned()),
        4 => CastFault::SuccessFalse("Blocked".to_owned()),
        5 => CastFault::StatusAfterTaking(502),
        6 => CastFault::ResetAfterTaking,
        7 => CastFault::ResetBeforeTaking,
        8 => CastFault::Status(503, String::new()),
        _ => CastFault::Pass,
    }
}

async fn one_step(w: &World) {
    w.app.leadership().step().await.expect("the store answers");
    match w.app.worker().step().await.expect("the store answers") {
        Step::Worked(_) | Step::Idle(None) => {}
        Step::Idle(Some(wait)) => w.clock.advance(wait.clamp(Duration::from_millis(1), Duration::from_secs(2))),
        Step::NotLeader => panic!("it does not lead"),
    }
}

/// As the loop does: several messages under way at once.
async fn several_steps(w: &World) {
    w.clock.advance(Duration::from_millis(200));
    w.app.leadership().step().await.expect("the store answers");
    for stepped in join_all((0..4).map(|_| w.app.worker().step())).await {
        stepped.expect("the store answers");
    }
}

/// The process is killed between two steps, or amid a call that Cast took or did not.
async fn die(w: World, dice: &mut Dice) -> World {
    if dice.below(2) == 0 && step::open(&w.app).await > 0 {
        w.cast.fault_all(Some(CastFault::Hang { after_taking: dice.below(2) == 0 }));
        let worker = w.app.worker().clone();
        let calls = w.cast.calls().len();
        let cast = w.cast.clone();
        tokio::select! {
            // It may have nothing to send now, or meet a fault of before. Else it is dropped amid the call, as a kill does.
            stepped = async move { worker.step().await } => drop(stepped.expect("the store answers")),
            () = cast.until(|cast| cast.calls().len() > calls) => {}
        }
        w.cast.fault_all(None);
    }
    w.restart().await
}

/// What Cast took of a lane, in the order it took it, is the order of acceptance, each part once.
fn in_order(taken: &[CastCall], sent: &[String], lane: &str) {
    let place = |call: &CastCall| {
        let key = call.idempotency_key.as_deref()?;
        let (rest, generation) = key.rsplit_once('/')?;
        assert_eq!(generation, "0", "nobody asked for a resend");
        let (id, part) = rest.rsplit_once('/')?;
        let message = sent.iter().position(|known| known == id)?;
        Some((message, part.parse::<usize>().ok()?))
    };
    let seen: Vec<(usize, usize)> = taken.iter().filter_map(place).collect();
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "{lane}: a part was taken twice: {seen:?}");
    assert!(seen.is_sorted(), "{lane}: out of order: {seen:?}");
}

/// A message is settled; what was never taken is not called accepted, and what was is not called unsent.
async fn accounted_for(w: &World, taken: &[CastCall], id: &str) {
    let stored = w.app.store().get::<Message>(&DocId(id.to_owned())).await.expect("the store answers");
    let progress = stored.expect("a message").record.progress;
    let of_it =
        |call: &&CastCall| call.idempotency_key.as_deref().is_some_and(|key| key.starts_with(&format!("{id}/")));
    let parts = taken.iter().filter(of_it).count();
    match progress.state {
        State::Accepted => assert_eq!(parts, progress.parts.len(), "{id}"),
        State::Rejected => assert!(parts < progress.parts.len(), "{id}: sent, and called rejected"),
        State::Parked => {}
        state => panic!("{id} ended {state:?}"),
    }
}

async fn a_campaign_of_ten_thousand_delays_the_single_message_of_another_location_by_two_seconds_at_most(place: Place) {
    delays(place, 10_000).await;
}

async fn a_campaign_delays_the_single_message_of_another_location_by_two_seconds_at_most(place: Place) {
    delays(place, 300).await;
}

async fn delays(place: Place, size: u32) {
    let w = campaign(place, size, "Big sale today").await;
    for _ in 0..3 {
        send_some(&w, 20).await;
        assert!(delay(&w, "hello").await <= Duration::from_secs(2));
    }
    w.end();
}

async fn a_campaign_of_long_messages_delays_another_location_no_more_than_one_of_short_ones(place: Place) {
    let w = campaign(place, 100, &"A long story. ".repeat(LONG / 14)).await;
    send_some(&w, 20).await;
    assert!(delay(&w, "hello").await <= Duration::from_secs(2));
    w.end();
}

async fn a_single_message_of_several_parts_passes_a_campaign_within_two_seconds_too(place: Place) {
    let w = campaign(place, 100, "Big sale today").await;
    send_some(&w, 20).await;
    assert!(delay(&w, &"A long story. ".repeat(LONG / 14)).await <= Duration::from_secs(2));
    w.end();
}

/// A bridge with that many messages of one location queued, each to a phone of its own, and another location.
async fn campaign(place: Place, size: u32, text: &str) -> World {
    let w = World::connected(place).await;
    w.install(OTHER).await;
    enqueue_text(&w, LOCATION, 0, size, text).await;
    w
}

/// So many more messages of a location, from that number on, each to a phone of its own, stored as the way in stores them.
pub async fn enqueue(w: &World, location: &str, from: u32, count: u32) {
    enqueue_text(w, location, from, count, "Big sale today").await;
}

async fn enqueue_text(w: &World, location: &str, from: u32, count: u32, text: &str) {
    let inserts = (from..from + count).map(|n| {
        let store = w.app.store().clone();
        let message = queued(location, &format!("+63918{n:07}"), text, n, w.now());
        async move { store.insert(&message).await.expect("the store answers") }
    });
    stream::iter(inserts).buffer_unordered(16).count().await;
}

fn queued(location: &str, phone: &str, text: &str, n: u32, at: UnixMillis) -> Message {
    let intake = Intake {
        location: LocationId::parse(location).expect("an id"),
        message_id: GhlMessageId::parse(&format!("MSGcampaign{n:09}")).expect("an id"),
        contact_id: None,
        conversation_id: None,
        phone: Some(phone.to_owned()),
        text: Some(text.to_owned()),
        attachments: Vec::new(),
        user_id: None,
    };
    Message::accept(intake, at, "campaign", u64::from(n))
}

/// So many SMS more go out, at the pace of the key.
async fn send_some(w: &World, count: usize) {
    let until = w.cast.taken_count() + count;
    while w.cast.taken_count() < until {
        one_step(w).await;
    }
}

/// From the acceptance of a message of the other location to the moment Cast has taken all of it.
async fn delay(w: &World, text: &str) -> Duration {
    let accepted = w.now();
    let answer = w.sms_to(OTHER, PHONES[0], text).await;
    for _ in 0..200 {
        one_step(w).await;
        if w.message(&answer).await.progress.state == State::Accepted {
            return w.now().since(accepted);
        }
    }
    panic!("two hundred steps, and it was not sent");
}
