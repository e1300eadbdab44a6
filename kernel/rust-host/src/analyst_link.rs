//! The Rust host's side of its analyst: started when somebody first asks about code, told what cells
//! have defined, and asked from then on, so that only one process keeps what completions need in
//! memory. Nothing here waits: what the analyst cannot take at once is answered with the names that are
//! known without it.

use crate::cell_crate::link_session;
use crate::emitter::Emitter;
use crate::error::RustHostError;
use crate::evaluations::Evaluations;
use crate::known_names;
use crate::outline::Outline;
use crate::rewrite::without_commands;
use crate::session_directory::{CELL, write_evcxr_settings};
use crate::typing;
use bireme_px::frame::{encode, read_frame};
use bireme_px::host_protocol::{HostEvent, HostRequest};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Questions that may wait for the analyst; who types asks anew.
const QUEUE: usize = 8;
/// How long one question keeps the next one waiting.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the analyst may take to start, and to get to know dependencies.
const START_WITHIN: Duration = Duration::from_secs(120);
/// The number of a question that nobody asked; those of the kernel begin with one.
const NOBODYS: u64 = 0;
/// How often it is started anew when it has ended by itself.
const RESTARTS_MAX: u32 = 3;
/// Less urgent than the cell that runs.
const NICENESS: &str = "5";

/// The analyst of one host.
pub struct AnalystLink {
    emitter: Arc<Emitter>,
    evaluations: Arc<Evaluations>,
    /// Where its evcxr compiles, and where that of the host does.
    directory: PathBuf,
    cell_directory: PathBuf,
    outline: Arc<Mutex<Outline>>,
    questions: Mutex<Questions>,
    /// It answers, and knows the dependencies there were when it started.
    is_ready: Arc<AtomicBool>,
}

#[derive(Default)]
enum Questions {
    #[default]
    NotStarted,
    Open(Open),
    Closed,
}

/// A running analyst.
struct Open {
    questions: SyncSender<Question>,
    /// It ends with the analyst.
    writer: JoinHandle<()>,
    /// How many ended before it.
    ended: u32,
}

/// A request, and the length of what was put before the code that is being typed.
struct Question {
    given: HostRequest,
    request: HostRequest,
    prefix: usize,
    dependencies: Vec<String>,
}

impl Question {
    fn new(outline: &Outline, given: HostRequest) -> Self {
        let prefix = outline.text();
        Self {
            request: behind(&prefix, given.clone()),
            given,
            prefix: prefix.len(),
            dependencies: outline.dependencies().to_vec(),
        }
    }
}

impl AnalystLink {
    /// Nothing is started yet. `directory` is for the analyst alone.
    pub fn new(
        emitter: Arc<Emitter>,
        evaluations: Arc<Evaluations>,
        directory: PathBuf,
        cell_directory: PathBuf,
    ) -> Self {
        Self {
            emitter,
            evaluations,
            directory,
            cell_directory,
            outline: Arc::default(),
            questions: Mutex::default(),
            is_ready: Arc::default(),
        }
    }

