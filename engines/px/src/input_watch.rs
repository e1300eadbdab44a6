//! Notices that a cell waits for its standard input. A reader of a pipe tells nobody that it waits,
//! but the system tells of each thread which call it is in.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a running cell is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A cell that waits at this many looks in a row is not about to go on.
const LOOKS: u32 = 2;
/// Processes that a cell started, those that these started, and so on.
const GENERATIONS: u32 = 3;

/// Whether the running cell waits for a line, from look to look.
#[derive(Debug, Default)]
pub(crate) struct InputWatch {
    last: Option<Instant>,
    seen: u32,
    is_asked: bool,
}

impl InputWatch {
    /// How long until the next look is due.
    pub(crate) fn until_due(&self) -> Duration {
        self.last.map_or(LOOK_EVERY, |last| {
            (last + LOOK_EVERY).saturating_duration_since(Instant::now())
        })
    }

    /// Looks, if it is time; true once when a line is wanted from the pipe whose other end this is.
    pub(crate) fn is_wanted(&mut self, process: u32, stdin: &File) -> bool {
        if !self.until_due().is_zero() && self.last.is_some() {
            return false;
        }
        self.last = Some(Instant::now());
        let pipe = fs::read_link(format!("/proc/self/fd/{}", stdin.as_raw_fd()));
        if !pipe.is_ok_and(|pipe| waits(process, &pipe, GENERATIONS)) {
            self.seen = 0;
            return false;
        }
        self.seen += 1;
        self.seen >= LOOKS && !std::mem::replace(&mut self.is_asked, true)
    }

    /// A line was given, or another cell runs.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Whether a thread of the process, or of one it started, is in `read` of this pipe as its standard
/// input. What cannot be seen does not wait.
fn waits(process: u32, pipe: &Path, generations: u32) -> bool {
    let own = fs::read_link(format!("/proc/{process}/fd/0"));
    let is_same = own.is_ok_and(|own| own == pipe);
    let reads = format!("{} 0x0 ", libc::SYS_read);
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let mut tasks = tasks
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| task.path());
    tasks.any(|task| {
        let call = || fs::read_to_string(task.join("syscall")).unwrap_or_default();
        if is_same && call().starts_with(&reads) {
            return true;
        }
        let started = fs::read_to_string(task.join("children")).unwrap_or_default();
        let mut started = started
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        generations > 0 && started.any(|child| waits(child, pipe, generations - 1))
    })
}
