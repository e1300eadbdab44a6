//! What runs, what waits, and what ended a moment ago.

use crate::clock::Moment;
use crate::message::Reply;
use crate::state::admission::Share;
use crate::state::progress;
use bireme_protocol::proto::{QueryEvent, QueryProgress, QueryRecord, QueryState, SubmitRequest};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::watch;

/// Ended queries whose last event is at hand; older ones are in the database.
const ENDED_MAX: usize = 1024;
/// Bytes of a statement the history keeps.
const KEPT_SQL_BYTES: usize = 64 << 10;
/// Matches an ambiguous beginning is answered with.
const MATCHES_SHOWN: usize = 5;
/// A queued query nobody follows any more is ended after this long, unless somebody comes.
pub(crate) const FOLLOWER_WAIT: Duration = Duration::from_secs(1);
/// A query keeps its place this long after its end unless its head confirms that it is gone.
pub(crate) const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// Where a query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Queued,
    /// The head was asked and has not answered.
    Starting,
    Running,
}

/// A query that has not ended.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) id: QueryId,
    pub(crate) phase: Phase,
    pub(crate) share: Share,
    /// As it was submitted; after a restart of the controller only what the history kept.
    pub(crate) request: SubmitRequest,
    pub(crate) submitted_at_ms: i64,
    pub(crate) submitted: Moment,
    pub(crate) started: Option<Moment>,
    pub(crate) deadline: Option<Moment>,
    pub(crate) head: Option<u32>,
    pub(crate) head_address: String,
    /// The ranks whose loss ends it.
    pub(crate) engines: BTreeSet<u32>,
    pub(crate) progress: BTreeMap<u32, QueryProgress>,
    /// When its head last listed it.
    pub(crate) last_listed: Moment,
    /// Known only from the last controller: an engine has to report it until then.
    pub(crate) confirm_until: Option<Moment>,
    /// The version of the segments that its head was told.
    pub(crate) frames_seen: u64,
    /// A failure that may be another engine's: it waits a moment for the root cause.
    pub(crate) suspected: Option<(Fault, Moment)>,
    pub(crate) events: watch::Sender<QueryEvent>,
    /// Somebody who followed it went away: when to see whether others do.
    pub(crate) unfollowed: Option<Moment>,
    /// Who submitted it and has not been answered.
    pub(crate) submitter: Option<Reply<QueryEvent>>,
}

impl Query {
    pub(crate) fn state(&self) -> QueryState {
        match self.phase {
            Phase::Queued | Phase::Starting => QueryState::Queued,
            Phase::Running => QueryState::Running,
        }
    }

    /// Whether it is known from an earlier controller only.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.confirm_until.is_some()
    }

    pub(crate) fn elapsed_ms(&self, now: Moment) -> u64 {
        let since = self.started.unwrap_or(self.submitted);
        u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn total(&self, now: Moment) -> QueryProgress {
        let mut total = progress::sum(&self.progress);
        if self.phase != Phase::Queued {
            total.elapsed_ms = total.elapsed_ms.max(self.elapsed_ms(now));
        }
        total
    }

    pub(crate) fn event(&self, place: u32, now: Moment) -> QueryEvent {
        QueryEvent {
            query_id: self.id.to_string(),
            state: self.state() as i32,
            place,
            head_address: match self.phase {
                Phase::Running => self.head_address.clone(),
                _ => String::new(),
            },
            head_rank: self.head.unwrap_or_default(),
            progress: Some(self.total(now)),
            fault_json: String::new(),
            engines: progress::by_engine(&self.progress),
        }
    }

    pub(crate) fn record(&self, place: u32, now: Moment) -> QueryRecord {
        QueryRecord {
            query_id: self.id.to_string(),
            session: self.request.session.clone(),
            sql: shortened(&self.request.sql),
            state: self.state() as i32,
            submitted_at_ms: self.submitted_at_ms,
            elapsed_ms: self.total(now).elapsed_ms,
            progress: Some(self.total(now)),
            fault_json: String::new(),
            place,
        }
    }
}

