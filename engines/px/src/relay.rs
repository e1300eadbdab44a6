//! The relay: the Rust host's side of a cell host.
//!
//! It listens where cell hosts connect (one at a time; evcxr starts a new one when the old one died), reads
//! what cells write the moment they write it, and tells the kernel in the order it was written. It
//! decides whether a compiled cell may run, which makes an interrupt during a compile exact, and collects what
//! evcxr does not tell: panics, failed `?`, whether the process died and how far its snapshot went
//! back. Several cell hosts behind one
//! relay (`%%px`) are to come.

use crate::PxError;
use crate::host_protocol::HostEvent;
use crate::input_watch::InputWatch;
use crate::relay_loop::RelayLoop;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Takes events with their bodies, in order; may block to slow the cell down.
pub type EventSink = Arc<dyn Fn(HostEvent, &[u8]) + Send + Sync>;

/// The longest line of input in bytes: the pipe of a cell that waits is empty and takes it whole.
const LINE_LIMIT: usize = 60 << 10;
/// How long the last output of a cell host that died is waited for.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// The running relay; dropping it ends its thread.
pub struct Relay {
    shared: Arc<Shared>,
    socket: PathBuf,
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// Where an evaluation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is being evaluated.
    Idle,
    /// The cell is being compiled, or between two runs.
    Compiling,
    /// User code runs.
    Running,
}

/// A panic as the cell's hook told it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PanicReport {
    /// Source file of the panic's location.
    pub file: String,
    /// Line in that file.
    pub line: usize,
    /// Column in that line.
    pub column: usize,
    /// What the panic says.
    pub message: String,
    /// The loaded file that location was compiled into.
    pub library: PathBuf,
    /// The calls in cells that led there, the latest first.
    pub calls: Vec<Call>,
}

/// A place in the compiled code of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The cell's library.
    pub library: PathBuf,
    /// Where in that file's memory image, in bytes.
    pub offset: u64,
}

/// What an evaluation did beyond what evcxr says.
#[derive(Debug, Clone, Default)]
pub struct CellReport {
    /// Whether user code began to run.
    pub started: bool,
    /// The library that was run last.
    pub library: PathBuf,
    /// The cell ended by a panic.
    pub panicked: bool,
    /// The panic, if the hook could tell it.
    pub panic: Option<PanicReport>,
    /// The cell ended by a failed `?`.
    pub returned_error: bool,
    /// The error of it.
    pub error: Option<String>,
    /// The compiled cell could not be loaded.
    pub load_failure: Option<String>,
    /// The cell was compiled and not run, because it was interrupted.
    pub skipped: bool,
    /// The process died under the cell, and how, in the words of [`std::process::ExitStatus`].
    pub death: Option<String>,
    /// Why the latest cells' variables are in no snapshot, if they are not.
    pub unsaved: Option<String>,
    /// A snapshot went on in its place, or the cell did not run: evcxr was made to forget it.
    pub rolled_back: bool,
    /// The whole cell host died, its snapshot too.
    pub died: bool,
}

/// What evaluator and relay thread both see.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The cell that runs or ran last.
    pub(crate) cell: Option<u64>,
    /// Whether an evaluation is going on.
    pub(crate) active: bool,
    /// Whether user code runs.
    pub(crate) running: bool,
    /// Whether cells may begin to run.
    pub(crate) refused: bool,
    /// Process id of the connected cell host, as evcxr knows it.
    pub(crate) connected: Option<u32>,
    /// The process below it that runs cells, until it is ended.
    pub(crate) host: Option<u32>,
    /// How many runs the memory of that process has seen to their end.
    pub(crate) generation: u64,
    /// How many its latest snapshot has seen.
    pub(crate) snapshot: u64,
    /// Where lines for the standard input of cells are written.
    pub(crate) stdin: Option<File>,
    /// Whether the running cell waits for one.
    pub(crate) input: InputWatch,
    /// Variables evcxr is to forget before the next cell.
    pub(crate) forget: Vec<String>,
    /// What is known of the current evaluation.
    pub(crate) report: CellReport,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }
}

