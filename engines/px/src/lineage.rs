//! The processes a cell host consists of, so that a failing cell costs no variable.
//!
//! - The *supervisor* is what evcxr started. It runs no user code and ends when the others have ended.
//! - The *host* runs cells. After a cell has gone well it forks: the child is the host from then on.
//! - The *snapshot* is the parent, which waits with every variable as it was. When the host dies, the
//!   snapshot forks again, and that child is the host; when the host has taken a snapshot of its own,
//!   it leaves.
//!
//! Pages are shared until one side writes, so a snapshot costs a few milliseconds and what the next
//! cell changes. A process with threads or children cannot be forked faithfully: then the older
//! snapshot stays. Each process dies with its parent. What host and relay say to each other is left
//! to the cell host.

use crate::PxError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, setpgid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long a snapshot that is not needed any more has to leave.
const LEAVE_MS: u16 = 5_000;

/// The place of this process among the others.
pub(crate) struct Lineage {
    supervisor: Pid,
    page: &'static SharedPage,
    /// Open in every process but the supervisor, which waits for its end.
    _alive: OwnedFd,
    /// Tells the snapshot above this host to leave.
    leave: Option<File>,
}

/// What all processes see.
struct SharedPage {
    /// Whether evcxr waits for the answer to a command.
    in_cell: AtomicBool,
    /// Whether no process is to take over any more.
    over: AtomicBool,
}

/// How the host before this one ended.
#[derive(Debug, Clone)]
pub(crate) struct Death {
    /// In the words of [`ExitStatus`].
    pub(crate) status: String,
    /// Whether evcxr waits for the answer to the command the host was at.
    pub(crate) in_cell: bool,
}

/// What came of the wish to take a snapshot.
pub(crate) enum Snapshot {
    /// This process is a new host; a snapshot of the same memory waits. If the last host died, how.
    Taken(Option<Death>),
    /// This process goes on without one; why.
    Refused(&'static str),
}

impl Lineage {
    /// Forks the first host. The supervisor does not come back from here.
    ///
    /// # Errors
    /// When the system refuses a process or a page.
    pub(crate) fn begin() -> Result<Lineage, PxError> {
        let page = shared_page()?;
        let (ended, alive) = pipe()?;
        prctl::set_child_subreaper(true)
            .map_err(|error| PxError::io("become the reaper of cell hosts", error))?;
        let supervisor = getpid();
        match fork_here()? {
            ForkResult::Parent { .. } => {
                drop(alive);
                supervise(&ended)
            }
            ForkResult::Child => {
                drop(ended);
                die_with(supervisor);
                Ok(Lineage {
                    supervisor,
                    page,
                    _alive: alive,
                    leave: None,
                })
            }
        }
    }

    /// Notes that evcxr waits for an answer, or that it has it.
    pub(crate) fn set_in_cell(&self, in_cell: bool) {
        self.page.in_cell.store(in_cell, Ordering::SeqCst);
    }

    /// Ends everything: no snapshot takes over when this process has ended.
    pub(crate) fn finish(&self) {
        self.page.over.store(true, Ordering::SeqCst);
    }

    /// Takes a snapshot of this process; `retire` is called in what becomes the snapshot.
    pub(crate) fn snapshot(&mut self, mut retire: impl FnMut()) -> Snapshot {
        if let Some(reason) = unsafe_to_fork() {
            return Snapshot::Refused(reason);
        }
        let mut death = None;
        loop {
            let (leave_out, leave) = match pipe() {
                Ok(ends) => ends,
                Err(_) if death.is_none() => return Snapshot::Refused("the system has no pipe"),
                Err(_) => leave_now(1),
            };
            let parent = getpid();
            match fork_here() {
                Ok(ForkResult::Child) => {
                    drop(leave_out);
                    die_with(parent);
                    self.leave = Some(File::from(leave));
                    return Snapshot::Taken(death);
                }
                Ok(ForkResult::Parent { child }) => {
                    drop(leave);
                    retire();
                    self.release_parent();
                    death = Some(self.wait_for_death(child, leave_out));
                }
                Err(_) if death.is_none() => {
                    return Snapshot::Refused("the system has no memory for another process");
                }
                Err(_) => leave_now(1),
            }
        }
    }

    /// Lets the older snapshot go, now that this process is one.
    fn release_parent(&mut self) {
        let Some(mut leave) = self.leave.take() else {
            return;
        };
        let Ok(parent) = pidfd(getppid()) else {
            return;
        };
        // It is about to end, and this process must not end with it.
        let _ = prctl::set_pdeathsig(None);
        let _ = leave.write_all(b"k");
        drop(leave);
        wait_readable(&[parent.as_fd()], PollTimeout::from(LEAVE_MS));
        die_with(self.supervisor);
    }

