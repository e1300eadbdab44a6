//! A query this engine is the head of: planned when it is started, run when it is fetched.
//!
//! Its end, whatever it is, is reported once; dropping it ends its work on every engine.

use crate::delivery::{send_all, send_preview};
use crate::engine::Engine;
use crate::fault_from::fault_from;
use crate::frame_in_making::{Beginning, FrameInMaking};
use crate::frame_statement::{FrameStatement, rows_to_keep};
use crate::live_plans;
use crate::plan_tree;
use crate::planner;
use crate::queries::Cancel;
use crate::query_plan::{needs_of, physical, prepare, settings_of, timeout_of};
use crate::session_tables::SessionTables;
use bireme_collectives::Exchange;
use bireme_operators::{QueryEnd, read_facts, runnable};
use bireme_protocol::proto::{
    Delivery, FrameMade, QueryEnded, QueryProgress, QueryState, ResultSummary, StartRequest,
    StatementMode,
};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::Result as QueryResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use datafusion_distributed::{
    DistributedExec, DistributedMetricsFormat, rewrite_distributed_plan_with_metrics,
};
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How long the answer of a query waits for the last counters of other engines.
const LAST_METRICS_WITHIN: Duration = Duration::from_millis(30);
/// How long metrics of other engines may take to arrive after the last row.
const METRICS_WITHIN: Duration = Duration::from_secs(2);

/// A planned query.
pub(crate) struct HeadQuery {
    id: QueryId,
    engine: Arc<Engine>,
    exchange: Arc<Exchange>,
    plan: Arc<dyn ExecutionPlan>,
    /// Kept for tables that are made while the query runs, those of `information_schema`.
    session: SessionContext,
    mode: StatementMode,
    delivery: Delivery,
    engines: usize,
    /// The frame its rows become.
    making: Option<FrameInMaking>,
    cancel: Cancel,
    started: Instant,
    deadline: Option<(Instant, Duration)>,
    has_ended: bool,
}

/// Plans a query on this engine.
///
/// # Errors
/// The statement cannot be planned here.
pub(crate) async fn plan(
    engine: &Arc<Engine>,
    id: QueryId,
    request: StartRequest,
    cancel: Cancel,
) -> Result<HeadQuery, Fault> {
    let started = Instant::now();
    let settings = settings_of(engine, &request)?;
    let directory = settings.get("session.directory").to_string();
    let catalog = request.catalog.clone().unwrap_or_default();
    let statement = FrameStatement::read(&request.sql);
    let needs = needs_of(id, &request, statement.as_ref(), &catalog)?;
    let keep = needs.keep.clone();
    let tables = SessionTables::new(catalog, directory.clone());
    let end = QueryEnd::from(cancel.token().clone());
    let head = engine
        .head_session(id, &end, &settings, &tables, needs)
        .await?;
    let state = head.context.state();
    let logical = planner::plan(&state, &request.sql, &request.values, &tables).await?;
    let logical = match &statement {
        Some(_) => rows_to_keep(logical)?,
        None => prepare(logical, &directory, request.limit)?,
    };
    let (optimized, plan) = physical(&state, &logical).await?;
    let making = match statement.zip(keep) {
        Some((statement, keep)) => Some(FrameInMaking::begin(
            Beginning {
                statement,
                keep,
                request: &request,
                directory: &directory,
                tables: &tables,
                logical: &logical,
                optimized: &optimized,
            },
            &head,
        )?),
        None => None,
    };
    let timeout = timeout_of(&request, &settings);
    let is_distributed = plan.is::<DistributedExec>();
    // The engines make what they run themselves ready.
    let plan = match is_distributed {
        true => plan,
        false => runnable(plan, &end).map_err(|error| fault_from(&error))?,
    };
    Ok(HeadQuery {
        id,
        engine: Arc::clone(engine),
        exchange: head.exchange,
        plan,
        session: head.context,
        mode: request.mode(),
        delivery: request.delivery.unwrap_or_default(),
        engines: if is_distributed { head.engines } else { 1 },
        making,
        cancel,
        started,
        deadline: (!timeout.is_zero()).then(|| (started + timeout, timeout)),
        has_ended: false,
    })
}

