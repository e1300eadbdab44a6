//! What tables and plans look like.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use bireme_magics::MimeBundle;
use bireme_magics::display::grid::HTML_BYTES_MAX;
use bireme_magics::display::table::{self, CELLS_MAX, Extent, Facts, short_type};
use bireme_magics::display::{plan, progress};
use bireme_protocol::proto::QueryProgress;
use proptest::prelude::*;

use crate::samples;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn drawn(batches: &[RecordBatch], rows: u64, extent: Extent, width: Option<usize>) -> MimeBundle {
    let facts = Facts {
        rows,
        engines: 3,
        elapsed_ms: 41,
        ..Facts::default()
    };
    table::render(&batches[0].schema(), batches, &facts, extent, width)
}

#[test]
fn values_look_like_what_they_are() {
    let batch = batch(vec![
        (
            "id",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(-300)])),
        ),
        (
            "share",
            Arc::new(Float64Array::from(vec![0.1 + 0.2, 1e20, f64::NAN])),
        ),
        (
            "name",
            Arc::new(StringArray::from(vec![
                Some("null"),
                None,
                Some("two\nlines"),
            ])),
        ),
        (
            "ok",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(0),
                Some(1_500_000),
                None,
            ])),
        ),
        ("nothing", Arc::new(NullArray::new(3))),
        (
            "wide",
            Arc::new(StringArray::from(vec!["日本語", "", " padded "])),
        ),
    ]);
    insta::assert_snapshot!(drawn(&[batch], 3, Extent::default(), None).plain, @r#"
    shape: (3, 7) · 3 engines · 41 ms
    ┌──────┬─────────────┬────────────┬───────┬─────────────────────────┬─────────┬────────────┐
    │   id ┆       share ┆ name       ┆ ok    ┆ at                      ┆ nothing ┆ wide       │
    │  i64 ┆         f64 ┆ str        ┆ bool  ┆ ts[us]                  ┆ null    ┆ str        │
    ╞══════╪═════════════╪════════════╪═══════╪═════════════════════════╪═════════╪════════════╡
    │    1 ┆         0.3 ┆ "null"     ┆ true  ┆ 1970-01-01 00:00:00     ┆ null    ┆ 日本語     │
    │ null ┆ 1.000000e20 ┆ null       ┆ false ┆ 1970-01-01 00:00:01.500 ┆ null    ┆ ""         │
    │ -300 ┆         nan ┆ two\nlines ┆ null  ┆ null                    ┆ null    ┆ " padded " │
    └──────┴─────────────┴────────────┴───────┴─────────────────────────┴─────────┴────────────┘
    "#);
}

