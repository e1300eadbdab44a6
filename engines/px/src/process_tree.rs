//! Which processes are below another, as `/proc` tells: compilers and cell hosts start others
//! without saying so.

use std::collections::HashMap;
use std::fs;

/// Every process with its parent. It may be torn: processes come and go while it is read.
#[derive(Debug, Default)]
pub struct ProcessTree {
    parents: HashMap<u32, u32>,
}

impl ProcessTree {
    /// The processes there are now; none where `/proc` cannot be read.
    pub fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let with_parent = |process: u32| Some((process, parent_of(process)?));
        Self {
            parents: processes.filter_map(with_parent).collect(),
        }
    }

    /// Everything below `ancestor` but the spared processes and what is below them.
    pub fn below(&self, ancestor: u32, spared: &[u32]) -> Vec<u32> {
        let processes = self.parents.keys().copied();
        let below = |process: &u32| self.descends(*process, ancestor, spared);
        processes.filter(below).collect()
    }

    fn descends(&self, process: u32, ancestor: u32, spared: &[u32]) -> bool {
        let mut current = process;
        // No chain is longer than the table.
        for _ in 0..self.parents.len() {
            if spared.contains(&current) {
                return false;
            }
            match self.parents.get(&current) {
                Some(parent) if *parent == ancestor => return true,
                Some(parent) => current = *parent,
                None => return false,
            }
        }
        false
    }
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
    fn what_is_spared_spares_what_is_below_it() {
        let parents = [(2, 1), (10, 2), (11, 10), (20, 2), (21, 20), (30, 1)];
        let tree = ProcessTree {
            parents: HashMap::from(parents),
        };
        let mut below = tree.below(2, &[20]);
        below.sort_unstable();
        assert_eq!(below, [10, 11]);
    }

    #[test]
    fn this_process_is_below_its_parent() {
        let parent = nix::unistd::getppid().as_raw() as u32;
        let below = ProcessTree::read().below(parent, &[]);
        assert!(below.contains(&std::process::id()));
    }
}
