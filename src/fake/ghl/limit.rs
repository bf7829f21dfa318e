//! GHL's rate limit as its headers tell it: so many calls in an interval, so many a day.
//!
//! Owns the window of one location or company. The interval slides, which is the strictest reading: who keeps below it
//! keeps below every other. A refused call costs nothing. Pure: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;

use crate::domain::time::{Mono, UnixMillis};
use crate::fake::wire::set_header;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The limits of one app in one location or company (ghl contract §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Calls in an interval.
    pub max: usize,
    /// The interval.
    pub interval: Duration,
    /// Calls in a UTC day.
    pub daily: u32,
}

impl Default for RateLimit {
    /// 100 in 10 s, 200,000 a day.
    fn default() -> Self {
        Self { max: 100, interval: Duration::from_secs(10), daily: 200_000 }
    }
}

/// What the limit headers of one answer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    limit: RateLimit,
    remaining: usize,
    daily_remaining: u32,
}

impl Standing {
    pub(super) fn write(&self, answer: &mut Response<Body>) {
        let headers = [
            ("x-ratelimit-max", self.limit.max.to_string()),
            ("x-ratelimit-remaining", self.remaining.to_string()),
            ("x-ratelimit-interval-milliseconds", self.limit.interval.as_millis().to_string()),
            ("x-ratelimit-limit-daily", self.limit.daily.to_string()),
            ("x-ratelimit-daily-remaining", self.daily_remaining.to_string()),
        ];
        for (name, value) in headers {
            set_header(answer, name, &value);
        }
    }
}

/// Whether a call may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted(Standing),
    Refused(Standing),
}

/// The calls of one location or company.
#[derive(Debug, Default)]
pub(super) struct Window {
    recent: VecDeque<Mono>,
    day: i64,
    today: u32,
}

impl Window {
    pub(super) fn admit(&mut self, limit: RateLimit, now: Mono, wall: UnixMillis) -> Admission {
        let day = wall.0.div_euclid(DAY_MS);
        if day != self.day {
            (self.day, self.today) = (day, 0);
        }
        while self.recent.front().is_some_and(|at| now.since(*at) >= limit.interval) {
            self.recent.pop_front();
        }
        let admitted = self.recent.len() < limit.max && self.today < limit.daily;
        if admitted {
            self.recent.push_back(now);
            self.today += 1;
        }
        let standing = Standing {
            limit,
            remaining: limit.max.saturating_sub(self.recent.len()),
            daily_remaining: limit.daily.saturating_sub(self.today),
        };
        if admitted { Admission::Admitted(standing) } else { Admission::Refused(standing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: RateLimit = RateLimit { max: 2, interval: Duration::from_secs(10), daily: 4 };

    fn admitted(window: &mut Window, at_s: u64, wall: i64) -> bool {
        let now = Mono(Duration::from_secs(at_s));
        matches!(window.admit(SMALL, now, UnixMillis(wall)), Admission::Admitted(_))
    }

    #[test]
    fn no_interval_holds_more_than_the_limit_wherever_it_begins() {
        let mut window = Window::default();
        assert!(admitted(&mut window, 0, 0) && admitted(&mut window, 9, 0));
        assert!(!admitted(&mut window, 9, 0));
        assert!(admitted(&mut window, 10, 0), "the first call has left the interval");
        assert!(!admitted(&mut window, 18, 0));
        assert!(admitted(&mut window, 19, 0));
    }

    #[test]
    fn the_daily_limit_ends_with_the_day() {
        let mut window = Window::default();
        for at in [0, 10, 20, 30] {
            assert!(admitted(&mut window, at, DAY_MS - 1));
        }
        assert!(!admitted(&mut window, 40, DAY_MS - 1));
        assert!(admitted(&mut window, 50, DAY_MS));
    }
}