impl Relay {
    /// Listens at a socket and starts the relay's thread.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path, sink: EventSink) -> Result<Relay, PxError> {
        let tried = || format!("listen for cell hosts at {}", socket.display());
        let listener = UnixListener::bind(socket).map_err(|error| PxError::io(tried(), error))?;
        let (wake, woken) = UnixStream::pair().map_err(|error| PxError::io(tried(), error))?;
        let shared = Arc::new(Shared::default());
        let mut relay = RelayLoop::new(listener, woken, Arc::clone(&shared), sink);
        let thread = std::thread::Builder::new()
            .name("relay".to_string())
            .spawn(move || relay.run())
            .map_err(|error| PxError::io("start the relay's thread", error))?;
        Ok(Relay {
            shared,
            socket: socket.to_path_buf(),
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// Where cell hosts connect.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// An evaluation begins; without an id its output goes nowhere.
    pub fn begin(&self, cell: Option<u64>) {
        let mut state = self.shared.lock();
        state.cell = cell;
        state.active = true;
        state.refused = false;
        // A cell host that is gone already cannot die again.
        let died = state.connected.is_none();
        state.report = CellReport {
            died,
            ..CellReport::default()
        };
    }

    /// The evaluation ended; everything the cell wrote has been told when this returns.
    pub fn end(&self, expect_death: bool) -> CellReport {
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut state = self.shared.lock();
        while expect_death && !state.report.died {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.active = false;
        state.running = false;
        std::mem::take(&mut state.report)
    }

    /// Keeps the cell from running if it does not run yet, and ends the process that runs it if it does:
    /// its snapshot goes on. Says where the evaluation is: as long as it runs, the snapshot has not
    /// taken over, and calling this again does nothing.
    pub fn interrupt(&self) -> Phase {
        let mut state = self.shared.lock();
        state.refused = true;
        if state.running
            && let Some(host) = state.host.take()
        {
            // One that has just ended by itself is not there any more, which is what is wanted.
            let _ = kill(Pid::from_raw(host as i32), Signal::SIGKILL);
        }
        state.phase()
    }

    /// Where the evaluation is.
    pub fn phase(&self) -> Phase {
        self.shared.lock().phase()
    }

    /// The process id of the connected cell host; all its processes are below it.
    pub fn cell_host(&self) -> Option<u32> {
        self.shared.lock().connected
    }

    /// Which run the variables there are now are from.
    pub fn generation(&self) -> u64 {
        self.shared.lock().generation
    }

    /// Which run the variables are from that are left when the cell host's process dies.
    pub fn snapshot(&self) -> u64 {
        self.shared.lock().snapshot
    }

    /// Makes evcxr forget variables before the next cell runs: they are not there any more.
    pub fn forget(&self, variables: Vec<String>) {
        self.shared.lock().forget = variables;
    }

    /// Gives the running cell, which waits for it, a line of standard input.
    ///
    /// # Errors
    /// When the line is longer than [`LINE_LIMIT`], or the cell reads no more; it gets nothing then,
    /// and asks again if it still waits.
    pub fn give_input(&self, line: &str) -> Result<(), PxError> {
        let mut state = self.shared.lock();
        state.input.reset();
        if line.len() > LINE_LIMIT {
            let text = format!("{} bytes, {LINE_LIMIT} fit", line.len());
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, text);
            return Err(PxError::io("give the cell a line of input", error));
        }
        let Some(stdin) = &mut state.stdin else {
            return Ok(());
        };
        // What is behind a line end would be read by another cell.
        let line = line.replace(['\r', '\n'], " ");
        let written = stdin.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| PxError::io("give the cell a line of input", error))
    }
}

impl State {
    fn phase(&self) -> Phase {
        match (self.active, self.running) {
            (false, _) => Phase::Idle,
            (true, false) => Phase::Compiling,
            (true, true) => Phase::Running,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}
