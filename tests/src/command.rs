//! Runs commands to their end, with a deadline, and waits for conditions.

use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::runtime::Builder;

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What a finished command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Returns standard output; fails when the command did.
    ///
    /// # Panics
    ///
    /// When the exit status is not zero.
    pub fn success(self) -> String {
        assert!(self.status == Some(0), "{self}");
        self.stdout
    }

    /// Returns standard error; fails when the command did not.
    ///
    /// # Panics
    ///
    /// When the exit status is zero, or a signal ended the command.
    pub fn failure(self) -> String {
        assert!(self.status.is_some_and(|status| status != 0), "{self}");
        self.stderr
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
        } = self;
        write!(
            formatter,
            "exit status {status:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

/// Runs a command without input; it is killed at the deadline.
///
/// # Panics
///
/// When it cannot be started or is not done in time.
pub fn run(mut command: Command, deadline: Duration) -> Finished {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("start a runtime: {error}"));
    let name = format!("{:?}", command.as_std());
    let output = runtime.block_on(async { tokio::time::timeout(deadline, command.output()).await });
    let output = output
        .unwrap_or_else(|_| panic!("run {name}: not done after {deadline:?}"))
        .unwrap_or_else(|error| panic!("run {name}: {error}"));
    Finished {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until `condition` gives a value.
///
/// # Panics
///
/// When it has not done so at the deadline; `what` says what was waited for.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            started.elapsed() < deadline,
            "waited {deadline:?} for {what}"
        );
        std::thread::sleep(POLL_INTERVAL);
    }
}