impl HeadQuery {
    /// The columns the client will see.
    pub(crate) fn schema(&self) -> SchemaRef {
        match self.mode {
            StatementMode::Run if self.making.is_none() => self.plan.schema(),
            StatementMode::Run | StatementMode::Explain | StatementMode::Analyze => {
                Arc::new(Schema::empty())
            }
        }
    }

    /// How many engines take part.
    pub(crate) fn engines(&self) -> usize {
        self.engines
    }

    /// Runs the query into a channel. A client that goes away, a cancel and the deadline end it at
    /// any moment; a client that takes nothing delays its end by nothing.
    ///
    /// # Errors
    /// The root cause, also when the query was cancelled or ran too long.
    pub(crate) async fn run(
        mut self,
        rows: mpsc::Sender<RecordBatch>,
    ) -> Result<ResultSummary, Fault> {
        let cancel = self.cancel.clone();
        let watcher = self.watch(rows.clone());
        let ended = tokio::select! {
            biased;
            fault = cancel.cancelled() => Err(fault),
            ended = self.execute(&rows) => ended,
        };
        drop(watcher);
        // What stopped because the query was ended knows less than who ended it.
        let ended = ended.map_err(|fault| cancel.reason().unwrap_or(fault));
        match ended {
            Ok(summary) => {
                let made = summary.made.clone();
                self.report(QueryState::Succeeded, None, summary.progress, made);
                Ok(summary)
            }
            Err(fault) => {
                let fault = self.root_cause(fault);
                self.exchange.abort_query(self.id, fault.clone());
                let state = match fault.code {
                    ErrorCode::Cancelled => QueryState::Cancelled,
                    _ => QueryState::Failed,
                };
                self.report(state, Some(fault.clone()), None, None);
                Err(fault)
            }
        }
    }

    /// Cancels the query when its client has gone or its time is up. A task of its own: the query's
    /// may be inside a long poll, which looks at the cancel only.
    fn watch(&self, rows: mpsc::Sender<RecordBatch>) -> AbortOnDropHandle<()> {
        let (cancel, deadline) = (self.cancel.clone(), self.deadline);
        let timed_out = async move {
            match deadline {
                Some((at, timeout)) => {
                    tokio::time::sleep_until(at.into()).await;
                    timeout
                }
                None => std::future::pending().await,
            }
        };
        AbortOnDropHandle::new(self.engine.query_runtime().spawn(async move {
            let fault = tokio::select! {
                () = rows.closed() => Fault::new(ErrorCode::Cancelled, "the client went away"),
                timeout = timed_out => Fault::new(
                    ErrorCode::TimedOut,
                    format!("the query ran longer than its timeout of {timeout:?}"),
                )
                .with_hint("--timeout or the setting query.timeout gives it longer"),
            };
            cancel.cancel(fault);
        }))
    }

    /// An engine that failed first knows more than the ones that noticed.
    fn root_cause(&self, fault: Fault) -> Fault {
        let known = match fault.code {
            ErrorCode::Cancelled | ErrorCode::TimedOut | ErrorCode::EngineLost => None,
            _ => self.exchange.fault(self.id),
        };
        known.unwrap_or(fault).of_query(self.id.to_string())
    }

    async fn execute(&self, rows: &mpsc::Sender<RecordBatch>) -> Result<ResultSummary, Fault> {
        if self.mode == StatementMode::Explain {
            return self.explain();
        }
        if let Some(making) = self
            .making
            .as_ref()
            .filter(|making| making.reused.is_some())
        {
            return Ok(ResultSummary {
                made: Some(making.made(Vec::new())?),
                head_rank: self.engine.rank(),
                ..ResultSummary::default()
            });
        }
        let stream = execute_stream(Arc::clone(&self.plan), self.session.task_ctx());
        self.engine.live().follow(self.id, &self.plan, true);
        let stream = stream.map_err(|error| fault_from(&error))?;
        let mut summary = match (self.mode, self.delivery) {
            (StatementMode::Analyze, _) => self.count(stream).await?,
            (StatementMode::Run, _) if self.making.is_some() => self.keep_rows(stream).await?,
            (_, Delivery { head: 0, tail: 0 }) => send_all(stream, rows).await?,
            (_, delivery) => send_preview(stream, delivery, rows).await?,
        };
        let elapsed = self.started.elapsed();
        summary.elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if self.mode == StatementMode::Analyze {
            summary.plan_json = self.analyzed(elapsed).await?;
        }
        summary.head_rank = self.engine.rank();
        summary.progress = Some(self.progress_of_all().await);
        Ok(summary)
    }

