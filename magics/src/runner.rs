//! Runs the statements of one cell: opens the door to the cluster, follows each query, gathers the
//! rows that travelled, and ends what the user interrupts. What takes its time shows its progress.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bireme_client::{QuerySummary, QueryUpdate, Rows, RunOptions};
use bireme_protocol::proto::{BoundValue, DefineReply};
use bireme_protocol::{ErrorCode, Fault};

use crate::display::progress::{self, Pace};
use crate::host::Host;
use crate::mime_bundle::MimeBundle;
use crate::query::{QueryService, RunningQuery};

/// What a statement gave.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub summary: QuerySummary,
    /// Whether the result has more rows than the limit lets through.
    pub is_cut: bool,
}

/// Runs the statements of one cell.
pub(crate) struct Runner<'h> {
    host: &'h dyn Host,
    service: Option<Arc<dyn QueryService>>,
    after: Duration,
}

/// Takes the rows of a query as they come.
pub(crate) type Take<'t> = &'t mut (dyn FnMut(RecordBatch) -> Result<(), Fault> + Send);

/// One piece of work, from its start on.
struct Work {
    started: Instant,
    pace: Pace,
    latest: Latest,
}

/// What is known of a piece of work while it goes on.
enum Latest {
    Doing(&'static str),
    Queued(u32),
    Step(progress::Step),
}

/// The door to the cluster, for a magic that asks it one thing.
pub(crate) async fn attach(host: &dyn Host) -> Result<Arc<dyn QueryService>, Fault> {
    Runner::new(host).service().await
}

impl<'h> Runner<'h> {
    pub(crate) fn new(host: &'h dyn Host) -> Self {
        Self {
            host,
            service: None,
            after: host.settings().duration("progress.after"),
        }
    }

    /// The door to the cluster. Attaches, and starts a cluster, on first need.
    pub(crate) async fn service(&mut self) -> Result<Arc<dyn QueryService>, Fault> {
        let mut work = self.begin();
        let attached = self.attached(&mut work).await;
        self.end(&work, &attached, |_, elapsed| {
            progress::stopped("connected", elapsed)
        });
        attached
    }

    /// Plans a definition and keeps its name. Positions in a fault are positions in `sql`.
    pub(crate) async fn define(
        &mut self,
        sql: &str,
        values: Vec<BoundValue>,
    ) -> Result<DefineReply, Fault> {
        let mut work = self.begin();
        let defined = self.plan(sql, values, &mut work).await;
        self.end(&work, &defined, |_, elapsed| {
            progress::stopped("planned", elapsed)
        });
        defined
    }

    /// Runs one statement to its end. Positions in a fault are positions in `sql`.
    pub(crate) async fn run(&mut self, sql: &str, options: &RunOptions) -> Result<Outcome, Fault> {
        let mut batches = Vec::new();
        let mut keep = |batch| {
            batches.push(batch);
            Ok(())
        };
        let mut work = self.begin();
        let more = one_row_more(options);
        let followed = self.follow(sql, &more, &mut keep, &mut work).await;
        let outcome = followed.map(|(schema, summary)| {
            let outcome = Outcome {
                schema,
                batches,
                summary,
                is_cut: false,
            };
            outcome.cut(options)
        });
        self.end(&work, &outcome, |outcome, _| {
            progress::summary(outcome.summary.rows, &outcome.summary.progress)
        });
        outcome
    }

    /// Runs one statement to its end and gives its rows away as they come.
    pub(crate) async fn run_into(
        &mut self,
        sql: &str,
        options: &RunOptions,
        take: Take<'_>,
    ) -> Result<(SchemaRef, QuerySummary), Fault> {
        let mut work = self.begin();
        let outcome = self.follow(sql, options, take, &mut work).await;
        self.end(&work, &outcome, |(_, summary), _| {
            progress::summary(summary.rows, &summary.progress)
        });
        outcome
    }

    /// Follows a query that was submitted elsewhere to its end: its whole id, and what it did.
    pub(crate) async fn watch(&mut self, id: &str) -> Result<(String, QuerySummary), Fault> {
        let mut work = self.begin();
        let watched = async {
            let service = self.attached(&mut work).await?;
            let query = self.wait(service.follow(id), &mut work).await??;
            let id = query.id();
            // Its rows are for who asked for them.
            let mut nobody = |_| Ok(());
            let (_, summary) = self.follow_to_end(query, &mut nobody, &mut work).await?;
            Ok((id, summary))
        };
        let watched = watched.await;
        self.end(&work, &watched, |(_, summary), _| {
            progress::summary(summary.rows, &summary.progress)
        });
        watched
    }

    async fn attached(&mut self, work: &mut Work) -> Result<Arc<dyn QueryService>, Fault> {
        if let Some(service) = &self.service {
            return Ok(Arc::clone(service));
        }
        let host = self.host;
        let service = self.wait(host.queries(), work).await??;
        self.service = Some(Arc::clone(&service));
        Ok(service)
    }

