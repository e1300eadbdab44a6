//! The relay's thread: one `poll` over the connections of the cell host's processes and its pipes.
//!
//! When a cell has finished, everything it wrote is in the pipes already, so they are read until
//! they are empty before evcxr hears of the end. A process that closes its connection is dead, dying
//! or a snapshot; what a dead one left in the pipes is told when its snapshot goes on.

use crate::PxError;
use crate::cell_output::CellOutput;
use crate::connection::{Connection, OutputPipe};
use crate::frame::FrameDecoder;
use crate::host_protocol::OutputStream;
use crate::relay::{EventSink, PanicReport, Shared, State};
use crate::side_channel::{self, CellHostMessage, HostDeath, RelayMessage};
use crate::user_output::{CHANGED_TYPE, FAILED, PANICKED};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a new cell host may take to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// While a cell prints much, its pipes are read no more often than this.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct RelayLoop {
    listener: UnixListener,
    woken: UnixStream,
    shared: Arc<Shared>,
    output: CellOutput,
    connection: Option<Connection>,
    host: Option<HostLink>,
}

/// The process that runs cells now.
struct HostLink {
    control: UnixStream,
    decoder: FrameDecoder,
}

/// What the poll watches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Waker,
    Listener,
    Supervisor,
    Host,
    Output(OutputPipe),
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
            host: None,
        }
    }

    /// Serves cell hosts until the relay is dropped.
    pub(crate) fn run(&mut self) {
        loop {
            let Ok(ready) = self.wait(None, true) else {
                return;
            };
            let is = |source| ready.contains(&source);
            if is(Source::Waker) {
                return;
            }
            // Reports first: a line of standard output makes them be read too, and one that is ready and
            // has nothing counts as closed.
            let outputs = [OutputPipe::Report, OutputPipe::Stdout, OutputPipe::Stderr];
            let outputs = outputs.map(|pipe| (pipe, is(Source::Output(pipe))));
            let has_output = outputs.iter().any(|(_, ready)| *ready);
            if let Some(connection) = &mut self.connection {
                for (pipe, _) in outputs.into_iter().filter(|(_, ready)| *ready) {
                    connection.read(pipe, &mut self.output);
                }
            }
            if is(Source::Host) {
                self.read_host();
            }
            if is(Source::Supervisor) {
                // It says nothing after its greeting: this is its end.
                self.disconnect();
            }
            if is(Source::Listener) {
                self.accept();
            }
            self.tell_due();
            if has_output && self.output.is_busy() {
                // More will follow: let it gather, unless the cell ends meanwhile.
                let _ = self.wait(Some(BUSY_PAUSE), false);
            }
        }
    }

    /// Polls everything, or only what is not output.
    fn wait(&self, limit: Option<Duration>, outputs: bool) -> Result<Vec<Source>, PxError> {
        let mut watched = vec![
            (Source::Waker, self.woken.as_fd()),
            (Source::Listener, self.listener.as_fd()),
        ];
        if let Some(host) = &self.host {
            watched.push((Source::Host, host.control.as_fd()));
        }
        if let Some(connection) = &self.connection {
            watched.push((Source::Supervisor, connection.supervisor()));
            if outputs {
                let outputs = connection.outputs();
                watched.extend(outputs.map(|(pipe, fd)| (Source::Output(pipe), fd)));
            }
        }
        let mut fds: Vec<_> = watched
            .iter()
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        let timeout = match limit.or_else(|| self.until_due()) {
            Some(limit) => PollTimeout::try_from(limit.max(BUSY_PAUSE)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(PxError::io("wait for the cell host", error)),
        }
        let ready = watched
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| fd.any().unwrap_or(false));
        Ok(ready.map(|((source, _), _)| *source).collect())
    }

    fn until_due(&self) -> Option<Duration> {
        let held = self.connection.as_ref().and_then(Connection::due);
        let due = [held, self.output.due()].into_iter().flatten().min();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let state = self.shared.lock();
        let look = state.running.then(|| state.input.until_due());
        [due, look].into_iter().flatten().min()
    }

    fn tell_due(&mut self) {
        let now = Instant::now();
        if let Some(connection) = &mut self.connection {
            connection.release(now, &mut self.output);
        }
        if self.output.due().is_some_and(|due| now >= due) {
            self.output.flush();
        }
        self.look_for_input();
    }

    /// Tells when the running cell waits for a line.
    fn look_for_input(&mut self) {
        let mut state = self.shared.lock();
        let State {
            host: Some(host),
            cell: Some(id),
            running: true,
            stdin: Some(stdin),
            input,
            ..
        } = &mut *state
        else {
            return;
        };
        let (is_wanted, id) = (input.is_wanted(*host, stdin), *id);
        drop(state);
        if is_wanted {
            self.output.input_wanted(id);
        }
    }

    /// Takes the greeting of whoever connects; who says something else is not listened to.
    fn accept(&mut self) {
        let Ok((mut control, _)) = self.listener.accept() else {
            return;
        };
        let greeting = control
            .set_read_timeout(Some(HELLO_LIMIT))
            .map_err(|error| PxError::io("limit the wait for a cell host", error))
            .and_then(|()| side_channel::receive(&mut control));
        match greeting {
            Ok(Some(CellHostMessage::Hello { pid })) => {
                if self.connection.is_some() {
                    self.disconnect();
                }
                if let Ok((connection, stdin)) = Connection::take(control) {
                    self.connection = Some(connection);
                    let mut state = self.shared.lock();
                    state.connected = Some(pid);
                    state.stdin = Some(stdin);
                }
            }
            Ok(Some(CellHostMessage::Host {
                pid,
                generation,
                death,
            })) => self.welcome(control, pid, generation, death),
            _ => {}
        }
    }

    /// Another process runs cells from now on, as a snapshot of the one before it or in its place.
    fn welcome(
        &mut self,
        mut control: UnixStream,
        pid: u32,
        generation: u64,
        death: Option<HostDeath>,
    ) {
        if death.is_some() {
            self.settle_dead();
        }
        let mut state = self.shared.lock();
        state.host = Some(pid);
        state.generation = generation;
        state.snapshot = generation;
        if let Some(death) = death {
            state.running = false;
            state.report.rolled_back |= death.in_cell;
            // A cell that panicked leaves because it was told to.
            if death.in_cell && !state.report.panicked {
                state.report.death = Some(death.status);
            }
        }
        drop(state);
        if side_channel::send(&mut control, &RelayMessage::Welcome).is_ok() {
            let decoder = FrameDecoder::default();
            self.host = Some(HostLink { control, decoder });
        }
    }

    /// Reads the pipes until they are empty.
    fn drain(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.drain(&mut self.output);
        }
    }

    fn read_host(&mut self) {
        let Some(host) = &mut self.host else {
            return;
        };
        let mut buffer = [0; 4096];
        match host.control.read(&mut buffer) {
            Ok(count) if count > 0 => host.decoder.push(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            // Its snapshot will connect, or the supervisor will end.
            _ => return self.host = None,
        }
        while let Some(host) = &mut self.host {
            let answer = match host.decoder.next_frame::<CellHostMessage>() {
                Ok(Some(frame)) => self.answer(frame.message),
                Ok(None) => return,
                Err(_) => None,
            };
            let sent = answer.and_then(|answer| {
                let host = self.host.as_mut()?;
                side_channel::send(&mut host.control, &answer).ok()
            });
            if sent.is_none() {
                return self.host = None;
            }
        }
    }

    fn answer(&mut self, message: CellHostMessage) -> Option<RelayMessage> {
        match message {
            CellHostMessage::Hello { .. } | CellHostMessage::Host { .. } => None,
            CellHostMessage::Starting { library, unsaved } => {
                Some(self.start_cell(library, unsaved))
            }
            CellHostMessage::LoadFailed { reason } => {
                self.settle();
                let mut state = self.shared.lock();
                state.running = false;
                state.report.load_failure = Some(reason);
                state.report.rolled_back = true;
                Some(RelayMessage::Abandon)
            }
            CellHostMessage::Finished { can_roll_back } => Some(self.finish_cell(can_roll_back)),
        }
    }

    fn start_cell(&mut self, library: PathBuf, unsaved: Option<String>) -> RelayMessage {
        self.drain();
        self.output.begin();
        let mut state = self.shared.lock();
        if state.refused {
            state.report.skipped = true;
            state.report.rolled_back = true;
            return RelayMessage::Abandon;
        }
        let forgotten = std::mem::take(&mut state.forget);
        if !forgotten.is_empty() {
            let line = |name: String| format!("{CHANGED_TYPE}{name}");
            let lines = forgotten.into_iter().map(line).collect();
            return RelayMessage::Forward { lines };
        }
        state.running = true;
        state.input.reset();
        state.report.started = true;
        state.report.library = library;
        state.report.unsaved = unsaved;
        // What the host runs of its own belongs to no cell.
        let cell = state.cell.filter(|_| state.active);
        drop(state);
        if let Some(id) = cell {
            self.output.started(id);
        }
        RelayMessage::Go
    }

    fn finish_cell(&mut self, can_roll_back: bool) -> RelayMessage {
        self.settle();
        let lines = self.output.take_lines();
        let panicked = lines.iter().any(|line| line == PANICKED);
        self.tell_caught_panic(panicked);
        let mut state = self.shared.lock();
        state.running = false;
        state.report.panicked = panicked;
        state.report.returned_error = lines.iter().any(|line| line == FAILED);
        if panicked && can_roll_back {
            return RelayMessage::RollBack;
        }
        state.generation += 1;
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
        let reports = self.connection.as_mut().and_then(Connection::take_reports);
        if let Some(reports) = reports {
            let mut state = self.shared.lock();
            state.report.panic = reports.panic;
            state.report.error = reports.error;
        }
    }

    /// A cell that died ended with no line of evcxr's.
    fn settle_dead(&mut self) {
        self.drain();
        self.output.take_lines_for_text();
        self.settle();
    }

    fn disconnect(&mut self) {
        self.settle_dead();
        self.connection = None;
        self.host = None;
        let mut state = self.shared.lock();
        state.connected = None;
        state.host = None;
        state.stdin = None;
        state.running = false;
        state.report.died = true;
        drop(state);
        self.shared.notify();
    }
}
