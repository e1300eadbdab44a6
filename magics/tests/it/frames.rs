//! What the magics of frames send and show.

use bireme_magics::display::{frames, memory};
use bireme_magics::help;
use bireme_protocol::ErrorCode;
use bireme_protocol::proto::PersistOptions;

use crate::samples;
use crate::scripted_host::ScriptedHost;

/// What a cell has submitted, with the layout it asks for.
async fn submitted(cell: &str) -> (String, PersistOptions) {
    let host = ScriptedHost::with_parameters(&[]);
    host.run(cell).await.unwrap();
    let (sql, options) = host.submitted().remove(0);
    (sql, options.persist.unwrap_or_default())
}

fn by(columns: &[&str]) -> PersistOptions {
    PersistOptions {
        by: columns.iter().map(|column| (*column).to_string()).collect(),
        ..PersistOptions::default()
    }
}

#[tokio::test]
async fn what_makes_a_frame_is_a_create_table() {
    let select = "CREATE TABLE ais AS SELECT * FROM ais";
    assert_eq!(submitted("%persist ais").await, (select.into(), by(&[])));
    assert_eq!(
        submitted("%persist ais --as f --by 'MMSI, SOG'").await,
        (
            "CREATE TABLE f AS SELECT * FROM ais".into(),
            by(&["MMSI", "SOG"])
        )
    );
    let (sql, options) = submitted("%scatter 'data/*.parquet' --as f --replicate").await;
    assert_eq!(sql, "CREATE TABLE f AS SELECT * FROM 'data/*.parquet'");
    assert!(options.replicate);
    assert_eq!(
        submitted("%%sql f --persist --by MMSI\nSELECT 1 AS MMSI").await,
        ("CREATE TABLE f AS\nSELECT 1 AS MMSI".into(), by(&["MMSI"]))
    );
    assert_eq!(
        submitted("%%sql\nINSERT INTO f SELECT 1").await,
        ("INSERT INTO f SELECT 1".into(), by(&[]))
    );
}

#[tokio::test]
async fn layouts_that_make_no_sense_are_refused() {
    for cell in [
        "%persist ais --by MMSI --replicate",
        "%%sql --persist\nSELECT 1",
        "%%sql f --persist --lazy\nSELECT 1",
        "%%sql f --persist --limit 3\nSELECT 1",
        "%%sql f --by a\nSELECT 1",
        "%scatter 'data/*.parquet'",
    ] {
        let host = ScriptedHost::with_parameters(&[]);
        let fault = host.run(cell).await.unwrap_err();
        assert_eq!(fault.code, ErrorCode::InvalidArgument, "{cell}: {fault}");
        assert!(fault.position.is_some(), "{cell}: {fault}");
        assert!(host.submitted().is_empty(), "{cell}");
    }
}

