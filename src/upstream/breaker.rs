//! A circuit breaker: a server that fails again and again is left alone for a while, so that
//! nobody waits for it and it can recover. Pure: the time is passed in.
//!
//! After Nygard, *Release It!* (2007): closed, open, half open.

use std::time::{Duration, Instant};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// How long it stays open.
    pub open_for: Duration,
}

/// Whether requests may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    limits: BreakerLimits,
    /// Failures since the last success.
    n_failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All requests go out.
    Closed,
    /// None does until then.
    Open { until: Instant },
    /// One is out to see whether the server is back; it is given up for lost then.
    Trying { until: Instant },
}

/// The server is being left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Failures in a row so far.
    pub n_failures: u32,
    /// How long it will still be left alone.
    pub wait: Duration,
}

impl Breaker {
    /// A breaker that lets everything pass.
    #[must_use]
    pub fn new(limits: BreakerLimits) -> Self {
        Self { limits, n_failures: 0, state: State::Closed }
    }

    /// Asks to send a request. Whoever is let through must say how it ended.
    ///
    /// # Errors
    /// When the server is being left alone.
    pub fn admit(&mut self, now: Instant) -> Result<(), Refused> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } | State::Trying { until } if now < until => {
                Err(Refused { n_failures: self.n_failures, wait: until - now })
            }
            State::Open { .. } | State::Trying { .. } => {
                // Others wait for this one, but not for ever: it may never report.
                self.state = State::Trying { until: now + self.limits.open_for };
                Ok(())
            }
        }
    }

    /// A request was answered.
    pub fn succeeded(&mut self) {
        self.n_failures = 0;
        self.state = State::Closed;
    }

    /// A request found the server not working.
    pub fn failed(&mut self, now: Instant) {
        self.n_failures = self.n_failures.saturating_add(1);
        let was_trial = matches!(self.state, State::Trying { .. });
        if was_trial || self.n_failures >= self.limits.failures_max {
            self.state = State::Open { until: now + self.limits.open_for };
        }
    }

    /// A request was given up by whoever made it, which says nothing of the server: where it was
    /// the trial, the next one is.
    pub fn abandoned(&mut self, now: Instant) {
        if matches!(self.state, State::Trying { .. }) {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> (Breaker, Instant) {
        let limits = BreakerLimits { failures_max: 3, open_for: 10 * SECOND };
        (Breaker::new(limits), Instant::now())
    }

    fn opened() -> (Breaker, Instant) {
        let (mut breaker, now) = breaker();
        for _ in 0..3 {
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.failed(now);
        }
        (breaker, now)
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let (mut breaker, now) = breaker();
        for _ in 0..5 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.succeeded();
            assert_eq!(breaker.admit(now), Ok(()));
        }
        let (mut breaker, now) = opened();
        let refused = breaker.admit(now + 4 * SECOND);
        assert_eq!(refused, Err(Refused { n_failures: 3, wait: 6 * SECOND }));
    }

    #[test]
    fn lets_one_request_try_after_a_while() {
        let (mut breaker, now) = opened();
        let later = now + 10 * SECOND;
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "one is enough to see");
        breaker.succeeded();
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn a_failed_trial_opens_it_again_at_once() {
        let (mut breaker, now) = opened();
        let later = now + 10 * SECOND;
        assert_eq!(breaker.admit(later), Ok(()));
        breaker.failed(later);
        let refused = breaker.admit(later + SECOND);
        assert_eq!(refused, Err(Refused { n_failures: 4, wait: 9 * SECOND }));
        assert_eq!(breaker.admit(later + 10 * SECOND), Ok(()));
    }

    #[test]
    fn an_abandoned_trial_leaves_room_for_the_next() {
        let (mut breaker, now) = opened();
        let later = now + 10 * SECOND;
        assert_eq!(breaker.admit(later), Ok(()));
        breaker.abandoned(later);
        assert_eq!(breaker.admit(later), Ok(()));
        // And one that never reports is waited for no longer than the server itself.
        assert!(breaker.admit(later + 9 * SECOND).is_err());
        assert_eq!(breaker.admit(later + 10 * SECOND), Ok(()));
    }

    #[test]
    fn a_closed_breaker_does_not_mind_abandoned_requests() {
        let (mut breaker, now) = breaker();
        breaker.failed(now);
        breaker.abandoned(now);
        breaker.failed(now);
        assert_eq!(breaker.admit(now), Ok(()));
    }
}
