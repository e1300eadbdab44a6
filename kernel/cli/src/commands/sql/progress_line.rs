//! The line on the terminal that tells how far a statement is, from before it is submitted.

use crate::terminal::{self, StatusLine};
use bireme_client::{Query, QueryUpdate, RunOptions, Session};
use bireme_magics::display::progress::{self, INTERVAL, Step};
use bireme_protocol::Fault;
use std::time::Instant;

/// The progress of one piece of work on the terminal.
pub(super) struct ProgressLine {
    line: StatusLine,
    started_at: Instant,
    latest: Latest,
    /// Whether rows go where the line is.
    shares_terminal: bool,
}

/// What is known of the work.
enum Latest {
    Doing(&'static str),
    Queued(u32),
    Step(Step),
}

impl ProgressLine {
    pub(super) fn new(doing: &'static str) -> Self {
        Self {
            line: StatusLine::new(),
            started_at: Instant::now(),
            latest: Latest::Doing(doing),
            shares_terminal: terminal::width().is_some(),
        }
    }

    /// Submits a statement and shows that it is planned.
    pub(super) async fn submit(
        session: &Session,
        sql: &str,
        options: &RunOptions,
    ) -> Result<(Self, Query), Fault> {
        let mut line = Self::new("planning");
        let query = line.wait(session.submit(sql, options)).await?;
        line.latest = Latest::Step(Step::default());
        Ok((line, query))
    }

    /// The next update of a query.
    pub(super) async fn next(&mut self, query: &mut Query) -> Option<Result<QueryUpdate, Fault>> {
        let update = self.wait(query.next()).await;
        match &update {
            Some(Ok(QueryUpdate::Queued { place })) => self.tell(Latest::Queued(*place)),
            Some(Ok(QueryUpdate::Progress { total, engines })) => self.tell(Latest::Step(Step {
                total: *total,
                engines: engines.clone(),
            })),
            Some(Err(_)) | None => self.clear(),
            Some(Ok(_)) => {}
        }
        update
    }

    /// Waits for something, with the line kept alive meanwhile.
    pub(super) async fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        loop {
            match tokio::time::timeout(INTERVAL, &mut future).await {
                Ok(value) => return value,
                Err(_) => self.show(),
            }
        }
    }

    /// Takes the line away while rows are written, if they go to the same terminal.
    pub(super) fn pause<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.shares_terminal {
            true => self.line.suspend(write),
            false => write(),
        }
    }

    pub(super) fn clear(&self) {
        self.line.clear();
    }

    fn tell(&mut self, latest: Latest) {
        self.latest = latest;
        self.show();
    }

    fn show(&mut self) {
        let (latest, started_at) = (&self.latest, self.started_at);
        self.line.show(|| latest.text(started_at));
    }
}

impl Latest {
    fn text(&self, started_at: Instant) -> String {
        let elapsed = started_at.elapsed();
        let bundle = match self {
            Self::Doing(what) => progress::doing(what, elapsed),
            Self::Queued(place) => progress::queued(*place, elapsed),
            Self::Step(step) => progress::running(step, elapsed),
        };
        bundle.plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_before_there_are_numbers() {
        let now = Instant::now();
        let text = |latest: Latest| latest.text(now);
        assert!(text(Latest::Doing("planning")).starts_with("planning · "));
        assert!(text(Latest::Queued(2)).starts_with("waiting, place 2 in the queue · "));
        assert!(text(Latest::Step(Step::default())).contains("0 rows · "));
    }

    #[tokio::test]
    async fn a_wait_ends_with_what_it_waits_for() {
        let mut line = ProgressLine::new("planning");
        let answer = async {
            tokio::time::sleep(INTERVAL * 2).await;
            42
        };
        assert_eq!(line.wait(answer).await, 42);
    }
}
