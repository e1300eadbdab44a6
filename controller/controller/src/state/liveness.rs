//! When silence means something. An engine on the same host that ends is noticed by its closed
//! connection; this is for one that hangs, or whose network is cut.

use crate::clock::Moment;
use std::time::Duration;

/// Missed heartbeats after which an engine is suspected.
const SUSPECTED_HEARTBEATS: u32 = 4;

/// What an engine's silence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Live,
    /// Quiet for a while: not given new queries to head.
    Suspected,
    /// Quiet for too long: what it runs fails.
    Lost,
}

/// The thresholds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    suspected_after: Duration,
    lost_after: Duration,
}

impl Liveness {
    pub(crate) fn new(heartbeat_interval: Duration, lost_after: Duration) -> Self {
        let lost_after = lost_after.max(heartbeat_interval * 2);
        Self {
            suspected_after: (heartbeat_interval * SUSPECTED_HEARTBEATS).min(lost_after),
            lost_after,
        }
    }

    pub(crate) fn lost_after(self) -> Duration {
        self.lost_after
    }

    pub(crate) fn judge(self, last_heard: Moment, now: Moment) -> Verdict {
        let silence = now.since(last_heard);
        if silence >= self.lost_after {
            Verdict::Lost
        } else if silence >= self.suspected_after {
            Verdict::Suspected
        } else {
            Verdict::Live
        }
    }

    /// When the verdict changes next if nothing is heard.
    pub(crate) fn deadline(self, last_heard: Moment, now: Moment) -> Option<Moment> {
        match self.judge(last_heard, now) {
            Verdict::Live => Some(last_heard.after(self.suspected_after)),
            Verdict::Suspected => Some(last_heard.after(self.lost_after)),
            Verdict::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_suspected_then_lost() {
        let liveness = Liveness::new(Duration::from_millis(250), Duration::from_secs(5));
        let heard = Moment::default();
        let at = |millis| liveness.judge(heard, heard.after(Duration::from_millis(millis)));
        assert_eq!(at(999), Verdict::Live);
        assert_eq!(at(1000), Verdict::Suspected);
        assert_eq!(at(5000), Verdict::Lost);
    }
}