#[test]
fn frames_are_listed_with_where_they_lie() {
    let bundle = frames::frames(
        &samples::catalog_with_frames(),
        &samples::memory(),
        "notebook",
    );
    insta::assert_snapshot!(bundle.plain, @"
    2 frames
    ┌───────────┬───────────┬──────────┬──────────┬──────────┬──────┬─────────────┬─────────────────────┬────────────────────────────────────────┐
    │ frame     ┆      rows ┆    bytes ┆   memory ┆     disk ┆ skew ┆ layout      ┆ rows on each engine ┆ state                                  │
    ╞═══════════╪═══════════╪══════════╪══════════╪══════════╪══════╪═════════════╪═════════════════════╪════════════════════════════════════════╡
    │ by_vessel ┆ 1_000_000 ┆ 76.3 MiB ┆ 64.0 MiB ┆ 16.0 MiB ┆ 1.20 ┆ by MMSI     ┆ 600_000 · 400_000   ┆                                        │
    │ theirs    ┆ 1_000_000 ┆ 76.3 MiB ┆      0 B ┆      0 B ┆ 1.20 ┆ round-robin ┆ 600_000 · 400_000   ┆ lost: engine 1 ended with a part of it │
    └───────────┴───────────┴──────────┴──────────┴──────────┴──────┴─────────────┴─────────────────────┴────────────────────────────────────────┘
    ");
}

#[test]
fn the_page_of_a_frame_tells_what_its_columns_hold() {
    let catalog = samples::catalog_with_frames();
    let frame = catalog.entries.iter().find(|one| one.name == "by_vessel");
    insta::assert_snapshot!(help::table_page(frame.unwrap()).plain, @"
    frame by_vessel · 1_000_000 rows × 3 columns, 76.3 MiB on 2 engines, by MMSI
    ┌─────────────┬──────┬──────┬───────┬───────┐
    │ column      ┆ type ┆  min ┆   max ┆ nulls │
    ╞═════════════╪══════╪══════╪═══════╪═══════╡
    │ MMSI        ┆ i64  ┆    9 ┆   999 ┆     0 │
    │ SOG         ┆ f64  ┆ -0.5 ┆ 102.2 ┆    14 │
    │ Vessel Type ┆ str  ┆      ┆       ┆ 2_000 │
    └─────────────┴──────┴──────┴───────┴───────┘

    CREATE VIEW ais AS SELECT 1
    ");
}

#[test]
fn of_a_column_that_is_known_in_part_no_ends_are_told() {
    let mut catalog = samples::catalog_with_frames();
    let mut frames = catalog.entries.iter_mut();
    let entry = frames.find(|one| one.name == "by_vessel").unwrap();
    let segment = &mut entry.frame.as_mut().unwrap().segments[0];
    segment.partitions[1].columns[0].least = String::new();
    let page = help::table_page(entry).plain;
    let row = page.lines().find(|line| line.contains("MMSI ")).unwrap();
    assert!(!row.contains("999") && row.contains(" 0 "), "{page}");
    assert!(page.contains("-0.5"), "{page}");
}

#[test]
fn memory_tells_tiers_and_holders() {
    let bundle = memory::memory(&samples::memory(), &samples::catalog_with_frames());
    insta::assert_snapshot!(bundle.plain, @"
    1 engine
    ┌────────┬──────┬──────────┬─────────┬─────┬──────────┬──────────┬──────────┬─────────┬───────────┐
    │ engine ┆ tier ┆     used ┆      of ┆     ┆   frames ┆  queries ┆     peak ┆ refused ┆  resident │
    ╞════════╪══════╪══════════╪═════════╪═════╪══════════╪══════════╪══════════╪═════════╪═══════════╡
    │      0 ┆ host ┆ 96.0 MiB ┆ 4.0 GiB ┆ 2 % ┆ 64.0 MiB ┆ 32.0 MiB ┆ 96.0 MiB ┆       0 ┆ 120.0 MiB │
    │        ┆ disk ┆ 16.0 MiB ┆ 4.0 GiB ┆ 0 % ┆ 16.0 MiB ┆      0 B ┆ 16.0 MiB ┆       0 ┆           │
    └────────┴──────┴──────────┴─────────┴─────┴──────────┴──────────┴──────────┴─────────┴───────────┘

    held by
    ┌────────┬───────────────────┬──────────┬───────────┬──────────┐
    │ engine ┆ holder            ┆   memory ┆      disk ┆ query    │
    ╞════════╪═══════════════════╪══════════╪═══════════╪══════════╡
    │      0 ┆ frame by_vessel   ┆ 64.0 MiB ┆  16.0 MiB ┆          │
    │      0 ┆ ExternalSorter[0] ┆ 32.0 MiB ┆ can spill ┆ 1234abcd │
    └────────┴───────────────────┴──────────┴───────────┴──────────┘
    ");
    assert!(bundle.html.unwrap().contains("<table"));
}

#[test]
fn stats_leave_out_what_never_moved() {
    let plain = |with_zeros| memory::stats(&samples::memory(), with_zeros).plain;
    insta::assert_snapshot!(plain(false), @"
    since the engines started
    ┌───────────────────────────────┬──────────┬──────────┐
    │ counter                       ┆ engine 0 ┆      all │
    ╞═══════════════════════════════╪══════════╪══════════╡
    │ copy-host-to-disk-bytes       ┆ 16.0 MiB ┆ 16.0 MiB │
    │ copy-host-to-disk-times       ┆       64 ┆       64 │
    │ copy-host-to-disk-nanoseconds ┆  0.012 s ┆  0.012 s │
    └───────────────────────────────┴──────────┴──────────┘
    ");
    assert!(plain(true).contains("copy-disk-to-host-bytes"));
}
