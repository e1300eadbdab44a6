//! Two sides of a join with nulls, skew, long strings and nested columns; a session with so much
//! memory and disk; and rows that can be compared.

use arrow::row::{RowConverter, SortField};
use bireme_frames::{Budget, SpillDirectory};
use bireme_operators::{QueryEnd, with_spilling_joins};
use datafusion::arrow::array::{
    Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray, StructArray,
};
use datafusion::arrow::compute::{SortOptions, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{HashJoinExec, HashJoinExecBuilder, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const KINDS: [JoinType; 10] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::LeftAnti,
    JoinType::LeftMark,
    JoinType::RightSemi,
    JoinType::RightAnti,
    JoinType::RightMark,
];
pub(crate) const PARTITIONS: usize = 2;
const BATCH_ROWS: usize = 1024;

/// What a side looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    /// How many values its keys have.
    pub(crate) keys: i64,
    /// One row in so many has the same key, 0 for none.
    pub(crate) same_key_in: usize,
    /// One key in so many is null, 0 for none.
    pub(crate) null_in: usize,
    pub(crate) seed: u64,
}

/// What a join compares: the number `k`, the text `s` that says the same, or both.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    Number,
    Text,
    Both,
}

pub(crate) const ALL_KEYS: [Keys; 3] = [Keys::Number, Keys::Text, Keys::Both];

/// A join.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) kind: JoinType,
    pub(crate) keys: Keys,
    pub(crate) mode: PartitionMode,
    pub(crate) filtered: bool,
    pub(crate) projected: bool,
    pub(crate) nulls: NullEquality,
    pub(crate) null_aware: bool,
    pub(crate) build: Shape,
    pub(crate) probe: Shape,
}

fn mix(seed: u64, row: usize) -> u64 {
    let mut value = seed ^ (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Shape {
    fn key(&self, row: usize) -> Option<i64> {
        let random = mix(self.seed, row);
        if self.null_in > 0 && random.is_multiple_of(self.null_in as u64) {
            return None;
        }
        if self.same_key_in > 0 && (random >> 20).is_multiple_of(self.same_key_in as u64) {
            return Some(7);
        }
        Some(((random >> 32) % self.keys as u64) as i64)
    }

    fn batch(&self, rows: std::ops::Range<usize>) -> RecordBatch {
        let keys: Vec<_> = rows.clone().map(|row| self.key(row)).collect();
        let id = Int64Array::from_iter_values(rows.clone().map(|row| row as i64));
        let text = rows.clone().map(|row| {
            let random = mix(self.seed + 1, row);
            (!random.is_multiple_of(9)).then(|| format!("{random:0width$}", width = 20 + row % 120))
        });
        let view: StringViewArray = text.collect();
        let text_of = |key: &Option<i64>| Some(format!("the number {}", (*key)?));
        let plain: StringArray = keys.iter().map(text_of).collect();
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(rows.clone().map(|row| {
            (row % 5 != 0).then(|| {
                (0..row % 4)
                    .map(|i| Some((row + i) as i64))
                    .collect::<Vec<_>>()
            })
        }));
        let nested = StructArray::from(vec![
            (
                Arc::new(Field::new("a", DataType::Utf8View, true)),
                Arc::new(view.clone()) as ArrayRef,
            ),
            (
                Arc::new(Field::new("b", lists.data_type().clone(), true)),
                Arc::new(lists) as ArrayRef,
            ),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(keys)),
            Arc::new(id),
            Arc::new(view),
            Arc::new(plain),
            Arc::new(nested),
        ];
        RecordBatch::try_new(self.schema(), columns).unwrap()
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        let list = DataType::new_list(DataType::Int64, true);
        let nested = DataType::Struct(
            vec![
                Field::new("a", DataType::Utf8View, true),
                Field::new("b", list, true),
            ]
            .into(),
        );
        Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("id", DataType::Int64, false),
            Field::new("v", DataType::Utf8View, true),
            Field::new("s", DataType::Utf8, true),
            Field::new("n", nested, true),
        ]))
    }

    /// Equal keys are in equal partitions.
    pub(crate) fn partitions(&self, count: usize) -> Vec<Vec<RecordBatch>> {
        let batches = (0..self.rows.div_ceil(BATCH_ROWS))
            .map(|batch| self.batch(batch * BATCH_ROWS..((batch + 1) * BATCH_ROWS).min(self.rows)));
        let batches: Vec<_> = batches.collect();
        if count == 1 {
            return vec![batches];
        }
        let part = |part: usize| {
            batches
                .iter()
                .map(|batch| {
                    let keys = batch
                        .column(0)
                        .as_any()
                        .downcast_ref::<Int64Array>()
                        .unwrap();
                    let chosen = keys
                        .iter()
                        .map(|key| Some(key.unwrap_or(0) as usize % count == part));
                    let chosen = chosen.collect();
                    datafusion::arrow::compute::filter_record_batch(batch, &chosen).unwrap()
                })
                .collect()
        };
        (0..count).map(part).collect()
    }
}

impl Case {
    pub(crate) fn new(kind: JoinType, build: Shape, probe: Shape) -> Self {
        Self {
            kind,
            keys: Keys::Number,
            mode: PartitionMode::Partitioned,
            filtered: false,
            projected: false,
            nulls: NullEquality::NullEqualsNothing,
            null_aware: false,
            build,
            probe,
        }
    }

