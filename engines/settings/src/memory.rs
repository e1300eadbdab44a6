//! What memory this process may use, cgroup aware.

use crate::value::parse_bytes;

/// Bytes this process may use: the smallest limit of its cgroups, else the machine's memory.
pub fn memory_available() -> u64 {
    let machine = machine_memory().unwrap_or(u64::MAX);
    cgroup_limit().map_or(machine, |limit| limit.min(machine))
}

/// A limit as bytes: a size, or a share of [`memory_available`].
pub fn parse_memory_limit(text: &str) -> Option<u64> {
    match text.trim().strip_suffix('%') {
        Some(percent) => {
            let share: f64 = percent.trim().parse().ok()?;
            Some((memory_available() as f64 * share / 100.0) as u64)
        }
        None => parse_bytes(text),
    }
}

fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Walks from this process's cgroup (v2, else v1) to the root and takes the smallest limit.
fn cgroup_limit() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut smallest: Option<u64> = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut directory = std::path::PathBuf::from(format!("{mount}{path}"));
        while directory.starts_with(mount) {
            let limit = std::fs::read_to_string(directory.join(file))
                .ok()
                .and_then(|limit| limit.trim().parse::<u64>().ok());
            if let Some(limit) = limit {
                smallest = Some(smallest.map_or(limit, |s| s.min(limit)));
            }
            if !directory.pop() {
                break;
            }
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_what_may_be_used() {
        let all = memory_available();
        assert!(all > 0);
        let half = parse_memory_limit("50%").unwrap();
        assert!(half.abs_diff(all / 2) <= 1024);
        assert_eq!(parse_memory_limit("1GiB"), Some(1 << 30));
    }
}
