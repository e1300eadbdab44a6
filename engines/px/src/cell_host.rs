//! The cell host: the single-threaded process that loads and runs compiled cells.
//!
//! evcxr starts it and talks to it by lines on stdin and stdout. Both are moved to private
//! descriptors first: user code gets `/dev/null` to read and two pipes to write, whose other ends go to the
//! relay in the Rust host, so that no byte a cell prints can come between evcxr and its completion
//! lines, and every byte is seen when it is written. It asks the relay before a cell runs, and passes on the lines
//! the relay found for evcxr. Snapshots by fork belong here too, and are not built yet.

use crate::PxError;
use crate::cell_library::{CellLibrary, VariableStore};
use crate::side_channel::{self, CellHostMessage, RelayMessage};
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
/// The longest command line evcxr could send: two paths.
const COMMAND_LIMIT: usize = 16 << 10;
/// Environment evcxr sets for its own runtime; the user's child processes must not see it.
const PRIVATE_ENVIRONMENT: [&str; 3] = [
    "EVCXR_IS_RUNTIME",
    "RUST_BACKTRACE",
    side_channel::SOCKET_ENV,
];

/// Runs the cell host until evcxr closes its stdin.
///
/// # Errors
/// When the relay cannot be reached or the connection to it breaks; the process must end then.
pub fn run(socket: &Path) -> Result<(), PxError> {
    confine()?;
    let mut host = CellHost::start(socket)?;
    while let Some(command) = host.next_command()? {
        host.obey(&command)?;
    }
    Ok(())
}

struct CellHost {
    commands: File,
    protocol: File,
    relay: UnixStream,
    report: OwnedFd,
    variables: VariableStore,
}

impl CellHost {
    fn start(socket: &Path) -> Result<CellHost, PxError> {
        let commands = private_copy(std::io::stdin().as_fd(), "stdin")?;
        let protocol = private_copy(std::io::stdout().as_fd(), "stdout")?;
        let mut relay = UnixStream::connect(socket).map_err(|error| {
            PxError::io(
                format!("connect to the relay at {}", socket.display()),
                error,
            )
        })?;
        let (stdout, stdout_in) = pipe()?;
        let (stderr, stderr_in) = pipe()?;
        let (report_out, report) = pipe()?;
        let pid = std::process::id();
        side_channel::send(&mut relay, &CellHostMessage::Hello { pid })?;
        let ends = [&stdout, &stderr, &report_out].map(AsRawFd::as_raw_fd);
        side_channel::send_pipes(&relay, &ends)?;
        let null = File::open("/dev/null").map_err(|error| PxError::io("open /dev/null", error))?;
        dup2_stdin(&null)
            .and_then(|()| dup2_stdout(&stdout_in))
            .and_then(|()| dup2_stderr(&stderr_in))
            .map_err(|error| PxError::io("give user code its streams", error))?;
        Ok(CellHost {
            commands: File::from(commands),
            protocol: File::from(protocol),
            relay,
            report,
            variables: std::ptr::null_mut(),
        })
    }

    /// The next line of evcxr, read byte by byte so that nothing is buffered across a fork.
    fn next_command(&mut self) -> Result<Option<String>, PxError> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            match self.commands.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) if byte[0] == b'\n' => {
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
                Ok(_) if line.len() < COMMAND_LIMIT => line.push(byte[0]),
                Ok(_) => {
                    return Err(PxError::OutOfStep {
                        expected: "a command line",
                        got: format!("more than {COMMAND_LIMIT} bytes without a newline"),
                    });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(PxError::io("read a command of evcxr", error)),
            }
        }
    }

    fn obey(&mut self, command: &str) -> Result<(), PxError> {
        let mut words = command.split(' ');
        let (Some("LOAD_AND_RUN"), Some(library), Some(function), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(PxError::OutOfStep {
                expected: "LOAD_AND_RUN <library> <function>",
                got: command.to_string(),
            });
        };
        let lines = match self.ask(&CellHostMessage::Starting)? {
            RelayMessage::Go => self.load_and_run(Path::new(library), function)?,
            RelayMessage::Skip => vec![PANICKED.to_string()],
            other => return Err(out_of_step("go or skip", &other)),
        };
        self.complete(&lines)
    }

    /// Runs a cell and gives the lines evcxr has to see.
    fn load_and_run(&mut self, library: &Path, function: &str) -> Result<Vec<String>, PxError> {
        let (message, fallback) = match CellLibrary::load(library, function) {
            Ok(cell) => {
                self.variables = cell.run(self.variables, self.report.as_raw_fd());
                (CellHostMessage::Finished, None)
            }
            Err(error) => {
                let reason = error.to_string();
                let message = CellHostMessage::LoadFailed { reason };
                (message, Some(PANICKED.to_string()))
            }
        };
        match self.ask(&message)? {
            RelayMessage::Forward { mut lines } => {
                lines.extend(fallback);
                Ok(lines)
            }
            other => Err(out_of_step("forward", &other)),
        }
    }

    fn ask(&mut self, message: &CellHostMessage) -> Result<RelayMessage, PxError> {
        side_channel::send(&mut self.relay, message)?;
        side_channel::receive(&mut self.relay)?.ok_or(PxError::OutOfStep {
            expected: "an answer of the relay",
            got: "the end of the connection".to_string(),
        })
    }

    fn complete(&mut self, lines: &[String]) -> Result<(), PxError> {
        let mut text = String::new();
        for line in lines.iter().map(String::as_str).chain([COMPLETE]) {
            text.push_str(line);
            text.push('\n');
        }
        self.protocol
            .write_all(text.as_bytes())
            .map_err(|error| PxError::io("answer evcxr", error))
    }
}

/// Makes this process one that dies with its parent, first when memory runs out, and without a core
/// dump of all variables; and hides evcxr's environment from user code.
fn confine() -> Result<(), PxError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| PxError::io("ask to die with the Rust host", error))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .map_err(|error| PxError::io("turn off core dumps", error))?;
    // Without the right to raise the score the process is merely not preferred.
    if let Ok(mut score) = OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
    {
        let _ = score.write_all(b"1000");
    }
    for name in PRIVATE_ENVIRONMENT {
        // SAFETY: the process is single-threaded: nothing reads the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}

/// A copy that no child process inherits.
fn private_copy(fd: impl AsFd, name: &str) -> Result<OwnedFd, PxError> {
    let copy = fd.as_fd().try_clone_to_owned();
    copy.map_err(|error| PxError::io(format!("copy {name}"), error))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), PxError> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| PxError::io("make a pipe", error))
}

fn out_of_step(expected: &'static str, got: &RelayMessage) -> PxError {
    PxError::OutOfStep {
        expected,
        got: format!("{got:?}"),
    }
}