    pub(crate) fn build_bytes(&self) -> usize {
        let all = self.build.partitions(1).concat();
        all.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    /// DataFusion's join.
    pub(crate) fn join(&self) -> HashJoinExec {
        let collected = self.mode == PartitionMode::CollectLeft;
        let left = self
            .build
            .partitions(if collected { 1 } else { PARTITIONS });
        let right = self.probe.partitions(PARTITIONS);
        let source = |parts: &[Vec<RecordBatch>], shape: &Shape| {
            MemorySourceConfig::try_new_exec(parts, shape.schema(), None).unwrap()
        };
        let (left, right) = (source(&left, &self.build), source(&right, &self.probe));
        let number = || Arc::new(Column::new("k", 0)) as _;
        let text = || Arc::new(Column::new("s", 3)) as _;
        let on = match self.keys {
            Keys::Number => vec![(number(), number())],
            Keys::Text => vec![(text(), text())],
            Keys::Both => vec![(text(), text()), (number(), number())],
        };
        let columns = match self.kind {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::RightSemi | JoinType::RightAnti => {
                5
            }
            JoinType::LeftMark | JoinType::RightMark => 6,
            _ => 10,
        };
        let projection = self.projected.then(|| vec![columns - 1, 1, columns - 2]);
        HashJoinExecBuilder::new(left, right, on, self.kind)
            .with_filter(self.filtered.then(filter))
            .with_partition_mode(self.mode)
            .with_null_equality(self.nulls)
            .with_null_aware(self.null_aware)
            .with_projection(projection)
            .build()
            .unwrap()
    }
}

/// `build.id < probe.id`
fn filter() -> JoinFilter {
    let side = |side| ColumnIndex { index: 1, side };
    let schema = Schema::new(vec![
        Field::new("l", DataType::Int64, false),
        Field::new("r", DataType::Int64, false),
    ]);
    let less = BinaryExpr::new(
        Arc::new(Column::new("l", 0)),
        Operator::Lt,
        Arc::new(Column::new("r", 1)),
    );
    let sides = vec![side(JoinSide::Left), side(JoinSide::Right)];
    JoinFilter::new(Arc::new(less), sides, Arc::new(schema))
}

/// An engine's memory and disk.
pub(crate) struct Machine {
    pub(crate) budget: Arc<Budget>,
    pub(crate) spill: SpillDirectory,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) session: SessionContext,
    _home: TempDir,
}

impl Machine {
    pub(crate) fn new(memory: usize) -> Self {
        Self::with(memory, 4 << 30, &[])
    }

    pub(crate) fn with(memory: usize, disk: u64, settings: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let budget = Budget::new(memory, disk);
        let spill = SpillDirectory::open(home.path().join("spill"), Arc::clone(&budget)).unwrap();
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(budget.for_query("q")))
            .with_disk_manager_builder(spill.disk_manager())
            .build_arc()
            .unwrap();
        let mut config = SessionConfig::new()
            .with_batch_size(BATCH_ROWS)
            .with_target_partitions(PARTITIONS);
        for (key, value) in settings {
            config.options_mut().set(key, value).unwrap();
        }
        let session = SessionContext::new_with_config_rt(config, runtime);
        Self {
            budget,
            spill,
            context: session.task_ctx(),
            session,
            _home: home,
        }
    }

    /// Runs the join as engines do. Nothing is held afterwards.
    pub(crate) async fn run(&self, join: HashJoinExec) -> Result<(Vec<RecordBatch>, usize)> {
        let plan = with_spilling_joins(Arc::new(join), &QueryEnd::default()).unwrap();
        let rows = self.collect(Arc::clone(&plan)).await;
        let spilled = plan.metrics().unwrap().spilled_bytes().unwrap_or(0);
        drop(plan);
        self.until_free().await;
        Ok((rows?, spilled))
    }

    /// Fails the test rather than hang.
    pub(crate) async fn collect(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<RecordBatch>> {
        let work = collect(plan, Arc::clone(&self.context));
        tokio::time::timeout(Duration::from_secs(120), work)
            .await
            .expect("in time")
    }

    pub(crate) async fn until_free(&self) {
        let held = || {
            let live = self.spill.counters().files_live;
            (self.budget.host_used(), self.budget.disk_used(), live)
        };
        let begun = std::time::Instant::now();
        while held() != (0, 0, 0) {
            let snapshot = self.budget.snapshot();
            assert!(begun.elapsed().as_secs() < 10, "{:?} {snapshot:?}", held());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The rows, sorted, as bytes.
pub(crate) fn sorted(schema: &SchemaRef, batches: &[RecordBatch]) -> Vec<Vec<u8>> {
    let all = concat_batches(schema, batches).unwrap();
    let fields = schema.fields().iter();
    let fields = fields.map(|field| {
        SortField::new_with_options(field.data_type().clone(), SortOptions::default())
    });
    let converter = RowConverter::new(fields.collect()).unwrap();
    let rows = converter.convert_columns(all.columns()).unwrap();
    let mut rows: Vec<_> = rows.iter().map(|row| row.as_ref().to_vec()).collect();
    rows.sort_unstable();
    rows
}

/// Compares a join under a budget with DataFusion's under none. Returns the bytes it spilled.
pub(crate) async fn compare(case: &Case, memory: usize) -> usize {
    let free = Machine::new(4 << 30);
    let expected = free.collect(Arc::new(case.join())).await.unwrap();
    let machine = Machine::new(memory);
    let join = case.join();
    let schema = join.schema();
    let (rows, spilled) = match machine.run(join).await {
        Ok(done) => done,
        Err(error) => panic!("{case:?} in {memory} bytes: {error}"),
    };
    let (expected, rows) = (sorted(&schema, &expected), sorted(&schema, &rows));
    assert_eq!(expected.len(), rows.len(), "{case:?} in {memory} bytes");
    assert!(expected == rows, "{case:?} in {memory} bytes: other rows");
    let over = machine.budget.snapshot().overcommitted_peak as usize;
    assert!(over <= memory / 8, "{case:?}: {over} over {memory}");
    spilled
}
