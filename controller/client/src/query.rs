//! A submitted query: its place in the queue, its progress, its rows and how it ended, as one
//! sequence of updates. Dropping it before its end cancels it on every engine.

use crate::cluster::{ANSWER_TIMEOUT, Cluster, unavailable};
use crate::result_stream::{Piece, ResultStream};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_protocol::proto::{
    CancelQueryRequest, EngineProgress, FrameMade, QueryEvent, QueryProgress, QueryState,
    ResultSummary, SubmitRequest,
};
use bireme_protocol::{ErrorCode, Fault, PlanTree, QueryId};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Streaming};

/// A query that takes longer than this is watched for its progress.
const WATCH_AFTER: Duration = Duration::from_millis(100);
/// How long it goes unwatched when its controller has gone: that is back in a moment.
const WATCH_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long the controller may take to say why an engine's stream broke.
const OUTCOME_WAIT: Duration = Duration::from_secs(2);
/// How long the controller may take to enter a frame into the catalog: it may just be restarting.
const KEPT_WITHIN: Duration = Duration::from_secs(15);
const KEPT_RETRY: Duration = Duration::from_millis(100);
/// How long rows may still come once the controller has said that the query failed.
const LAST_ROWS_WAIT: Duration = Duration::from_millis(300);
/// How long submitting may take: planning reads file footers, remote ones too.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(120);

/// What happens to a query, in order.
#[derive(Clone, Debug)]
pub enum QueryUpdate {
    /// It waits; 1 is next.
    Queued {
        /// Place in the queue, from 1.
        place: u32,
    },
    /// It runs; at most four of these a second.
    Progress {
        /// Sums over all engines.
        total: QueryProgress,
        /// Each engine's own.
        engines: Vec<EngineProgress>,
    },
    /// The result's columns, before its first rows.
    Schema(SchemaRef),
    /// Rows.
    Batch(RecordBatch),
    /// The end of a query that succeeded.
    Done(Box<QuerySummary>),
}

/// The numbers of a query that succeeded.
#[derive(Clone, Debug, Default)]
pub struct QuerySummary {
    /// Rows of the whole result.
    pub rows: u64,
    /// Rows that travelled from its beginning.
    pub head_rows: u64,
    /// Rows that travelled from its end.
    pub tail_rows: u64,
    /// From submission at the head engine to the last row.
    pub elapsed: Duration,
    /// Final counters.
    pub progress: QueryProgress,
    /// The plan, for an explained statement.
    pub plan: Option<PlanTree>,
    /// What a statement that makes a frame has made.
    pub made: Option<FrameMade>,
}

enum Stage {
    Waiting,
    Streaming(Box<ResultStream>),
    Ended,
}

/// A query under way.
pub struct Query {
    id: QueryId,
    cluster: Cluster,
    stage: Stage,
    /// The first event, until it has been told.
    first: Option<QueryEvent>,
    events: Option<Streaming<QueryEvent>>,
    /// When it is watched next for its progress, unless it has ended before.
    watch_at: Option<Instant>,
    /// Why the controller says it ended, and until when its head is still listened to.
    verdict: Option<(Fault, Instant)>,
}

impl Query {
    pub(crate) async fn submit(
        cluster: Cluster,
        id: QueryId,
        request: SubmitRequest,
    ) -> Result<Self, Fault> {
        // Made before the answer: a caller that gives up meanwhile still cancels.
        let mut query = Self {
            id,
            cluster,
            stage: Stage::Waiting,
            first: None,
            events: None,
            watch_at: Some(Instant::now() + WATCH_AFTER),
            verdict: None,
        };
        let mut request = Request::new(request);
        request.set_timeout(SUBMIT_TIMEOUT);
        match query.cluster.controller().submit(request).await {
            Ok(event) => query.first = Some(event.into_inner()),
            Err(status) => {
                query.stage = Stage::Ended;
                let fault = Fault::from(status);
                return Err(match fault.code {
                    ErrorCode::Unavailable if fault.hint.is_none() => {
                        unavailable("submit a query", &fault)
                    }
                    _ => fault.of_query(id.to_string()),
                });
            }
        }
        Ok(query)
    }

    /// The query's id.
    pub fn id(&self) -> QueryId {
        self.id
    }

