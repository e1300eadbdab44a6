//! Plans that run on this engine now, by query: where live progress and the timeline come from.
//!
//! A plan's own metrics are read while it runs; nothing is wrapped around its nodes.

use crate::spans::SpanRing;
use bireme_protocol::QueryId;
use bireme_protocol::proto::QueryProgress;
use datafusion::common::Statistics;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Plans remembered at once: more means they are never released.
const PLANS_MAX: usize = 4096;

/// The plans under way on one engine.
#[derive(Debug, Default)]
pub(crate) struct LivePlans {
    plans: Mutex<HashMap<QueryId, Vec<LivePlan>>>,
}

#[derive(Debug)]
struct LivePlan {
    root: Arc<dyn ExecutionPlan>,
    /// Bytes of the files its scans read.
    bytes_to_scan: u64,
    /// Whether the head runs it itself, rather than a task of it.
    is_head: bool,
}

impl LivePlans {
    /// Follows a plan until everybody else has let go of it.
    pub(crate) fn follow(&self, query: QueryId, root: &Arc<dyn ExecutionPlan>, is_head: bool) {
        let mut plans = self.plans.lock();
        if plans.values().map(Vec::len).sum::<usize>() >= PLANS_MAX {
            tracing::warn!(
                limit = PLANS_MAX,
                "a plan is not followed: too many are under way"
            );
            return;
        }
        plans.entry(query).or_default().push(LivePlan {
            bytes_to_scan: bytes_to_scan(root),
            root: Arc::clone(root),
            is_head,
        });
    }

    /// Whether no plan runs, and nobody holds one.
    pub(crate) fn is_empty(&self) -> bool {
        self.plans.lock().is_empty()
    }

    /// The counters of every query with a plan here.
    pub(crate) fn progress(&self) -> Vec<(QueryId, QueryProgress)> {
        let plans = self.plans.lock();
        plans
            .iter()
            .map(|(query, plans)| (*query, sum(plans)))
            .collect()
    }

    /// The counters of one query.
    pub(crate) fn progress_of(&self, query: QueryId) -> QueryProgress {
        let plans = self.plans.lock();
        plans.get(&query).map(|p| sum(p)).unwrap_or_default()
    }

    /// Lets go of plans nobody else holds, and writes what they did to the timeline.
    pub(crate) fn release_ended(&self, spans: &SpanRing) {
        let mut ended = Vec::new();
        self.plans.lock().retain(|query, plans| {
            plans.retain(|plan| {
                let is_live = Arc::strong_count(&plan.root) > 1;
                if !is_live {
                    ended.push((*query, Arc::clone(&plan.root)));
                }
                is_live
            });
            !plans.is_empty()
        });
        for (query, root) in ended {
            spans.record_plan(query, &root);
        }
    }
}

/// The counters of a plan that has run.
pub(crate) fn measured(root: &Arc<dyn ExecutionPlan>) -> QueryProgress {
    let mut total = QueryProgress::default();
    add_node(&mut total, root);
    total
}

fn sum(plans: &[LivePlan]) -> QueryProgress {
    let mut total = QueryProgress::default();
    for plan in plans {
        total.bytes_to_scan += plan.bytes_to_scan;
        add_node(&mut total, &plan.root);
        if plan.is_head {
            total.rows_out += plan
                .root
                .metrics()
                .and_then(|m| m.output_rows())
                .unwrap_or(0) as u64;
        }
    }
    total
}

fn add_node(total: &mut QueryProgress, node: &Arc<dyn ExecutionPlan>) {
    if let Some(metrics) = node.metrics() {
        if node.children().is_empty() {
            total.rows_scanned += metrics.output_rows().unwrap_or(0) as u64;
            total.bytes_scanned += metrics
                .sum_by_name("bytes_scanned")
                .map_or(0, |v| v.as_usize()) as u64;
        }
        total.bytes_spilled += metrics.spilled_bytes().unwrap_or(0) as u64;
        total.bytes_written += metrics
            .sum_by_name("bytes_written")
            .map_or(0, |v| v.as_usize()) as u64;
        total.bytes_shuffled += metrics
            .iter()
            .filter(|metric| metric.value().name() == "bytes_sent")
            .map(|metric| match metric.value() {
                MetricValue::Count { count, .. } => count.value() as u64,
                other => other.as_usize() as u64,
            })
            .sum::<u64>();
    }
    for child in node.children() {
        add_node(total, child);
    }
}

fn bytes_to_scan(node: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = match node.downcast_ref::<DataSourceExec>() {
        Some(source) => match source.data_source().downcast_ref::<FileScanConfig>() {
            Some(files) => file_bytes(files),
            None => statistics_bytes(node),
        },
        None => 0,
    };
    own + node.children().into_iter().map(bytes_to_scan).sum::<u64>()
}

fn file_bytes(files: &FileScanConfig) -> u64 {
    let groups = files.file_groups.iter();
    groups
        .flat_map(|group| group.iter())
        .map(|file| match &file.range {
            Some(range) => u64::try_from(range.end - range.start).unwrap_or(0),
            None => file.object_meta.size,
        })
        .sum()
}

fn statistics_bytes(node: &Arc<dyn ExecutionPlan>) -> u64 {
    let bytes = |statistics: Arc<Statistics>| statistics.total_byte_size.get_value().copied();
    let statistics = StatisticsContext::new().compute(node.as_ref(), &StatisticsArgs::new());
    let known = statistics.ok().and_then(bytes);
    known.unwrap_or(0) as u64
}