    async fn count(&self, mut stream: SendableRecordBatchStream) -> Result<ResultSummary, Fault> {
        let mut summary = ResultSummary::default();
        while let Some(batch) = stream.next().await {
            summary.rows += batch.map_err(|error| fault_from(&error))?.num_rows() as u64;
        }
        Ok(summary)
    }

    /// Runs a plan that keeps its rows; what comes are facts about its partitions.
    async fn keep_rows(
        &self,
        mut stream: SendableRecordBatchStream,
    ) -> Result<ResultSummary, Fault> {
        let mut facts = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| fault_from(&error))?;
            facts.extend(read_facts(&batch).map_err(|error| fault_from(&error))?);
        }
        facts.sort_by_key(|part| (part.rank, part.partition));
        let rows = facts.iter().map(|part| part.rows).sum();
        let made = self
            .making
            .as_ref()
            .map(|making| making.made(facts))
            .transpose()?;
        Ok(ResultSummary {
            rows,
            made,
            ..ResultSummary::default()
        })
    }

    fn explain(&self) -> Result<ResultSummary, Fault> {
        let tree = plan_tree::draw(&self.plan, self.engines, self.engine.rank(), None);
        Ok(ResultSummary {
            plan_json: to_json(&tree)?,
            head_rank: self.engine.rank(),
            ..ResultSummary::default()
        })
    }

    /// The final counters, with what the tasks on other engines measured. A task that was not
    /// wanted to its end says nothing, and is not waited for long.
    async fn progress_of_all(&self) -> QueryProgress {
        let mut progress = self.progress();
        if self.engines <= 1 {
            return progress;
        }
        let measured = tokio::time::timeout(LAST_METRICS_WITHIN, self.measured()).await;
        if let Ok(Ok(plan)) = measured {
            let all = live_plans::measured(&plan);
            progress.rows_scanned = progress.rows_scanned.max(all.rows_scanned);
            progress.bytes_scanned = progress.bytes_scanned.max(all.bytes_scanned);
            progress.bytes_shuffled = progress.bytes_shuffled.max(all.bytes_shuffled);
            progress.bytes_spilled = progress.bytes_spilled.max(all.bytes_spilled);
            progress.bytes_written = progress.bytes_written.max(all.bytes_written);
        }
        progress
    }

    /// The plan with what all its tasks measured, once they have told.
    async fn measured(&self) -> QueryResult<Arc<dyn ExecutionPlan>> {
        let plan = Arc::clone(&self.plan);
        rewrite_distributed_plan_with_metrics(plan, DistributedMetricsFormat::Aggregated).await
    }

    async fn analyzed(&self, elapsed: Duration) -> Result<String, Fault> {
        let measured = match tokio::time::timeout(METRICS_WITHIN, self.measured()).await {
            Ok(Ok(plan)) => plan,
            Ok(Err(error)) => {
                return Err(fault_from(&error).with_cause("collect what the engines measured"));
            }
            Err(_) => {
                tracing::warn!(query = %self.id, "metrics of other engines did not arrive in time");
                Arc::clone(&self.plan)
            }
        };
        let tree = plan_tree::draw(&measured, self.engines, self.engine.rank(), Some(elapsed));
        to_json(&tree)
    }

    fn progress(&self) -> QueryProgress {
        let mut progress = self.engine.live().progress_of(self.id);
        let moved = self.exchange.counters(self.id);
        progress.bytes_shuffled = progress.bytes_shuffled.max(moved.bytes_sent);
        let elapsed = self.started.elapsed().as_millis();
        progress.elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        progress.engines = u32::try_from(self.engines).unwrap_or(u32::MAX);
        progress
    }

    /// Ends a query nobody fetched.
    pub(crate) fn abandon(mut self, fault: Fault) {
        self.report(QueryState::Cancelled, Some(fault), None, None);
    }

    /// Tells the controller; without final counters with those there are.
    fn report(
        &mut self,
        state: QueryState,
        fault: Option<Fault>,
        progress: Option<QueryProgress>,
        made: Option<FrameMade>,
    ) {
        self.has_ended = true;
        self.engine.queries().forget(self.id);
        self.engine.ends().push(QueryEnded {
            query_id: self.id.to_string(),
            state: state.into(),
            progress: Some(progress.unwrap_or_else(|| self.progress())),
            fault_json: fault.map(|fault| fault.to_json()).unwrap_or_default(),
            made,
        });
    }
}

