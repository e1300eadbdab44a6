//! Tables as cells make and see them.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, ListArray, NullArray,
    StructArray, TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field};
use bireme::prelude::*;
use std::sync::Arc;

fn people() -> Table {
    Table::new([
        Column::new("id", vec![1i64, 2, 30]),
        Column::new("name", vec![Some("Ada"), None, Some("null")]),
        Column::new("score", vec![Some(1.5), Some(2.0), None]),
        Column::new("ok", vec![true, false, true]),
    ])
    .unwrap()
}

#[test]
fn a_small_table_is_shown_whole() {
    insta::assert_snapshot!(people(), @r#"
    shape: (3, 4)
    ┌─────┬────────┬───────┬───────┐
    │  id ┆ name   ┆ score ┆ ok    │
    │ i64 ┆ str    ┆   f64 ┆ bool  │
    ╞═════╪════════╪═══════╪═══════╡
    │   1 ┆ Ada    ┆   1.5 ┆ true  │
    │   2 ┆ null   ┆   2.0 ┆ false │
    │  30 ┆ "null" ┆  null ┆ true  │
    └─────┴────────┴───────┴───────┘
    "#);
}

#[test]
fn a_long_table_shows_its_ends() {
    let table = Table::new([Column::new("n", (0..1_234_567).collect::<Vec<i32>>())]).unwrap();
    insta::assert_snapshot!(table, @r"
    shape: (1_234_567, 1)
    ┌─────────┐
    │       n │
    │     i32 │
    ╞═════════╡
    │       0 │
    │       1 │
    │       2 │
    │       3 │
    │       4 │
    │       … │
    │ 1234562 │
    │ 1234563 │
    │ 1234564 │
    │ 1234565 │
    │ 1234566 │
    └─────────┘
    ");
}

#[test]
fn rows_are_counted_over_batches_and_sliced_without_copies() {
    let batches = people().into_batches();
    let schema = batches[0].schema();
    let twice = vec![batches[0].clone(), batches[0].clone()];
    let table = Table::from_batches(schema, twice).unwrap();
    assert_eq!((table.num_rows(), table.num_columns()), (6, 4));
    let middle = table.slice(2, 2);
    assert_eq!(middle.num_rows(), 2);
    insta::assert_snapshot!(middle, @r#"
    shape: (2, 4)
    ┌─────┬────────┬───────┬──────┐
    │  id ┆ name   ┆ score ┆ ok   │
    │ i64 ┆ str    ┆   f64 ┆ bool │
    ╞═════╪════════╪═══════╪══════╡
    │  30 ┆ "null" ┆  null ┆ true │
    │   1 ┆ Ada    ┆   1.5 ┆ true │
    └─────┴────────┴───────┴──────┘
    "#);
}

#[test]
fn a_wide_table_says_how_much_is_hidden() {
    let columns = (0..14).map(|at| Column::new(format!("c{at}"), vec![at]));
    let text = Table::new(columns).unwrap().to_string();
    assert!(text.contains("c11"), "{text}");
    assert!(!text.contains("c12"), "{text}");
    assert!(text.ends_with("2 more columns"), "{text}");
}

#[test]
fn every_kind_of_value_reads_well() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        Some((0..9).map(Some).collect()),
    ]);
    let field = Arc::new(Field::new("a", DataType::Int32, true));
    let inner: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1, 2]));
    let decimals = Decimal128Array::from(vec![12_345, -5]);
    let decimals = decimals.with_precision_and_scale(10, 2).unwrap();
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y"].into_iter().collect();
    let stamps = TimestampMillisecondArray::from(vec![0, 1_500]);
    let arrays: Vec<(&str, ArrayRef)> = vec![
        ("date", Arc::new(Date32Array::from(vec![0, 20_000]))),
        ("ts", Arc::new(stamps.clone())),
        ("tz", Arc::new(stamps.with_timezone("Europe/Oslo"))),
        ("dec", Arc::new(decimals)),
        ("dict", Arc::new(dictionary)),
        ("list", Arc::new(lists)),
        ("struct", Arc::new(StructArray::from(vec![(field, inner)]))),
        (
            "bin",
            Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""])),
        ),
        ("nothing", Arc::new(NullArray::new(2))),
    ];
    let columns = arrays
        .into_iter()
        .map(|(name, array)| Column::new(name, array));
    insta::assert_snapshot!(Table::new(columns).unwrap(), @r"
    shape: (2, 9)
    ┌────────────┬─────────────────────────┬──────────────────────────┬───────────┬───────────┬────────────────────┬───────────┬───────┬─────────┐
    │ date       ┆ ts                      ┆ tz                       ┆       dec ┆ dict      ┆ list               ┆ struct    ┆ bin   ┆ nothing │
    │ date       ┆ ts[ms]                  ┆ ts[ms, Europe/Oslo]      ┆ dec(10,2) ┆ dict[str] ┆ list[i32]          ┆ struct[1] ┆ bin   ┆ null    │
    ╞════════════╪═════════════════════════╪══════════════════════════╪═══════════╪═══════════╪════════════════════╪═══════════╪═══════╪═════════╡
    │ 1970-01-01 ┆ 1970-01-01 00:00:00     ┆ 1970-01-01 00:00:00Z     ┆    123.45 ┆ x         ┆ [1, null]          ┆ {a: 1}    ┆ x00ff ┆ null    │
    │ 2024-10-04 ┆ 1970-01-01 00:00:01.500 ┆ 1970-01-01 00:00:01.500Z ┆     -0.05 ┆ y         ┆ [0, 1, 2, 3, 4, …] ┆ {a: 2}    ┆ x     ┆ null    │
    └────────────┴─────────────────────────┴──────────────────────────┴───────────┴───────────┴────────────────────┴───────────┴───────┴─────────┘
    ");
}

#[test]
fn html_is_one_table_with_everything_escaped() {
    let table = Table::new([Column::new("<b>", vec![Some("a & \"b\""), None])]).unwrap();
    let shown = table.shown();
    let (mime, html) = &shown.parts()[0];
    assert_eq!(mime, "text/html");
    insta::assert_snapshot!(html, @r#"<div><small>shape: (2, 1)</small><table><thead><tr><th style="text-align:left">&lt;b&gt;<br><small style="opacity:0.5;font-weight:normal">str</small></th></tr></thead><tbody><tr><td style="text-align:left">a &amp; &quot;b&quot;</td></tr><tr><td style="text-align:left;opacity:0.5">null</td></tr></tbody></table></div>"#);
}

#[test]
fn columns_of_different_lengths_are_refused() {
    let columns = [Column::new("a", [1, 2]), Column::new("b", [1])];
    let error = Table::new(columns).unwrap_err();
    insta::assert_snapshot!(error, @"make a table: Invalid argument error: all columns in a record batch must have the same length");
}

#[test]
fn a_batch_of_another_schema_is_refused() {
    let other = Table::new([Column::new("x", [1.0])]).unwrap();
    let error = Table::from_batches(Arc::clone(people().schema()), other.into_batches());
    insta::assert_snapshot!(error.unwrap_err(), @"make a table: batch 0 has the columns (x f64), the table has (id i64, name str, score f64, ok bool)");
}
