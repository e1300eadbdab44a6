//! Tables as cells make and see them.
#![cfg(test)]

mod transfer;

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
fn a_wide_table_keeps_first_and_last_columns() {
    let columns = (0..14).map(|at| Column::new(format!("c{at}"), vec![at]));
    insta::assert_snapshot!(Table::new(columns).unwrap(), @r"
    shape: (1, 14)
    ┌─────┬─────┬─────┬─────┬─────┬─────┬───┬─────┬─────┬─────┬─────┬─────┬─────┐
    │  c0 ┆  c1 ┆  c2 ┆  c3 ┆  c4 ┆  c5 ┆ … ┆  c8 ┆  c9 ┆ c10 ┆ c11 ┆ c12 ┆ c13 │
    │ i32 ┆ i32 ┆ i32 ┆ i32 ┆ i32 ┆ i32 ┆ … ┆ i32 ┆ i32 ┆ i32 ┆ i32 ┆ i32 ┆ i32 │
    ╞═════╪═════╪═════╪═════╪═════╪═════╪═══╪═════╪═════╪═════╪═════╪═════╪═════╡
    │   0 ┆   1 ┆   2 ┆   3 ┆   4 ┆   5 ┆ … ┆   8 ┆   9 ┆  10 ┆  11 ┆  12 ┆  13 │
    └─────┴─────┴─────┴─────┴─────┴─────┴───┴─────┴─────┴─────┴─────┴─────┴─────┘
    ");
}

/// The same values, drawn for a SQL cell, stand in `magics/tests/it/display.rs`.
#[test]
fn values_look_as_in_the_result_of_a_sql_cell() {
    let columns = [
        Column::new("share", vec![0.1 + 0.2, 1e20, f64::NAN]),
        Column::new("name", vec![Some("null"), None, Some("two\nlines")]),
        Column::new("wide", vec!["日本語", "", " padded "]),
    ];
    insta::assert_snapshot!(Table::new(columns).unwrap(), @r#"
    shape: (3, 3)
    ┌─────────────┬────────────┬────────────┐
    │       share ┆ name       ┆ wide       │
    │         f64 ┆ str        ┆ str        │
    ╞═════════════╪════════════╪════════════╡
    │         0.3 ┆ "null"     ┆ 日本語     │
    │ 1.000000e20 ┆ null       ┆ ""         │
    │         nan ┆ two\nlines ┆ " padded " │
    └─────────────┴────────────┴────────────┘
    "#);
    let numbers = Table::new([Column::new("n", vec![0.123_456_789, 2.0])]).unwrap();
    let html = numbers.shown().parts()[0].1.clone();
    assert!(html.contains("title=\"0.123456789\">0.123457<"), "{html}");
    assert!(html.contains("white-space:pre\">2.0<"), "{html}");
}

#[test]
fn html_is_never_larger_than_it_may_be() {
    let texts = || vec!["\"".repeat(2_000); 20];
    let columns = (0..20).map(|at| Column::new("&".repeat(200 + at), texts()));
    let shown = Table::new(columns).unwrap().shown();
    let (_, html) = &shown.parts()[0];
    assert!(html.len() <= 256 * 1024, "{} bytes", html.len());
    assert!(html.contains(" title="));
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
    ┌────────────┬─────────────────────────┬───────────────────────────────┬───────────┬───────────┬────────────────────┬───────────┬──────┬─────────┐
    │ date       ┆ ts                      ┆ tz                            ┆       dec ┆ dict      ┆ list               ┆ struct    ┆ bin  ┆ nothing │
    │ date       ┆ ts[ms]                  ┆ ts[ms, Europe/Oslo]           ┆ dec(10,2) ┆ dict[str] ┆ list[i32]          ┆ struct[1] ┆ bin  ┆ null    │
    ╞════════════╪═════════════════════════╪═══════════════════════════════╪═══════════╪═══════════╪════════════════════╪═══════════╪══════╪═════════╡
    │ 1970-01-01 ┆ 1970-01-01 00:00:00     ┆ 1970-01-01 00:00:00+00:00     ┆    123.45 ┆ x         ┆ [1, null]          ┆ {a: 1}    ┆ 00ff ┆ null    │
    │ 2024-10-04 ┆ 1970-01-01 00:00:01.500 ┆ 1970-01-01 00:00:01.500+00:00 ┆     -0.05 ┆ y         ┆ [0, 1, 2, 3, 4, …] ┆ {a: 2}    ┆      ┆ null    │
    └────────────┴─────────────────────────┴───────────────────────────────┴───────────┴───────────┴────────────────────┴───────────┴──────┴─────────┘
    ");
}

#[test]
fn html_is_one_table_with_everything_escaped() {
    let table = Table::new([Column::new("<b>", vec![Some("a & \"b\""), None])]).unwrap();
    let shown = table.shown();
    let (mime, html) = &shown.parts()[0];
    assert_eq!(mime, "text/html");
    insta::assert_snapshot!(html, @r#"<div style="overflow-x:auto"><small style="opacity:0.7">shape: (2, 1)</small><table style="border-collapse:collapse"><thead><tr><th style="text-align:left;padding:2px 8px">&lt;b&gt;<br><small style="font-weight:normal;opacity:0.6">str</small></th></tr></thead><tbody><tr><td style="text-align:left;padding:2px 8px;white-space:pre">a &amp; &quot;b&quot;</td></tr><tr><td style="text-align:left;padding:2px 8px;white-space:pre;opacity:0.45;font-style:italic">null</td></tr></tbody></table></div>"#);
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
