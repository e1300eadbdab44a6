//! Engines that were lost a moment ago: the queries they ran fail once it is known how they ended,
//! or a moment later without that.

use crate::clock::Moment;
use bireme_protocol::{ErrorCode, Fault, QueryId};
use std::time::Duration;

/// How long a lost engine's queries wait for the launcher to say how it ended.
pub(crate) const EXIT_REPORT_WAIT: Duration = Duration::from_millis(150);

/// An engine whose queries are about to fail.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) rank: u32,
    pub(crate) pid: u32,
    /// What was seen, in case nobody reports how it ended.
    pub(crate) seen: String,
    pub(crate) until: Moment,
    pub(crate) queries: Vec<QueryId>,
}

impl Loss {
    /// The fault of one of its queries. `how` is the launcher's word: "signal 9 (SIGKILL)".
    pub(crate) fn fault(&self, query: QueryId, how: Option<&str>) -> Fault {
        let (rank, pid) = (self.rank, self.pid);
        let ended = match how {
            Some(how) if how.starts_with("signal") => format!("was killed by {how}"),
            Some(how) => format!("ended with {how}"),
            None => self.seen.clone(),
        };
        let reason = match how {
            Some(how) if how.contains("SIGKILL") => {
                "a person or the system, for want of memory, killed it; "
            }
            Some(how) if how.contains("SIGSEGV") || how.contains("SIGABRT") => {
                "this is a defect; `bireme cluster logs` shows its last words; "
            }
            _ => "",
        };
        Fault::new(
            ErrorCode::EngineLost,
            format!(
                "engine {rank} (pid {pid}) {ended} while it ran query {}",
                query.short()
            ),
        )
        .with_hint(format!(
            "{reason}it is started again under the same rank: run the query again"
        ))
        .on_engine(rank)
        .of_query(query.to_string())
    }
}

/// Losses that are not settled yet.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    pub(crate) open: Vec<Loss>,
}

impl Losses {
    /// Whether a query's fate is that of a lost engine.
    pub(crate) fn covers(&self, query: QueryId) -> bool {
        self.open.iter().any(|loss| loss.queries.contains(&query))
    }

    /// Takes the losses that match.
    pub(crate) fn take(&mut self, is_settled: impl Fn(&Loss) -> bool) -> Vec<Loss> {
        self.open.extract_if(.., |loss| is_settled(loss)).collect()
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.open.iter().map(|loss| loss.until).min()
    }
}
