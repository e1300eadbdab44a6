//! A process that runs, as somebody sees it who is not its parent. An open file of `/proc` names it
//! and never another one that gets its id later.

use std::fs::File;
use std::io::{Read, Seek};

/// A process that ran when it was looked up.
#[derive(Debug)]
pub(crate) struct RunningProcess {
    stat: File,
}

impl RunningProcess {
    /// Looks up a process by its id; nothing when there is none.
    pub(crate) fn find(pid: u32) -> Option<Self> {
        let stat = File::open(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { stat })
    }

    /// Whether it has ended. A dead process that its parent has not noticed yet has.
    pub(crate) fn has_ended(&mut self) -> bool {
        let mut stat = Vec::new();
        let rewound = self.stat.rewind();
        let read = rewound.and_then(|()| self.stat.read_to_end(&mut stat));
        if read.is_err() {
            return true;
        }
        // The program's name is in parentheses and may hold anything; the state follows it.
        let stat = String::from_utf8_lossy(&stat);
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        matches!(state, None | Some('Z' | 'X'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn a_process_has_ended_once_it_is_dead_and_once_it_is_gone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut process = RunningProcess::find(child.id()).unwrap();
        assert!(!process.has_ended());
        child.kill().unwrap();
        // It is a zombie soon, which it stays until it is waited for.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !process.has_ended() {
            assert!(Instant::now() < deadline, "a killed process lives");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(process.has_ended());
    }
}
