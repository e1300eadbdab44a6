//! Bounds of columns: batches are told apart by them, and facts about a partition sum them up.

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use bireme_frames::{Budget, Compression, FrameStore, SpillDirectory};
use bireme_protocol::QueryId;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Two batches: in the second, each value is larger, and there are nulls.
fn batches() -> [RecordBatch; 2] {
    let made = |from: i64, null: bool| {
        let one = |value: i64| (!(null && value == from)).then_some(value);
        let values: Vec<Option<i64>> = (from..from + 3).map(one).collect();
        let floats = values.iter().map(|one| one.map(|one| one as f64 / 2.0));
        let decimals = values.iter().map(|one| one.map(i128::from));
        let days = values.iter().map(|one| one.map(|one| one as i32));
        let lists = (0..3).map(|one| Some(vec![Some(one)]));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("i", Arc::new(Int64Array::from(values.clone()))),
            ("f", Arc::new(Float64Array::from_iter(floats))),
            (
                "d",
                Arc::new(
                    Decimal128Array::from_iter(decimals)
                        .with_precision_and_scale(9, 2)
                        .unwrap(),
                ),
            ),
            ("day", Arc::new(Date32Array::from_iter(days))),
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from(values.clone()).with_timezone("UTC")),
            ),
            (
                "s",
                Arc::new(StringArray::from_iter(
                    values.iter().map(|one| one.map(|one| one.to_string())),
                )),
            ),
            (
                "l",
                Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    };
    [made(-2, false), made(100, true)]
}

struct Kept {
    store: Arc<FrameStore>,
    segment: QueryId,
    _directory: tempfile::TempDir,
}

fn kept(batches: &[RecordBatch]) -> (Kept, Vec<[String; 3]>) {
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget::new(64 << 20, 0);
    let spill = SpillDirectory::open(directory.path().join("spill"), Arc::clone(&budget)).unwrap();
    let store = FrameStore::new(budget, spill, Compression::None).unwrap();
    let segment = QueryId::random();
    let writer = store.write(segment, 0, batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.push(batch).unwrap());
    let facts = writer.column_facts().into_iter();
    let facts = facts.map(|one| [one.least, one.greatest, one.nulls.to_string()]);
    let facts = facts.collect();
    writer.finish();
    let kept = Kept {
        store,
        segment,
        _directory: directory,
    };
    (kept, facts)
}

/// Which batches may hold a row that meets a condition.
fn may_hold(kept: &Kept, condition: Expr) -> Vec<bool> {
    let reader = kept.store.read(kept.segment, 0, None).unwrap();
    let schema = Arc::clone(reader.schema());
    let named = DFSchema::try_from(Arc::clone(&schema)).unwrap();
    let condition = SessionContext::new().create_physical_expr(condition, &named);
    let condition = condition.unwrap();
    let builder = PruningPredicateBuilder::new().with_file_schema(schema);
    let pruning = builder.try_build(condition).unwrap();
    pruning.prune(&reader.bounds()).unwrap()
}

#[test]
fn a_partition_sums_up_what_its_columns_hold() {
    let (_kept, facts) = kept(&batches());
    let facts: Vec<[&str; 3]> = facts
        .iter()
        .map(|one| one.each_ref().map(String::as_str))
        .collect();
    let expected = [
        ["-2", "102", "1"],
        ["-1.0", "51.0", "1"],
        ["-0.02", "1.02", "1"],
        ["1969-12-30", "1970-04-13", "1"],
        [
            "1969-12-31T23:59:59.999998Z",
            "1970-01-01T00:00:00.000102Z",
            "1",
        ],
        ["", "", "1"],
        ["", "", "0"],
    ];
    assert_eq!(facts, expected);
}

#[test]
fn a_number_that_is_none_leaves_the_range_open() {
    let floats = |values: Vec<f64>| {
        let column: ArrayRef = Arc::new(Float64Array::from(values));
        RecordBatch::try_from_iter([("f", column)]).unwrap()
    };
    let (kept, facts) = kept(&[floats(vec![1.0, f64::NAN]), floats(vec![2.0, -0.0])]);
    assert_eq!(facts, [["", "", "0"].map(str::to_string)]);
    assert_eq!(may_hold(&kept, col("f").gt(lit(5.0))), [true, false]);
    assert_eq!(may_hold(&kept, col("f").lt(lit(1.0))), [false, true]);
}

#[test]
fn batches_are_told_apart_by_what_they_hold() {
    let (kept, _) = kept(&batches());
    assert_eq!(may_hold(&kept, col("i").gt(lit(50_i64))), [false, true]);
    assert_eq!(may_hold(&kept, col("i").eq(lit(0_i64))), [true, false]);
    assert_eq!(may_hold(&kept, col("f").lt(lit(0.0))), [true, false]);
    assert_eq!(may_hold(&kept, col("i").is_null()), [false, true]);
    // Of texts nothing is known but their nulls.
    assert_eq!(may_hold(&kept, col("s").eq(lit("zebra"))), [true, true]);
    assert_eq!(may_hold(&kept, col("s").is_null()), [false, true]);
}