    /// The next update; `None` after [`QueryUpdate::Done`].
    ///
    /// # Errors
    /// The query failed, with its one root cause. It has ended then.
    pub async fn next(&mut self) -> Option<Result<QueryUpdate, Fault>> {
        if let Some(event) = self.first.take() {
            return match self.begin(event).await {
                Ok(Some(update)) => Some(Ok(update)),
                Ok(None) => Box::pin(self.next()).await,
                Err(fault) => Some(Err(self.fail(fault))),
            };
        }
        let update = match &self.stage {
            Stage::Ended => return None,
            Stage::Waiting => self.wait().await,
            Stage::Streaming(_) => self.stream().await,
        };
        Some(update.map_err(|fault| self.fail(fault)))
    }

    fn fail(&mut self, fault: Fault) -> Fault {
        self.stage = Stage::Ended;
        fault.of_query(self.id.to_string())
    }

    /// Acts on an event; gives the update it makes, or `None` when rows come next.
    async fn begin(&mut self, event: QueryEvent) -> Result<Option<QueryUpdate>, Fault> {
        match event.state() {
            QueryState::Queued => Ok(Some(QueryUpdate::Queued { place: event.place })),
            QueryState::Running | QueryState::Succeeded if !event.head_address.is_empty() => {
                match ResultStream::fetch(&event.head_address, self.id).await {
                    Ok(stream) => self.stage = Stage::Streaming(Box::new(stream)),
                    Err(fault) => return Err(self.root_cause(fault).await),
                }
                Ok(None)
            }
            QueryState::Failed | QueryState::Cancelled => Err(Fault::from_json(&event.fault_json)),
            state => Err(Fault::internal(format!(
                "follow query {}: unexpected state {state:?}",
                self.id.short()
            ))),
        }
    }

    /// Waits in the queue.
    async fn wait(&mut self) -> Result<QueryUpdate, Fault> {
        loop {
            if self.events.is_none() {
                self.events = Some(self.cluster.watch(&self.id.to_string()).await?);
            }
            let Some(events) = &mut self.events else {
                continue;
            };
            match events.message().await {
                Ok(Some(event)) => {
                    if let Some(update) = self.begin(event).await? {
                        return Ok(update);
                    }
                    return self.stream().await;
                }
                Ok(None) => {
                    let message = "wait in the queue: the controller ended before the query's turn";
                    return Err(
                        Fault::new(ErrorCode::Unavailable, message).with_hint("run it again")
                    );
                }
                Err(status) => return Err(unavailable("wait in the queue", &status.into())),
            }
        }
    }

