//! How the rows of a query become a segment of a frame: which engine and partition gets which, by
//! the layout that was asked for.

use crate::co_partitioning::is_hashed_on;
use crate::error::OperatorsError;
use crate::file_leaf::file_scan;
use crate::persist_exec::PersistExec;
use crate::placer::{Place, Placed, Placer, Result as Placing, or_failed};
use crate::shared_rows_exec::SharedRowsExec;
use bireme_frames::Placement;
use bireme_protocol::QueryId;
use bireme_protocol::proto::{LayoutKind, SourceFile};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use parking_lot::Mutex;
use std::sync::Arc;

/// What to keep of a query, and how.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The frame.
    pub name: String,
    /// The segment that is made.
    pub segment: QueryId,
    /// How rows are laid out.
    pub layout: LayoutKind,
    /// The columns of a layout by hash.
    pub columns: Vec<String>,
    /// Without a layout rows stay on their engines, or are dealt to all.
    pub spread: bool,
    /// The files the rows come from, once the query is planned.
    pub sources: Sources,
}

/// The files that a plan reads, as they were when it was made.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Arc<Mutex<Vec<SourceFile>>>,
}

impl Sources {
    /// The files, in the order of their paths.
    pub fn files(&self) -> Vec<SourceFile> {
        self.files.lock().clone()
    }

    /// Notes the files of a plan for one process.
    pub(crate) fn note(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
        let mut files = self.files.lock();
        plan.apply(|node| {
            let groups = file_scan(node)
                .into_iter()
                .flat_map(|scan| &scan.file_groups);
            for file in groups.flat_map(|group| group.files()) {
                let meta = &file.object_meta;
                files.push(SourceFile {
                    path: meta.location.to_string(),
                    bytes: meta.size,
                    modified_ns: meta.last_modified.timestamp_nanos_opt().unwrap_or_default(),
                });
            }
            if let Some(scan) = node.downcast_ref::<SharedRowsExec>() {
                let (bytes, modified_ns) = scan.rows().version();
                files.push(SourceFile {
                    path: scan.rows().path().to_string(),
                    bytes,
                    modified_ns,
                });
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup();
        Ok(())
    }
}

impl Keep {
    /// Keeps rows on all engines.
    pub(crate) fn in_parts(&self, placed: Placed, placer: &mut Placer) -> Placing<Placed> {
        let partitions = placer.partitions;
        let rows = match self.layout {
            LayoutKind::Hash => {
                let keys = or_failed(self.keys(&placed.plan))?;
                let is_ready = placed.place == Place::Everywhere
                    && is_hashed_on(&placed.plan, &keys, partitions);
                match is_ready {
                    true => placed.plan,
                    false => placer.shuffle(placed, keys).plan,
                }
            }
            LayoutKind::Replicated => {
                let all = placer.broadcast(placed);
                or_failed(in_turn(all, partitions))?
            }
            LayoutKind::RoundRobin | LayoutKind::Unspecified => match placed.place {
                Place::Everywhere if !self.spread => or_failed(in_turn(placed.plan, partitions))?,
                _ => placer.spread(placed).plan,
            },
        };
        Ok(Placed {
            plan: Arc::new(PersistExec::new(self.segment, rows)),
            place: Place::Everywhere,
        })
    }

    /// Keeps the rows of a plan that runs whole on the head.
    pub(crate) fn on_head(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        placement: &Placement,
        engines: usize,
        reason: &str,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = placement.partitions();
        let rows = match self.layout {
            LayoutKind::RoundRobin | LayoutKind::Unspecified => in_turn(plan, partitions)?,
            _ if engines > 1 => {
                return Err(OperatorsError::Layout {
                    name: self.name.clone(),
                    columns: match self.columns.as_slice() {
                        [] => "copies on every engine".to_string(),
                        columns => columns.join(", "),
                    },
                    reason: format!("the query runs on one engine, since {reason}"),
                }
                .into());
            }
            LayoutKind::Replicated => in_turn(plan, partitions)?,
            LayoutKind::Hash => {
                let keys = self.keys(&plan)?;
                let partitioning = Partitioning::Hash(keys, partitions);
                Arc::new(RepartitionExec::try_new(plan, partitioning)?)
            }
        };
        Ok(Arc::new(PersistExec::new(self.segment, rows)))
    }

    fn keys(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let schema = plan.schema();
        let key = |name: &String| {
            let index = schema.index_of(name).map_err(|_| {
                let known: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                DataFusionError::from(OperatorsError::Layout {
                    name: self.name.clone(),
                    columns: self.columns.join(", "),
                    reason: format!("its columns are {}, {name:?} is none", known.join(", ")),
                })
            })?;
            Ok(Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>)
        };
        self.columns.iter().map(key).collect()
    }
}

/// The rows in so many partitions of each engine.
fn in_turn(plan: Arc<dyn ExecutionPlan>, partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
    if plan.output_partitioning().partition_count() == partitions {
        return Ok(plan);
    }
    let partitioning = Partitioning::RoundRobinBatch(partitions);
    Ok(Arc::new(RepartitionExec::try_new(plan, partitioning)?))
}
