//! What the engines recorded of their work: a listing by engine and kind, and Chrome's trace
//! format, which Perfetto and `chrome://tracing` open.

use std::collections::BTreeMap;

use bireme_protocol::proto::{EngineSpans, Span};
use serde_json::{Value, json};

use super::grid::{Column, Grid};
use super::listing::under;
use super::units::{count, counted, format_bytes, microseconds};
use crate::mime_bundle::MimeBundle;

/// Kinds of work in the order they are drawn; others come below.
const KINDS: [&str; 5] = ["scan", "compute", "shuffle", "copy", "spill"];
/// Threads of one kind on one engine; a trace viewer draws overlapping work in rows of its own.
const LANES_MAX: usize = 1_000;

/// Time, rows and bytes by engine and kind.
pub fn summary(engines: &[EngineSpans]) -> MimeBundle {
    let spans: usize = engines.iter().map(|engine| engine.spans.len()).sum();
    if spans == 0 {
        return MimeBundle::plain(
            "no work is recorded of this query; the engines keep the latest only",
        );
    }
    let mut grid = Grid::new(vec![
        Column::right("engine"),
        Column::left("kind"),
        Column::right("spans"),
        Column::right("busy"),
        Column::right("rows"),
        Column::right("bytes"),
    ]);
    for engine in engines {
        for (kind, total) in totals(&engine.spans) {
            grid.push(vec![
                engine.rank.to_string().into(),
                kind.into(),
                count(total.spans).into(),
                microseconds(total.busy_us).into(),
                count(total.rows).into(),
                format_bytes(total.bytes).into(),
            ]);
        }
    }
    let wall = counted(spans as u64, "span");
    under(
        &format!("{wall} over {}", microseconds(wall_us(engines))),
        &grid,
    )
}

#[derive(Default)]
struct Total {
    spans: u64,
    busy_us: u64,
    rows: u64,
    bytes: u64,
}

fn totals(spans: &[Span]) -> Vec<(String, Total)> {
    let mut totals: BTreeMap<(usize, &str), Total> = BTreeMap::new();
    for span in spans {
        let total = totals
            .entry((kind_index(&span.kind), &span.kind))
            .or_default();
        total.spans += 1;
        total.busy_us += span.duration_us;
        total.rows += span.rows;
        total.bytes += span.bytes;
    }
    totals
        .into_iter()
        .map(|((_, kind), total)| (kind.to_string(), total))
        .collect()
}

fn kind_index(kind: &str) -> usize {
    KINDS
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(KINDS.len())
}

fn wall_us(engines: &[EngineSpans]) -> u64 {
    let spans = || engines.iter().flat_map(|engine| &engine.spans);
    let first = spans().map(|span| span.start_us).min().unwrap_or(0);
    let last = spans()
        .map(|span| span.start_us + span.duration_us)
        .max()
        .unwrap_or(0);
    last - first
}

/// Chrome's trace format: an engine is a process, a kind of work a group of threads.
pub fn chrome_trace(engines: &[EngineSpans]) -> Value {
    let mut events = Vec::new();
    for engine in engines {
        events.push(json!({
            "name": "process_name", "ph": "M", "pid": engine.rank,
            "args": { "name": format!("engine {}", engine.rank) },
        }));
        let mut spans: Vec<&Span> = engine.spans.iter().collect();
        spans.sort_by_key(|span| span.start_us);
        let mut lanes: BTreeMap<(usize, &str), Vec<u64>> = BTreeMap::new();
        for span in spans {
            let index = kind_index(&span.kind);
            let ends = lanes.entry((index, &span.kind)).or_default();
            let lane = free_lane(ends, span);
            let thread = index * LANES_MAX + lane;
            events.push(json!({
                "name": span.name, "cat": span.kind, "ph": "X", "pid": engine.rank, "tid": thread,
                "ts": span.start_us, "dur": span.duration_us,
                "args": { "query": span.query_id, "rows": span.rows, "bytes": span.bytes },
            }));
        }
        for ((index, kind), ends) in &lanes {
            for lane in 0..ends.len() {
                events.push(json!({
                    "name": "thread_name", "ph": "M", "pid": engine.rank,
                    "tid": index * LANES_MAX + lane, "args": { "name": format!("{kind} {lane}") },
                }));
            }
        }
    }
    json!({ "traceEvents": events, "displayTimeUnit": "ms" })
}

/// The first lane that is free when the span starts; takes it until the span ends.
fn free_lane(ends: &mut Vec<u64>, span: &Span) -> usize {
    let free = ends.iter().position(|end| *end <= span.start_us);
    let lane = free.unwrap_or(ends.len()).min(LANES_MAX - 1);
    let end = span.start_us + span.duration_us;
    match ends.get_mut(lane) {
        Some(taken) => *taken = end,
        None => ends.push(end),
    }
    lane
}