impl Drop for HeadQuery {
    fn drop(&mut self) {
        if !self.has_ended {
            let fault = Fault::new(ErrorCode::Cancelled, "the client went away");
            self.report(QueryState::Cancelled, Some(fault), None, None);
        }
        self.exchange.close_query(self.id);
    }
}

fn to_json(tree: &bireme_protocol::PlanTree) -> Result<String, Fault> {
    serde_json::to_string(tree).map_err(|error| Fault::internal(format!("write a plan: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_engine::TestEngine;

    const MANY_ROWS: &str = "SELECT * FROM range(10000000)";

    async fn planned(
        test: &TestEngine,
        sql: &str,
        cancel: &Cancel,
        timeout: Duration,
    ) -> HeadQuery {
        let id = QueryId::random();
        let request = StartRequest {
            query_id: id.to_string(),
            sql: sql.to_string(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap(),
            ..StartRequest::default()
        };
        plan(&test.engine, id, request, cancel.clone())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_query_ends_though_its_client_takes_nothing() {
        let test = TestEngine::new("stalled-client");
        let hour = Duration::from_secs(3600);
        for (timeout, state) in [
            (hour, QueryState::Cancelled),
            (Duration::from_millis(200), QueryState::Failed),
        ] {
            let cancel = Cancel::default();
            let query = planned(&test, MANY_ROWS, &cancel, timeout).await;
            let held = Arc::downgrade(&query.plan);
            let (batch_tx, batch_rx) = mpsc::channel(1);
            let stall = async {
                while batch_rx.is_empty() && !batch_rx.is_closed() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if timeout == hour {
                    cancel.cancel(Fault::new(ErrorCode::Cancelled, "enough"));
                }
            };
            let both = async { tokio::join!(query.run(batch_tx), stall) };
            let (outcome, ()) = tokio::time::timeout(Duration::from_secs(30), both)
                .await
                .unwrap();
            assert!(outcome.is_err());
            let mut told = 0;
            let ends = std::iter::from_fn(|| test.engine.ends().untold(&mut told));
            assert_eq!(ends.last().map(|ended| ended.state()), Some(state));
            let freed = async {
                while held.strong_count() > 0 {
                    test.engine.live().release_ended(test.engine.spans());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), freed)
                .await
                .expect("the plan is freed");
        }
    }

    /// Hours of work in one poll each: no row passes the filter, or billions of one group do.
    const ENDLESS: [&str; 3] = [
        "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.value * b.value % 7 = 8",
        "SELECT count(*) FROM range(1000000) a, range(1000000) b",
        "SELECT count(*) FROM range(1000000) a JOIN range(1000000) b \
         ON a.value % 2 = b.value % 2 AND a.value + b.value < 0",
    ];

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_join_without_end_can_be_ended_and_others_run_beside_it() {
        let test = TestEngine::new("endless-joins");
        let hour = Duration::from_secs(3600);
        for sql in ENDLESS {
            let cancel = Cancel::default();
            let query = planned(&test, sql, &cancel, hour).await;
            let (rows, _taken) = mpsc::channel(1);
            let running =
                AbortOnDropHandle::new(test.engine.query_runtime().spawn(query.run(rows)));
            let beside = planned(&test, "SELECT 1", &Cancel::default(), hour).await;
            let (rows, _taken) = mpsc::channel(1);
            let beside = test.engine.query_runtime().spawn(beside.run(rows));
            let beside = tokio::time::timeout(Duration::from_secs(10), beside).await;
            assert!(beside.unwrap().unwrap().is_ok(), "{sql}");
            assert!(!running.is_finished(), "{sql}");
            cancel.cancel(Fault::new(ErrorCode::Cancelled, "enough"));
            let ended = tokio::time::timeout(Duration::from_secs(10), running).await;
            let fault = ended.unwrap().unwrap().unwrap_err();
            assert_eq!(fault.message, "enough", "{sql}");
        }
    }
}
