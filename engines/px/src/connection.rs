//! A connected cell host: the process evcxr started, and the pipes of all cell hosts that come after it.
//!
//! [`Connection`] reads what is there and never waits. When it waits is the relay loop's matter,
//! what becomes of the output that of [`CellOutput`].

use crate::PxError;
use crate::cell_output::CellOutput;
use crate::host_protocol::OutputStream;
use crate::reports::{ReportReader, Reports};
use crate::side_channel;
use crate::user_output::{Piece, UserOutput};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes read from a pipe at once: all a pipe holds by default.
const READ_SIZE: usize = 64 << 10;
/// How long bytes that may begin a marker are held back.
const HOLD_LIMIT: Duration = Duration::from_millis(50);

/// A pipe that a cell writes to, and waits for while it is full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputPipe {
    Stdout,
    Stderr,
    Report,
}

pub(crate) struct Connection {
    supervisor: UnixStream,
    stdout: File,
    stderr: File,
    report: File,
    parser: UserOutput,
    held_since: Option<Instant>,
    reported: ReportReader,
    /// Those that user code closed; polling them would spin.
    closed: [bool; 3],
}

impl Connection {
    /// Takes the pipes of a new cell host; the second is its standard input.
    pub(crate) fn take(supervisor: UnixStream) -> Result<(Connection, File), PxError> {
        let pipes = side_channel::receive_pipes(&supervisor)?;
        for pipe in &pipes {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .map_err(|error| PxError::io("read a pipe without waiting", error))?;
        }
        let [stdout, stderr, report, stdin] = pipes.map(|pipe: OwnedFd| File::from(pipe));
        let connection = Connection {
            supervisor,
            stdout,
            stderr,
            report,
            parser: UserOutput::default(),
            held_since: None,
            reported: ReportReader::default(),
            closed: [false; 3],
        };
        Ok((connection, stdin))
    }

    /// What closes when the process evcxr started ends.
    pub(crate) fn supervisor(&self) -> BorrowedFd<'_> {
        self.supervisor.as_fd()
    }

    /// The pipes to poll; one that is closed would always be ready.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (OutputPipe, BorrowedFd<'_>)> {
        let pipes = [
            (OutputPipe::Stdout, &self.stdout),
            (OutputPipe::Stderr, &self.stderr),
            (OutputPipe::Report, &self.report),
        ];
        let open = pipes.into_iter().zip(self.closed);
        open.filter(|(_, closed)| !closed)
            .map(|((pipe, file), _)| (pipe, file.as_fd()))
    }

    /// Reads once from a pipe that is ready; a ready pipe without bytes is closed.
    pub(crate) fn read(&mut self, pipe: OutputPipe, output: &mut CellOutput) {
        let mut buffer = vec![0; READ_SIZE];
        let is_open = match pipe {
            OutputPipe::Stdout => self.read_stdout(&mut buffer, output),
            OutputPipe::Stderr => self.read_stderr(&mut buffer, output),
            OutputPipe::Report => self.read_report(&mut buffer),
        };
        self.closed[pipe as usize] = !is_open;
    }

    /// Reads the pipes until they are empty; bytes that were held back are text.
    pub(crate) fn drain(&mut self, output: &mut CellOutput) {
        let mut buffer = vec![0; READ_SIZE];
        while self.read_stdout(&mut buffer, output) {}
        if let Some(piece) = self.parser.finish() {
            output.piece(piece);
        }
        self.held_since = None;
        while self.read_stderr(&mut buffer, output) {}
        while self.read_report(&mut buffer) {}
    }

    /// When bytes that are held back are given up as text.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.held_since.map(|since| since + HOLD_LIMIT)
    }

    /// Gives bytes as text that were held back long enough.
    pub(crate) fn release(&mut self, now: Instant, output: &mut CellOutput) {
        if self.due().is_some_and(|due| now >= due) {
            self.held_since = None;
            if let Some(piece) = self.parser.release() {
                output.piece(piece);
            }
        }
    }

    /// What the cell reported since this was last asked; none when it reported nothing.
    pub(crate) fn take_reports(&mut self) -> Option<Reports> {
        self.reported.take()
    }

    fn read_stdout(&mut self, buffer: &mut [u8], output: &mut CellOutput) -> bool {
        let Some(bytes) = read_some(&mut self.stdout, buffer) else {
            return false;
        };
        for piece in self.parser.push(bytes) {
            match piece {
                Piece::Line(line) => {
                    // What a line says was reported before the line was written.
                    while self.read_report(&mut [0; 4096]) {}
                    output.line(line, self.reported.seen());
                }
                piece => output.piece(piece),
            }
        }
        let holding = self.parser.is_holding();
        self.held_since = holding.then(Instant::now);
        true
    }

    fn read_stderr(&mut self, buffer: &mut [u8], output: &mut CellOutput) -> bool {
        let Some(bytes) = read_some(&mut self.stderr, buffer) else {
            return false;
        };
        output.text(OutputStream::Stderr, bytes);
        true
    }

    fn read_report(&mut self, buffer: &mut [u8]) -> bool {
        let Some(bytes) = read_some(&mut self.report, buffer) else {
            return false;
        };
        self.reported.push(bytes);
        true
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
