//! The timeline of one engine: scan, compute, shuffle, copy and spill, in a bounded ring. A span is
//! made only of times that were measured. Nodes measure when each partition ran, and a shuffle also
//! when each sent; spilling, and copying back what was spilled, are measured by `timed_spill` for
//! operators and by the exchange for itself, since a node says how much it spilled and not when.

use bireme_collectives::SpillMove;
use bireme_operators::SIDE_LABEL;
use bireme_protocol::QueryId;
use bireme_protocol::proto::Span;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Label, MetricValue};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

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
        found.into_iter().for_each(|span| self.push(span));
    }

    /// Adds what an exchange moved to disk or back.
    pub(crate) fn push_spill(&self, moved: &SpillMove) {
        let since = moved.started.duration_since(UNIX_EPOCH);
        let kind = if moved.is_back { "copy" } else { "spill" };
        self.push(Span {
            query_id: moved.query.to_string(),
            kind: kind.to_string(),
            name: format!("Collective {} [{}]", moved.operation, moved.partition),
            start_us: since.map_or(0, |since| since.as_micros() as u64),
            duration_us: moved.took.as_micros() as u64,
            bytes: moved.bytes,
            ..Span::default()
        });
    }

    /// Adds a span; the oldest makes room.
    pub(crate) fn push(&self, span: Span) {
        let mut spans = self.spans.lock();
        if spans.len() == SPANS_MAX {
            spans.pop_front();
        }
        spans.push_back(span);
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
    let mut partitions: BTreeMap<(bool, Option<usize>), PartitionWork> = BTreeMap::new();
    for metric in node.metrics().iter().flat_map(|metrics| metrics.iter()) {
        let sends = |label: &Label| (label.name(), label.value()) == SIDE_LABEL;
        let key = (metric.labels().iter().any(sends), metric.partition());
        let work = partitions.entry(key).or_default();
        match metric.value() {
            MetricValue::StartTimestamp(at) => {
                work.start_us = at.value().map(|at| micros(at.timestamp_micros()))
            }
            MetricValue::EndTimestamp(at) => {
                work.end_us = at.value().map(|at| micros(at.timestamp_micros()))
            }
            MetricValue::OutputRows(rows) => work.rows = rows.value() as u64,
            MetricValue::Count { name, count } if name == "rows_sent" => {
                work.rows = count.value() as u64;
            }
            MetricValue::Count { name, count }
                if name == "bytes_scanned" || name == "bytes_sent" =>
            {
                work.bytes += count.value() as u64;
            }
            _ => {}
        }
    }
    for ((sends, partition), work) in partitions {
        let (Some(start_us), Some(end_us)) = (work.start_us, work.end_us) else {
            continue;
        };
        let mut name = node.name().to_string();
        if sends {
            name.push_str(" send");
        }
        if let Some(partition) = partition {
            let _ = write!(name, " [{partition}]");
        }
        spans.push(Span {
            query_id: query.to_string(),
            kind: kind(node.as_ref()).to_string(),
            name,
            start_us,
            duration_us: end_us.saturating_sub(start_us),
            rows: work.rows,
            bytes: work.bytes,
        });
    }
    for child in node.children() {
        collect(query, child, spans);
    }
}

/// Before the epoch there was no query.
fn micros(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bireme_collectives::OperationId;
    use bireme_operators::{CollectiveExec, Routing};
    use datafusion::arrow::datatypes::Schema;
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion::physical_plan::collect as run;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::prelude::SessionContext;

    #[test]
    fn a_nodes_kind_is_what_it_does() {
        let leaf: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let merge = CoalescePartitionsExec::new(Arc::clone(&leaf));
        let id = OperationId {
            query: QueryId::random(),
            plan: 1,
            index: 0,
        };
        let gather = CollectiveExec::new(id, Routing::Gather, 2, Arc::clone(&leaf));
        assert_eq!(kind(leaf.as_ref()), "scan");
        assert_eq!(kind(&merge), "compute");
        assert_eq!(kind(&gather), "shuffle");
    }

    #[test]
    fn the_oldest_spans_make_room() {
        let ring = SpanRing::default();
        for number in 0..SPANS_MAX as u64 + 2 {
            ring.push(Span {
                start_us: number,
                ..Span::default()
            });
        }
        let spans = ring.read(None);
        assert_eq!(spans.len(), SPANS_MAX);
        assert_eq!(spans.first().map(|span| span.start_us), Some(2));
    }

    #[tokio::test]
    async fn a_plan_that_ran_leaves_the_spans_of_its_query() {
        let context = SessionContext::new();
        let sql = "SELECT value % 3, count(*) FROM range(1000) GROUP BY 1";
        let plan = context.sql(sql).await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        run(Arc::clone(&plan), context.task_ctx()).await.unwrap();
        let (ring, query) = (SpanRing::default(), QueryId::random());
        ring.record_plan(query, &plan);
        let spans = ring.read(Some(query));
        assert!(spans.iter().any(|span| span.kind == "compute"), "{spans:?}");
        assert!(spans.iter().all(|span| span.start_us > 0), "{spans:?}");
        assert_eq!(ring.read(None), spans);
        assert!(ring.read(Some(QueryId::random())).is_empty());
    }
}
