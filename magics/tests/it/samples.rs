//! Results, plans and a catalog for the scripted session.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_client::{QuerySummary, QueryUpdate};
use bireme_protocol::{PlanNode, PlanTree, proto};

/// One step of a scripted query: what it gives, after how long.
pub(crate) type Step = (Duration, QueryUpdate);

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// Rows `0..count`; every third has no name.
pub(crate) fn rows(count: i64) -> RecordBatch {
    let names = (0..count).map(|id| (id % 3 != 2).then(|| format!("vessel {id}")));
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..count)),
        Arc::new(names.collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// A query that gives its rows at once.
pub(crate) fn answer(batch: &RecordBatch, total: u64) -> Vec<Step> {
    vec![
        (Duration::ZERO, QueryUpdate::Schema(batch.schema())),
        (Duration::ZERO, QueryUpdate::Batch(batch.clone())),
        (Duration::ZERO, done(total, None)),
    ]
}

pub(crate) fn done(rows: u64, plan: Option<PlanTree>) -> QueryUpdate {
    QueryUpdate::Done(Box::new(QuerySummary {
        rows,
        elapsed: Duration::from_millis(41),
        progress: proto::QueryProgress {
            engines: 2,
            elapsed_ms: 1_234,
            rows_scanned: 1_000_000,
            bytes_scanned: 512 << 20,
            rows_out: rows,
            ..Default::default()
        },
        plan,
        ..Default::default()
    }))
}

pub(crate) fn plan() -> PlanTree {
    let scan = PlanNode {
        name: "DataSourceExec".into(),
        details: "ais/*.parquet, projection=[id, name]".into(),
        stage: 1,
        engines: vec![0, 1],
        device: "cpu".into(),
        rows: Some(20_000_000),
        busy_us: Some(900_000),
        bytes_scanned: Some(512 << 20),
        ..Default::default()
    };
    let partial = PlanNode {
        name: "AggregateExec".into(),
        details: "partial, by [name]".into(),
        stage: 1,
        engines: vec![0, 1],
        device: "cpu".into(),
        rows: Some(52),
        busy_us: Some(100_000),
        children: vec![scan],
        ..Default::default()
    };
    let root = PlanNode {
        name: "AggregateExec".into(),
        details: "final, by [name]".into(),
        engines: vec![0],
        device: "cpu".into(),
        rows: Some(26),
        busy_us: Some(1_500),
        bytes_shuffled: Some(4096),
        children: vec![partial],
        ..Default::default()
    };
    PlanTree {
        analyzed: true,
        engines: 2,
        elapsed_ms: 612,
        root,
    }
}

pub(crate) fn catalog() -> proto::Catalog {
    let entry = |name: &str, columns: &[(&str, DataType)]| {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, kind)| Field::new(*name, kind.clone(), true))
            .collect();
        proto::CatalogEntry {
            name: name.into(),
            kind: proto::EntryKind::View.into(),
            sql: format!("CREATE VIEW {name} AS SELECT 1"),
            schema_json: serde_json::to_string(&Schema::new(fields)).unwrap(),
            defined_at_ms: 0,
            ..Default::default()
        }
    };
    proto::Catalog {
        session: "notebook".into(),
        version: 1,
        entries: vec![
            entry(
                "ais",
                &[
                    ("MMSI", DataType::Int64),
                    ("SOG", DataType::Float64),
                    ("Vessel Type", DataType::Utf8),
                ],
            ),
            entry(
                "ports",
                &[("name", DataType::Utf8), ("country", DataType::Utf8)],
            ),
        ],
    }
}

/// One engine that holds a frame, on disk in part.
pub(crate) fn memory() -> Vec<proto::EngineMemory> {
    let tier = |tier: &str, used, frames| proto::TierMemory {
        tier: tier.into(),
        limit: 4 << 30,
        used,
        peak: used,
        refused: 0,
        frames,
    };
    let segment = proto::SegmentMemory {
        id: "f".repeat(32),
        rows: 1_000_000,
        host_bytes: 64 << 20,
        disk_bytes: 16 << 20,
        partitions: 4,
    };
    let counter = |name: &str, value| proto::Counter {
        name: name.into(),
        value,
    };
    vec![proto::EngineMemory {
        rank: 0,
        tiers: vec![tier("host", 96 << 20, 64 << 20), tier("disk", 16 << 20, 0)],
        holders: vec![proto::Holder {
            name: "ExternalSorter[0]".into(),
            query: "1234abcd".into(),
            used: 32 << 20,
            peak: 40 << 20,
            can_spill: true,
        }],
        segments: vec![segment],
        counters: vec![
            counter("copy-host-to-disk-bytes", 16 << 20),
            counter("copy-host-to-disk-times", 64),
            counter("copy-host-to-disk-nanoseconds", 12_000_000),
            counter("copy-disk-to-host-bytes", 0),
        ],
        resident_bytes: 120 << 20,
    }]
}

/// The catalog with a frame by hash of two engines, and one that another session has published and lost.
pub(crate) fn catalog_with_frames() -> proto::Catalog {
    let column = |least: &str, greatest: &str, nulls| proto::ColumnFacts {
        least: least.into(),
        greatest: greatest.into(),
        nulls,
    };
    // As numbers, 9 is less than 10.
    let columns = |least| vec![column(least, "999", 0), column("-0.5", "102.2", 7)];
    let part = |rank, partition, rows, least| proto::PartitionFacts {
        rank,
        partition,
        rows,
        bytes: rows * 80,
        columns: [columns(least), vec![column("", "", 1_000)]].concat(),
    };
    let frame = |id: &str, session: &str, columns: &[&str]| proto::Frame {
        layout: Some(proto::FrameLayout {
            kind: match columns {
                [] => proto::LayoutKind::RoundRobin.into(),
                _ => proto::LayoutKind::Hash.into(),
            },
            columns: columns.iter().map(|column| (*column).to_string()).collect(),
            partitions: 2,
        }),
        segments: vec![proto::Segment {
            id: id.repeat(32),
            partitions: vec![part(0, 0, 600_000, "10"), part(1, 0, 400_000, "9")],
            ..Default::default()
        }],
        session: session.into(),
        ..Default::default()
    };
    let mut catalog = catalog();
    let mut entry = catalog.entries[0].clone();
    entry.kind = proto::EntryKind::Frame.into();
    entry.name = "by_vessel".into();
    entry.frame = Some(frame("f", "notebook", &["MMSI"]));
    catalog.entries.push(entry.clone());
    entry.name = "theirs".into();
    let mut theirs = frame("e", "another", &[]);
    theirs.published = true;
    theirs.lost = "engine 1 ended with a part of it".into();
    entry.frame = Some(theirs);
    catalog.entries.push(entry);
    catalog
}

/// So many rows of one column, as engines have written them.
pub(crate) fn shared_batch(rows: u64) -> proto::SharedBatch {
    let values = proto::SharedBuffer {
        file: 0,
        offset: 0,
        length: rows * 8,
    };
    let column = proto::SharedArray {
        length: rows,
        buffers: vec![values],
        ..proto::SharedArray::default()
    };
    proto::SharedBatch {
        part: 0,
        rows,
        columns: vec![column],
    }
}
