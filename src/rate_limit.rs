//! Holds long work to this many bytes per second, so that it leaves room for others on a disk or a network.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was not used in this time is lost: a limit is no average over the whole run. Long enough that the other work on
/// what was read, compression above all, does not leave the limit idle.
const BURST: Duration = Duration::from_secs(1);

/// A limit that all threads share.
#[derive(Debug)]
pub struct RateLimit {
    bytes_per_second: u64,
    /// When all that was let through so far would have been done at exactly that pace.
    paid_until: Mutex<Instant>,
}

impl RateLimit {
    /// At most `bytes_per_second`, at least 1.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_until: Mutex::new(Instant::now()) }
    }

    /// Counts `bytes` and says how long the caller has to wait.
    pub fn wait_for(&self, bytes: u64) -> Duration {
        self.wait_at(Instant::now(), bytes)
    }

    fn wait_at(&self, now: Instant, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let from = now.checked_sub(BURST).map_or(*paid_until, |earliest| earliest.max(*paid_until));
        *paid_until = from.checked_add(cost).unwrap_or(from);
        paid_until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_at_the_pace_and_pauses_are_made_up_for_only_shortly() {
        let pace = RateLimit::new(1000);
        let start = *pace.paid_until.lock().unwrap();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.wait_at(at(0), 1500), Duration::from_millis(1500));
        assert_eq!(pace.wait_at(at(0), 500), Duration::from_secs(2), "threads wait for each other's bytes");
        assert_eq!(pace.wait_at(at(3), 1000), Duration::ZERO, "a second that was not used");
        assert_eq!(pace.wait_at(at(3), 1000), Duration::from_secs(1));
        assert_eq!(pace.wait_at(at(60), 1000), Duration::ZERO);
        assert_eq!(pace.wait_at(at(60), 1000), Duration::from_secs(1), "a minute of rest gives one second of haste");
    }

    #[test]
    fn no_number_of_bytes_breaks_it() {
        let pace = RateLimit::new(0);
        assert!(pace.wait_for(u64::MAX) > Duration::from_secs(1 << 30));
        assert!(pace.wait_for(u64::MAX) > Duration::from_secs(1 << 30));
    }
}
