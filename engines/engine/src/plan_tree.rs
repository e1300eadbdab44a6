//! A physical plan as data for `%explain`: which stage on which engines, and what each node did.

use bireme_protocol::{PlanNode, PlanTree};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion_distributed::NetworkBoundaryExt;
use std::sync::Arc;
use std::time::Duration;

/// Draws a plan that was, or was not, run.
pub(crate) fn draw(
    plan: &Arc<dyn ExecutionPlan>,
    engines: usize,
    head: u32,
    elapsed: Option<Duration>,
) -> PlanTree {
    let mut drawing = Drawing { stages: 0 };
    let head_place = Place {
        stage: 0,
        engines: vec![head],
    };
    PlanTree {
        analyzed: elapsed.is_some(),
        engines: u32::try_from(engines).unwrap_or(u32::MAX),
        elapsed_ms: elapsed.map_or(0, |e| u64::try_from(e.as_millis()).unwrap_or(u64::MAX)),
        root: drawing.node(plan, &head_place, elapsed.is_some()),
    }
}

/// Where a node runs.
#[derive(Clone)]
struct Place {
    stage: u32,
    engines: Vec<u32>,
}

struct Drawing {
    stages: u32,
}

impl Drawing {
    fn node(&mut self, plan: &Arc<dyn ExecutionPlan>, place: &Place, analyzed: bool) -> PlanNode {
        let line = DisplayableExecutionPlan::new(plan.as_ref())
            .one_line()
            .to_string();
        let line = line.trim();
        let details = line.strip_prefix(plan.name()).unwrap_or(line);
        let below = self.below(plan, place);
        let children = plan.children().into_iter().map(Arc::clone).collect();
        let children: Vec<_> = match plan.as_network_boundary() {
            Some(boundary) => boundary
                .input_stage()
                .local_plan()
                .map_or(children, |input| vec![Arc::clone(input)]),
            None => children,
        };
        let mut node = PlanNode {
            name: plan.name().to_string(),
            details: details.trim_start_matches(':').trim().to_string(),
            stage: place.stage,
            engines: place.engines.clone(),
            device: "cpu".to_string(),
            ..PlanNode::default()
        };
        if analyzed && let Some(metrics) = plan.metrics() {
            measure(&mut node, &metrics);
        }
        node.children = children
            .iter()
            .map(|child| self.node(child, &below, analyzed))
            .collect();
        node
    }

    fn below(&mut self, plan: &Arc<dyn ExecutionPlan>, place: &Place) -> Place {
        let Some(boundary) = plan.as_network_boundary() else {
            return place.clone();
        };
        self.stages += 1;
        let tasks = u32::try_from(boundary.input_stage().task_count()).unwrap_or(1);
        Place {
            stage: self.stages,
            engines: (0..tasks).collect(),
        }
    }
}

fn measure(node: &mut PlanNode, metrics: &MetricsSet) {
    let named = |name: &str| {
        metrics
            .sum_by_name(name)
            .map(|value| value.as_usize() as u64)
    };
    let own = metrics.aggregate_by_name();
    node.rows = metrics.output_rows().map(|rows| rows as u64);
    node.busy_us = own.elapsed_compute().map(|nanos| nanos as u64 / 1000);
    node.bytes_scanned = named("bytes_scanned");
    node.bytes_shuffled = named("bytes_sent");
    node.bytes_written = named("bytes_written");
    node.bytes_spilled = metrics.spilled_bytes().map(|b| b as u64).filter(|b| *b > 0);
}
