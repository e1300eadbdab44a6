//! The one place that touches a child between `fork` and `exec`: it ties the child's life to the
//! launcher's, whatever program it is. Everything else about processes goes through safe wrappers.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the child be killed when the calling thread ends. Call it, and spawn, on a thread that
/// lives as long as the process.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    #[expect(
        unsafe_code,
        reason = "no safe interface runs code in a child before it executes its program"
    )]
    // SAFETY: the closure makes two system calls and builds an error from a number; it neither
    // allocates nor takes a lock, so it may run in the forked child of any process.
    unsafe {
        command.pre_exec(move || tie(parent));
    }
}

fn tie(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have ended before the call above.
    if getppid() == parent {
        Ok(())
    } else {
        Err(io::Error::from(nix::errno::Errno::ESRCH))
    }
}