    /// Waits as the snapshot until the host has died; leaves if it has a snapshot of its own.
    fn wait_for_death(&self, host: Pid, leave: OwnedFd) -> Death {
        match pidfd(host) {
            Ok(watched) => wait_readable(&[watched.as_fd(), leave.as_fd()], PollTimeout::NONE),
            Err(_) => leave_now(1),
        }
        // What a cell forked may hold the other end open, so the end of the host is no end of this.
        let _ = fcntl(&leave, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        if File::from(leave)
            .read(&mut [0])
            .is_ok_and(|count| count > 0)
        {
            leave_now(0);
        }
        let status = wait_status(host);
        // What the failed cell started ends with it.
        let _ = killpg(host, Signal::SIGKILL);
        if self.page.over.load(Ordering::SeqCst) {
            leave_now(0);
        }
        Death {
            status: status.map_or("an unknown status".to_string(), |one| one.to_string()),
            in_cell: self.page.in_cell.load(Ordering::SeqCst),
        }
    }
}

/// Why this process cannot be forked now, if it cannot.
fn unsafe_to_fork() -> Option<&'static str> {
    if pidfd(getpid()).is_err() {
        return Some("the system cannot watch processes (Linux 5.3 can)");
    }
    let tasks = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if tasks != 1 {
        return Some("threads are running");
    }
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::All, flags) {
        Err(Errno::ECHILD) => None,
        _ => Some("processes that a cell started run, or were not waited for"),
    }
}

/// The supervisor: reaps what ends until no host and no snapshot is left, and ends as the last did.
fn supervise(ended: &OwnedFd) -> ! {
    let mut last = 0;
    loop {
        // SAFETY: waitpid writes one status and keeps nothing.
        let reaped = unsafe { libc::waitpid(-1, &raw mut last, 0) };
        let is_interrupted = reaped < 0 && Errno::last() == Errno::EINTR;
        let mut fds = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        let are_gone = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        if are_gone || (reaped < 0 && !is_interrupted) {
            break;
        }
    }
    let status = ExitStatus::from_raw(last);
    if let Some(signal) = status.signal() {
        // SAFETY: no handler was installed in this process; it ends here.
        unsafe { libc::raise(signal) };
    }
    leave_now(status.code().unwrap_or(1))
}

/// Ends this process without running what user code may have registered.
pub(crate) fn leave_now(code: i32) -> ! {
    // SAFETY: _exit ends the process and runs no code of it.
    unsafe { libc::_exit(code) }
}

/// Makes this process end with that one, which must be its parent.
fn die_with(parent: Pid) {
    let armed = prctl::set_pdeathsig(Signal::SIGKILL);
    if armed.is_err() || getppid() != parent {
        leave_now(1);
    }
}

fn fork_here() -> Result<ForkResult, PxError> {
    // What C code printed and did not flush would be printed by both.
    // SAFETY: fflush of all streams touches only the C library's own state.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    // SAFETY: the process is single-threaded: the child sees no lock held by another thread.
    let forked = unsafe { fork() };
    let forked = forked.map_err(|error| PxError::io("fork the cell host", error))?;
    if forked.is_child() {
        // Its own group, so that what a failing cell started can be ended with it.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    }
    Ok(forked)
}

fn wait_status(process: Pid) -> Option<ExitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: waitpid writes one status and keeps nothing.
        let reaped = unsafe { libc::waitpid(process.as_raw(), &raw mut status, 0) };
        match reaped {
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return None,
            _ => return Some(ExitStatus::from_raw(status)),
        }
    }
}

fn wait_readable(fds: &[std::os::fd::BorrowedFd<'_>], limit: PollTimeout) {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    while poll(&mut fds, limit) == Err(Errno::EINTR) {}
}

/// A descriptor that is readable once the process has ended.
fn pidfd(process: Pid) -> Result<OwnedFd, PxError> {
    // SAFETY: the call takes two numbers and gives a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) };
    let fd = Errno::result(fd).map_err(|error| PxError::io("watch a process", error))?;
    // SAFETY: the kernel just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn shared_page() -> Result<&'static SharedPage, PxError> {
    let length = std::num::NonZeroUsize::MIN.saturating_add(size_of::<SharedPage>());
    let protection = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
    let flags = nix::sys::mman::MapFlags::MAP_SHARED;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let page = unsafe { nix::sys::mman::mmap_anonymous(None, length, protection, flags) };
    let page: NonNull<SharedPage> = page
        .map_err(|error| PxError::io("map a page that cell hosts share", error))?
        .cast();
    // SAFETY: the mapping is never undone, large enough, aligned to a page, and all zeros, which are
    // two flags that are not set.
    Ok(unsafe { page.as_ref() })
}

pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), PxError> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| PxError::io("make a pipe", error))
}
