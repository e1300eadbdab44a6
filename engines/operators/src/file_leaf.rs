//! The leaves of plans: how a file scan is spread over the tasks of a stage, and which tasks run.
//! Every handler of datafusion-distributed for leaves is ours; its own failed to plan 60 sorted
//! files on 3 tasks.

use crate::file_split;
use crate::frame_scan_exec::FrameScanExec;
use crate::framed_scan_exec::FramedScanExec;
use crate::shared_rows_exec::SharedRowsExec;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::error::Result;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::memory::LazyMemoryExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedLeafExec, RouteTasksEvent,
    RouteTasksEventResponse, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
};
use std::sync::Arc;
use url::Url;

/// The scan of files behind a leaf, if it is one.
pub(crate) fn file_scan(leaf: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    leaf.downcast_ref::<DataSourceExec>()?
        .data_source()
        .downcast_ref::<FileScanConfig>()
}

/// Bytes the scan reads at most.
pub(crate) fn scanned_bytes(scan: &FileScanConfig) -> u64 {
    let files = scan.file_groups.iter().flat_map(|group| group.files());
    files.map(|file| file.effective_size()).sum()
}

/// The scan with at least so many groups, so that it counts as one of several partitions.
pub(crate) fn pad(
    leaf: &Arc<dyn ExecutionPlan>,
    partitions: usize,
) -> std::result::Result<Arc<dyn ExecutionPlan>, String> {
    let Some(scan) = file_scan(leaf) else {
        return Err(format!("{} reads no files", leaf.name()));
    };
    if scan.output_partitioning.is_some() {
        return Err("a scan that declares how its files are partitioned".to_string());
    }
    if scan.file_groups.len() >= partitions {
        return Ok(Arc::clone(leaf));
    }
    let mut padded = scan.clone();
    padded
        .file_groups
        .resize_with(partitions, || FileGroup::new(Vec::new()));
    Ok(DataSourceExec::from_data_source(padded))
}

/// No leaf asks for more than one task: what is to be distributed has its stages already.
pub(crate) fn desired_task_count(
    event: DesiredTaskCountEvent<'_>,
) -> Option<Result<DesiredTaskCountEventResponse>> {
    let leaf = event.plan.children().is_empty();
    leaf.then(|| Ok(DesiredTaskCountEventResponse::maximum(1)))
}

/// Gives each task its part of a leaf.
pub(crate) fn scale_up(
    event: ScaleUpLeafNodeEvent<'_>,
) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let leaf = event.plan;
    if event.task_count <= 1 {
        let same = ScaleUpLeafNodeEventResponse::new(Arc::clone(leaf));
        return Some(Ok(same));
    }
    let tasks = event.task_count;
    let variants = if let Some(scan) = file_scan(leaf) {
        parts(scan, tasks)
    } else if let Some(scan) = leaf.downcast_ref::<FrameScanExec>() {
        let own: Arc<dyn ExecutionPlan> = Arc::new(scan.of_own_engine());
        vec![own; tasks]
    } else if let Some(scan) = leaf.downcast_ref::<SharedRowsExec>() {
        let own = (0..tasks).map(|task| Arc::new(scan.of_task(task, tasks)) as _);
        own.collect()
    } else {
        on_task_zero(leaf, tasks)?
    };
    let scaled = DistributedLeafExec::try_new(Arc::clone(leaf), variants);
    Some(scaled.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

fn parts(scan: &FileScanConfig, tasks: usize) -> Vec<Arc<dyn ExecutionPlan>> {
    let groups = file_split::split(scan, tasks).into_iter();
    groups
        .map(|groups| {
            let mut part = scan.clone();
            part.file_groups = groups;
            FramedScanExec::around(DataSourceExec::from_data_source(part))
        })
        .collect()
}

/// Rows in memory run on task 0 and are not sent to the others.
fn on_task_zero(
    leaf: &Arc<dyn ExecutionPlan>,
    tasks: usize,
) -> Option<Vec<Arc<dyn ExecutionPlan>>> {
    let source = leaf.downcast_ref::<DataSourceExec>();
    let in_memory = source.and_then(|source| {
        let source = source.data_source();
        source.downcast_ref::<MemorySourceConfig>()
    });
    if in_memory.is_none() && !leaf.is::<LazyMemoryExec>() {
        return None;
    }
    let partitions = leaf.output_partitioning().partition_count();
    let empty = EmptyExec::new(leaf.schema()).with_partitions(partitions);
    let empty: Arc<dyn ExecutionPlan> = Arc::new(empty);
    let mut variants = vec![empty; tasks];
    variants[0] = Arc::clone(leaf);
    Some(variants)
}

/// Task i runs on rank i; a stage of one task runs on the head.
pub(crate) fn route_tasks(
    urls: &[Url],
    head: usize,
    event: &RouteTasksEvent<'_>,
) -> Option<Result<RouteTasksEventResponse>> {
    let urls = match event.task_count {
        1 => vec![urls.get(head)?.clone()],
        count if count == urls.len() => urls.to_vec(),
        _ => return None,
    };
    Some(Ok(RouteTasksEventResponse::new(urls)))
}
