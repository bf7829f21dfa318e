//! A worker over a real embedded store, with a handler whose call and timing are the test's.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::clock::TestClock;
use crate::domain::id::GhlMessageId;
use crate::domain::message::{AttemptResult, Intake, State};
use crate::leader::Kind;
use crate::lifecycle::Bell;
use crate::store::EmbeddedStore;

/// A directory of this test alone, gone with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("cast-ghl-worker-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Something happens while a message is prepared.
struct WhilePreparing {
    happens: Box<dyn Fn() + Send + Sync>,
    calls: Arc<AtomicUsize>,
}

impl Handler for WhilePreparing {
    async fn prepare(&self, _: &Message, _: UnixMillis) -> Result<Prepared, StoreError> {
        (self.happens)();
        let part = PartRecord { text: "x".into(), segments: 1, accepted: false, gateway_id: None, receipt: None };
        let terms = Terms { api_key: "cast_key".into(), sender_id: None, status_on_accept: None, reserved_in: None };
        let phone = Phone::parse("09171234567").expect("a mobile");
        Ok(Prepared::Send { phone, parts: vec![part], key: key(), terms })
    }

    async fn key_of(&self, _: &LocationId) -> Result<KeyName, StoreError> {
        Ok(key())
    }

    async fn send(&self, _: Call) -> SendOutcome {
        self.calls.fetch_add(1, Ordering::Relaxed);
        SendOutcome::Accepted { gateway_id: None, parts: None }
    }

    async fn may_go(&self, _: &LocationId) -> Result<bool, StoreError> {
        Ok(true)
    }
}

fn key() -> KeyName {
    KeyName::of(&"cast_key".into())
}

fn message() -> Message {
    let intake = Intake {
        location: LocationId::parse("L1").expect("an id"),
        message_id: GhlMessageId::parse("m1").expect("an id"),
        contact_id: None,
        conversation_id: None,
        phone: Some("09171234567".into()),
        text: Some("x".into()),
        attachments: Vec::new(),
        user_id: None,
    };
    Message::accept(intake, UnixMillis(1_000), "replica", 1)
}

/// Works on one message while that happens; answers how often Cast was called and what is left of the message.
async fn worked_on(
    name: &str,
    kind: Kind,
    happens: impl FnOnce(TestClock, Stop) -> Box<dyn Fn() + Send + Sync>,
) -> (usize, crate::domain::message::Progress) {
    let dir = Dir::new(name);
    let store = Store::Embedded(EmbeddedStore::open(&dir.0).expect("a store"));
    let (clock, metrics, stop) = (TestClock::at(UnixMillis(1_000)), Metrics::default(), Stop::default());
    let time = Clock::Test(clock.clone());
    let leadership = Leadership::new(kind, store.clone(), time.clone(), metrics.clone(), Bell::default());
    leadership.step().await.expect("it leads");
    store.insert(&message()).await.expect("stored");
    let calls = Arc::new(AtomicUsize::new(0));
    let parts = WorkerParts {
        store: store.clone(),
        clock: time,
        leadership,
        handler: WhilePreparing { happens: happens(clock.clone(), stop.clone()), calls: Arc::clone(&calls) },
        rules: Rules::default(),
        pace: Pace { per_second: 10, burst: 10 },
        bells: Bells::default(),
        condition: Condition::default(),
        metrics,
        sole: kind == Kind::Sole,
    };
    let worker = Worker::new(parts, stop);
    worker.step().await.expect("the bucket starts empty");
    clock.advance(Duration::from_secs(1));
    assert_eq!(worker.step().await.expect("the store answers"), Step::Worked(message().id));
    let left = store.get::<Message>(&message().id).await.expect("the store answers").expect("a message");
    (calls.load(Ordering::Relaxed), left.record.progress)
}

#[tokio::test]
async fn a_message_claimed_when_shutdown_begins_is_not_called_and_waits_for_the_next_process() {
    let (calls, left) = worked_on("stop", Kind::Sole, |_, stop| Box::new(move || stop.begin())).await;
    assert_eq!((calls, left.state, left.crashes), (0, State::Queued, 0));
    assert_eq!(results(&left), [AttemptResult::NotSent]);
}

#[tokio::test]
async fn a_leader_whose_right_lapsed_before_its_sending_was_acknowledged_makes_no_call() {
    let lapse = |clock: TestClock, _| -> Box<dyn Fn() + Send + Sync> {
        Box::new(move || clock.advance(crate::domain::leadership::RIGHT))
    };
    let (calls, left) = worked_on("lapse", Kind::Elected, lapse).await;
    assert_eq!((calls, left.state), (0, State::Queued));
    assert_eq!(results(&left), [AttemptResult::NotSent]);
}

fn results(left: &crate::domain::message::Progress) -> Vec<AttemptResult> {
    left.attempts.iter().map(|a| a.result).collect()
}
