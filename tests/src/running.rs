//! A command that runs while the test goes on: looked at, interrupted, waited for.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::process::Command;

use crate::processes;
use crate::{Finished, wait_until};

/// A command under way, without input. Its output is not read before [`Running::finish`], so that
/// one with many rows waits for its reader. It is killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Starts a command.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(command: Command) -> Self {
        Self::start_with(command, Stdio::piped())
    }

    /// Starts a command whose standard output becomes a file.
    ///
    /// # Panics
    ///
    /// When the file cannot be made, or the command not be started.
    pub fn start_into(command: Command, path: &Path) -> Self {
        let file = File::create(path);
        let file = file.unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        Self::start_with(command, file.into())
    }

    fn start_with(command: Command, output: Stdio) -> Self {
        let mut command = command.into_std();
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::piped());
        let name = format!("{command:?}");
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("run {name}: {error}"));
        Self { name, child }
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Does what Ctrl-C does.
    pub fn interrupt(&self) {
        processes::signal(self.id(), "INT");
    }

    /// Kills it: it can do nothing more.
    pub fn kill(&self) {
        processes::signal(self.id(), "KILL");
    }

    /// Its standard output, to be read by the test. [`Running::finish`] finds none then.
    ///
    /// # Panics
    ///
    /// When it was taken before, or goes to a file.
    pub fn take_output(&mut self) -> ChildStdout {
        let output = self.child.stdout.take();
        output.unwrap_or_else(|| panic!("read {}: its output is not here", self.name))
    }

    /// Reads what is left of its output and waits for its end.
    ///
    /// # Panics
    ///
    /// When it has not ended at the deadline.
    pub fn finish(mut self, deadline: Duration) -> Finished {
        let stdout = self.child.stdout.take().map(read_aside);
        let stderr = self.child.stderr.take().map(read_aside);
        let what = format!("the end of {}", self.name);
        let status = wait_until(&what, deadline, || {
            let status = self.child.try_wait();
            status.unwrap_or_else(|error| panic!("wait for {what}: {error}"))
        });
        Finished {
            status: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is neither killed nor waited for again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_aside(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what there is.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

fn text(reader: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = reader.and_then(|reader| reader.join().ok());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}
