//! Arithmetic of progress: per engine as reported, summed for who follows a query.

use bireme_protocol::proto::{EngineProgress, QueryProgress};
use std::collections::BTreeMap;

/// Adds up what the engines of a query reported.
pub(crate) fn sum(engines: &BTreeMap<u32, QueryProgress>) -> QueryProgress {
    let mut total = QueryProgress::default();
    for progress in engines.values() {
        total.rows_scanned += progress.rows_scanned;
        total.bytes_scanned += progress.bytes_scanned;
        total.bytes_to_scan += progress.bytes_to_scan;
        total.rows_out += progress.rows_out;
        total.bytes_shuffled += progress.bytes_shuffled;
        total.bytes_spilled += progress.bytes_spilled;
        total.bytes_written += progress.bytes_written;
        total.memory_reserved += progress.memory_reserved;
        total.elapsed_ms = total.elapsed_ms.max(progress.elapsed_ms);
    }
    total.engines = u32::try_from(engines.len()).unwrap_or(u32::MAX);
    total
}

/// The larger of two reports, counter by counter: neither the head's last word nor the sum of what
/// the engines said before it need be complete.
pub(crate) fn larger(one: &QueryProgress, other: &QueryProgress) -> QueryProgress {
    QueryProgress {
        rows_scanned: one.rows_scanned.max(other.rows_scanned),
        bytes_scanned: one.bytes_scanned.max(other.bytes_scanned),
        bytes_to_scan: one.bytes_to_scan.max(other.bytes_to_scan),
        rows_out: one.rows_out.max(other.rows_out),
        bytes_shuffled: one.bytes_shuffled.max(other.bytes_shuffled),
        bytes_spilled: one.bytes_spilled.max(other.bytes_spilled),
        bytes_written: one.bytes_written.max(other.bytes_written),
        memory_reserved: one.memory_reserved.max(other.memory_reserved),
        elapsed_ms: one.elapsed_ms.max(other.elapsed_ms),
        engines: one.engines.max(other.engines),
    }
}

/// The reports by rank.
pub(crate) fn by_engine(engines: &BTreeMap<u32, QueryProgress>) -> Vec<EngineProgress> {
    engines
        .iter()
        .map(|(rank, progress)| EngineProgress {
            rank: *rank,
            progress: Some(*progress),
        })
        .collect()
}
