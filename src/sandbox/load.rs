//! Load: messages sent at planned times, whatever the bridge does, and what became of every single one.
//!
//! Invariant: the sender is open-loop. Each message has its time, and its latency counts from there, so a bridge that
//! stalls is charged for every message that had to wait. Every accepted message must be taken by Cast once and only once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answer::Due;
use super::browser;
use super::latency::Latency;
use super::live::Live;
use super::reconcile::{Outcome, Reconciled, reconcile};
use super::stage::{Stage, WIDE_RATE};
use super::table::{self, Row};
use crate::domain::time::Mono;
use crate::fake::WebhookAnswer;
use crate::fake::ghl::{DEFAULT_COMPANY, Install, OutboundSms};
use crate::signature::Scheme;

/// Bounds of the rate, in messages a second. Faster than a clock of milliseconds can plan is no plan.
pub(super) const SLOWEST: f64 = 0.1;
pub(super) const FASTEST: f64 = 100_000.0;

/// Webhooks under way at once; a message beyond waits, and its wait is counted.
const AT_ONCE: usize = 256;
/// A sub-account sends this many messages, so that GHL, told at most 8 a second each, hears of all in about 10 s.
const PER_LOCATION: u32 = 100;
const FEWEST_LOCATIONS: u32 = 8;
const MOST_LOCATIONS: u32 = 100;
/// Phones of a sub-account: fewer than its messages, so that some have to keep their order.
const PHONES: u32 = 60;
/// How long GHL is given to hear of all; more messages than 100 sub-accounts can report by then is no fault.
const TELLING: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Drives it; whether every accepted message was sent once, and both contracts were kept.
pub(super) async fn drive(live: &mut Live<'_>, messages: NonZeroU32, rate: f64) -> bool {
    let played = play(live, messages.get(), rate).await;
    live.stage.screen.rest();
    live.watch.skip(&live.stage.cast, &live.stage.ghl);
    match played {
        Ok(rows) => {
            live.stage.screen.block(&format!("{}\n", table::render(&rows)));
            let right = table::all_right(&rows);
            live.say(if right { "Every accepted message was sent exactly once." } else { "NOT everything is right." });
            right
        }
        Err(e) => {
            live.say(&format!("WRONG: {e:#}."));
            false
        }
    }
}

async fn play(live: &mut Live<'_>, messages: u32, rate: f64) -> anyhow::Result<Vec<Row>> {
    let stage = live.stage;
    let locations = messages.div_ceil(PER_LOCATION).clamp(FEWEST_LOCATIONS, MOST_LOCATIONS);
    install(stage, locations).await?;
    live.say(&format!("{locations} sub-accounts are connected."));
    live.say(&format!(
        "Both vendors are made fast: Cast takes {WIDE_RATE} SMS a second, GHL has no limits. So the bridge is measured, on this disk."
    ));
    if cfg!(debug_assertions) {
        live.say("This is a debug build: `cargo run --release` is several times faster.");
    }
    live.say(&format!("{messages} messages, {rate} a second, each signed with Ed25519."));

    let began = stage.clock.mono();
    let sent = send(stage, messages, rate, locations, began).await?;
    let answered = stage.clock.mono();
    let accepted = sent.iter().filter(|sent| sent.outcome == Outcome::Accepted).count();
    live.say(&pace("Webhooks accepted", accepted, answered.since(began)));
    if let Some(latency) = Latency::of(sent.iter().map(|sent| sent.latency).collect()) {
        live.say(&format!("From the planned moment to the answer: {latency}."));
    }

    drained(stage, accepted).await?;
    let drained = stage.clock.mono();
    live.say(&format!("Cast had taken all {:.2} s after the last answer.", drained.since(answered).as_secs_f64()));
    live.say(&pace("From the first webhook to the last SMS", accepted, drained.since(began)));

    let told = told(stage, accepted, began).await;
    let took = stage.clock.mono().since(began).as_secs_f64();
    live.say(&format!("GHL was told of {told} of {accepted} messages {took:.1} s after the first webhook."));
    let outcomes: Vec<Outcome> = sent.iter().map(|sent| sent.outcome).collect();
    let counted = stage.bridge.metrics().await?.of("webhooks", "accepted");
    Ok(rows(stage, &outcomes, counted, told))
}

async fn install(stage: &Stage, locations: u32) -> anyhow::Result<()> {
    for n in 0..locations {
        stage.ghl.next_install(Install::location(&location(n), DEFAULT_COMPANY));
        browser::install(stage, "Connected").await?;
    }
    Ok(())
}

/// What became of one webhook.
struct Sent {
    outcome: Outcome,
    latency: Duration,
}

/// Sends all at their times; in the order they were planned.
async fn send(stage: &Stage, messages: u32, rate: f64, locations: u32, began: Mono) -> anyhow::Result<Vec<Sent>> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut under_way: JoinSet<(u32, Sent)> = JoinSet::new();
    let launch = async {
        for n in 0..messages {
            let planned = began.after(Duration::from_secs_f64(f64::from(n) / rate));
            let early = planned.since(stage.clock.mono());
            if !early.is_zero() {
                stage.clock.sleep(early).await;
            }
            let slot = Arc::clone(&slots).acquire_owned().await?;
            let (ghl, keys, clock) = (stage.ghl.clone(), Arc::clone(&stage.keys), stage.clock.clone());
            let answered = Arc::clone(&answered);
            let sms = OutboundSms::new(&location(n % locations), &phone(n % locations, n / locations), &text(n));
            under_way.spawn(async move {
                let answer = ghl.send_sms(&sms, keys.of(Scheme::Ed25519)).await;
                let latency = clock.mono().since(planned);
                drop(slot);
                answered.fetch_add(1, Ordering::Relaxed);
                (n, Sent { outcome: outcome(&answer), latency })
            });
        }
        let mut sent = under_way.join_all().await;
        sent.sort_unstable_by_key(|(n, _)| *n);
        anyhow::Ok(sent.into_iter().map(|(_, sent)| sent).collect())
    };
    tokio::pin!(launch);
    loop {
        tokio::select! {
            sent = &mut launch => return sent,
            () = stage.clock.sleep(LOOK_EVERY) => stage.screen.progress(&format!(
                "{} of {messages} webhooks answered, {} SMS taken.",
                answered.load(Ordering::Relaxed),
                stage.cast.taken_count(),
            )),
        }
    }
}

