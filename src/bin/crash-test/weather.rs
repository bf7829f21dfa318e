//! What the vendors do to the bridges besides: latency that changes all the time, and some faults if the seed says so.
//!
//! Owns the knobs of the fakes while it blows. Invariant: a fault is queued only after a call since the last one, so that a
//! silence does not pile up faults for the first calls after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::fake::cast::{CastFault, FakeCast};
use cast_ghl_provider::fake::ghl::{FakeGhl, GhlFault};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::dice::Dice;
use super::stage::Stage;

/// Faults in a thousand changes of the weather, of which there are about 45 a second.
const FAULTS: [u32; 3] = [0, 10, 40];
/// Cast's slowest honest answer.
const SLOWEST: u32 = 60;
/// A call that hangs is let go about this often.
const RELEASE: u32 = 30;
/// Where GHL is told what became of a message.
const STATUS: &str = "/conversations/messages/";

/// The weather, until it is cleared.
pub(super) struct Weather {
    task: JoinHandle<()>,
    cast: FakeCast,
    ghl: FakeGhl,
    /// Queued for Cast so far.
    faults: Arc<AtomicUsize>,
}

impl Weather {
    pub(super) fn start(stage: &Stage, seed: u64) -> Self {
        let mut dice = Dice::new(seed, "weather");
        let faults = dice.pick(&FAULTS).copied().unwrap_or_default();
        println!("crash-test: Cast answers after 0 to {SLOWEST} ms; faults in {faults} of 1000 moments");
        let (cast, ghl) = (stage.cast.clone(), stage.ghl.clone());
        let queued = Arc::new(AtomicUsize::new(0));
        let blow = blow(cast.clone(), ghl.clone(), stage.clock.clone(), dice, faults, Arc::clone(&queued));
        Self { task: tokio::spawn(blow), cast, ghl, faults: queued }
    }

    /// Both vendors are well from now on.
    /// Answers how many faults Cast was given.
    pub(super) async fn clear(self) -> usize {
        self.task.abort();
        // Its end by abortion is what was asked for.
        let _ = self.task.await;
        self.cast.set_latency(Duration::ZERO);
        self.cast.release();
        self.ghl.release();
        self.faults.load(Ordering::Relaxed)
    }
}

async fn blow(cast: FakeCast, ghl: FakeGhl, clock: Clock, mut dice: Dice, faults: u32, queued: Arc<AtomicUsize>) {
    let (mut sends, mut reports) = (cast.changes(), ghl.changes());
    loop {
        clock.sleep(dice.millis(5..=40)).await;
        cast.set_latency(dice.millis(0..=SLOWEST));
        if moved(&mut sends) && dice.chance(faults) {
            cast.fault_next(cast_fault(&mut dice));
            queued.fetch_add(1, Ordering::Relaxed);
        }
        if moved(&mut reports) && dice.chance(faults) {
            ghl.fault_next(STATUS, ghl_fault(&mut dice));
        }
        if dice.chance(RELEASE) {
            cast.release();
        }
    }
}

fn moved(changes: &mut watch::Receiver<u64>) -> bool {
    let moved = changes.has_changed().unwrap_or(false);
    changes.mark_unchanged();
    moved
}

fn cast_fault(dice: &mut Dice) -> CastFault {
    match dice.within(0..=9) {
        0 => CastFault::StatusAfterTaking(502),
        1 => CastFault::Status(503, r#"{"success":false,"error":"busy"}"#.to_owned()),
        2 => CastFault::ResetAfterTaking,
        3 => CastFault::ResetBeforeTaking,
        4 => CastFault::Garbage,
        5 => CastFault::Hang { after_taking: true },
        6 => CastFault::Hang { after_taking: false },
        7 => CastFault::SuccessFalse("Blocked by the carrier".to_owned()),
        8 => CastFault::RateLimited { retry_after: None },
        _ => CastFault::RateLimited { retry_after: Some("1".to_owned()) },
    }
}

fn ghl_fault(dice: &mut Dice) -> GhlFault {
    match dice.within(0..=3) {
        0 => GhlFault::StatusAfterApplying(502),
        1 => GhlFault::Reset { after_applying: true },
        2 => GhlFault::Reset { after_applying: false },
        _ => GhlFault::refusal(503, "Service unavailable"),
    }
}
