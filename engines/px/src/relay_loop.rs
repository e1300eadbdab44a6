//! The relay's thread: one `poll` over the cell host's connection and its three pipes.
//!
//! When a cell has finished, everything it wrote is in the pipes already, so they are read until
//! they are empty before evcxr hears of the end. A cell host that closes its connection is dead or
//! dying: what it left in the pipes is still told.

use crate::PxError;
use crate::cell_output::CellOutput;
use crate::frame::FrameDecoder;
use crate::host_protocol::OutputStream;
use crate::relay::{EventSink, PanicReport, Shared};
use crate::side_channel::{self, CellHostMessage, RelayMessage};
use crate::user_output::UserOutput;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes read from a pipe at once: all a pipe holds by default.
const READ_SIZE: usize = 64 << 10;
/// How long a new cell host may take to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// How long bytes that may begin a marker are held back.
const HOLD_LIMIT: Duration = Duration::from_millis(50);
/// While a cell prints much, its pipes are read no more often than this.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct RelayLoop {
    listener: UnixListener,
    woken: UnixStream,
    shared: Arc<Shared>,
    output: CellOutput,
    connection: Option<Connection>,
}

/// A connected cell host.
struct Connection {
    control: UnixStream,
    decoder: FrameDecoder,
    stdout: File,
    stderr: File,
    report: File,
    parser: UserOutput,
    held_since: Option<Instant>,
    reports: Vec<u8>,
    /// Standard output and standard error that user code closed; polling them would spin.
    closed: [bool; 2],
}

/// What the poll found.
struct Ready {
    woken: bool,
    arriving: bool,
    control: bool,
    stdout: bool,
    stderr: bool,
}

impl RelayLoop {
    pub(crate) fn new(
        listener: UnixListener,
        woken: UnixStream,
        shared: Arc<Shared>,
        sink: EventSink,
    ) -> RelayLoop {
        RelayLoop {
            listener,
            woken,
            output: CellOutput::new(Arc::clone(&shared), sink),
            shared,
            connection: None,
        }
    }

    /// Serves cell hosts until the relay is dropped.
    pub(crate) fn run(&mut self) {
        loop {
            let Ok(ready) = self.wait(None, true) else {
                return;
            };
            if ready.woken {
                return;
            }
            if ready.stdout || ready.stderr {
                self.read_output(ready.stdout, ready.stderr);
            }
            if ready.control {
                self.read_control();
            }
            if ready.arriving {
                self.accept();
            }
            self.tell_due();
            if (ready.stdout || ready.stderr) && self.output.is_busy() {
                // More will follow: let it gather, unless the cell ends meanwhile.
                let _ = self.wait(Some(BUSY_PAUSE), false);
            }
        }
    }

