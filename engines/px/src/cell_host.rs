//! The cell host: the processes that load and run compiled cells.
//!
//! evcxr starts it and talks to it by lines on stdin and stdout. Both are moved to private
//! descriptors first: user code gets three pipes of its own, whose other ends go
//! to the relay in the Rust host, so that no byte a cell prints can come between evcxr and its
//! completion lines, and every byte is seen when it is written. It asks the relay before a cell runs,
//! and passes on the lines the relay found for evcxr. After each cell it takes a snapshot of itself,
//! which goes on when a later cell fails; how processes follow each other is left to the lineage.

use crate::PxError;
use crate::cell_library::{CellLibrary, VariableStore};
use crate::lineage::{Death, Lineage, Snapshot, leave_now, pipe};
use crate::side_channel::{self, CellHostMessage, HostDeath, RelayMessage};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
/// A line that is no text: evcxr gives the evaluation up, and keeps its record of variables as it
/// was before.
const ABANDONED: &[u8] = b"\xff\n";
/// The longest command line evcxr could send: two paths.
const COMMAND_LIMIT: usize = 16 << 10;
/// Environment evcxr sets for its own runtime; the user's child processes must not see it.
const PRIVATE_ENVIRONMENT: [&str; 4] = [
    "EVCXR_IS_RUNTIME",
    "RUST_BACKTRACE",
    side_channel::SOCKET_ENV,
    side_channel::MEMORY_ENV,
];

/// Runs the cell host until evcxr closes its stdin.
///
/// # Errors
/// When the relay cannot be reached or the connection to it breaks; the process must end then.
pub fn run(socket: &Path) -> Result<(), PxError> {
    confine()?;
    let commands = private_copy(std::io::stdin().as_fd(), "stdin")?;
    let protocol = private_copy(std::io::stdout().as_fd(), "stdout")?;
    let (report, supervised) = hand_over_streams(socket)?;
    let lineage = Lineage::begin()?;
    // The relay sees the end of the supervisor by the end of this connection.
    drop(supervised);
    let mut host = CellHost {
        commands: File::from(commands),
        protocol: File::from(protocol),
        socket: socket.to_path_buf(),
        relay: None,
        report,
        variables: std::ptr::null_mut(),
        generation: 0,
        unsaved: None,
        lineage,
    };
    let served = host.serve();
    host.lineage.finish();
    served
}

struct CellHost {
    commands: File,
    protocol: File,
    socket: PathBuf,
    relay: Option<UnixStream>,
    report: OwnedFd,
    variables: VariableStore,
    /// Cells this memory has seen to their end.
    generation: u64,
    /// Why no snapshot waits with this memory, if none does.
    unsaved: Option<&'static str>,
    lineage: Lineage,
}

impl CellHost {
    fn serve(&mut self) -> Result<(), PxError> {
        loop {
            self.take_snapshot()?;
            loop {
                let Some(command) = self.next_command()? else {
                    return Ok(());
                };
                if self.obey(&command)? {
                    break;
                }
            }
        }
    }

    /// Goes on as the child of a snapshot, or as before when none can be taken.
    fn take_snapshot(&mut self) -> Result<(), PxError> {
        let relay = &mut self.relay;
        match self.lineage.snapshot(|| drop(relay.take())) {
            Snapshot::Taken(death) => {
                self.unsaved = None;
                self.connect(death)
            }
            Snapshot::Refused(reason) => {
                self.unsaved = Some(reason);
                // The first host must be known even so.
                match self.relay {
                    None => self.connect(None),
                    Some(_) => Ok(()),
                }
            }
        }
    }

