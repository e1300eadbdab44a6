//! What frames have moved between tiers since the engine started. Names and units are RapidsMPF's
//! (docs/statistics.md): bytes, times, and nanoseconds per direction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One direction.
#[derive(Debug, Default)]
struct Movement {
    bytes: AtomicU64,
    times: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Movement {
    fn add(&self, bytes: usize, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn read(&self, name: &str) -> [(String, u64); 3] {
        let part = |part: &str, value: &AtomicU64| {
            (format!("{name}-{part}"), value.load(Ordering::Relaxed))
        };
        [
            part("bytes", &self.bytes),
            part("times", &self.times),
            part("nanoseconds", &self.nanoseconds),
        ]
    }
}

/// The counters of a frame store.
#[derive(Debug, Default)]
pub(crate) struct FrameCounters {
    alloc_host: Movement,
    write_disk: Movement,
    host_to_disk: Movement,
    disk_to_host: Movement,
    dropped_clean: Movement,
}

impl FrameCounters {
    /// A new column is in memory.
    pub(crate) fn kept(&self, bytes: usize, took: Duration) {
        self.alloc_host.add(bytes, took);
    }

    /// New columns went to disk, where they take so much.
    pub(crate) fn kept_on_disk(&self, written: usize, took: Duration) {
        self.write_disk.add(written, took);
    }

    /// A column that is in memory was written to disk.
    pub(crate) fn copied_down(&self, written: usize, took: Duration) {
        self.host_to_disk.add(written, took);
    }

    /// A column that was on disk too has left memory.
    pub(crate) fn dropped(&self, bytes: usize) {
        if bytes > 0 {
            self.dropped_clean.add(bytes, Duration::ZERO);
        }
    }

    /// A batch came from disk.
    pub(crate) fn restored(&self, bytes: usize, took: Duration) {
        self.disk_to_host.add(bytes, took);
    }

    pub(crate) fn read(&self) -> Vec<(String, u64)> {
        let movements = [
            ("alloc-host", &self.alloc_host),
            ("alloc-disk", &self.write_disk),
            ("copy-host-to-disk", &self.host_to_disk),
            ("copy-disk-to-host", &self.disk_to_host),
            ("drop-host", &self.dropped_clean),
        ];
        let read = |(name, movement): (&str, &Movement)| movement.read(name);
        movements.into_iter().flat_map(read).collect()
    }
}
