//! The process `bireme-rust host`: reads the kernel's requests and answers them.
//!
//! One thread reads, and sees to what must never wait: interrupts, input and shutdown. The main thread
//! evaluates, one cell after the other, and completes until the analyst does. The process ends when the kernel closes its
//! stdin, and takes its compilers and its cell host with it.

use crate::analyst;
use crate::analyst_link::AnalystLink;
use crate::build_processes::end_everything;
use crate::cell_crate::CellCrate;
use crate::cell_error;
use crate::crate_loader::CrateLoader;
use crate::emitter::Emitter;
use crate::error::RustHostError;
use crate::evaluations::Evaluations;
use crate::evaluator::{Evaluator, Surroundings};
use crate::prelude_crates::PreludeCrates;
use crate::recorded_compile;
use crate::session_directory::{SessionDirectory, tools_of_this_process};
use crate::toolchain::{LIBRARY_PATH, Toolchain};
use bireme_px::frame::{Frame, read_frame};
use bireme_px::host_protocol::{HostEvent, HostRequest};
use bireme_px::relay::Relay;
use bireme_px::side_channel::SOCKET_ENV;
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, setpgid};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Requests that may wait for the evaluator.
const QUEUE: usize = 64;
/// How long nothing has to be asked before the host does something of its own: first it looks at
/// types, after [`LOAD_AFTER`] such pauses it brings the `bireme` crate in.
const IDLE: Duration = Duration::from_millis(300);
/// Long enough for somebody to think about the next cell.
const LOAD_AFTER: usize = 5;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The kernel wanted it.
    Asked,
    /// evcxr broke.
    Broken,
    /// Cells can run, but without the crates of the prelude.
    WithoutPrelude,
}

/// Runs the Rust host until the kernel ends it; `home` is `BIREME_HOME`.
///
/// # Errors
/// When it cannot start. The kernel has been told then.
pub fn run(home: &Path) -> Result<End, RustHostError> {
    let begun = Instant::now();
    restart_with_tools(home);
    // A terminal's Ctrl-C goes to its whole foreground group; the kernel decides what it means here.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let (requests, events) = private_streams()?;
    let emitter = Arc::new(Emitter::new(events));
    let host = Host::prepare(home, &emitter).and_then(|host| host.serve(requests, begun));
    if let Err(error) = &host {
        let text = error.to_string();
        let error = cell_error::plain("HostError", text, Vec::new());
        emitter.send(&HostEvent::Failed { error });
    }
    end_everything();
    host
}

/// Compiles the `bireme` crate and the crates of `rust.prelude_crates` ahead of time, so that no first
/// session has to.
///
/// # Errors
/// When there is no toolchain, or a crate does not compile.
pub fn prepare(home: &Path) -> Result<End, RustHostError> {
    restart_with_tools(home);
    let emitter = Arc::new(Emitter::new(private_streams()?.1));
    let prelude = PreludeCrates::from_environment()?;
    let host = Host::prepare(home, &emitter)?;
    let cell_crate = host.loader.cell_crate();
    let has_prelude = prelude.is_empty() || cell_crate.has_prelude(&prelude.key());
    if host.loader.is_compiled() && has_prelude {
        return Ok(End::Asked);
    }
    let settings = host.start_evaluator()?.compile_settings()?;
    let tell = |begun| tracing::warn!("compiling the bireme crate ({begun} crates begun)");
    cell_crate.compile(&settings, &|_| {}, &tell)?;
    let names = prelude.names();
    let tell = |begun| tracing::warn!("compiling {names} ({begun} crates begun)");
    match prelude.compile(cell_crate, &settings, &tell) {
        Ok(()) => Ok(End::Asked),
        Err(error) => {
            tracing::error!("{error}");
            Ok(End::WithoutPrelude)
        }
    }
}

/// Before anything is set up: what evcxr starts is on the `PATH` from here on.
fn restart_with_tools(home: &Path) {
    // Where there is no working directory, this comes up again.
    if let Ok(directory) = std::env::current_dir() {
        recorded_compile::restart_with(&tools_of_this_process(&directory.join(home)));
    }
}

/// Runs the analyst of a Rust host until that ends it.
///
/// # Errors
/// When it cannot start, or is not understood.
pub fn run_analyst() -> Result<End, RustHostError> {
    let (requests, answers) = private_streams()?;
    let ended = analyst::run(requests, answers);
    end_everything();
    ended.map(|()| End::Asked)
}

