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
/// A snapshot that has not gone on in the place of an interrupted cell after this long is given up,
/// and all variables with it: a cell that is never over would cost more.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(10);
/// After this long a cell that waits behind an interrupted one is told of it, and every so often again.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

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
    /// The lost variables that the early answer told of.
    told: Vec<String>,
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
        state.told.clear();
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

    /// The evaluator is through; answers the evaluation, unless that has been done. Returns the lost
    /// variables that an earlier answer did not tell of.
    pub fn finish(&self, id: u64, outcome: Outcome, lost_variables: Vec<String>) -> Vec<String> {
        let mut state = self.lock();
        state.active = None;
        if std::mem::replace(&mut state.answered, true) {
            let told = std::mem::take(&mut state.told);
            drop(state);
            let untold = lost_variables.into_iter();
            return untold.filter(|name| !told.contains(name)).collect();
        }
        drop(state);
        self.emitter.send(&HostEvent::EvalDone {
            id,
            outcome,
            lost_variables,
        });
        Vec::new()
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
        self.end_once(id);
        let this = Arc::clone(self);
        let ender = move || this.end(id);
        if let Err(error) = std::thread::Builder::new().spawn(ender) {
            tracing::error!(%error, "an interrupted compiler was left running");
        }
    }

    /// Ends what an interrupted evaluation runs, until evcxr gives up, and answers in time. That evcxr
    /// goes on computing types, only the end of the process would end, and with it every variable: that is
    /// for the user to decide.
    fn end(&self, id: u64) {
        let begun = Instant::now();
        let mut told = 0;
        while let Some(phase) = self.end_once(id) {
            if begun.elapsed() > ANSWER_LIMIT {
                self.answer_early(id);
            }
            if begun.elapsed() > TAKEOVER_LIMIT && phase == Phase::Running {
                self.kill_cell_host();
            }
            let intervals = begun.elapsed().as_millis() / TELL_INTERVAL.as_millis();
            if std::mem::replace(&mut told, intervals) < intervals {
                let text = format!(
                    "waiting for the compiler, which has been at an interrupted cell for {} s; \
                     a restart of the kernel would end it, and lose the variables",
                    begun.elapsed().as_secs()
                );
                self.emitter.send(&HostEvent::Progress { id: None, text });
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        if told > 0 {
            let (id, text) = (None, String::new());
            self.emitter.send(&HostEvent::Progress { id, text });
        }
    }

    /// Ends the compilers, or the process of the cell when that runs already, and says which it was;
    /// nothing when another evaluation is under way. The lock is held, so that none begins meanwhile.
    fn end_once(&self, id: u64) -> Option<Phase> {
        let mut state = self.lock();
        if state.active != Some(id) {
            return None;
        }
        let phase = self.relay.interrupt();
        match phase {
            Phase::Running => state.killed = true,
            Phase::Compiling => {
                let cell_host = self.relay.cell_host();
                let mut spared = state.spared.clone();
                spared.extend([cell_host, state.background].iter().flatten());
                end_builds(&spared);
            }
            Phase::Idle => {}
        }
        Some(phase)
    }

    /// Ends every process of cells, the snapshot that did not take over too; evcxr starts others.
    fn kill_cell_host(&self) {
        let Some(cell_host) = self.lock().cell_host.clone() else {
            return;
        };
        let mut child = cell_host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = child.kill() {
            tracing::warn!(%error, "the cell host could not be ended");
        }
    }

    /// Answers an interrupted evaluation before it has ended, once.
    fn answer_early(&self, id: u64) {
        let mut state = self.lock();
        if state.active != Some(id) || std::mem::replace(&mut state.answered, true) {
            return;
        }
        if state.killed {
            state.told = std::mem::take(&mut state.variables);
        }
        let lost = state.told.clone();
        drop(state);
        let error = match lost.is_empty() {
            true => interrupted_error(),
            false => cell_error::with_lost(interrupted_error(), &lost),
        };
        self.emitter.send(&failed(id, error, lost));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::io::PipeReader;
    use std::os::fd::OwnedFd;
    use tempfile::TempDir;

    fn evaluations() -> (TempDir, PipeReader, Evaluations) {
        let directory = tempfile::tempdir().unwrap();
        let (answers, kernel) = std::io::pipe().unwrap();
        let emitter = Arc::new(Emitter::new(File::from(OwnedFd::from(kernel))));
        let nobody = Arc::new(|_: HostEvent, _: &[u8]| {});
        let relay = Relay::start(&directory.path().join("relay"), nobody).unwrap();
        let evaluations = Evaluations::new(emitter, Arc::new(relay));
        (directory, answers, evaluations)
    }

    #[test]
    fn a_refused_evaluation_is_answered_and_so_is_the_one_that_runs() {
        let (_directory, mut answers, evaluations) = evaluations();
        evaluations.add(1);
        assert!(evaluations.take(1));
        evaluations.add(2);
        evaluations.refuse(2, "64 requests wait already");
        assert!(!evaluations.take(2));
        evaluations.finish(1, Outcome::Ok, Vec::new());
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

    /// evcxr may compute types for long; the evaluator is never through here until it is said so.
    #[test]
    fn who_waits_behind_an_interrupted_evaluation_is_told_until_it_ends() {
        let (_directory, mut answers, evaluations) = evaluations();
        let evaluations = Arc::new(evaluations);
        evaluations.add(1);
        assert!(evaluations.take(1));
        evaluations.interrupt();
        let mut next = || read_frame(&mut answers).unwrap().unwrap().message;
        assert!(matches!(next(), HostEvent::EvalDone { id: 1, .. }));
        let HostEvent::Progress { id: None, text } = next() else {
            panic!("no progress");
        };
        assert!(
            text.contains("been at an interrupted cell for 1 s"),
            "{text}"
        );
        evaluations.finish(1, Outcome::Ok, Vec::new());
        let over =
            |event| matches!(event, HostEvent::Progress { id: None, text } if text.is_empty());
        // It may be told a second time before it ends.
        assert!((0..2).any(|_| over(next())));
    }
}
