//! Who waits for what the Rust host says: the running cell for its outputs and its end, questions
//! for their answers.

use crate::bundles;
use bireme_jupyter::ExecuteContext;
use bireme_jupyter::wire::{JsonMap, StreamName};
use bireme_px::frame::Frame;
use bireme_px::host_protocol::{Bundle, HostEvent, InputRequest, Outcome, OutputStream};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// Questions that may wait at once.
const QUESTIONS_MAX: usize = 64;

/// What the host has said of itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// Not ready yet.
    Starting,
    /// Cells can run.
    Ready {
        /// The compiler's version line.
        rustc: String,
    },
    /// It is gone or will go.
    Ended {
        /// What it said of the reason, if it said anything.
        reason: Option<bireme_px::host_protocol::CellError>,
    },
}

/// The open ends of a Rust host.
pub(crate) struct Routes {
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    /// Something that takes long, in one line; empty when nothing does.
    progress: watch::Sender<String>,
}

#[derive(Default)]
struct State {
    /// The cell that runs, or ran last: threads it left behind may still print.
    cell: Option<Cell>,
    questions: HashMap<u64, oneshot::Sender<HostEvent>>,
}

/// What will be told of an evaluation.
pub(crate) struct Following {
    /// Its code runs.
    pub(crate) begun: oneshot::Receiver<()>,
    /// It waits for a line of standard input.
    pub(crate) input: mpsc::Receiver<InputRequest>,
    /// How it ended.
    pub(crate) end: oneshot::Receiver<Ended>,
}

/// The end of an evaluation.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// Variables of earlier cells that are gone.
    pub(crate) lost_variables: Vec<String>,
}

