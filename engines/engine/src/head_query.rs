//! A query this engine is the head of: planned when it is started, run when it is fetched.
//!
//! Its end, whatever it is, is reported once; dropping it ends its work on every engine.

use crate::delivery::Preview;
use crate::engine::Engine;
use crate::fault_from::fault_from;
use crate::plan_tree;
use crate::planner;
use crate::queries::Cancel;
use crate::session_tables::SessionTables;
use crate::table_files;
use bireme_collectives::Exchange;
use bireme_protocol::proto::{
    Delivery, QueryEnded, QueryProgress, QueryState, ResultSummary, StartRequest, StatementMode,
};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use bireme_settings::{Settings, Source};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion_distributed::{
    DistributedExec, DistributedMetricsFormat, rewrite_distributed_plan_with_metrics,
};
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::Status;

/// How long metrics of other engines may take to arrive after the last row.
const METRICS_WITHIN: Duration = Duration::from_secs(2);

/// A planned query.
pub(crate) struct HeadQuery {
    id: QueryId,
    engine: Arc<Engine>,
    exchange: Arc<Exchange>,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    mode: StatementMode,
    delivery: Delivery,
    engines: usize,
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
    let tables = SessionTables::new(catalog, directory.clone());
    let head = engine.head_session(id, &settings, &tables)?;
    let state = head.context.state();
    let logical = planner::plan(&state, &request.sql, &request.values, &tables).await?;
    let logical = prepare(logical, &directory, request.limit)?;
    let plan = state.create_physical_plan(&logical).await;
    let plan = plan.map_err(|error| fault_from(&error))?;
    let timeout = match request.timeout_ms {
        0 => settings.duration("query.timeout"),
        millis => Duration::from_millis(millis),
    };
    let is_distributed = plan.downcast_ref::<DistributedExec>().is_some();
    Ok(HeadQuery {
        id,
        engine: Arc::clone(engine),
        exchange: head.exchange,
        plan,
        context: head.context.task_ctx(),
        mode: request.mode(),
        delivery: request.delivery.unwrap_or_default(),
        engines: if is_distributed { head.engines } else { 1 },
        cancel,
        started,
        deadline: (!timeout.is_zero()).then(|| (started + timeout, timeout)),
        has_ended: false,
    })
}

/// The session's settings over the engine's own.
pub(crate) fn settings_of(engine: &Engine, request: &StartRequest) -> Result<Settings, Fault> {
    let mut settings = engine.settings().clone();
    for setting in &request.settings {
        settings
            .set(&setting.key, &setting.value, Source::Session)
            .map_err(|error| Fault::new(ErrorCode::InvalidArgument, error.to_string()))?;
    }
    Ok(settings)
}

/// Refuses what is not a query, makes paths absolute and adds the limit.
fn prepare(plan: LogicalPlan, directory: &str, limit: u64) -> Result<LogicalPlan, Fault> {
    match plan {
        LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) | LogicalPlan::Dml(_) => Err(Fault::new(
            ErrorCode::SqlPlanError,
            format!("run {}: this statement gives no rows here", plan.display()),
        )),
        LogicalPlan::Copy(mut copy) => {
            copy.output_url = table_files::absolute(&copy.output_url, directory);
            Ok(LogicalPlan::Copy(copy))
        }
        plan if limit == 0 => Ok(plan),
        plan => {
            let rows = usize::try_from(limit).unwrap_or(usize::MAX);
            let limited = LogicalPlanBuilder::from(plan).limit(0, Some(rows));
            let limited = limited.and_then(LogicalPlanBuilder::build);
            limited.map_err(|error| fault_from(&error))
        }
    }
}

impl HeadQuery {
    /// The columns the client will see.
    pub(crate) fn schema(&self) -> SchemaRef {
        match self.mode {
            StatementMode::Run => self.plan.schema(),
            StatementMode::Explain | StatementMode::Analyze => Arc::new(Schema::empty()),
        }
    }

    /// How many engines take part.
    pub(crate) fn engines(&self) -> usize {
        self.engines
    }

