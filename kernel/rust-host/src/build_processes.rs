//! Ends the compilers that evcxr started.
//!
//! evcxr runs cargo without telling its process id, and cargo runs rustc, which runs the linker. All
//! are descendants of this process; so is the cell host, which holds the variables and is spared with
//! everything below it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs;

/// Ends every descendant of this process but the spared ones and what is below them.
pub fn end_builds(spared: &[u32]) {
    let parents = parents();
    let me = std::process::id();
    for process in parents.keys().copied() {
        if descends(process, me, spared, &parents) {
            // One that is gone already is what is wanted.
            let _ = kill(Pid::from_raw(process as i32), Signal::SIGKILL);
        }
    }
}

/// Ends every descendant, the cell host too.
pub fn end_everything() {
    end_builds(&[]);
}

/// Whether a process descends from `ancestor` without being spared or below one that is.
fn descends(process: u32, ancestor: u32, spared: &[u32], parents: &HashMap<u32, u32>) -> bool {
    let mut current = process;
    // A chain cannot be longer than there are processes; the table may be torn.
    for _ in 0..parents.len() {
        if spared.contains(&current) {
            return false;
        }
        match parents.get(&current) {
            Some(parent) if *parent == ancestor => return true,
            Some(parent) => current = *parent,
            None => return false,
        }
    }
    false
}

/// Every process with its parent.
fn parents() -> HashMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process: u32| Some((process, parent_of(process)?)))
        .collect()
}

/// The parent in `/proc/<pid>/stat`: the second field after the name, which may hold anything.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_descend_from_the_host_and_not_from_the_cell_host() {
        let parents = HashMap::from([(2, 1), (10, 2), (11, 10), (20, 2), (21, 20), (30, 1)]);
        let mut builds: Vec<u32> = parents
            .keys()
            .copied()
            .filter(|process| descends(*process, 2, &[20], &parents))
            .collect();
        builds.sort_unstable();
        assert_eq!(builds, [10, 11]);
    }

    #[test]
    fn the_parent_of_this_process_is_known() {
        let parent = nix::unistd::getppid().as_raw() as u32;
        assert_eq!(parent_of(std::process::id()), Some(parent));
    }
}