    /// Polls everything, or only what is not output.
    fn wait(&self, limit: Option<Duration>, outputs: bool) -> Result<Ready, PxError> {
        let mut fds = vec![
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(connection) = &self.connection {
            fds.push(PollFd::new(connection.control.as_fd(), PollFlags::POLLIN));
            if outputs {
                fds.extend(connection.outputs());
            }
        }
        let timeout = match limit.or_else(|| self.until_due()) {
            Some(limit) => PollTimeout::try_from(limit.max(BUSY_PAUSE)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(PxError::io("wait for the cell host", error)),
        }
        let ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
        let place = |pipe| self.connection.as_ref().and_then(|one| one.place(pipe));
        let pipe = |pipe| place(pipe).is_some_and(ready);
        Ok(Ready {
            woken: ready(0),
            arriving: ready(1),
            control: ready(2),
            stdout: pipe(0),
            stderr: pipe(1),
        })
    }

    fn until_due(&self) -> Option<Duration> {
        let held = self.connection.as_ref().and_then(|one| one.held_since);
        let held = held.map(|since| since + HOLD_LIMIT);
        let due = [held, self.output.due()].into_iter().flatten().min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn tell_due(&mut self) {
        let now = Instant::now();
        if let Some(connection) = &mut self.connection
            && connection
                .held_since
                .is_some_and(|since| now >= since + HOLD_LIMIT)
        {
            connection.held_since = None;
            if let Some(piece) = connection.parser.release() {
                self.output.piece(piece);
            }
        }
        if self.output.due().is_some_and(|due| now >= due) {
            self.output.flush();
        }
    }

    fn accept(&mut self) {
        let Ok((control, _)) = self.listener.accept() else {
            return;
        };
        if self.connection.is_some() {
            self.disconnect();
        }
        if let Ok((connection, pid)) = Connection::greet(control) {
            self.connection = Some(connection);
            self.shared.lock().connected = Some(pid);
        }
    }

    /// Reads what is there now, once per pipe that is ready; a ready pipe without bytes is closed.
    fn read_output(&mut self, stdout: bool, stderr: bool) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let mut buffer = vec![0; READ_SIZE];
        if stdout {
            match read_some(&mut connection.stdout, &mut buffer) {
                Some(bytes) => {
                    for piece in connection.parser.push(bytes) {
                        self.output.piece(piece);
                    }
                    let holding = connection.parser.is_holding();
                    connection.held_since = holding.then(Instant::now);
                }
                None => connection.closed[0] = true,
            }
        }
        if stderr {
            match read_some(&mut connection.stderr, &mut buffer) {
                Some(bytes) => self.output.text(OutputStream::Stderr, bytes),
                None => connection.closed[1] = true,
            }
        }
    }

    /// Reads the pipes until they are empty.
    fn drain(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let mut buffer = vec![0; READ_SIZE];
        while let Some(bytes) = read_some(&mut connection.stdout, &mut buffer) {
            for piece in connection.parser.push(bytes) {
                self.output.piece(piece);
            }
        }
        if let Some(piece) = connection.parser.finish() {
            self.output.piece(piece);
        }
        connection.held_since = None;
        while let Some(bytes) = read_some(&mut connection.stderr, &mut buffer) {
            self.output.text(OutputStream::Stderr, bytes);
        }
        while let Some(bytes) = read_some(&mut connection.report, &mut buffer) {
            connection.reports.extend_from_slice(bytes);
        }
    }

    fn read_control(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let mut buffer = [0; 4096];
        match connection.control.read(&mut buffer) {
            Ok(count) if count > 0 => connection.decoder.push(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            _ => return self.disconnect(),
        }
        while let Some(connection) = &mut self.connection {
            let answer = match connection.decoder.next_frame::<CellHostMessage>() {
                Ok(Some(frame)) => self.answer(frame.message),
                Ok(None) => return,
                Err(_) => None,
            };
            let sent = answer.and_then(|answer| {
                let connection = self.connection.as_mut()?;
                side_channel::send(&mut connection.control, &answer).ok()
            });
            if sent.is_none() {
                return self.disconnect();
            }
        }
    }

    fn answer(&mut self, message: CellHostMessage) -> Option<RelayMessage> {
        match message {
            CellHostMessage::Hello { .. } => None,
            CellHostMessage::Starting => Some(self.start_cell()),
            CellHostMessage::LoadFailed { reason } => {
                self.shared.lock().report.load_failure = Some(reason);
                Some(self.finish_cell())
            }
            CellHostMessage::Finished => Some(self.finish_cell()),
        }
    }

    fn start_cell(&mut self) -> RelayMessage {
        self.drain();
        self.output.begin();
        let mut state = self.shared.lock();
        if state.refused {
            state.report.skipped = true;
            return RelayMessage::Skip;
        }
        state.running = true;
        state.report.started = true;
        // What the host runs of its own belongs to no cell.
        let cell = state.cell.filter(|_| state.active);
        drop(state);
        if let Some(id) = cell {
            self.output.started(id);
        }
        RelayMessage::Go
    }

    fn finish_cell(&mut self) -> RelayMessage {
        self.settle();
        let lines = self.output.take_lines();
        let panicked = lines
            .iter()
            .any(|line| line.ends_with("PANIC_NOTIFICATION"));
        self.tell_caught_panic(panicked);
        let mut state = self.shared.lock();
        state.running = false;
        state.report.panicked = panicked;
        state.report.returned_error = lines.iter().any(|line| line.ends_with("ERROR_OCCURRED"));
        RelayMessage::Forward { lines }
    }

    /// A panic the cell caught itself is told the way Rust does, on standard error.
    fn tell_caught_panic(&mut self, panicked: bool) {
        if panicked {
            return;
        }
        let caught = self.shared.lock().report.panic.take();
        if let Some(panic) = caught {
            let PanicReport {
                file,
                line,
                message,
                ..
            } = panic;
            let text = format!("the cell caught a panic at {file}:{line}: {message}\n");
            self.output.text(OutputStream::Stderr, text.as_bytes());
            self.output.flush();
        }
    }

    /// Tells everything the cell wrote, and keeps what it reported.
    fn settle(&mut self) {
        self.drain();
        self.output.flush();
        let Some(connection) = &mut self.connection else {
            return;
        };
        let reports = std::mem::take(&mut connection.reports);
        let (panic, error) = parse_reports(&reports);
        let mut state = self.shared.lock();
        state.report.panic = panic;
        state.report.error = error;
    }

    fn disconnect(&mut self) {
        self.settle();
        self.connection = None;
        let mut state = self.shared.lock();
        state.connected = None;
        state.running = false;
        state.report.died = true;
        drop(state);
        self.shared.notify();
    }
}

impl Connection {
    /// Takes the greeting of a new cell host.
    fn greet(mut control: UnixStream) -> Result<(Connection, u32), PxError> {
        control
            .set_read_timeout(Some(HELLO_LIMIT))
            .map_err(|error| PxError::io("limit the wait for a cell host", error))?;
        let hello = side_channel::receive(&mut control)?;
        let Some(CellHostMessage::Hello { pid }) = hello else {
            return Err(PxError::OutOfStep {
                expected: "hello",
                got: format!("{hello:?}"),
            });
        };
        let pipes = side_channel::receive_pipes(&control)?;
        for pipe in &pipes {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .map_err(|error| PxError::io("read a pipe without waiting", error))?;
        }
        let [stdout, stderr, report] = pipes.map(|pipe: OwnedFd| File::from(pipe));
        let connection = Connection {
            control,
            decoder: FrameDecoder::default(),
            stdout,
            stderr,
            report,
            parser: UserOutput::default(),
            held_since: None,
            reports: Vec::new(),
            closed: [false; 2],
        };
        Ok((connection, pid))
    }

    /// The pipes to poll, with no events asked of one that is closed.
    fn outputs(&self) -> Vec<PollFd<'_>> {
        let pipes = [(&self.stdout, 0), (&self.stderr, 1)];
        let open = pipes.into_iter().filter(|(_, at)| !self.closed[*at]);
        open.map(|(pipe, _)| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
            .collect()
    }

    /// Where in the polled list a pipe stands, after the three that are always there.
    fn place(&self, pipe: usize) -> Option<usize> {
        let before = self
            .closed
            .iter()
            .take(pipe)
            .filter(|closed| !**closed)
            .count();
        (!self.closed[pipe]).then_some(3 + before)
    }
}

/// Bytes that are there now; none when there are none, also at the end.
fn read_some<'a>(pipe: &mut File, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    loop {
        match pipe.read(buffer) {
            Ok(0) => return None,
            Ok(count) => return buffer.get(..count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// The last panic and the last error of a failed `?` that the cell's prelude reported. A report is
/// a line `panic <line> <column> <file bytes> <message bytes>` or `error <bytes>`, then the bytes.
fn parse_reports(mut bytes: &[u8]) -> (Option<PanicReport>, Option<String>) {
    let (mut panic, mut error) = (None, None);
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 1..];
        let words: Vec<&str> = head.split(' ').collect();
        let number = |at: usize| {
            words
                .get(at)
                .and_then(|word| word.parse().ok())
                .unwrap_or(0)
        };
        let mut take = |length: usize| {
            let (taken, rest) = bytes.split_at(length.min(bytes.len()));
            bytes = rest;
            String::from_utf8_lossy(taken).into_owned()
        };
        match words[0] {
            "panic" => {
                panic = Some(PanicReport {
                    line: number(1),
                    column: number(2),
                    file: take(number(3)),
                    message: take(number(4)),
                });
            }
            "error" => error = Some(take(number(1))),
            _ => return (panic, error),
        }
    }
    (panic, error)
}