fn outcome(answer: &WebhookAnswer) -> Outcome {
    match answer.status {
        _ if Due::Accepted.is(answer) => Outcome::Accepted,
        Some(429) => Outcome::Later,
        _ => Outcome::Other,
    }
}

/// Waits until Cast has taken what was accepted; a message that was stored but not answered in time may come on top.
async fn drained(stage: &Stage, accepted: usize) -> anyhow::Result<()> {
    let mut live = Live::quiet(stage);
    let progress = |stage: &Stage| format!("{} of {accepted} SMS taken.", stage.cast.taken_count());
    live.wait("Cast to take every accepted message", progress, |stage| stage.cast.taken_count() >= accepted).await
}

/// Waits until GHL has been told of all, or for a minute; how many it was.
async fn told(stage: &Stage, accepted: usize, began: Mono) -> usize {
    let limit = stage.clock.mono().after(TELLING);
    loop {
        let told = stage.ghl.told_count();
        let now = stage.clock.mono();
        if told >= accepted || now >= limit || !stage.bridge.is_running() {
            return told;
        }
        let seconds = now.since(began).as_secs();
        stage.screen.progress(&format!("GHL was told of {told} of {accepted} messages, {seconds} s."));
        stage.clock.sleep(LOOK_EVERY).await;
    }
}

fn rows(stage: &Stage, outcomes: &[Outcome], counted: usize, told: usize) -> Vec<Row> {
    let (ghl, cast) = (&stage.ghl, &stage.cast);
    let count = |outcome| outcomes.iter().filter(|o| **o == outcome).count();
    let accepted = count(Outcome::Accepted);
    let taken = cast.taken();
    let texts = taken.iter().map(|call| call.message.as_deref().and_then(number));
    let Reconciled { once, missing, twice, strange } = reconcile(outcomes, texts);
    vec![
        Row::any("GHL", "webhooks answered accepted", accepted),
        Row::any("GHL", "webhooks to be sent again (429)", count(Outcome::Later)),
        Row::exactly("GHL", "webhooks answered otherwise, or not at all", 0, count(Outcome::Other)),
        Row::any("GHL", "messages it was told of (waited a minute at most)", told),
        Row::exactly("GHL", "calls that break its contract", 0, ghl.breaches().len() + ghl.unexpected().len()),
        Row::exactly("Bridge", "webhooks it counted as accepted", accepted, counted),
        Row::exactly("Cast", "accepted messages taken once", accepted, once),
        Row::exactly("Cast", "accepted messages not taken", 0, missing),
        Row::exactly("Cast", "messages taken twice", 0, twice),
        Row::exactly("Cast", "SMS nobody sent", 0, strange),
        Row::exactly("Cast", "calls it did not take", 0, cast.calls().len() - taken.len()),
        Row::exactly("Cast", "calls that break its contract", 0, cast.breaches().len() + cast.unexpected().len()),
    ]
}

fn pace(what: &str, count: usize, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(f64::EPSILON);
    #[expect(clippy::cast_precision_loss, reason = "a count of messages, far below 2⁵³")]
    let rate = count as f64 / seconds;
    format!("{what}: {count} in {seconds:.2} s, {rate:.0} a second.")
}

fn location(n: u32) -> String {
    format!("LOCload{n:013}")
}

/// The number of a sub-account's contact; every sub-account has its own.
fn phone(location: u32, contact: u32) -> String {
    format!("+63918{location:03}{:04}", contact % PHONES)
}

const TEXT: &str = "Load test message ";

fn text(n: u32) -> String {
    format!("{TEXT}{n}")
}

/// Which message a text is.
fn number(text: &str) -> Option<u32> {
    text.strip_prefix(TEXT)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::LocationId;
    use crate::domain::phone::Phone;

    #[test]
    fn every_sub_account_and_phone_is_a_valid_one_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for n in 0..MOST_LOCATIONS {
            assert!(LocationId::parse(&location(n)).is_ok());
            for contact in 0..PHONES {
                assert_eq!(Phone::parse(&phone(n, contact)).unwrap().e164(), phone(n, contact));
                assert!(seen.insert(phone(n, contact)));
            }
        }
    }

    #[test]
    fn a_text_tells_which_message_it_is() {
        assert_eq!(number(&text(4711)), Some(4711));
        assert_eq!(number("Hello"), None);
    }

    #[test]
    fn a_429_is_asked_again_later_and_everything_else_is_not_in_order() {
        let answer = |status, body: &str| {
            outcome(&WebhookAnswer { status, body: body.to_owned(), elapsed_ms: 0, message_id: None })
        };
        assert_eq!(answer(Some(200), r#"{"status":"accepted"}"#), Outcome::Accepted);
        assert_eq!(answer(Some(429), "{}"), Outcome::Later);
        assert_eq!(answer(Some(200), r#"{"status":"ignored"}"#), Outcome::Other);
        assert_eq!(answer(Some(500), "{}"), Outcome::Other);
        assert_eq!(answer(None, ""), Outcome::Other);
    }
}