/// What exists before evcxr does.
struct Host {
    directory: SessionDirectory,
    emitter: Arc<Emitter>,
    evaluations: Arc<Evaluations>,
    loader: Arc<CrateLoader>,
    analyst: Arc<AnalystLink>,
    relay: Arc<Relay>,
    prelude: PreludeCrates,
    toolchain: Toolchain,
    notebook_directory: PathBuf,
}

impl Host {
    fn prepare(home: &Path, emitter: &Arc<Emitter>) -> Result<Host, RustHostError> {
        let notebook_directory = std::env::current_dir()
            .map_err(|error| RustHostError::io("find the working directory", error))?;
        let home = notebook_directory.join(home);
        let directory = SessionDirectory::create(&home)?;
        // evcxr reads its settings where the process runs.
        std::env::set_current_dir(directory.path())
            .map_err(|error| RustHostError::io("enter the session's directory", error))?;
        // Here too, because the directory decides which toolchain rustup takes.
        let toolchain = Toolchain::find(&|text| {
            let (id, text) = (None, text.to_string());
            emitter.send(&HostEvent::Progress { id, text });
        })?;
        let sink = Arc::clone(emitter);
        let sink = Arc::new(move |event, body: &[u8]| sink.send_with(&event, body));
        let relay = Arc::new(Relay::start(&directory.socket(), sink)?);
        let evaluations = Evaluations::new(Arc::clone(emitter), Arc::clone(&relay));
        let evaluations = Arc::new(evaluations);
        let loader = CrateLoader::new(
            CellCrate::new(&home, &toolchain.compiler)?,
            Arc::clone(emitter),
            Arc::clone(&evaluations),
        );
        let analyst = AnalystLink::new(
            Arc::clone(emitter),
            Arc::clone(&evaluations),
            directory.analyst(),
            directory.cell(),
        );
        let prelude = PreludeCrates::from_environment().unwrap_or_else(|error| {
            tracing::warn!(%error, "cells go without them");
            PreludeCrates::default()
        });
        Ok(Host {
            directory,
            emitter: Arc::clone(emitter),
            evaluations,
            loader: Arc::new(loader),
            analyst: Arc::new(analyst),
            relay,
            prelude,
            toolchain,
            notebook_directory,
        })
    }

    fn serve(self, requests: File, begun: Instant) -> Result<End, RustHostError> {
        let (queue, asked) = sync_channel(QUEUE);
        let reader = Reader {
            queue,
            analyst: Arc::clone(&self.analyst),
            evaluations: Arc::clone(&self.evaluations),
            directory: self.directory.path().to_path_buf(),
        };
        std::thread::Builder::new()
            .name("requests".to_string())
            .spawn(move || reader.run(requests))
            .map_err(|error| RustHostError::io("start a thread", error))?;
        let mut evaluator = self.start_evaluator()?;
        let rustc = self.toolchain.compiler.lines().next().unwrap_or_default();
        self.emitter.send(&HostEvent::Ready {
            rustc: rustc.to_string(),
            start_ms: begun.elapsed().as_millis() as u64,
        });
        self.loader.compile(evaluator.compile_settings()?);
        let end = self.answer_requests(&mut evaluator, &asked);
        // evcxr waits for its cell host, which may run a cell.
        end_everything();
        Ok(end)
    }

    fn start_evaluator(&self) -> Result<Evaluator, RustHostError> {
        let program = std::env::current_exe()
            .map_err(|error| RustHostError::io("find this program", error))?;
        let mut cell_host = Command::new(program);
        cell_host
            .arg("cell-host")
            .env(SOCKET_ENV, self.relay.socket())
            .env(LIBRARY_PATH, &self.toolchain.libraries)
            .current_dir(&self.notebook_directory);
        recorded_compile::without_tools(&mut cell_host);
        let surroundings = Surroundings {
            relay: Arc::clone(&self.relay),
            emitter: Arc::clone(&self.emitter),
            evaluations: Arc::clone(&self.evaluations),
            loader: Arc::clone(&self.loader),
            analyst: Arc::clone(&self.analyst),
            prelude: self.prelude.clone(),
            cell_directory: self.directory.cell(),
            tools: self.directory.tools(),
            notebook: self.notebook_directory.clone(),
            without_sources: self.toolchain.without_sources.clone(),
        };
        Evaluator::start(cell_host, surroundings)
    }

