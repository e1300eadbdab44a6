//! How the latest queries ended, for the controller. They are kept after they were told: what was
//! under way when a connection broke may not have arrived, so each connection is told them all.
//! Repeats do no harm, the controller knows what has ended.

use bireme_protocol::proto::QueryEnded;
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Ends kept; the oldest go first.
const ENDS_MAX: usize = 1024;

/// The latest ends.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    kept: Mutex<Kept>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    ends: VecDeque<QueryEnded>,
    /// How many came before the oldest one kept.
    forgotten: u64,
}

impl Ends {
    /// Adds an end. It waits for nobody.
    pub(crate) fn push(&self, ended: QueryEnded) {
        {
            let mut kept = self.kept.lock();
            if kept.ends.len() == ENDS_MAX {
                kept.ends.pop_front();
                kept.forgotten += 1;
            }
            kept.ends.push_back(ended);
        }
        self.added.notify_one();
    }

    /// Waits for the next end after the first `told`. There is one listener at a time.
    pub(crate) async fn next(&self, told: &mut u64) -> QueryEnded {
        loop {
            if let Some(ended) = self.untold(told) {
                return ended;
            }
            self.added.notified().await;
        }
    }

    /// The next end after the first `told`, if there is one.
    pub(crate) fn untold(&self, told: &mut u64) -> Option<QueryEnded> {
        let kept = self.kept.lock();
        let next = (*told).max(kept.forgotten);
        let index = usize::try_from(next - kept.forgotten).ok()?;
        let ended = kept.ends.get(index)?.clone();
        *told = next + 1;
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ended(query: usize) -> QueryEnded {
        QueryEnded {
            query_id: query.to_string(),
            ..QueryEnded::default()
        }
    }

    fn all(ends: &Ends) -> Vec<String> {
        let mut told = 0;
        std::iter::from_fn(|| ends.untold(&mut told))
            .map(|ended| ended.query_id)
            .collect()
    }

    #[test]
    fn every_connection_is_told_all_ends() {
        let ends = Ends::default();
        (0..3).for_each(|query| ends.push(ended(query)));
        assert_eq!(all(&ends), ["0", "1", "2"]);
        assert_eq!(all(&ends), ["0", "1", "2"]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let ends = Ends::default();
        (0..ENDS_MAX + 2).for_each(|query| ends.push(ended(query)));
        let told = all(&ends);
        assert_eq!(told.len(), ENDS_MAX);
        assert_eq!(told.first().map(String::as_str), Some("2"));
    }

    #[tokio::test]
    async fn an_end_wakes_who_waits_for_it() {
        let ends = Ends::default();
        let mut told = 0;
        let waiting = tokio::time::timeout(Duration::from_secs(10), ends.next(&mut told));
        let (next, ()) = tokio::join!(waiting, async { ends.push(ended(7)) });
        assert_eq!(next.unwrap().query_id, "7");
        assert_eq!(told, 1);
    }
}
