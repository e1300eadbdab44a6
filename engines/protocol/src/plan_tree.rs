//! A distributed plan as data, so that an engine can describe it and a notebook can draw it.

use serde::{Deserialize, Serialize};

/// A query's plan with, after a run, what each node did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanTree {
    /// Whether the query was run and the numbers are measured.
    pub analyzed: bool,
    /// How many engines take part.
    pub engines: u32,
    /// Wall time of the run, in milliseconds.
    pub elapsed_ms: u64,
    /// The last stage's root.
    pub root: PlanNode,
}

/// One operator of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanNode {
    /// The operator's name, e.g. `HashJoinExec`.
    pub name: String,
    /// What it does, in one line.
    pub details: String,
    /// The stage it belongs to; children of another stage are behind a network boundary.
    pub stage: u32,
    /// The engines that run it, by rank.
    pub engines: Vec<u32>,
    /// Where it runs: "cpu" or "gpu".
    pub device: String,
    /// Rows it gave, over all engines.
    pub rows: Option<u64>,
    /// Busy time over all engines and partitions, in microseconds.
    pub busy_us: Option<u64>,
    /// Bytes it read from files or frames.
    pub bytes_scanned: Option<u64>,
    /// Bytes it sent to other engines.
    pub bytes_shuffled: Option<u64>,
    /// Bytes it wrote to disk for lack of memory.
    pub bytes_spilled: Option<u64>,
    /// Bytes it wrote to files that the query makes.
    pub bytes_written: Option<u64>,
    /// Inputs.
    pub children: Vec<PlanNode>,
}
