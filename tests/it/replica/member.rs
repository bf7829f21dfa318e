//! A process as its own loops would run it: it beats or looks when that is due and sends what it may, one moment of the
//! injected clock after the other.

use std::time::Duration;

use cast_ghl_provider::app::App;
use cast_ghl_provider::clock::{Clock, TestClock};
use cast_ghl_provider::domain::leadership::{BEAT_EVERY, LOOK_EVERY};
use cast_ghl_provider::domain::time::Mono;
use cast_ghl_provider::queue::Step;

use crate::support::world::World;

pub struct Member {
    pub app: App,
    clock: Clock,
    next: Mono,
}

impl Member {
    /// A process that begins now. The first three of a world share its clock or have their own.
    pub async fn start(w: &World, clock: &TestClock, extra: &[(&str, &str)]) -> Self {
        let app = w.replica_on(clock, extra).await;
        let clock = Clock::Test(clock.clone());
        let next = clock.mono();
        Self { app, clock, next }
    }

    pub fn leads(&self) -> bool {
        self.app.leadership().right().is_some()
    }

    /// What its leadership loop does at this moment (`Leadership::run`): a beat every three seconds, a look every second.
    pub async fn stand(&mut self) {
        if self.clock.mono() >= self.next {
            self.app.leadership().step().await.expect("the store answers");
            self.next = self.clock.mono().after(if self.leads() { BEAT_EVERY } else { LOOK_EVERY });
        }
    }

    /// Sends what may be sent at this moment.
    pub async fn send(&self) {
        while let Step::Worked(_) = self.app.worker().step().await.expect("the store answers") {}
    }

    /// Tells what is due at this moment.
    pub async fn report(&self) {
        while self.app.reporter().step().await.expect("the store answers") > 0 {}
    }
}

/// Time passes in ticks, and every member does at each what it would.
pub async fn live(w: &World, members: &mut [Member], by: Duration) {
    const TICK: Duration = Duration::from_millis(250);
    let mut left = by;
    while !left.is_zero() {
        let tick = left.min(TICK);
        w.clock.advance(tick);
        left -= tick;
        for member in &mut *members {
            member.stand().await;
            member.send().await;
            member.report().await;
        }
    }
}

/// Which of them leads.
pub fn leader(members: &[Member]) -> Option<usize> {
    let leading: Vec<usize> = (0..members.len()).filter(|n| members[*n].leads()).collect();
    assert!(leading.len() <= 1, "{leading:?} lead at once");
    leading.first().copied()
}