    /// Runs the query into a channel. A client that goes away, a cancel and the deadline end it at
    /// any moment.
    pub(crate) async fn run(
        mut self,
        rows: mpsc::Sender<Result<RecordBatch, Status>>,
    ) -> Option<ResultSummary> {
        let cancel = self.cancel.clone();
        let deadline = self.deadline;
        let timed_out = async move {
            match deadline {
                Some((at, timeout)) => {
                    tokio::time::sleep_until(at.into()).await;
                    timeout
                }
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            fault = cancel.cancelled() => Err(fault),
            () = rows.closed() => Err(Fault::new(ErrorCode::Cancelled, "the client went away")),
            timeout = timed_out => Err(Fault::new(
                ErrorCode::TimedOut,
                format!("the query ran longer than its timeout of {timeout:?}"),
            )
            .with_hint("--timeout or the setting query.timeout gives it longer")),
            ended = self.execute(&rows) => ended,
        };
        match ended {
            Ok(summary) => {
                self.end(QueryState::Succeeded, None).await;
                Some(summary)
            }
            Err(fault) => {
                let fault = self.root_cause(fault);
                self.exchange.abort_query(self.id, fault.clone());
                let state = match fault.code {
                    ErrorCode::Cancelled => QueryState::Cancelled,
                    _ => QueryState::Failed,
                };
                // Told before the report: the client learns first. A gone client needs no answer.
                let _ = rows.send(Err(fault.clone().into())).await;
                self.end(state, Some(fault)).await;
                None
            }
        }
    }

    /// An engine that failed first knows more than the ones that noticed.
    fn root_cause(&self, fault: Fault) -> Fault {
        let known = match fault.code {
            ErrorCode::Cancelled | ErrorCode::TimedOut | ErrorCode::EngineLost => None,
            _ => self.exchange.fault(self.id),
        };
        known.unwrap_or(fault).of_query(self.id.to_string())
    }

    async fn execute(
        &self,
        rows: &mpsc::Sender<Result<RecordBatch, Status>>,
    ) -> Result<ResultSummary, Fault> {
        if self.mode == StatementMode::Explain {
            return self.explain();
        }
        let stream = execute_stream(Arc::clone(&self.plan), Arc::clone(&self.context));
        self.engine.live().follow(self.id, &self.plan, true);
        let stream = stream.map_err(|error| fault_from(&error))?;
        let mut summary = match (self.mode, self.delivery) {
            (StatementMode::Analyze, _) => self.count(stream).await?,
            (_, Delivery { head: 0, tail: 0 }) => send_all(stream, rows).await?,
            (_, delivery) => send_preview(stream, delivery, rows).await?,
        };
        let elapsed = self.started.elapsed();
        summary.elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        if self.mode == StatementMode::Analyze {
            summary.plan_json = self.analyzed(elapsed).await?;
        }
        summary.head_rank = self.engine.rank();
        summary.progress = Some(self.progress());
        Ok(summary)
    }

    async fn count(&self, mut stream: SendableRecordBatchStream) -> Result<ResultSummary, Fault> {
        let mut summary = ResultSummary::default();
        while let Some(batch) = stream.next().await {
            summary.rows += batch.map_err(|error| fault_from(&error))?.num_rows() as u64;
        }
        Ok(summary)
    }

    fn explain(&self) -> Result<ResultSummary, Fault> {
        let tree = plan_tree::draw(&self.plan, self.engines, self.engine.rank(), None);
        Ok(ResultSummary {
            plan_json: to_json(&tree)?,
            head_rank: self.engine.rank(),
            ..ResultSummary::default()
        })
    }

    async fn analyzed(&self, elapsed: Duration) -> Result<String, Fault> {
        let plan = Arc::clone(&self.plan);
        let format = DistributedMetricsFormat::Aggregated;
        let measured = rewrite_distributed_plan_with_metrics(plan, format);
        let measured = match tokio::time::timeout(METRICS_WITHIN, measured).await {
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
    pub(crate) fn abandon(mut self: Box<Self>, fault: Fault) {
        self.report(QueryState::Cancelled, Some(fault));
    }

    async fn end(&mut self, state: QueryState, fault: Option<Fault>) {
        let ended = self.ended(state, fault);
        self.engine.report_end(ended).await;
    }

    fn report(&mut self, state: QueryState, fault: Option<Fault>) {
        let ended = self.ended(state, fault);
        self.engine.report_end_now(ended);
    }

    fn ended(&mut self, state: QueryState, fault: Option<Fault>) -> QueryEnded {
        self.has_ended = true;
        self.engine.queries().forget(self.id);
        QueryEnded {
            query_id: self.id.to_string(),
            state: state.into(),
            progress: Some(self.progress()),
            fault_json: fault.map(|fault| fault.to_json()).unwrap_or_default(),
        }
    }
}

impl Drop for HeadQuery {
    fn drop(&mut self) {
        if !self.has_ended {
            let fault = Fault::new(ErrorCode::Cancelled, "the client went away");
            self.report(QueryState::Cancelled, Some(fault));
        }
        self.exchange.close_query(self.id);
    }
}

fn to_json(tree: &bireme_protocol::PlanTree) -> Result<String, Fault> {
    serde_json::to_string(tree).map_err(|error| Fault::internal(format!("write a plan: {error}")))
}

async fn send_all(
    mut stream: SendableRecordBatchStream,
    rows: &mpsc::Sender<Result<RecordBatch, Status>>,
) -> Result<ResultSummary, Fault> {
    let mut summary = ResultSummary::default();
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| fault_from(&error))?;
        summary.rows += batch.num_rows() as u64;
        send(rows, batch).await?;
    }
    summary.head_rows = summary.rows;
    Ok(summary)
}

async fn send_preview(
    mut stream: SendableRecordBatchStream,
    delivery: Delivery,
    rows: &mpsc::Sender<Result<RecordBatch, Status>>,
) -> Result<ResultSummary, Fault> {
    let mut preview = Preview::new(stream.schema(), delivery.head, delivery.tail);
    let copy_failed = |error| Fault::internal(format!("copy rows of a preview: {error}"));
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| fault_from(&error))?;
        preview.push(&batch).map_err(copy_failed)?;
    }
    // The rows below may pin large batches: nothing else of the plan is held meanwhile.
    drop(stream);
    let kept = preview.finish();
    for batch in kept.batches {
        send(rows, batch).await?;
    }
    Ok(ResultSummary {
        rows: kept.rows,
        head_rows: kept.head_rows,
        tail_rows: kept.tail_rows,
        ..ResultSummary::default()
    })
}

async fn send(
    rows: &mpsc::Sender<Result<RecordBatch, Status>>,
    batch: RecordBatch,
) -> Result<(), Fault> {
    let sent = rows.send(Ok(batch)).await;
    sent.map_err(|_| Fault::new(ErrorCode::Cancelled, "the client went away"))
}