    fn answer_requests(&self, evaluator: &mut Evaluator, asked: &Receiver<HostRequest>) -> End {
        let (mut is_warm, mut has_failed) = (false, false);
        let mut pauses = 0;
        loop {
            let request = match asked.recv_timeout(IDLE) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    pauses += 1;
                    if !std::mem::replace(&mut is_warm, true) {
                        evaluator.warm_up();
                    } else if pauses >= LOAD_AFTER && !has_failed {
                        // Once more after the next cell, which may have changed what stood against it.
                        has_failed = !evaluator.load_crate_if_free();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return End::Asked,
            };
            pauses = 0;
            match request {
                HostRequest::Eval { id, code, label } => {
                    (is_warm, has_failed) = (true, false);
                    if self.evaluations.take(id) && !evaluator.evaluate(id, &code, &label) {
                        return End::Broken;
                    }
                }
                HostRequest::Complete { id, code, cursor } => {
                    self.emitter.send(&evaluator.complete(id, &code, cursor));
                }
                HostRequest::Inspect { id, code, cursor } => {
                    self.emitter.send(&evaluator.inspect(id, &code, cursor));
                }
                HostRequest::Variables { id } => {
                    let variables = evaluator.variables();
                    self.emitter.send(&HostEvent::Variables { id, variables });
                }
                HostRequest::Interrupt | HostRequest::Input { .. } => {}
                HostRequest::Shutdown => return End::Asked,
            }
        }
    }
}

/// The thread that hears the kernel.
struct Reader {
    queue: SyncSender<HostRequest>,
    analyst: Arc<AnalystLink>,
    evaluations: Arc<Evaluations>,
    directory: PathBuf,
}

impl Reader {
    fn run(self, mut requests: File) {
        loop {
            match read_frame(&mut requests) {
                Ok(Some(Frame {
                    message: HostRequest::Shutdown,
                    ..
                }))
                | Ok(None) => break,
                Ok(Some(frame)) => self.hear(frame.message),
                Err(error) => {
                    tracing::error!(%error, "the kernel cannot be understood any more");
                    break;
                }
            }
        }
        self.leave();
    }

    fn hear(&self, request: HostRequest) {
        match request {
            HostRequest::Interrupt => self.evaluations.interrupt(),
            HostRequest::Input { line } => self.evaluations.give_input(&line),
            HostRequest::Complete { .. } | HostRequest::Inspect { .. } => {
                self.analyst.wake();
                match self.evaluations.is_busy() || self.analyst.can_answer(&request) {
                    true => self.analyst.ask(request),
                    false => self.enqueue(request),
                }
            }
            request => self.enqueue(request),
        }
    }

    fn enqueue(&self, request: HostRequest) {
        if let HostRequest::Eval { id, .. } = &request {
            self.evaluations.add(*id);
        }
        if let Err(TrySendError::Full(request)) = self.queue.try_send(request) {
            tracing::error!(?request, "a request was dropped: {QUEUE} others wait");
            if let HostRequest::Eval { id, .. } = request {
                let reason = format!("{QUEUE} requests wait already");
                self.evaluations.refuse(id, &reason);
            }
        }
    }

    /// Ends the process at once: the evaluator may be inside evcxr, which nothing can stop.
    fn leave(&self) {
        self.evaluations.leave();
        end_everything();
        let _ = std::fs::remove_dir_all(&self.directory);
        std::process::exit(0);
    }
}

/// Moves the kernel's pipes to descriptors no compiler inherits; what prints by mistake goes to
/// standard error.
fn private_streams() -> Result<(File, File), RustHostError> {
    let failed = |error| RustHostError::io("move the kernel's pipes", error);
    let requests = std::io::stdin().as_fd().try_clone_to_owned();
    let events = std::io::stdout().as_fd().try_clone_to_owned();
    let null = File::open("/dev/null").map_err(failed)?;
    dup2_stdin(&null).map_err(|error| failed(error.into()))?;
    dup2_stdout(std::io::stderr()).map_err(|error| failed(error.into()))?;
    Ok((
        File::from(requests.map_err(failed)?),
        File::from(events.map_err(failed)?),
    ))
}
