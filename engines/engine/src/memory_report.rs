//! What this engine holds, for `%memory` and `%stats`.

use crate::engine::Engine;
use bireme_collectives::QueryCounters;
use bireme_protocol::process;
use bireme_protocol::proto::{Counter, EngineMemory, Holder, SegmentMemory, TierMemory};
use bireme_shared_memory::heap_live_bytes;

/// Holders that are told of, the largest first.
const HOLDERS_MAX: usize = 50;

/// What the engine holds now.
pub(crate) fn memory(engine: &Engine) -> EngineMemory {
    let budget = engine.budget().snapshot();
    let tiers = budget.tiers.iter().map(|tier| TierMemory {
        tier: tier.tier.to_string(),
        limit: tier.limit,
        used: tier.used,
        peak: tier.peak,
        refused: tier.refused,
        frames: tier.frames,
    });
    let holders = budget.consumers.iter().take(HOLDERS_MAX);
    let holders = holders.map(|consumer| Holder {
        name: consumer.name.clone(),
        query: consumer.query.clone(),
        used: consumer.used,
        peak: consumer.peak,
        can_spill: consumer.can_spill,
    });
    let segments = engine.frames().snapshot().into_iter();
    let segments = segments.map(|segment| SegmentMemory {
        id: segment.id.to_string(),
        rows: segment.facts.rows,
        host_bytes: segment.facts.host_bytes,
        disk_bytes: segment.facts.disk_bytes,
        partitions: u32::try_from(segment.partitions).unwrap_or(u32::MAX),
    });
    EngineMemory {
        rank: engine.rank(),
        tiers: tiers.collect(),
        holders: holders.collect(),
        segments: segments.collect(),
        counters: counters(engine),
        resident_bytes: process::resident_bytes(),
    }
}

fn counters(engine: &Engine) -> Vec<Counter> {
    let spilled = engine.spill().counters();
    let of_disk = [
        ("spill-write-bytes", spilled.bytes_written),
        ("spill-write-nanoseconds", spilled.write_nanoseconds),
        ("spill-read-bytes", spilled.bytes_read),
        ("spill-read-nanoseconds", spilled.read_nanoseconds),
        ("spill-files", spilled.files),
        ("spill-files-live", spilled.files_live),
    ];
    let of_disk = of_disk.map(|(name, value)| (name.to_string(), value));
    let mut moved = QueryCounters::default();
    for exchange in engine.cluster().exchanges() {
        moved.add(&exchange.total());
    }
    let of_shuffles = [
        ("shuffle-payload-send-bytes", moved.bytes_sent),
        ("shuffle-payload-send-times", moved.messages_sent),
        ("shuffle-payload-recv-bytes", moved.bytes_received),
        ("shuffle-payload-recv-times", moved.messages_received),
        ("shuffle-wait-nanoseconds", moved.wait_nanoseconds),
        ("shuffle-spill-bytes", moved.bytes_spilled),
    ];
    let of_shuffles = of_shuffles.map(|(name, value)| (name.to_string(), value));
    let of_heap = heap_live_bytes().map(|bytes| ("heap-live-bytes".to_string(), bytes));
    let counters = engine.frames().counted().into_iter();
    let counters = counters.chain(of_disk).chain(of_shuffles).chain(of_heap);
    counters
        .map(|(name, value)| Counter { name, value })
        .collect()
}
