//! The one place that reads time. Every rule gets `now` as an argument; shells ask this clock.
//!
//! Owns the choice between the machine's clocks and a test's clock that moves only when told.
//! Must not import anything but `domain::time`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::time::{Mono, UnixMillis};

/// Where time comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's wall clock and its monotonic clock that counts suspended time.
    #[default]
    System,
    /// A clock that stands still until a test moves it.
    Test(TestClock),
}

impl Clock {
    /// Wall time.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        match self {
            Self::System => system_now(),
            Self::Test(clock) => clock.read().0,
        }
    }

    /// Monotonic time.
    #[must_use]
    pub fn mono(&self) -> Mono {
        match self {
            Self::System => system_mono(),
            Self::Test(clock) => clock.read().1,
        }
    }

    /// Waits for `by`; on a test clock until the test has moved it that far.
    pub async fn sleep(&self, by: Duration) {
        match self {
            Self::System => tokio::time::sleep(by).await,
            Self::Test(clock) => clock.sleep_until(clock.read().1.after(by)).await,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one home of the wall clock")]
fn system_now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `CLOCK_BOOTTIME` counts a suspended machine's sleep, which `Instant` does not (bridge rule for leadership).
fn system_mono() -> Mono {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Mono(Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0)))
}

/// A clock for tests: both times move together, or wall time alone jumps.
#[derive(Debug, Clone)]
pub struct TestClock {
    time: Arc<watch::Sender<(UnixMillis, Mono)>>,
    /// How far this machine's wall clock is off, in milliseconds.
    wall_ahead: i64,
    /// How much longer this machine has been up.
    up_longer: Duration,
}

impl TestClock {
    /// A clock standing at `now`.
    #[must_use]
    pub fn at(now: UnixMillis) -> Self {
        let time = Arc::new(watch::Sender::new((now, Mono(Duration::from_secs(1000)))));
        Self { time, wall_ahead: 0, up_longer: Duration::ZERO }
    }

    /// The clocks of another machine over which the same time passes: its wall clock is `wall_ahead` milliseconds off, and
    /// it has been up for that much longer.
    #[must_use]
    pub fn of_another_machine(&self, wall_ahead: i64, up_longer: Duration) -> Self {
        Self { time: Arc::clone(&self.time), wall_ahead, up_longer }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.time.send_modify(|(wall, mono)| {
            *wall = wall.after(by);
            *mono = mono.after(by);
        });
    }

    /// Sets wall time alone, as an administrator or a bad NTP server would.
    pub fn set_wall(&self, now: UnixMillis) {
        self.time.send_modify(|(wall, _)| *wall = UnixMillis(now.0.saturating_sub(self.wall_ahead)));
    }

    /// How many sleep on this clock now.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.time.receiver_count()
    }

    fn read(&self) -> (UnixMillis, Mono) {
        let (wall, mono) = *self.time.borrow();
        (UnixMillis(wall.0.saturating_add(self.wall_ahead)), mono.after(self.up_longer))
    }

    async fn sleep_until(&self, until: Mono) {
        let mut seen = self.time.subscribe();
        // The sender lives in `self`, so waiting cannot fail while we hold it.
        let _ = seen.wait_for(|(_, mono)| mono.after(self.up_longer) >= until).await;
    }
}
