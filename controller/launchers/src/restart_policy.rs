//! When a process that ended is started again: the first time at once, then with growing pauses,
//! and no more after too many ends in a short time. Time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Ends within [`WINDOW`] after which a process is given up.
const ENDS_MAX: usize = 5;
/// Ends longer ago are forgotten.
const WINDOW: Duration = Duration::from_secs(30);
/// The pause before the second restart; it doubles from there.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// What to do about a process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Start it again after this long.
    After(Duration),
    /// It ended this often in a short time: leave it.
    GiveUp {
        /// How often.
        ends: usize,
        /// In how long.
        window: Duration,
    },
}

/// The ends of one process.
#[derive(Debug, Default)]
pub struct RestartPolicy {
    ends: VecDeque<Instant>,
}

impl RestartPolicy {
    /// Notes that the process ended now and decides what to do.
    pub fn ended(&mut self, now: Instant) -> Restart {
        while self
            .ends
            .front()
            .is_some_and(|end| now.duration_since(*end) > WINDOW)
        {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        match self.ends.len() {
            1 => Restart::After(Duration::ZERO),
            ends if ends < ENDS_MAX => Restart::After(PAUSE_FIRST * (1 << (ends - 2))),
            ends => Restart::GiveUp {
                ends,
                window: WINDOW,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_crash_loop_is_given_up() {
        let mut policy = RestartPolicy::default();
        let start = Instant::now();
        let decisions: Vec<_> = (0..5).map(|_| policy.ended(start)).collect();
        let after = |millis| Restart::After(Duration::from_millis(millis));
        assert_eq!(
            decisions,
            [
                after(0),
                after(100),
                after(200),
                after(400),
                Restart::GiveUp {
                    ends: 5,
                    window: WINDOW
                }
            ]
        );
    }

    #[test]
    fn old_ends_are_forgotten() {
        let mut policy = RestartPolicy::default();
        let start = Instant::now();
        for minute in 0..10 {
            let now = start + Duration::from_secs(60 * minute);
            assert_eq!(policy.ended(now), Restart::After(Duration::ZERO));
        }
    }
}