    /// The next rows, or progress while there are none.
    async fn stream(&mut self) -> Result<QueryUpdate, Fault> {
        loop {
            let Stage::Streaming(rows) = &mut self.stage else {
                return Err(Fault::internal("read rows of a query that has none"));
            };
            let piece = match (&mut self.events, &self.verdict) {
                // A head that hangs neither sends nor ends: it is not waited for.
                (_, Some((fault, until))) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(*until) => return Err(fault.clone()),
                    piece = rows.next() => piece,
                },
                (Some(events), None) => tokio::select! {
                    biased;
                    piece = rows.next() => piece,
                    event = events.message() => {
                        if let Some(update) = self.heed(event.ok().flatten()) {
                            return Ok(update);
                        }
                        continue;
                    }
                },
                (None, None) => match self.watch_at {
                    None => rows.next().await,
                    Some(at) => match tokio::time::timeout_at(at, rows.next()).await {
                        Ok(piece) => piece,
                        Err(_) => {
                            self.start_watching().await;
                            continue;
                        }
                    },
                },
            };
            return match piece {
                Ok(Piece::Schema(schema)) => Ok(QueryUpdate::Schema(schema)),
                Ok(Piece::Batch(batch)) => Ok(QueryUpdate::Batch(batch)),
                Ok(Piece::Summary(summary)) => {
                    self.stage = Stage::Ended;
                    if summary.made.is_some() {
                        self.wait_until_kept().await?;
                    }
                    Ok(QueryUpdate::Done(Box::new(read_summary(*summary)?)))
                }
                Err(fault) => Err(self.root_cause(fault).await),
            };
        }
    }

    /// Waits until the controller knows the frame that was made: the next statement may read it.
    async fn wait_until_kept(&self) -> Result<(), Fault> {
        let id = self.id.to_string();
        let until = Instant::now() + KEPT_WITHIN;
        let mut ended = None;
        // A controller that has just ended is back in a moment, and hears from the head then.
        while ended.is_none() && Instant::now() < until {
            ended = self.cluster.outcome(&id, KEPT_WITHIN).await;
            if ended.is_none() {
                tokio::time::sleep(KEPT_RETRY).await;
            }
        }
        match ended {
            Some(event) if event.fault_json.is_empty() => Ok(()),
            Some(event) => Err(Fault::from_json(&event.fault_json)),
            None => Err(Fault::new(
                ErrorCode::Unavailable,
                format!(
                    "keep a frame: its rows are on the engines, and the controller did not take it \
                     into the catalog within {KEPT_WITHIN:?}"
                ),
            )
            .with_hint("%frames shows whether it did since; run the statement again if not")),
        }
    }

    /// Takes what the controller says while rows come; gives the progress, if that is it.
    fn heed(&mut self, event: Option<QueryEvent>) -> Option<QueryUpdate> {
        match event {
            Some(event) if event.state() == QueryState::Running => return Some(progress(event)),
            Some(event) if event.fault_json.is_empty() => self.watch_at = None,
            Some(event) => {
                let fault = Fault::from_json(&event.fault_json);
                self.verdict = Some((fault, Instant::now() + LAST_ROWS_WAIT));
            }
            // The controller is gone or done: rows come from the engine all the same.
            None => {
                self.events = None;
                self.watch_at = self.watch_at.map(|_| Instant::now() + WATCH_AGAIN_AFTER);
            }
        }
        None
    }

    async fn start_watching(&mut self) {
        match self.cluster.watch(&self.id.to_string()).await {
            Ok(events) => self.events = Some(events),
            // No progress then; the rows do not depend on it.
            Err(fault) => {
                tracing::debug!(%fault, "no progress for this query");
                self.watch_at = Some(Instant::now() + WATCH_AGAIN_AFTER);
            }
        }
    }

    /// A broken stream says little, as does a head that was started anew and knows no query, or one
    /// that only misses another engine: the controller knows which engine ended and how.
    async fn root_cause(&self, fault: Fault) -> Fault {
        if let Some((verdict, _)) = &self.verdict {
            return verdict.clone();
        }
        if !matches!(
            fault.code,
            ErrorCode::EngineLost
                | ErrorCode::Unavailable
                | ErrorCode::Internal
                | ErrorCode::Cancelled
                | ErrorCode::NotFound
        ) {
            return fault;
        }
        let id = self.id.to_string();
        match self.cluster.outcome(&id, OUTCOME_WAIT).await {
            Some(event) if !event.fault_json.is_empty() => Fault::from_json(&event.fault_json),
            _ => fault,
        }
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Ended) {
            return;
        }
        let mut controller = self.cluster.controller();
        let request = CancelQueryRequest {
            query_id: self.id.to_string(),
            reason: "the client went away".to_string(),
        };
        // Outside a runtime the closing connection tells the head engine.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.cluster.farewells.spawn(async move {
                let sent = tokio::time::timeout(ANSWER_TIMEOUT, controller.cancel(request)).await;
                tracing::debug!(answered = sent.is_ok(), "cancelled a dropped query");
            });
        }
    }
}

/// What an event tells of a running query.
pub(crate) fn progress(event: QueryEvent) -> QueryUpdate {
    QueryUpdate::Progress {
        total: event.progress.unwrap_or_default(),
        engines: event.engines,
    }
}

fn read_summary(summary: ResultSummary) -> Result<QuerySummary, Fault> {
    let plan = match summary.plan_json.as_str() {
        "" => None,
        json => Some(
            serde_json::from_str(json)
                .map_err(|error| Fault::internal(format!("read a plan: {error}")))?,
        ),
    };
    Ok(QuerySummary {
        rows: summary.rows,
        head_rows: summary.head_rows,
        tail_rows: summary.tail_rows,
        elapsed: Duration::from_micros(summary.elapsed_us),
        progress: summary.progress.unwrap_or_default(),
        plan,
        made: summary.made,
    })
}
