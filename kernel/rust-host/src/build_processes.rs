//! Ends the compilers that evcxr started.
//!
//! evcxr runs cargo without telling its process id, and cargo runs rustc, which runs the linker. All
//! are descendants of this process; so is the cell host, which holds the variables and is spared with
//! everything below it.

use bireme_px::process_tree::ProcessTree;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ends every descendant of this process but the spared ones and what is below them.
pub fn end_builds(spared: &[u32]) {
    for process in ProcessTree::read().below(std::process::id(), spared) {
        // One that is gone already is what is wanted.
        let _ = kill(Pid::from_raw(process as i32), Signal::SIGKILL);
    }
}

/// Ends every descendant, the cell host too.
pub fn end_everything() {
    end_builds(&[]);
}