#[test]
fn a_preview_has_head_gap_and_tail_over_several_batches() {
    let ids = |from: i64, to: i64| -> RecordBatch {
        batch(vec![(
            "id",
            Arc::new(Int64Array::from_iter_values(from..to)) as ArrayRef,
        )])
    };
    let batches = [ids(0, 3), ids(3, 5), ids(999_995, 1_000_000)];
    insta::assert_snapshot!(drawn(&batches, 1_000_000, Extent::default(), None).plain, @"
    shape: (1_000_000, 1) · 3 engines · 41 ms
    ┌────────┐
    │     id │
    │    i64 │
    ╞════════╡
    │      0 │
    │      1 │
    │      2 │
    │      3 │
    │      4 │
    │      … │
    │ 999995 │
    │ 999996 │
    │ 999997 │
    │ 999998 │
    │ 999999 │
    └────────┘
    ");
}

#[test]
fn a_wide_table_keeps_first_and_last_columns() {
    let columns: Vec<(String, ArrayRef)> = (0..30)
        .map(|n| {
            (
                format!("c{n}"),
                Arc::new(Int64Array::from(vec![n])) as ArrayRef,
            )
        })
        .collect();
    let batch = batch(
        columns
            .iter()
            .map(|(name, array)| (name.as_str(), Arc::clone(array)))
            .collect(),
    );
    let extent = Extent {
        rows: 10,
        columns: 6,
    };
    insta::assert_snapshot!(drawn(std::slice::from_ref(&batch), 1, extent, None).plain, @"
    shape: (1, 30) · 3 engines · 41 ms
    ┌─────┬─────┬─────┬───┬─────┬─────┬─────┐
    │  c0 ┆  c1 ┆  c2 ┆ … ┆ c27 ┆ c28 ┆ c29 │
    │ i64 ┆ i64 ┆ i64 ┆ … ┆ i64 ┆ i64 ┆ i64 │
    ╞═════╪═════╪═════╪═══╪═════╪═════╪═════╡
    │   0 ┆   1 ┆   2 ┆ … ┆  27 ┆  28 ┆  29 │
    └─────┴─────┴─────┴───┴─────┴─────┴─────┘
    ");
    let narrow = drawn(&[batch], 1, Extent::default(), Some(40)).plain;
    assert!(
        narrow
            .lines()
            .skip(1)
            .all(|line| line.chars().count() <= 40),
        "{narrow}"
    );
}

#[test]
fn an_empty_result_still_has_its_columns() {
    let empty = RecordBatch::new_empty(samples::schema());
    insta::assert_snapshot!(drawn(&[empty], 0, Extent::default(), None).plain, @"
    shape: (0, 2) · 3 engines · 41 ms
    ┌─────┬──────┐
    │  id ┆ name │
    │ i64 ┆ str  │
    ╞═════╪══════╡
    └─────┴──────┘
    ");
}

#[test]
fn html_is_inline_escaped_and_inherits_its_colours() {
    let batch = batch(vec![
        (
            "<b>",
            Arc::new(StringArray::from(vec![
                Some("<script>alert('x')</script>"),
                None,
            ])) as ArrayRef,
        ),
        ("n", Arc::new(Float64Array::from(vec![0.123_456_789, 2.0]))),
    ]);
    let html = drawn(&[batch], 2, Extent::default(), None).html.unwrap();
    for banned in ["<script", "<style", "class=", "background", "color:"] {
        assert!(!html.contains(banned), "{banned}: {html}");
    }
    insta::assert_snapshot!(html.replace("><", ">\n<"), @r#"
    <div style="overflow-x:auto">
    <small style="opacity:0.7">shape: (2, 2) · 3 engines · 41 ms</small>
    <table style="border-collapse:collapse">
    <thead>
    <tr>
    <th style="text-align:left;padding:2px 8px">&lt;b&gt;<br>
    <small style="font-weight:normal;opacity:0.6">str</small>
    </th>
    <th style="text-align:right;padding:2px 8px">n<br>
    <small style="font-weight:normal;opacity:0.6">f64</small>
    </th>
    </tr>
    </thead>
    <tbody>
    <tr>
    <td style="text-align:left;padding:2px 8px;white-space:pre">&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</td>
    <td style="text-align:right;padding:2px 8px;white-space:pre" title="0.123456789">0.123457</td>
    </tr>
    <tr>
    <td style="text-align:left;padding:2px 8px;white-space:pre;opacity:0.45;font-style:italic">null</td>
    <td style="text-align:right;padding:2px 8px;white-space:pre">2.0</td>
    </tr>
    </tbody>
    </table>
    </div>
    "#);
}

#[test]
fn below_a_table_stands_what_was_read() {
    let batch = samples::rows(1);
    let facts = Facts {
        rows: 1,
        rows_read: 20_000_000,
        bytes_read: 512 << 20,
        ..Facts::default()
    };
    let batches = std::slice::from_ref(&batch);
    let bundle = table::render(&batch.schema(), batches, &facts, Extent::default(), None);
    assert!(
        bundle.plain.ends_with("┘\nread 20_000_000 rows, 512.0 MiB"),
        "{}",
        bundle.plain
    );
    let html = bundle.html.unwrap();
    let footer =
        "</table><small style=\"opacity:0.7\">read 20_000_000 rows, 512.0 MiB</small></div>";
    assert!(html.ends_with(footer), "{html}");
}

#[test]
fn types_are_short() {
    let cases = [
        (DataType::Int64, "i64"),
        (DataType::Utf8View, "str"),
        (DataType::Timestamp(TimeUnit::Microsecond, None), "ts[us]"),
        (
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            "ts[ns, UTC]",
        ),
        (DataType::Decimal128(38, 2), "dec(38,2)"),
        (DataType::new_list(DataType::Int32, true), "list[i32]"),
        (
            DataType::Struct(Fields::from(vec![Field::new("a", DataType::Int8, true)])),
            "struct[1]",
        ),
        (
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            "dict[str]",
        ),
        (DataType::Date32, "date"),
    ];
    for (kind, expected) in cases {
        assert_eq!(short_type(&kind), expected);
    }
}

#[test]
fn a_plan_is_a_tree_with_its_hottest_node_marked() {
    let bundle = plan::render(&samples::plan());
    insta::assert_snapshot!(bundle.plain, @"
    plan: 2 stages · 2 engines · 612 ms
    AggregateExec: final, by [name]  [stage 0 · engine 0 · cpu]  26 rows · 1.5 ms (0 %) · shuffled 4.0 KiB
    └─ AggregateExec: partial, by [name]  [stage 1 · engines 0-1 · cpu]  52 rows · 100 ms (9 %)
       └─ DataSourceExec: ais/*.parquet, projection=[id, name]  20.0M rows · 900 ms (89 %) · read 512.0 MiB  ◀ hottest
    ");
    insta::assert_snapshot!(bundle.html.unwrap().replace("><", ">\n<"), @r#"
    <small style="opacity:0.7">plan: 2 stages · 2 engines · 612 ms</small>
    <details open style="padding-left:0px">
    <summary>
    <meter min="0" max="100" value="0" style="width:60px" title="0 % of busy time">
    </meter> <b>AggregateExec</b> <small style="opacity:0.7">[stage 0 · engine 0 · cpu]</small> <small>26 rows · 1.5 ms (0 %) · shuffled 4.0 KiB</small> <small style="opacity:0.6">final, by [name]</small>
    </summary>
    <details open style="padding-left:14px">
    <summary>
    <meter min="0" max="100" value="9" style="width:60px" title="9 % of busy time">
    </meter> <b>AggregateExec</b> <small style="opacity:0.7">[stage 1 · engines 0-1 · cpu]</small> <small>52 rows · 100 ms (9 %)</small> <small style="opacity:0.6">partial, by [name]</small>
    </summary>
    <div style="padding-left:14px">
    <meter min="0" max="100" value="89" style="width:60px" title="89 % of busy time">
    </meter> <b>DataSourceExec</b> <small>20.0M rows · 900 ms (89 %) · read 512.0 MiB</small> <small>
    <b>◀ hottest</b>
    </small> <small style="opacity:0.6">ais/*.parquet, projection=[id, name]</small>
    </div>
    </details>
    </details>
    "#);
}

#[test]
fn a_plan_that_has_not_run_has_no_numbers() {
    let mut tree = samples::plan();
    tree.analyzed = false;
    tree.root.rows = None;
    tree.root.busy_us = None;
    tree.root.bytes_shuffled = None;
    tree.root.children.clear();
    insta::assert_snapshot!(plan::render(&tree).plain, @"
    plan: 1 stage · 2 engines
    AggregateExec: final, by [name]  [stage 0 · engine 0 · cpu]
    ");
}

#[test]
fn progress_has_a_bar_in_both_forms() {
    let total = QueryProgress {
        rows_scanned: 12_300_000,
        bytes_scanned: 6 << 30,
        bytes_to_scan: 12 << 30,
        engines: 4,
        ..Default::default()
    };
    let step = progress::Step {
        total,
        engines: Vec::new(),
    };
    let bundle = progress::running(&step, std::time::Duration::from_millis(3_200));
    insta::assert_snapshot!(bundle.plain, @"[##########----------]  50% 12.3M rows · 6.0 GiB of 12.0 GiB · 2.0 GB/s · 4 engines · 3.20 s");
    insta::assert_snapshot!(bundle.html.unwrap(), @r#"<progress value="50" max="100"></progress> <small>50 % · 12.3M rows · 6.0 GiB of 12.0 GiB · 2.0 GB/s · 4 engines · 3.20 s</small>"#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn no_table_is_larger_than_it_may_be(
        columns in 1_usize..60,
        rows in 0_usize..120,
        text in "[a-c\"'<>&日本é ]{0,600}",
        extent_rows in 1_usize..200,
        extent_columns in 1_usize..100,
    ) {
        let fields: Vec<Field> =
            (0..columns).map(|n| Field::new(format!("c{n}"), DataType::Utf8, true)).collect();
        let array: ArrayRef = Arc::new(StringArray::from(vec![text.as_str(); rows]));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema, vec![array; columns]).unwrap();
        let extent = Extent { rows: extent_rows, columns: extent_columns };
        let bundle = drawn(&[batch], rows as u64, extent, None);
        let html = bundle.html.unwrap();
        prop_assert!(html.len() <= HTML_BYTES_MAX, "{} bytes", html.len());
        prop_assert!(html.matches("<td").count() <= CELLS_MAX + extent.rows + 2 * columns);
        let widths: std::collections::HashSet<usize> = bundle.plain.lines().skip(1)
            .map(unicode_width::UnicodeWidthStr::width).collect();
        prop_assert!(widths.len() <= 1, "every line is as wide as the others");
    }
}

#[test]
fn a_long_text_is_clipped_and_its_title_tells_more() {
    let text = "0123456789".repeat(500);
    let column: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
    let bundle = drawn(&[batch(vec![("s", column)])], 1, Extent::default(), None);
    let html = bundle.html.unwrap();
    let (_, rest) = html.split_once("title=\"").unwrap();
    let (title, rest) = rest.split_once("\">").unwrap();
    let (shown, _) = rest.split_once("</td>").unwrap();
    assert!(
        (100..=2048).contains(&title.len()) && text.starts_with(title.trim_end_matches('…')),
        "{title}"
    );
    assert!(
        shown.chars().count() == 100 && shown.ends_with('…'),
        "{shown}"
    );
    let widest = bundle
        .plain
        .lines()
        .skip(1)
        .map(|line| line.chars().count());
    assert_eq!(widest.max(), Some(32 + 4), "{}", bundle.plain);
}