    /// Tells the relay that this process runs cells now, and evcxr what became of the last one.
    fn connect(&mut self, death: Option<Death>) -> Result<(), PxError> {
        let in_cell = death.as_ref().is_some_and(|death| death.in_cell);
        self.relay = Some(connect(&self.socket)?);
        let host = CellHostMessage::Host {
            pid: std::process::id(),
            generation: self.generation,
            death: death.map(|Death { status, in_cell }| HostDeath { status, in_cell }),
        };
        match self.ask(&host)? {
            RelayMessage::Welcome if in_cell => self.answer(ABANDONED),
            RelayMessage::Welcome => Ok(()),
            other => Err(out_of_step("welcome", &other)),
        }
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

    /// Obeys a command; true when a cell has run to its end.
    fn obey(&mut self, command: &str) -> Result<bool, PxError> {
        let mut words = command.split(' ');
        let (Some("LOAD_AND_RUN"), Some(library), Some(function), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(PxError::OutOfStep {
                expected: "LOAD_AND_RUN <library> <function>",
                got: command.to_string(),
            });
        };
        self.lineage.set_in_cell(true);
        let unsaved = self.unsaved.map(str::to_string);
        let library = PathBuf::from(library);
        let starting = CellHostMessage::Starting {
            library: library.clone(),
            unsaved,
        };
        match self.ask(&starting)? {
            RelayMessage::Go => self.load_and_run(&library, function),
            RelayMessage::Forward { lines } => self.complete(&lines).map(|()| false),
            RelayMessage::Abandon => self.answer(ABANDONED).map(|()| false),
            other => Err(out_of_step("go, forward or abandon", &other)),
        }
    }

    fn load_and_run(&mut self, library: &Path, function: &str) -> Result<bool, PxError> {
        let message = match CellLibrary::load(library, function) {
            Ok(cell) => {
                self.variables = cell.run(self.variables, self.report.as_raw_fd());
                CellHostMessage::Finished {
                    can_roll_back: self.unsaved.is_none(),
                }
            }
            Err(error) => CellHostMessage::LoadFailed {
                reason: error.to_string(),
            },
        };
        match self.ask(&message)? {
            RelayMessage::Forward { lines } => {
                self.generation += 1;
                self.complete(&lines).map(|()| true)
            }
            RelayMessage::Abandon => self.answer(ABANDONED).map(|()| false),
            RelayMessage::RollBack => leave_now(0),
            other => Err(out_of_step("forward, abandon or roll back", &other)),
        }
    }

    fn ask(&mut self, message: &CellHostMessage) -> Result<RelayMessage, PxError> {
        let answer = match &mut self.relay {
            Some(relay) => {
                side_channel::send(relay, message)?;
                side_channel::receive(relay)?
            }
            None => None,
        };
        answer.ok_or(PxError::OutOfStep {
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
        self.answer(text.as_bytes())
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<(), PxError> {
        let written = self.protocol.write_all(bytes);
        self.lineage.set_in_cell(false);
        written.map_err(|error| PxError::io("answer evcxr", error))
    }
}

fn connect(socket: &Path) -> Result<UnixStream, PxError> {
    UnixStream::connect(socket).map_err(|error| {
        let tried = format!("connect to the relay at {}", socket.display());
        PxError::io(tried, error)
    })
}

/// Gives user code its streams and the relay their other ends. Where reports go, and the connection.
fn hand_over_streams(socket: &Path) -> Result<(OwnedFd, UnixStream), PxError> {
    let mut relay = connect(socket)?;
    let (stdout, stdout_in) = pipe()?;
    let (stderr, stderr_in) = pipe()?;
    let (report_out, report) = pipe()?;
    let (stdin_out, stdin) = pipe()?;
    let pid = std::process::id();
    side_channel::send(&mut relay, &CellHostMessage::Hello { pid })?;
    let ends = [&stdout, &stderr, &report_out, &stdin].map(AsRawFd::as_raw_fd);
    side_channel::send_pipes(&relay, &ends)?;
    dup2_stdin(&stdin_out)
        .and_then(|()| dup2_stdout(&stdout_in))
        .and_then(|()| dup2_stderr(&stderr_in))
        .map_err(|error| PxError::io("give user code its streams", error))?;
    Ok((report, relay))
}

/// Makes this process one that dies with its parent, first when memory runs out, and without a core
/// dump of all variables; and hides evcxr's environment from user code.
fn confine() -> Result<(), PxError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| PxError::io("ask to die with the Rust host", error))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .map_err(|error| PxError::io("turn off core dumps", error))?;
    if let Some(bytes) = side_channel::memory_limit() {
        // What is allocated beyond fails, and the cell with it; without, the system would choose
        // whom to end.
        setrlimit(Resource::RLIMIT_DATA, bytes, bytes)
            .map_err(|error| PxError::io("limit the memory of cells", error))?;
    }
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

fn out_of_step(expected: &'static str, got: &RelayMessage) -> PxError {
    PxError::OutOfStep {
        expected,
        got: format!("{got:?}"),
    }
}
