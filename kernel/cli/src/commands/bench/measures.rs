//! Times measured several times, and what is said of them.

use std::time::Duration;

/// Times of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measures {
    seconds: Vec<f64>,
}

impl Measures {
    pub(crate) fn add(&mut self, time: Duration) {
        self.seconds.push(time.as_secs_f64());
    }

    /// The time below which a share of all times lies, in seconds; `None` without times.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * share).round() as usize).copied()
    }

    /// The middle one, in seconds.
    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let mut measures = Measures::default();
        assert_eq!(measures.median(), None);
        for seconds in [5, 1, 4, 2, 3] {
            measures.add(Duration::from_secs(seconds));
        }
        assert_eq!(measures.median(), Some(3.0));
        assert_eq!(measures.quantile(0.99), Some(5.0));
    }
}