    /// What cells have defined.
    pub fn outline(&self) -> MutexGuard<'_, Outline> {
        lock(&self.outline)
    }

    /// Starts the analyst, if none is there: somebody types.
    pub fn wake(&self) {
        let mut questions = lock(&self.questions);
        let ended = match &*questions {
            Questions::NotStarted => 0,
            Questions::Open(open) if open.writer.is_finished() => open.ended + 1,
            Questions::Open(_) | Questions::Closed => return,
        };
        if ended > RESTARTS_MAX {
            *questions = Questions::Closed;
            return;
        }
        *questions = match self.start(ended) {
            Ok(open) => Questions::Open(open),
            Err(error) => {
                tracing::warn!(%error, "there are no completions while a cell runs");
                Questions::Closed
            }
        };
    }

    /// Whether it answers, and can answer this: evcxr's own commands are known to the host only.
    pub fn can_answer(&self, request: &HostRequest) -> bool {
        let is_command = match request {
            HostRequest::Complete { code, cursor, .. } => {
                let before = code.get(..*cursor).unwrap_or(code);
                let line = before.rsplit('\n').next().unwrap_or(before);
                line.trim_start().starts_with(':')
            }
            _ => false,
        };
        self.is_ready.load(Ordering::Acquire) && !is_command
    }

    /// Passes a question on; when the analyst cannot take it, it is answered with what is known without it.
    pub fn ask(&self, request: HostRequest) {
        let outline = self.outline().clone();
        let is_ready = self.is_ready.load(Ordering::Acquire);
        let taken = match &*lock(&self.questions) {
            Questions::Open(open) if is_ready => {
                let question = Question::new(&outline, request.clone());
                open.questions.try_send(question).is_ok()
            }
            _ => false,
        };
        if !taken {
            self.emitter
                .send_all(known_names::answer(&outline, &request));
        }
    }

    fn start(&self, ended: u32) -> Result<Open, RustHostError> {
        write_evcxr_settings(&self.directory)?;
        let failed = |error| RustHostError::io("start the analyst", error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new("nice")
            .args(["-n", NICENESS])
            .arg(program)
            .arg("analyst")
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        self.evaluations.spare(child.id());
        let (questions, asked_of_it) = sync_channel(QUEUE);
        let prefixes = Arc::new(Mutex::new(HashMap::new()));
        let answers = child.stdout.take();
        let emitter = Arc::clone(&self.emitter);
        let asked = Arc::clone(&prefixes);
        let (answered_tx, answered) = sync_channel(QUEUE);
        let read = move || {
            if let Some(answers) = answers {
                tell(answers, &emitter, &asked, &answered_tx);
            }
        };
        let writer = Writer {
            child,
            directory: self.directory.clone(),
            cell_directory: self.cell_directory.clone(),
            dependencies: Vec::new(),
            prefixes,
            emitter: Arc::clone(&self.emitter),
            answered,
            outline: Arc::clone(&self.outline),
            is_ready: Arc::clone(&self.is_ready),
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_string());
        thread("analyst answers").spawn(read).map_err(failed)?;
        let write = move || writer.run(&asked_of_it);
        let writer = thread("analyst questions").spawn(write);
        Ok(Open {
            questions,
            writer: writer.map_err(failed)?,
            ended,
        })
    }
}

/// Writes questions one at a time, and sees to dependencies before them. Of those that came meanwhile
/// only the latest is still of interest.
struct Writer {
    child: Child,
    directory: PathBuf,
    cell_directory: PathBuf,
    dependencies: Vec<String>,
    prefixes: Arc<Mutex<HashMap<u64, usize>>>,
    emitter: Arc<Emitter>,
    answered: Receiver<u64>,
    outline: Arc<Mutex<Outline>>,
    is_ready: Arc<AtomicBool>,
}

/// How waiting for an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    Answered,
    /// It may come yet.
    Late,
    /// The analyst says nothing any more.
    Ended,
}

impl Writer {
    fn run(mut self, questions: &Receiver<Question>) {
        let has_ended = self.get_ready() == Waited::Ended;
        while !has_ended && let Ok(mut question) = questions.recv() {
            while let Ok(later) = questions.try_recv() {
                self.emitter.send_all(no_answer(&question.given));
                question = later;
            }
            if let Err(error) = self.write(&question) {
                tracing::warn!(%error, "the analyst is gone");
                self.emitter.send_all(no_answer(&question.given));
                break;
            }
            if self.wait_for_answer(id_of(&question.request), ANSWER_WITHIN) == Waited::Ended {
                tracing::warn!("the analyst has ended");
                self.emitter.send_all(no_answer(&question.given));
                break;
            }
        }
        self.is_ready.store(false, Ordering::Release);
        drop(self.child.stdin.take());
        // It has nothing to do but to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the analyst, and lets it know the dependencies before anybody asks.
    fn get_ready(&mut self) -> Waited {
        let waited = self.wait_for_answer(Some(NOBODYS), START_WITHIN);
        if waited != Waited::Answered {
            return waited;
        }
        let outline = lock(&self.outline).clone();
        let (code, cursor) = (String::new(), 0);
        let id = NOBODYS;
        let question = Question::new(&outline, HostRequest::Complete { id, code, cursor });
        let waited = match self.write(&question) {
            Ok(()) => self.wait_for_answer(Some(NOBODYS), START_WITHIN),
            Err(_) => Waited::Ended,
        };
        self.is_ready
            .store(waited == Waited::Answered, Ordering::Release);
        waited
    }

    fn wait_for_answer(&self, asked: Option<u64>, within: Duration) -> Waited {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.answered.recv_timeout(left) {
                Ok(answered) if Some(answered) == asked => return Waited::Answered,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Waited::Late,
                Err(RecvTimeoutError::Disconnected) => return Waited::Ended,
            }
        }
    }

