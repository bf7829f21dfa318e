//! Stepping one of several processes on a world's store: leading, sending, reporting, with the world's clock in hand.
//!
//! Invariant: time moves only here and in the case; a process that is to go on leading beats as often as its loop would.

use std::time::Duration;

use cast_ghl_provider::app::App;
use cast_ghl_provider::delivery::Outbound;
use cast_ghl_provider::domain::leadership::BEAT_EVERY;
use cast_ghl_provider::queue::{Step, Worker};
use cast_ghl_provider::store::{Collection, Discovered, Discovery, StoreError};

use super::world::World;

pub type Running = tokio::task::JoinHandle<Result<Step, StoreError>>;

/// Looks until this process leads.
pub async fn lead(w: &World, app: &App) {
    for _ in 0..40 {
        app.leadership().step().await.expect("the store answers");
        if app.leadership().right().is_some() {
            return;
        }
        w.clock.advance(Duration::from_secs(1));
    }
    panic!("nobody took over");
}

/// The leader goes silent until the standby has taken over.
pub async fn silence(w: &World, standby: &App) {
    standby.leadership().step().await.expect("the store answers");
    w.clock.advance(Duration::from_secs(16));
    lead(w, standby).await;
}

/// Time passes, and this process leads all through it.
pub async fn pass(w: &World, leader: &App, by: Duration) {
    let mut left = by;
    while !left.is_zero() {
        let step = left.min(BEAT_EVERY);
        w.clock.advance(step);
        left -= step;
        leader.leadership().step().await.expect("the store answers");
    }
}

/// Sends until there is nothing to do at this moment of the clock, waiting out the pacing.
pub async fn drain(w: &World, leader: &App) {
    let mut unbeaten = Duration::ZERO;
    for _ in 0..20_000 {
        match leader.worker().step().await.expect("the store answers") {
            Step::Worked(_) => {}
            Step::Idle(Some(wait)) if wait <= Duration::from_secs(2) => {
                let wait = wait.max(Duration::from_millis(1));
                w.clock.advance(wait);
                unbeaten += wait;
                if unbeaten >= BEAT_EVERY {
                    leader.leadership().step().await.expect("the store answers");
                    unbeaten = Duration::ZERO;
                }
            }
            Step::Idle(_) => return,
            Step::NotLeader => panic!("it does not lead"),
        }
    }
    panic!("the worker never rests");
}

/// Sends and waits until no message is open any more.
pub async fn settle(w: &World, leader: &App) {
    for _ in 0..200 {
        drain(w, leader).await;
        if open(leader).await == 0 {
            return;
        }
        pass(w, leader, Duration::from_secs(20)).await;
    }
    panic!("messages stay open");
}

/// How many messages are open.
pub async fn open(app: &App) -> usize {
    let found = app.store().discover(Collection::Messages, &mut Discovery::default()).await;
    let (Discovered::Whole(open) | Discovered::New(open)) = found.expect("the store answers");
    open.len()
}

/// Reports over the next half minute.
pub async fn report(w: &World, leader: &App) {
    for _ in 0..15 {
        while leader.reporter().step().await.expect("the store answers") > 0 {}
        pass(w, leader, Duration::from_secs(2)).await;
    }
}

/// Starts a step that hangs in the call, and waits until Cast has the call.
pub async fn begin_step(w: &World, worker: &Worker<Outbound>) -> Running {
    let before = w.cast.calls().len();
    loop {
        let stepping = worker.clone();
        let mut step = tokio::spawn(async move { stepping.step().await });
        tokio::select! {
            () = w.cast.until(|cast| cast.calls().len() > before) => return step,
            // A bucket starts empty.
            ended = &mut step => match ended.expect("no panic").expect("the store answers") {
                Step::Idle(Some(wait)) => w.clock.advance(wait.max(Duration::from_millis(1))),
                step => panic!("no call was made: {step:?}"),
            },
        }
    }
}