struct Cell {
    id: u64,
    context: ExecuteContext,
    /// It is compiled, and its code runs.
    is_running: bool,
    /// Taken when its code begins to run.
    begun: Option<oneshot::Sender<()>>,
    /// Told when it waits for a line of standard input.
    input: mpsc::Sender<InputRequest>,
    /// Taken at the end.
    end: Option<oneshot::Sender<Ended>>,
    /// A cell of our own, such as that of parameters, shows nothing.
    is_quiet: bool,
    /// The plain text of its value.
    value: Option<String>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            phase: watch::Sender::new(Phase::Starting),
            progress: watch::Sender::new(String::new()),
        }
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn progress(&self) -> watch::Receiver<String> {
        self.progress.subscribe()
    }

    /// Makes a cell the one that outputs belong to. Of a host that is gone it hears the end at once.
    pub(crate) fn begin(&self, id: u64, context: ExecuteContext, is_quiet: bool) -> Following {
        let (begun_tx, begun) = oneshot::channel();
        let (input_tx, input) = mpsc::channel(1);
        let (end_tx, end) = oneshot::channel();
        let cell = Cell {
            id,
            context,
            is_running: false,
            begun: Some(begun_tx),
            input: input_tx,
            end: Some(end_tx),
            is_quiet,
            value: None,
        };
        let mut state = self.lock();
        // The phase is set before cells are let go of, so none is kept for ever.
        let is_gone = matches!(*self.phase.borrow(), Phase::Ended { .. });
        state.cell = (!is_gone).then_some(cell);
        drop(state);
        Following { begun, input, end }
    }

    /// The plain text of the last cell's value, once.
    pub(crate) fn take_value(&self) -> Option<String> {
        self.lock().cell.as_mut()?.value.take()
    }

    fn keep_value(&self, id: u64, value: Option<&str>) {
        let mut state = self.lock();
        if let Some(cell) = state.cell.as_mut().filter(|cell| cell.id == id) {
            cell.value = value.map(str::to_owned);
        }
    }

    /// Waits for the answer to a question; `None` when too many wait already.
    pub(crate) fn ask(&self, id: u64) -> Option<oneshot::Receiver<HostEvent>> {
        let mut state = self.lock();
        state.questions.retain(|_, reply| !reply.is_closed());
        if state.questions.len() >= QUESTIONS_MAX {
            return None;
        }
        let (reply_tx, reply) = oneshot::channel();
        state.questions.insert(id, reply_tx);
        Some(reply)
    }

    /// Hands a message to whom it is for.
    pub(crate) fn deliver(&self, frame: Frame<HostEvent>) {
        match frame.message {
            HostEvent::Ready { rustc, start_ms } => {
                tracing::info!(rustc, start_ms, "the Rust host is ready");
                self.phase.send_replace(Phase::Ready { rustc });
            }
            HostEvent::Failed { error } => {
                self.phase.send_replace(Phase::Ended {
                    reason: Some(error),
                });
            }
            HostEvent::Progress { id, text } => self.tell_progress(id, text),
            HostEvent::Started { id } => self.start(id),
            HostEvent::InputWanted { id, request } => self.want_input(id, request),
            HostEvent::Output { stream, .. } => self.with_cell(None, |context| {
                let name = match stream {
                    OutputStream::Stdout => StreamName::Stdout,
                    OutputStream::Stderr => StreamName::Stderr,
                };
                context.output().stream(name, &frame.body);
            }),
            HostEvent::Display {
                bundle,
                display_id,
                update,
                ..
            } => {
                self.with_cell(None, |context| show(context, bundle, display_id, update));
            }
            HostEvent::Result { id, bundle } => {
                let (data, metadata) = bundles::from_rust(bundle);
                self.keep_value(id, data.plain_text());
                self.with_cell(Some(id), |context| context.execute_result(data, metadata));
            }
            HostEvent::EvalDone {
                id,
                outcome,
                lost_variables,
            } => {
                let ended = Ended {
                    outcome,
                    lost_variables,
                };
                self.end(id, ended);
            }
            HostEvent::Completions { id, .. }
            | HostEvent::Inspection { id, .. }
            | HostEvent::Variables { id, .. } => {
                if let Some(reply) = self.lock().questions.remove(&id) {
                    // Who asked may have given up.
                    let _ = reply.send(frame.message);
                }
            }
        }
    }

    /// The host is gone: nobody waits any longer.
    pub(crate) fn close(&self) {
        self.phase.send_if_modified(|phase| {
            let was_open = !matches!(phase, Phase::Ended { .. });
            if was_open {
                *phase = Phase::Ended { reason: None };
            }
            was_open
        });
        let mut state = self.lock();
        state.cell = None;
        state.questions.clear();
    }

    fn with_cell(&self, id: Option<u64>, show: impl FnOnce(&ExecuteContext)) {
        let context = {
            let state = self.lock();
            let cell = state.cell.as_ref();
            let cell = cell.filter(|cell| !cell.is_quiet && id.is_none_or(|id| id == cell.id));
            cell.map(|cell| cell.context.clone())
        };
        if let Some(context) = context {
            show(&context);
        }
    }

    /// What the host does of its own concerns a cell only until that runs.
    fn tell_progress(&self, id: Option<u64>, text: String) {
        let state = self.lock();
        let is_of_interest = match (&state.cell, id) {
            (Some(cell), Some(id)) => cell.id == id,
            (Some(cell), None) => !cell.is_running || cell.end.is_none(),
            (None, _) => true,
        };
        if is_of_interest {
            self.progress.send_replace(text);
        }
    }

    fn start(&self, id: u64) {
        let mut state = self.lock();
        if let Some(cell) = state.cell.as_mut().filter(|cell| cell.id == id) {
            cell.is_running = true;
            // A cell without a limit does not listen.
            let _ = cell.begun.take().map(|begun| begun.send(()));
            self.progress.send_replace(String::new());
        }
    }

    fn want_input(&self, id: u64, request: InputRequest) {
        let state = self.lock();
        if let Some(cell) = state.cell.as_ref().filter(|cell| cell.id == id) {
            // A line is being asked for already.
            let _ = cell.input.try_send(request);
        }
    }

    fn end(&self, id: u64, ended: Ended) {
        let end = {
            let mut state = self.lock();
            let cell = state.cell.as_mut().filter(|cell| cell.id == id);
            cell.and_then(|cell| cell.end.take())
        };
        if let Some(end) = end {
            self.progress.send_replace(String::new());
            // The cell may have been given up.
            let _ = end.send(ended);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(context: &ExecuteContext, bundle: Bundle, display_id: Option<String>, update: bool) {
    let (data, metadata): (_, JsonMap) = bundles::from_rust(bundle);
    match display_id {
        Some(id) if update => context.output().update_display_data(data, metadata, &id),
        display_id => context
            .output()
            .display_data(data, metadata, display_id.as_deref()),
    }
}