    fn write(&mut self, question: &Question) -> Result<(), RustHostError> {
        if self.dependencies != question.dependencies {
            self.dependencies.clone_from(&question.dependencies);
            // What the host compiles at this moment comes and goes; the analyst then compiles more.
            let linked = link_session(&self.cell_directory, &self.directory.join(CELL));
            if let Err(error) = linked {
                tracing::warn!(%error, "the analyst compiles dependencies itself");
            }
            self.send(&HostRequest::Eval {
                id: 0,
                code: self.dependencies.join("\n"),
                label: String::new(),
            })?;
        }
        if let HostRequest::Complete { id, .. } = question.request {
            lock(&self.prefixes).insert(id, question.prefix);
        }
        self.send(&question.request)
    }

    fn send(&mut self, request: &HostRequest) -> Result<(), RustHostError> {
        let bytes = encode(request, b"")?;
        let pipe = self.child.stdin.as_mut();
        let written = pipe.map_or(Ok(()), |pipe| pipe.write_all(&bytes));
        written.map_err(|error| RustHostError::io("ask the analyst", error))
    }
}

/// Hands answers on, their places counted in the code that is being typed.
fn tell(
    mut answers: impl Read,
    emitter: &Emitter,
    prefixes: &Mutex<HashMap<u64, usize>>,
    answered: &SyncSender<u64>,
) {
    while let Ok(Some(frame)) = read_frame(&mut answers) {
        let answer = match frame.message {
            HostEvent::Ready { .. } => {
                let _ = answered.try_send(NOBODYS);
                continue;
            }
            HostEvent::Completions {
                id,
                start,
                end,
                items,
                busy,
            } => {
                let prefix = lock(prefixes).remove(&id).unwrap_or(0);
                HostEvent::Completions {
                    id,
                    start: start.saturating_sub(prefix),
                    end: end.saturating_sub(prefix),
                    items,
                    busy,
                }
            }
            other => other,
        };
        let (HostEvent::Completions { id, .. } | HostEvent::Inspection { id, .. }) = answer else {
            continue;
        };
        if id != NOBODYS {
            emitter.send(&answer);
        }
        // There is room for more than can be under way.
        let _ = answered.try_send(id);
    }
}

/// The request with other code before the code that is being typed.
fn behind(prefix: &str, request: HostRequest) -> HostRequest {
    // Commands may only come first; those of earlier cells have been carried out.
    let joined = |code: String| [prefix, &without_commands(&code)].concat();
    match request {
        HostRequest::Complete { id, code, cursor } => HostRequest::Complete {
            id,
            code: joined(code),
            cursor: cursor + prefix.len(),
        },
        HostRequest::Inspect { id, code, cursor } => HostRequest::Inspect {
            id,
            code: joined(code),
            cursor: cursor + prefix.len(),
        },
        other => other,
    }
}

fn id_of(request: &HostRequest) -> Option<u64> {
    match request {
        HostRequest::Complete { id, .. } | HostRequest::Inspect { id, .. } => Some(*id),
        _ => None,
    }
}

fn no_answer(request: &HostRequest) -> Option<HostEvent> {
    match request {
        HostRequest::Complete { id, cursor, .. } => Some(typing::nothing(*id, *cursor, true)),
        HostRequest::Inspect { id, .. } => Some(HostEvent::Inspection {
            id: *id,
            bundle: None,
        }),
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
