//! What the kernel's process and its host use, for the front end's resource display.
//!
//! Fields are those of ipykernel's `usage_reply`. Read from `/proc`; what cannot be read is absent.

use std::time::Duration;

use serde_json::{Value, json};

use crate::wire::JsonMap;

/// Over which time the processor's use is measured.
const SAMPLE: Duration = Duration::from_millis(100);

/// Measures for a moment.
pub(crate) async fn measure() -> JsonMap {
    let before = Ticks::now();
    tokio::time::sleep(SAMPLE).await;
    let after = Ticks::now();
    let mut usage = JsonMap::new();
    usage.insert("pid".to_owned(), std::process::id().into());
    if let Ok(hostname) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        usage.insert("hostname".to_owned(), hostname.trim().into());
    }
    if let Ok(count) = std::thread::available_parallelism() {
        usage.insert("cpu_count".to_owned(), count.get().into());
    }
    if let (Some(before), Some(after)) = (before, after) {
        let host = (after.total - before.total).max(1.0);
        // In percent of one processor, as psutil has it.
        let kernel = (after.kernel - before.kernel) / host * 100.0 * after.processors;
        usage.insert("kernel_cpu".to_owned(), json!(kernel));
        let busy = (after.busy - before.busy) / host * 100.0;
        usage.insert("host_cpu_percent".to_owned(), json!(busy));
    }
    if let Some(bytes) = resident_bytes() {
        usage.insert("kernel_memory".to_owned(), bytes.into());
    }
    if let Some(memory) = host_memory() {
        usage.insert("host_virtual_memory".to_owned(), memory);
    }
    usage
}

/// Clock ticks so far, of this process and of all processors.
struct Ticks {
    kernel: f64,
    busy: f64,
    total: f64,
    processors: f64,
}

impl Ticks {
    fn now() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let all = stat.lines().next()?.split_whitespace().skip(1);
        // The last two columns are already part of the first two.
        let ticks: Vec<f64> = all.take(8).filter_map(|ticks| ticks.parse().ok()).collect();
        let total: f64 = ticks.iter().sum();
        let idle = ticks.get(3)? + ticks.get(4)?;
        let is_processor = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let processors = u32::try_from(stat.lines().filter(is_processor).count()).ok()?;
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold spaces; user and system time are fields 14 and 15.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let kernel = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(Self {
            kernel,
            busy: total - idle,
            total,
            processors: f64::from(processors),
        })
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "VmRSS:")
}

fn host_memory() -> Option<Value> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = kibibytes(&meminfo, "MemTotal:")?;
    let available = kibibytes(&meminfo, "MemAvailable:")?;
    let free = kibibytes(&meminfo, "MemFree:")?;
    let used = total.saturating_sub(available);
    let percent = used as f64 / total.max(1) as f64 * 100.0;
    Some(json!({
        "total": total, "available": available, "free": free, "used": used, "percent": percent,
    }))
}

fn kibibytes(table: &str, key: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
