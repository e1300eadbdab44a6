//! Runs one statement for a cell: follows it, shows its progress when it is slow, gathers the rows
//! that travelled, and ends it when the user interrupts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bireme_client::{QuerySummary, QueryUpdate, RunOptions};
use bireme_protocol::{ErrorCode, Fault};

use crate::display::progress::{self, Pace};
use crate::host::Host;
use crate::mime_bundle::MimeBundle;
use crate::query::QueryService;

/// What a statement gave.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub summary: QuerySummary,
}

/// Runs the statements of one cell; they share one progress line.
pub(crate) struct Runner<'h> {
    host: &'h dyn Host,
    service: Arc<dyn QueryService>,
    after: Duration,
    display_id: Option<String>,
}

/// What is known of a query while it runs.
enum Latest {
    Nothing,
    Queued(u32),
    Step(progress::Step),
}

impl<'h> Runner<'h> {
    pub(crate) async fn new(host: &'h dyn Host) -> Result<Self, Fault> {
        let service = host.queries().await?;
        let after = host.settings().duration("progress.after");
        Ok(Self {
            host,
            service,
            after,
            display_id: None,
        })
    }

    /// Runs one statement to its end. Positions in a fault are positions in `sql`.
    pub(crate) async fn run(&mut self, sql: &str, options: &RunOptions) -> Result<Outcome, Fault> {
        let started = Instant::now();
        let mut pace = Pace::new(started, self.after);
        let outcome = self.follow(sql, options, &mut pace, started).await;
        if pace.has_shown() {
            self.show(match &outcome {
                Ok(outcome) => progress::summary(outcome.summary.rows, &outcome.summary.progress),
                Err(fault) if fault.code == ErrorCode::Cancelled => {
                    progress::stopped("cancelled", started.elapsed())
                }
                Err(_) => progress::stopped("failed", started.elapsed()),
            });
        }
        outcome
    }

    async fn follow(
        &mut self,
        sql: &str,
        options: &RunOptions,
        pace: &mut Pace,
        started: Instant,
    ) -> Result<Outcome, Fault> {
        let cancellation = self.host.cancellation();
        let service = Arc::clone(&self.service);
        let mut query = {
            let submit = async { service.submit(sql, options).await };
            let mut latest = Latest::Nothing;
            self.wait(submit, &mut latest, pace, started, &cancellation)
                .await??
        };
        let mut outcome = Gathered::default();
        let mut latest = Latest::Nothing;
        loop {
            let next = self.wait(query.next(), &mut latest, pace, started, &cancellation);
            let Some(update) = next.await.map_err(|fault| fault.of_query(query.id()))? else {
                return Err(Fault::internal("a query ended without an end").of_query(query.id()));
            };
            match update? {
                QueryUpdate::Queued { place } => latest = Latest::Queued(place),
                QueryUpdate::Progress { total, engines } => {
                    latest = Latest::Step(progress::Step { total, engines });
                }
                QueryUpdate::Schema(schema) => outcome.schema = Some(schema),
                QueryUpdate::Batch(batch) => outcome.batches.push(batch),
                QueryUpdate::Done(summary) => return Ok(outcome.end(*summary)),
            }
            self.tick(&latest, pace, started);
        }
    }

    /// Waits for something of the query while progress goes on and the user may interrupt. The
    /// future is never dropped half-way but for an interrupt.
    async fn wait<T>(
        &mut self,
        future: impl Future<Output = T> + Send,
        latest: &mut Latest,
        pace: &mut Pace,
        started: Instant,
        cancellation: &tokio_util::sync::CancellationToken,
    ) -> Result<T, Fault> {
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                biased;
                () = cancellation.cancelled() => return Err(interrupted(started)),
                value = &mut future => return Ok(value),
                () = tokio::time::sleep_until(pace.next().into()) => {
                    self.tick(latest, pace, started);
                }
            }
        }
    }

    fn tick(&mut self, latest: &Latest, pace: &mut Pace, started: Instant) {
        if !pace.is_due(Instant::now()) {
            return;
        }
        let elapsed = started.elapsed();
        self.show(match latest {
            Latest::Nothing => progress::running(&progress::Step::default(), elapsed),
            Latest::Queued(place) => progress::queued(*place, elapsed),
            Latest::Step(step) => progress::running(step, elapsed),
        });
    }

    fn show(&mut self, bundle: MimeBundle) {
        match &self.display_id {
            Some(id) => self.host.update_display(bundle, id),
            None => {
                let id = self.host.new_display_id();
                self.host.display(bundle, Some(&id));
                self.display_id = Some(id);
            }
        }
    }
}

#[derive(Default)]
struct Gathered {
    schema: Option<SchemaRef>,
    batches: Vec<RecordBatch>,
}

impl Gathered {
    fn end(self, summary: QuerySummary) -> Outcome {
        let first = self.batches.first().map(RecordBatch::schema);
        let schema = self
            .schema
            .or(first)
            .unwrap_or_else(|| Arc::new(Schema::empty()));
        Outcome {
            schema,
            batches: self.batches,
            summary,
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