fn shortened(sql: &str) -> String {
    if sql.len() <= KEPT_SQL_BYTES {
        return sql.to_string();
    }
    let end = sql.floor_char_boundary(KEPT_SQL_BYTES);
    format!("{} ... ({} bytes)", &sql[..end], sql.len())
}

/// A query that ended and may still hold memory on its engines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draining {
    pub(crate) head: Option<u32>,
    pub(crate) share: Share,
    pub(crate) until: Moment,
}

/// What a beginning of an id means.
pub(crate) enum Found {
    Live(QueryId),
    Ended(QueryEvent),
}

/// All queries.
#[derive(Debug, Default)]
pub(crate) struct QueryTable {
    pub(crate) live: BTreeMap<QueryId, Query>,
    pub(crate) draining: BTreeMap<QueryId, Draining>,
    ended: VecDeque<(QueryId, Moment, QueryEvent)>,
}

impl QueryTable {
    pub(crate) fn running(&self) -> usize {
        let running = |query: &&Query| query.phase != Phase::Queued;
        self.live.values().filter(running).count()
    }

    /// How many queries an engine heads.
    pub(crate) fn heading(&self, rank: u32) -> usize {
        let heads = |query: &&Query| query.head == Some(rank);
        self.live.values().filter(heads).count()
    }

    /// How many queries run on an engine.
    pub(crate) fn on_engine(&self, rank: u32) -> u32 {
        let runs = |query: &&Query| query.phase != Phase::Queued && query.engines.contains(&rank);
        u32::try_from(self.live.values().filter(runs).count()).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_known(&self, id: QueryId) -> bool {
        self.live.contains_key(&id) || self.ended_at(id).is_some()
    }

    pub(crate) fn ended_at(&self, id: QueryId) -> Option<Moment> {
        let ended = self.ended.iter().find(|(ended, ..)| *ended == id);
        ended.map(|(_, at, _)| *at)
    }

    pub(crate) fn ended_state(&self, id: QueryId) -> Option<QueryState> {
        let ended = self.ended.iter().find(|(ended, ..)| *ended == id);
        ended.map(|(_, _, event)| event.state())
    }

    pub(crate) fn remember(&mut self, id: QueryId, at: Moment, event: QueryEvent) {
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((id, at, event));
    }

    /// The query whose id begins so.
    ///
    /// # Errors
    /// There is none here, or more than one.
    pub(crate) fn find(&self, beginning: &str) -> Result<Found, Fault> {
        let beginning = beginning.trim().replace('-', "").to_lowercase();
        let begins = |id: &QueryId| !beginning.is_empty() && id.to_string().starts_with(&beginning);
        let live: Vec<QueryId> = self.live.keys().copied().filter(begins).collect();
        match live.as_slice() {
            [id] => return Ok(Found::Live(*id)),
            [] => {}
            several => return Err(ambiguous(&beginning, several)),
        }
        let ended = self.ended.iter().filter(|(id, ..)| begins(id));
        let ended: Vec<_> = ended.collect();
        match ended.as_slice() {
            [(_, _, event)] => Ok(Found::Ended(event.clone())),
            [] => Err(Fault::new(
                ErrorCode::NotFound,
                format!("find query {beginning:?}: no query runs or waits whose id begins so"),
            )
            .with_hint("`%jobs` lists those that run, `%history` those that ran")),
            several => {
                let ids: Vec<QueryId> = several.iter().map(|(id, ..)| *id).collect();
                Err(ambiguous(&beginning, &ids))
            }
        }
    }
}

fn ambiguous(beginning: &str, ids: &[QueryId]) -> Fault {
    let shown: Vec<String> = ids.iter().take(MATCHES_SHOWN).map(QueryId::short).collect();
    Fault::new(
        ErrorCode::InvalidArgument,
        format!(
            "find query {beginning:?}: {} queries begin so, among them {}",
            ids.len(),
            shown.join(", ")
        ),
    )
    .with_hint("give more of the id")
}
