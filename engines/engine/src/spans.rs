//! The timeline of one engine: scan, compute, shuffle, copy and spill, in a bounded ring.

use bireme_protocol::QueryId;
use bireme_protocol::proto::Span;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Spans kept; the oldest go first.
const SPANS_MAX: usize = 16_384;

/// The latest spans of this engine.
#[derive(Debug, Default)]
pub(crate) struct SpanRing {
    spans: Mutex<VecDeque<Span>>,
}

/// What one partition of a node did.
#[derive(Default)]
struct PartitionWork {
    start_us: Option<u64>,
    end_us: Option<u64>,
    rows: u64,
    bytes: u64,
    spilled: u64,
}

impl SpanRing {
    /// The spans of a query, or all of them.
    pub(crate) fn read(&self, query: Option<QueryId>) -> Vec<Span> {
        let wanted = query.map(|query| query.to_string());
        let spans = self.spans.lock();
        let matches = |span: &&Span| wanted.as_ref().is_none_or(|query| span.query_id == *query);
        spans.iter().filter(matches).cloned().collect()
    }

    /// Writes down what every partition of every node of an ended plan did.
    pub(crate) fn record_plan(&self, query: QueryId, root: &Arc<dyn ExecutionPlan>) {
        let mut found = Vec::new();
        collect(query, root, &mut found);
        let mut spans = self.spans.lock();
        for span in found {
            if spans.len() == SPANS_MAX {
                spans.pop_front();
            }
            spans.push_back(span);
        }
    }
}

fn kind(node: &dyn ExecutionPlan) -> &'static str {
    let name = node.name();
    match () {
        () if name.starts_with("Collective") || name.starts_with("Network") => "shuffle",
        () if node.children().is_empty() => "scan",
        () => "compute",
    }
}

fn collect(query: QueryId, node: &Arc<dyn ExecutionPlan>, spans: &mut Vec<Span>) {
    let mut partitions: BTreeMap<Option<usize>, PartitionWork> = BTreeMap::new();
    for metric in node.metrics().iter().flat_map(|metrics| metrics.iter()) {
        let work = partitions.entry(metric.partition()).or_default();
        match metric.value() {
            MetricValue::StartTimestamp(at) => {
                work.start_us = at.value().map(|at| micros(at.timestamp_micros()))
            }
            MetricValue::EndTimestamp(at) => {
                work.end_us = at.value().map(|at| micros(at.timestamp_micros()))
            }
            MetricValue::OutputRows(rows) => work.rows = rows.value() as u64,
            MetricValue::SpilledBytes(bytes) => work.spilled = bytes.value() as u64,
            MetricValue::Count { name, count }
                if name == "bytes_scanned" || name == "bytes_sent" =>
            {
                work.bytes += count.value() as u64;
            }
            _ => {}
        }
    }
    for (partition, work) in partitions {
        let (Some(start_us), Some(end_us)) = (work.start_us, work.end_us) else {
            continue;
        };
        let name = match partition {
            Some(partition) => format!("{} [{partition}]", node.name()),
            None => node.name().to_string(),
        };
        let span = |kind: &str, bytes: u64| Span {
            query_id: query.to_string(),
            kind: kind.to_string(),
            name: name.clone(),
            start_us,
            duration_us: end_us.saturating_sub(start_us),
            rows: work.rows,
            bytes,
        };
        spans.push(span(kind(node.as_ref()), work.bytes));
        if work.spilled > 0 {
            spans.push(span("spill", work.spilled));
        }
    }
    for child in node.children() {
        collect(query, child, spans);
    }
}

/// Before the epoch there was no query.
fn micros(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}
