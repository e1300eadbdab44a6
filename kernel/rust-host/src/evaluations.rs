//! Which evaluations wait, which one runs, and how an interrupt ends them.
//!
//! The thread that reads requests adds and interrupts, the evaluator's thread takes and finishes; every
//! evaluation is answered exactly once, whoever gets there first. An interrupt must give the prompt back
//! even while evcxr computes types, which nothing can stop: then the answer goes out early, and the cell is kept from
//! running when evcxr gets that far.

use crate::build_processes::end_builds;
use crate::cell_error;
use crate::emitter::Emitter;
use bireme_px::host_protocol::{CellError, HostEvent, Outcome, OutputStream};
use bireme_px::relay::{Phase, Relay};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this long an interrupted evaluation is answered, whatever it still does.
const ANSWER_LIMIT: Duration = Duration::from_millis(350);
/// How often the compilers of an interrupted evaluation are looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// After this long they are not looked for any more.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// The evaluations of one host.
pub struct Evaluations {
    emitter: Arc<Emitter>,
    relay: Arc<Relay>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<u64>,
    /// What the evaluator is at.
    active: Option<u64>,
    /// Whether that has been answered already, because it was interrupted.
    answered: bool,
    interrupted: bool,
    /// What it costs when the process of the cell is ended.
    variables: Vec<String>,
    /// Whether that was done.
    killed: bool,
    /// The cell host as evcxr knows it; known once evcxr has started.
    cell_host: Option<Arc<Mutex<Child>>>,
    /// A cargo of the host's own, which an interrupt does not concern.
    background: Option<u32>,
    /// Other processes that it does not concern.
    spared: Vec<u32>,
    /// Whether the process ends.
    leaving: bool,
}

impl Evaluations {
    /// No evaluations yet.
    pub fn new(emitter: Arc<Emitter>, relay: Arc<Relay>) -> Evaluations {
        Evaluations {
            emitter,
            relay,
            state: Mutex::default(),
        }
    }

    /// An evaluation was asked for.
    pub fn add(&self, id: u64) {
        self.lock().waiting.push(id);
    }

    /// The evaluator takes it up; false when it was interrupted while it waited.
    pub fn take(&self, id: u64) -> bool {
        let mut state = self.lock();
        let Some(at) = state.waiting.iter().position(|waiting| *waiting == id) else {
            return false;
        };
        state.waiting.remove(at);
        state.active = Some(id);
        state.answered = false;
        state.interrupted = false;
        state.variables.clear();
        state.killed = false;
        true
    }

    /// Answers an evaluation that nobody will take up.
    pub fn refuse(&self, id: u64, reason: &str) {
        let mut state = self.lock();
        let waiting = state.waiting.len();
        state.waiting.retain(|other| *other != id);
        let is_open = state.waiting.len() < waiting;
        drop(state);
        if is_open {
            let error = cell_error::plain("HostError", reason, Vec::new());
            self.emitter.send(&failed(id, error, Vec::new()));
        }
    }

    /// The variables of earlier cells that are in no snapshot, which go with the process when the
    /// running cell has to be ended.
    pub fn set_variables(&self, variables: &[String]) {
        self.lock().variables = variables.to_vec();
    }

    /// Whether anything waits or runs.
    pub fn is_busy(&self) -> bool {
        let state = self.lock();
        state.active.is_some() || !state.waiting.is_empty()
    }

