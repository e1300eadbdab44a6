//! A hash join of generated rows, for `bireme bench join`: DataFusion's own, ours in its place with
//! all the memory it wants, and ours with a part of what the build side takes. Plan nodes, budget and
//! spill files are those of queries, without a cluster around them.

use crate::fault_from::fault_from;
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_frames::{Budget, SpillDirectory};
use bireme_operators::{QueryEnd, with_spilling_joins};
use bireme_protocol::Fault;
use datafusion::datasource::MemTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROWS: usize = 8192;
/// Columns of the build side: its key, and what is carried along.
const BUILD_COLUMNS: usize = 4;
/// Rows of the probe side for one of the build side; three in four have a partner.
const PROBES: usize = 4;
/// Keys are spread over all 64 bits.
const SPREAD: i64 = 0x5851_F42D_4C95_7F2D;
const DISK_LIMIT: u64 = 1 << 40;
const JOIN: &str = "SELECT count(*), sum(b.x + p.w), sum(b.y), sum(b.z) FROM build AS b JOIN probe AS p ON b.k = p.k";

/// A join to be measured.
#[derive(Clone, Debug)]
pub struct JoinMeasurement {
    /// Where it spills.
    pub directory: PathBuf,
    /// Rows of the build side, of 32 bytes; the probe side has four times as many, of 16.
    pub build_rows: usize,
    /// Partitions of the join.
    pub partitions: usize,
    /// How many bytes of memory the spilling join gets, as a part of the build side: one in so many.
    pub memory_part: usize,
}

/// How long each kind took in each round.
#[derive(Clone, Debug, Default)]
pub struct JoinTimes {
    /// DataFusion's join.
    pub datafusion: Vec<Duration>,
    /// Ours, when the build side fits.
    pub in_memory: Vec<Duration>,
    /// Ours, when it does not.
    pub spilled: Vec<Duration>,
    /// What the last of those wrote to disk.
    pub spilled_bytes: u64,
}

impl JoinMeasurement {
    /// Bytes of the build side.
    pub fn build_bytes(&self) -> usize {
        self.build_rows * BUILD_COLUMNS * size_of::<i64>()
    }

    /// Runs the three joins in turn, so many times after one that does not count.
    ///
    /// # Errors
    /// A join fails, or two of them give different rows.
    pub async fn run(&self, rounds: usize) -> std::result::Result<JoinTimes, Fault> {
        self.measure(rounds)
            .await
            .map_err(|error| fault_from(&error))
    }

    async fn measure(&self, rounds: usize) -> Result<JoinTimes> {
        let tables = [
            ("build", Arc::new(self.build()?)),
            ("probe", Arc::new(self.probe()?)),
        ];
        let plenty = self.machine("plenty", usize::MAX >> 1, &tables)?;
        let little = self.machine("little", self.build_bytes() / self.memory_part, &tables)?;
        let mut times = JoinTimes::default();
        for round in 0..=rounds {
            let (datafusion, expected) = plenty.run(Ok).await?;
            let (in_memory, rows) = plenty.run(spilling).await?;
            same(&expected, &rows)?;
            let before = little.spill.counters().bytes_written;
            let (spilled, rows) = little.run(spilling).await?;
            same(&expected, &rows)?;
            times.spilled_bytes = little.spill.counters().bytes_written - before;
            if round > 0 {
                times.datafusion.push(datafusion);
                times.in_memory.push(in_memory);
                times.spilled.push(spilled);
            }
        }
        Ok(times)
    }

    fn build(&self) -> Result<MemTable> {
        self.table(
            &["k", "x", "y", "z"],
            self.build_rows,
            |column, row| match column {
                0 => key(row),
                _ => (row * column) as i64,
            },
        )
    }

    fn probe(&self) -> Result<MemTable> {
        let keys = self.build_rows * PROBES / (PROBES - 1);
        self.table(
            &["k", "w"],
            self.build_rows * PROBES,
            |column, row| match column {
                0 => key(row.wrapping_mul(2_654_435_761) % keys),
                _ => row as i64,
            },
        )
    }

    fn table(
        &self,
        names: &[&str],
        rows: usize,
        value: impl Fn(usize, usize) -> i64,
    ) -> Result<MemTable> {
        let field = |name: &&str| Field::new(*name, DataType::Int64, false);
        let schema: SchemaRef = Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()));
        let mut partitions = vec![Vec::new(); self.partitions];
        for (index, start) in (0..rows).step_by(ROWS).enumerate() {
            let range = start..(start + ROWS).min(rows);
            let columns = (0..names.len()).map(|column| {
                let values = range.clone().map(|row| value(column, row));
                Arc::new(Int64Array::from_iter_values(values)) as _
            });
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect())?;
            partitions[index % self.partitions].push(batch);
        }
        MemTable::try_new(schema, partitions)
    }

    fn machine(
        &self,
        name: &str,
        memory: usize,
        tables: &[(&str, Arc<MemTable>)],
    ) -> Result<Machine> {
        let budget = Budget::new(memory, DISK_LIMIT);
        let spill = SpillDirectory::open(self.directory.join(name), Arc::clone(&budget))?;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(budget.for_query("join")))
            .with_disk_manager_builder(spill.disk_manager())
            .build_arc()?;
        let mut config = SessionConfig::new()
            .with_batch_size(ROWS)
            .with_target_partitions(self.partitions);
        // Both sides are divided by hash, as those of large joins are.
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.hash_join_single_partition_threshold = 0;
        optimizer.hash_join_single_partition_threshold_rows = 0;
        let session = SessionContext::new_with_config_rt(config, runtime);
        for (name, table) in tables {
            session.register_table(*name, Arc::clone(table) as _)?;
        }
        Ok(Machine { session, spill })
    }
}

/// Memory and disk to join in.
struct Machine {
    session: SessionContext,
    spill: SpillDirectory,
}

impl Machine {
    async fn run(
        &self,
        change: impl Fn(Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>,
    ) -> Result<(Duration, Vec<RecordBatch>)> {
        let plan = self.session.sql(JOIN).await?.create_physical_plan().await?;
        let plan = change(plan)?;
        let begun = Instant::now();
        let rows = collect(plan, self.session.task_ctx()).await?;
        Ok((begun.elapsed(), rows))
    }
}

fn spilling(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    with_spilling_joins(plan, &QueryEnd::default())
}

fn key(row: usize) -> i64 {
    (row as i64).wrapping_mul(SPREAD)
}

fn same(expected: &[RecordBatch], rows: &[RecordBatch]) -> Result<()> {
    match expected == rows {
        true => Ok(()),
        false => Err(DataFusionError::Internal(format!(
            "the joins differ: {expected:?} and {rows:?}"
        ))),
    }
}
