//! When to try again, and after how long. Pure: time and chance are passed in.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

/// How often and how soon a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// Tries after the first one.
    pub retries: u32,
    /// Wait before the first of them; each further one waits twice as long.
    pub wait: Duration,
    /// Wait before any of them at most.
    pub wait_max: Duration,
}

impl RetryLimits {
    /// How long to wait after `n_tries` tries, the last of which failed; `None` to give up.
    ///
    /// Half of the wait is left to `chance` (0 to 1), so that many clients of a server that comes
    /// back do not all come at once. What the server asked for (`Retry-After`) is a lower bound;
    /// where that is more than `wait_max`, giving up now is the honest answer.
    #[must_use]
    pub fn wait_after(
        &self,
        n_tries: u32,
        asked: Option<Duration>,
        chance: f64,
    ) -> Option<Duration> {
        if n_tries > self.retries || asked.is_some_and(|it| it > self.wait_max) {
            return None;
        }
        let doublings = n_tries.saturating_sub(1).min(16);
        let full = self.wait.saturating_mul(1 << doublings).min(self.wait_max);
        let wait = full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
        Some(asked.map_or(wait, |it| it.max(wait)))
    }
}

/// The wait that a `Retry-After` header asks for: seconds, or a date (RFC 9110, section 10.2.3).
#[must_use]
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(header).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RetryLimits = RetryLimits {
        retries: 3,
        wait: Duration::from_millis(500),
        wait_max: Duration::from_millis(1500),
    };

    #[track_caller]
    fn check(n_tries: u32, asked_ms: Option<u64>, chance: f64, expected_ms: Option<u64>) {
        let wait = LIMITS.wait_after(n_tries, asked_ms.map(Duration::from_millis), chance);
        assert_eq!(wait, expected_ms.map(Duration::from_millis));
    }

    #[test]
    fn waits_double_up_to_a_limit_and_then_it_gives_up() {
        check(1, None, 1.0, Some(500));
        check(2, None, 1.0, Some(1000));
        check(3, None, 1.0, Some(1500));
        check(4, None, 1.0, None);
    }

    #[test]
    fn chance_takes_off_up_to_half() {
        check(2, None, 0.0, Some(500));
        check(2, None, 0.5, Some(750));
    }

    #[test]
    fn what_the_server_asks_for_is_obeyed() {
        check(1, Some(1200), 1.0, Some(1200));
        check(1, Some(100), 1.0, Some(500));
        check(1, Some(1501), 1.0, None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2015-10-21T07:27:00Z".parse().unwrap();
        let check = |header: &str, expected: Option<u64>| {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header}");
        };
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("Wed, 21 Oct 2015 07:28:00 GMT", Some(60));
        check("Wed, 21 Oct 2015 07:26:00 GMT", Some(0));
        check("soon", None);
    }
}