    async fn plan(
        &mut self,
        sql: &str,
        values: Vec<BoundValue>,
        work: &mut Work,
    ) -> Result<DefineReply, Fault> {
        let service = self.attached(work).await?;
        work.latest = Latest::Doing("planning");
        self.wait(service.define(sql, values), work).await?
    }

    async fn follow(
        &mut self,
        sql: &str,
        options: &RunOptions,
        take: Take<'_>,
        work: &mut Work,
    ) -> Result<(SchemaRef, QuerySummary), Fault> {
        let service = self.attached(work).await?;
        work.latest = Latest::Doing("planning");
        let query = self.wait(service.submit(sql, options), work).await??;
        self.follow_to_end(query, take, work).await
    }

    async fn follow_to_end(
        &mut self,
        mut query: Box<dyn RunningQuery>,
        take: Take<'_>,
        work: &mut Work,
    ) -> Result<(SchemaRef, QuerySummary), Fault> {
        work.latest = Latest::Step(progress::Step::default());
        let mut schema = None;
        loop {
            let next = self.wait(query.next(), work);
            let Some(update) = next.await.map_err(|fault| fault.of_query(query.id()))? else {
                return Err(Fault::internal("a query ended without an end").of_query(query.id()));
            };
            match update? {
                QueryUpdate::Queued { place } => work.latest = Latest::Queued(place),
                QueryUpdate::Progress { total, engines } => {
                    work.latest = Latest::Step(progress::Step { total, engines });
                }
                QueryUpdate::Schema(columns) => schema = Some(columns),
                QueryUpdate::Batch(batch) => {
                    schema.get_or_insert_with(|| batch.schema());
                    take(batch).map_err(|fault| fault.of_query(query.id()))?;
                }
                QueryUpdate::Done(summary) => {
                    let schema = schema.unwrap_or_else(|| Arc::new(Schema::empty()));
                    return Ok((schema, *summary));
                }
            }
            self.tick(work);
        }
    }

    /// Waits for something while its progress is shown and the user may interrupt. The future is
    /// never dropped half-way but for an interrupt.
    async fn wait<T>(
        &mut self,
        future: impl Future<Output = T> + Send,
        work: &mut Work,
    ) -> Result<T, Fault> {
        let cancellation = self.host.cancellation();
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                biased;
                () = cancellation.cancelled() => return Err(interrupted(work.started)),
                value = &mut future => return Ok(value),
                () = tokio::time::sleep_until(work.pace.next().into()) => self.tick(work),
            }
        }
    }

    fn begin(&self) -> Work {
        let started = Instant::now();
        Work {
            started,
            pace: Pace::new(started, self.after),
            latest: Latest::Doing("connecting to the cluster"),
        }
    }

    fn tick(&self, work: &mut Work) {
        if !work.pace.is_due(Instant::now()) {
            return;
        }
        let elapsed = work.started.elapsed();
        self.host.progress(match &work.latest {
            Latest::Doing(what) => progress::doing(what, elapsed),
            Latest::Queued(place) => progress::queued(*place, elapsed),
            Latest::Step(step) => progress::running(step, elapsed),
        });
    }

    /// Replaces the line, if this work has shown one, by how it ended.
    fn end<T>(
        &mut self,
        work: &Work,
        outcome: &Result<T, Fault>,
        summary: impl FnOnce(&T, Duration) -> MimeBundle,
    ) {
        if !work.pace.has_shown() {
            return;
        }
        let elapsed = work.started.elapsed();
        self.host.progress(match outcome {
            Ok(value) => summary(value, elapsed),
            Err(fault) if fault.code == ErrorCode::Cancelled => {
                progress::stopped("cancelled", elapsed)
            }
            Err(_) => progress::stopped("failed", elapsed),
        });
    }
}

/// The options with room for one row beyond the limit: it tells a result that the limit cuts from
/// one that ends there.
fn one_row_more(options: &RunOptions) -> RunOptions {
    let mut more = options.clone();
    if let Some(limit) = &mut more.limit
        && *limit > 0
    {
        *limit = limit.saturating_add(1);
        if let Rows::Preview { tail, .. } = &mut more.rows
            && *tail > 0
        {
            *tail += 1;
        }
    }
    more
}

impl Outcome {
    /// Takes the row beyond the limit away again.
    fn cut(mut self, options: &RunOptions) -> Self {
        let Some(limit) = options.limit.filter(|limit| self.summary.rows > *limit) else {
            return self;
        };
        self.is_cut = true;
        self.summary.rows = limit;
        let have: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        let has_tail = matches!(options.rows, Rows::Preview { tail, .. } if tail > 0);
        // Of a head alone it has travelled only when all rows have.
        if has_tail || have as u64 > limit {
            drop_last_row(&mut self.batches);
        }
        self
    }
}

fn drop_last_row(batches: &mut Vec<RecordBatch>) {
    while let Some(last) = batches.pop() {
        if last.num_rows() > 0 {
            batches.push(last.slice(0, last.num_rows() - 1));
            return;
        }
    }
}

fn interrupted(started: Instant) -> Fault {
    let elapsed = crate::display::units::duration(started.elapsed());
    Fault::new(
        ErrorCode::Cancelled,
        format!("the cell was interrupted after {elapsed}"),
    )
}
