//! What the allocator of this process has handed out, and what has been freed and it still holds.

/// Bytes handed out and not freed yet, of every thread (mallinfo2(3)); none where the allocator has no way to say so.
/// Unlike resident memory it is no larger for what lies free between things in use.
pub fn heap_live_bytes() -> Option<u64> {
    #[cfg(target_env = "gnu")]
    {
        type Mallinfo2 = unsafe extern "C" fn() -> nix::libc::mallinfo2;
        // SAFETY: the name ends with a zero. The C library stays loaded as long as the process.
        let found = unsafe { nix::libc::dlsym(nix::libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
        if found.is_null() {
            return None;
        }
        // SAFETY: this is the type of the function of that name, in every C library that has one.
        let mallinfo2 = unsafe { std::mem::transmute::<*mut nix::libc::c_void, Mallinfo2>(found) };
        // SAFETY: any thread may call it at any time; it takes the locks of the heaps one by one.
        let heaps = unsafe { mallinfo2() };
        u64::try_from(heaps.uordblks.saturating_add(heaps.hblkhd)).ok()
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// Gives what has been freed back to the system, which takes some 60 ms for each gigabyte; whoever asks for
/// memory next waits for new pages. Does nothing where the allocator has no way to be told.
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
    #[cfg(target_env = "gnu")]
    fn what_is_handed_out_counts_until_it_is_freed() {
        let before = heap_live_bytes().unwrap();
        // One large piece, which is mapped by itself, and many small ones of another thread's heap.
        let large = vec![1_u8; 64 << 20];
        let small =
            std::thread::spawn(|| (0..4096).map(|_| vec![1_u8; 1 << 10]).collect::<Vec<_>>());
        let small = small.join().unwrap();
        let held = heap_live_bytes().unwrap();
        drop((large, small));
        let after = heap_live_bytes().unwrap();
        let grown = held.saturating_sub(before) >> 20;
        assert!((68..76).contains(&grown), "grew by {grown} MiB for 68");
        assert!(
            after < before + (4 << 20),
            "{before} bytes before, {after} after"
        );
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
