//! What a process knows of itself from `/proc`.

/// Resident memory of this process in bytes; 0 where `/proc` cannot be read.
pub fn resident_bytes() -> u64 {
    resident_bytes_of(std::process::id())
}

/// Resident memory of a process in bytes; 0 where `/proc` cannot be read.
pub fn resident_bytes_of(pid: u32) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

/// Gives this process the short name that `ps` and `top` show. One started from `/proc/self/exe`
/// is called "exe" otherwise; without `/proc` it stays so.
pub fn set_short_name(name: &str) {
    let _ = std::fs::write("/proc/self/comm", name);
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
