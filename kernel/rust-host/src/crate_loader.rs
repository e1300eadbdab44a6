//! When the `bireme` crate is compiled, and when a session is told of it.
//!
//! A new dependency makes evcxr drop the variables whose types were defined in cells, so the crate comes in early: when the host
//! starts, or, the first time on a machine, as soon as it is compiled and nothing runs. A cell that names it before that waits for it.

use crate::cell_crate::{CellCrate, CompileSettings};
use crate::emitter::Emitter;
use crate::evaluations::Evaluations;
use bireme_px::host_protocol::HostEvent;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often a waiting cell looks whether it was interrupted.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A compiler may be killed for memory; what it finished before is not compiled again.
const ATTEMPTS: usize = 3;

/// The crate of one host.
pub struct CrateLoader {
    cell_crate: CellCrate,
    emitter: Arc<Emitter>,
    evaluations: Arc<Evaluations>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    compiled: Option<Result<(), String>>,
    /// Kept to try again.
    settings: Option<CompileSettings>,
    waiting: Option<u64>,
    begun: usize,
}

impl CrateLoader {
    /// The crate, compiled or not.
    pub fn new(
        cell_crate: CellCrate,
        emitter: Arc<Emitter>,
        evaluations: Arc<Evaluations>,
    ) -> CrateLoader {
        let compiled = cell_crate.is_compiled().then_some(Ok(()));
        let state = State {
            compiled,
            ..State::default()
        };
        CrateLoader {
            cell_crate,
            emitter,
            evaluations,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The crate itself.
    pub fn cell_crate(&self) -> &CellCrate {
        &self.cell_crate
    }

    /// Whether it is compiled, without waiting.
    pub fn is_compiled(&self) -> bool {
        matches!(self.lock().compiled, Some(Ok(())))
    }

    /// Compiles it in the background, if that is not done yet.
    pub fn compile(self: &Arc<Self>, settings: CompileSettings) {
        if self.is_compiled() {
            return;
        }
        let mut state = self.lock();
        state.settings = Some(settings.clone());
        state.compiled = None;
        state.begun = 0;
        drop(state);
        let this = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("cell crate".to_string())
            .spawn(move || this.compile_now(&settings));
        if let Err(error) = spawned {
            self.set(Err(error.to_string()));
        }
    }

    /// Tries again what failed before, for example because cargo was killed.
    pub fn retry(self: &Arc<Self>) {
        let state = self.lock();
        let has_failed = matches!(state.compiled, Some(Err(_)));
        let settings = state.settings.clone().filter(|_| has_failed);
        drop(state);
        if let Some(settings) = settings {
            self.compile(settings);
        }
    }

    /// Waits until it is compiled, for a cell that needs it; the error says why it is not, or none
    /// when the cell was interrupted.
    ///
    /// # Errors
    /// When it cannot be compiled, or the cell was interrupted.
    pub fn wait(&self, cell: u64) -> Result<(), Option<String>> {
        let mut state = self.lock();
        state.waiting = Some(cell);
        let told = state.compiled.is_none();
        if told {
            self.tell(Some(cell), state.begun);
        }
        let outcome = loop {
            if let Some(compiled) = &state.compiled {
                break compiled.clone().map_err(Some);
            }
            if self.evaluations.is_interrupted() {
                break Err(None);
            }
            let waited = self.changed.wait_timeout(state, LOOK_INTERVAL);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        };
        state.waiting = None;
        drop(state);
        if told {
            let id = Some(cell);
            let text = String::new();
            self.emitter.send(&HostEvent::Progress { id, text });
        }
        outcome
    }

    fn compile_now(&self, settings: &CompileSettings) {
        let started = |cargo| self.evaluations.set_background(Some(cargo));
        let progress = |begun| {
            let mut state = self.lock();
            state.begun = begun;
            let waiting = state.waiting;
            drop(state);
            self.tell(waiting, begun);
        };
        let mut compiled = Ok(());
        for _ in 0..ATTEMPTS {
            compiled = self.cell_crate.compile(settings, &started, &progress);
            if compiled.is_ok() || self.evaluations.is_leaving() {
                break;
            }
        }
        self.evaluations.set_background(None);
        if self.evaluations.is_leaving() {
            return;
        }
        if let Err(error) = &compiled {
            tracing::error!(%error, "cells go without the bireme crate");
        }
        self.set(compiled.map_err(|error| error.to_string()));
        let (id, text) = (None, String::new());
        self.emitter.send(&HostEvent::Progress { id, text });
    }

    fn tell(&self, id: Option<u64>, begun: usize) {
        let text = format!("compiling the bireme crate, once ({begun} crates begun)");
        self.emitter.send(&HostEvent::Progress { id, text });
    }

    fn set(&self, compiled: Result<(), String>) {
        self.lock().compiled = Some(compiled);
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