    /// Whether the running evaluation was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.lock().interrupted
    }

    /// The evaluator is through; answers the evaluation, unless that has been done.
    pub fn finish(&self, done: &HostEvent) {
        let mut state = self.lock();
        let is_open = !std::mem::replace(&mut state.answered, true);
        state.active = None;
        drop(state);
        if is_open {
            self.emitter.send(done);
        }
    }

    /// evcxr has started its cell host.
    pub fn set_cell_host(&self, cell_host: Arc<Mutex<Child>>) {
        self.lock().cell_host = Some(cell_host);
    }

    /// The host compiles something of its own, or does so no more.
    pub fn set_background(&self, cargo: Option<u32>) {
        self.lock().background = cargo;
    }

    /// Gives the running cell a line of standard input.
    pub fn give_input(&self, line: &str) {
        if let Err(error) = self.relay.give_input(line) {
            let event = HostEvent::Output {
                id: None,
                stream: OutputStream::Stderr,
            };
            self.emitter
                .send_with(&event, format!("error: {error}\n").as_bytes());
        }
    }

    /// A process that no interrupt ends.
    pub fn spare(&self, process: u32) {
        self.lock().spared.push(process);
    }

    /// The process ends: what fails from now on fails because of it.
    pub fn leave(&self) {
        self.lock().leaving = true;
    }

    /// Whether the process ends.
    pub fn is_leaving(&self) -> bool {
        self.lock().leaving
    }

    /// Ends everything that runs or waits.
    pub fn interrupt(self: &Arc<Self>) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        let is_new = state.active.is_some() && !std::mem::replace(&mut state.interrupted, true);
        let active = state.active;
        drop(state);
        for id in waiting {
            let done = failed(id, interrupted_error(), Vec::new());
            self.emitter.send(&done);
        }
        let Some(id) = active.filter(|_| is_new) else {
            return;
        };
        self.end_once();
        let this = Arc::clone(self);
        let ender = move || this.end(id);
        if let Err(error) = std::thread::Builder::new().spawn(ender) {
            tracing::error!(%error, "an interrupted compiler was left running");
        }
    }

    /// Ends what an interrupted evaluation runs, until evcxr gives up, and answers in time.
    fn end(&self, id: u64) {
        let begun = Instant::now();
        while begun.elapsed() < LOOK_LIMIT && self.lock().active == Some(id) {
            self.end_once();
            if begun.elapsed() > ANSWER_LIMIT {
                self.answer_early(id);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Ends the compilers, or the cell host when the cell runs already.
    fn end_once(&self) {
        let state = self.lock();
        let (cell_host, background) = (state.cell_host.clone(), state.background);
        let mut spared = state.spared.clone();
        drop(state);
        match self.relay.refuse() {
            Phase::Running => {
                self.lock().killed = true;
                if !self.relay.end_cell() {
                    kill(cell_host.as_deref());
                }
            }
            Phase::Compiling => {
                spared.extend([self.relay.cell_host(), background].iter().flatten());
                end_builds(&spared);
            }
            Phase::Idle => {}
        }
    }

    fn answer_early(&self, id: u64) {
        let mut state = self.lock();
        let is_open = state.active == Some(id) && !std::mem::replace(&mut state.answered, true);
        let lost = state.killed.then(|| std::mem::take(&mut state.variables));
        drop(state);
        if is_open {
            let done = match lost {
                Some(lost) if !lost.is_empty() => {
                    let error = cell_error::with_lost(interrupted_error(), &lost);
                    failed(id, error, lost)
                }
                _ => failed(id, interrupted_error(), Vec::new()),
            };
            self.emitter.send(&done);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the cell host; evcxr starts another.
fn kill(cell_host: Option<&Mutex<Child>>) {
    let Some(cell_host) = cell_host else {
        return;
    };
    let mut child = cell_host.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = child.kill() {
        tracing::warn!(%error, "the cell host could not be ended");
    }
}

/// The error of an interrupted cell.
pub fn interrupted_error() -> CellError {
    cell_error::plain("Cancelled", "the cell was interrupted", Vec::new())
}

fn failed(id: u64, error: CellError, lost_variables: Vec<String>) -> HostEvent {
    HostEvent::EvalDone {
        id,
        outcome: Outcome::Error(error),
        lost_variables,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bireme_px::frame::{Frame, read_frame};
    use std::fs::File;
    use std::os::fd::OwnedFd;

    #[test]
    fn a_refused_evaluation_is_answered_and_so_is_the_one_that_runs() {
        let directory = tempfile::tempdir().unwrap();
        let (mut answers, kernel) = std::io::pipe().unwrap();
        let emitter = Arc::new(Emitter::new(File::from(OwnedFd::from(kernel))));
        let nobody = Arc::new(|_: HostEvent, _: &[u8]| {});
        let relay = Relay::start(&directory.path().join("relay"), nobody).unwrap();
        let evaluations = Evaluations::new(emitter, Arc::new(relay));
        evaluations.add(1);
        assert!(evaluations.take(1));
        evaluations.add(2);
        evaluations.refuse(2, "64 requests wait already");
        assert!(!evaluations.take(2));
        evaluations.finish(&HostEvent::EvalDone {
            id: 1,
            outcome: Outcome::Ok,
            lost_variables: Vec::new(),
        });
        drop(evaluations);
        let mut answered = Vec::new();
        while let Some(Frame { message, .. }) = read_frame(&mut answers).unwrap() {
            let HostEvent::EvalDone { id, outcome, .. } = message else {
                panic!("{message:?}");
            };
            answered.push((id, outcome == Outcome::Ok));
        }
        assert_eq!(answered, [(2, false), (1, true)]);
    }
}
