//! Golden hashes: a DataFusion upgrade that changes one of them would misplace every persisted
//! row, so it must be seen here first. And the placement agrees with DataFusion's repartition.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float64Array, Int8Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use bireme_frames::{BUCKETS, Placement, hash_rows};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use proptest::prelude::*;
use std::fmt::Write;
use std::sync::Arc;

#[expect(clippy::too_many_lines, reason = "one list of values for each type")]
fn golden() -> String {
    let strings = vec![
        Some("galley"),
        None,
        Some(""),
        Some("a string longer than twelve bytes"),
    ];
    let decimals = Decimal128Array::from(vec![Some(12_345), None, Some(-1), Some(0)]);
    let columns: Vec<(&str, Vec<ArrayRef>)> = vec![
        (
            "bool",
            vec![Arc::new(BooleanArray::from(vec![
                Some(true),
                None,
                Some(false),
            ]))],
        ),
        (
            "int8",
            vec![Arc::new(Int8Array::from(vec![Some(1), None, Some(-1)]))],
        ),
        (
            "int32",
            vec![Arc::new(Int32Array::from(vec![Some(1), None, Some(-1)]))],
        ),
        (
            "uint32",
            vec![Arc::new(UInt32Array::from(vec![
                Some(1),
                None,
                Some(u32::MAX),
            ]))],
        ),
        (
            "int64",
            vec![Arc::new(Int64Array::from(vec![
                Some(1),
                None,
                Some(i64::MIN),
            ]))],
        ),
        (
            "float64",
            vec![Arc::new(Float64Array::from(vec![
                Some(1.5),
                None,
                Some(-0.0),
                Some(f64::NAN),
            ]))],
        ),
        ("utf8", vec![Arc::new(StringArray::from(strings.clone()))]),
        (
            "large utf8",
            vec![Arc::new(LargeStringArray::from(strings.clone()))],
        ),
        (
            "utf8 view",
            vec![Arc::new(StringViewArray::from(strings.clone()))],
        ),
        (
            "dictionary",
            vec![Arc::new(
                strings
                    .iter()
                    .copied()
                    .collect::<DictionaryArray<Int32Type>>(),
            )],
        ),
        (
            "binary",
            vec![Arc::new(BinaryArray::from(vec![
                Some(b"oar".as_slice()),
                None,
            ]))],
        ),
        (
            "decimal128",
            vec![Arc::new(decimals.with_precision_and_scale(15, 2).unwrap())],
        ),
        (
            "date32",
            vec![Arc::new(Date32Array::from(vec![Some(9131), None]))],
        ),
        (
            "timestamp us",
            vec![Arc::new(TimestampMicrosecondArray::from(vec![
                Some(1_700_000_000_000_000),
                None,
            ]))],
        ),
        (
            "int64, utf8",
            vec![
                Arc::new(Int64Array::from(vec![Some(1), None, Some(3), None])),
                Arc::new(StringArray::from(vec![Some("x"), Some("y"), None, None])),
            ],
        ),
    ];
    let mut text = String::new();
    for (name, columns) in columns {
        let hashes = hash_rows(&columns, columns[0].len()).unwrap();
        let hashes: Vec<_> = hashes.iter().map(|hash| format!("{hash:016x}")).collect();
        writeln!(text, "{name}: {}", hashes.join(" ")).unwrap();
    }
    text
}

#[test]
fn golden_hashes() {
    insta::assert_snapshot!(golden(), @"
    bool: 9f633a9fad5c2231 0000000000000000 5fdf1327d2d8911f
    int8: 9f633a9fad5c2231 0000000000000000 0b182b83c6e29292
    int32: 9f633a9fad5c2231 0000000000000000 99fc9d424293ef03
    uint32: 9f633a9fad5c2231 0000000000000000 99fc9d424293ef03
    int64: 9f633a9fad5c2231 0000000000000000 bf897e4bfe1ab98d
    float64: d7f9668330469d82 0000000000000000 5fdf1327d2d8911f 67ce7c1523e1b1ba
    utf8: 1d3f2f211e5e52ab 0000000000000000 36ce5d2e63322a37 e274b18489d59dce
    large utf8: 1d3f2f211e5e52ab 0000000000000000 36ce5d2e63322a37 e274b18489d59dce
    utf8 view: ad97c52b22b4ee34 0000000000000000 5fdf1327d2d8911f 4d6849c5e1d7be8c
    dictionary: 1d3f2f211e5e52ab 0000000000000000 36ce5d2e63322a37 e274b18489d59dce
    binary: b35d720044747b24 0000000000000000
    decimal128: f7be32bfe7ff049c 0000000000000000 1f9f4cd79a926a5f 5fdf1327d2d8911f
    date32: 55d1a9e208ed0d63 0000000000000000
    timestamp us: f04dc157fa13fea1 0000000000000000
    int64, utf8: afb0cb6eeb873017 04e29219709d8e8a 1c8b656f1854c079 0000000000000000
    ");
}

#[test]
fn the_type_of_a_string_is_part_of_its_placement() {
    let golden = golden();
    let of = |name: &str| {
        let begin = format!("{name}:");
        let line = golden.lines().find(|line| line.starts_with(&begin));
        line.unwrap()[begin.len()..].to_string()
    };
    assert_eq!(of("utf8"), of("large utf8"));
    assert_eq!(of("utf8"), of("dictionary"));
    // DataFusion hashes views in another way: a frame placed by Utf8 may not be read as Utf8View.
    assert_ne!(of("utf8"), of("utf8 view"));
}

proptest! {
    #[test]
    fn a_shuffle_of_tasks_and_partitions_is_datafusions_repartition(
        values in proptest::collection::vec(proptest::option::of(any::<i64>()), 1..200),
        ranks in proptest::sample::select(vec![1_u16, 2, 4, 8]),
        partitions in 1_usize..8,
    ) {
        let column: ArrayRef = Arc::new(Int64Array::from(values));
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::clone(&column)]).unwrap();
        let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new("k", 0));
        let total = usize::from(ranks) * partitions;
        let mut partitioner =
            BatchPartitioner::try_new(Partitioning::Hash(vec![key], total), Time::new(), 0, 1).unwrap();
        let placement = Placement::dealt(ranks, partitions).unwrap();
        partitioner.partition(batch, |bucket, part| {
            placement
                .check(part.columns(), "k", bucket / partitions, bucket % partitions, usize::MAX)
                .map_err(Into::into)
        }).unwrap();
    }

    #[test]
    fn partitions_within_a_rank_do_not_depend_on_the_layout(hash: u64, ranks in 1_u16..9, partitions in 1_usize..9) {
        let dealt = Placement::dealt(ranks, partitions).unwrap();
        let (rank, partition) = dealt.locate(hash);
        prop_assert_eq!(partition as u64, hash % partitions as u64);
        prop_assert_eq!(rank as u64, (hash / partitions as u64) % BUCKETS as u64 % u64::from(ranks));
    }
}

#[test]
fn a_misplaced_row_is_an_error_that_says_where_it_belongs() {
    let placement = Placement::dealt(2, 2).unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let error = placement
        .check(&[column], "k", 0, 0, 10)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("check placement of k on rank 0, partition 0"),
        "{error}"
    );
}
