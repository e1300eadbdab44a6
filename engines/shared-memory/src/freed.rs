//! Memory that this process has freed and its allocator still holds.

/// Gives it back to the system, which takes some 60 ms for each gigabyte; whoever asks for memory next waits for new pages.
/// Does nothing where the allocator has no way to be told.
pub fn give_back_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time by any thread; it only touches what is free.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anonymous memory that is resident, in kB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    #[test]
    fn what_lies_between_things_in_use_goes_back() {
        let pieces: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; 16 << 10]).collect();
        let full = resident();
        // What stays keeps the allocator from giving anything back by itself.
        let kept: Vec<_> = pieces.into_iter().step_by(64).collect();
        give_back_freed();
        let after = resident();
        assert!(
            after + (32 << 10) < full,
            "{after} kB of {full} kB are left for {} pieces",
            kept.len()
        );
    }
}
