//! The cells of one shell: those that wait, and the one that runs.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::request::Request;

/// Cells that may wait in one shell; a client that sends more gets an error.
const CELLS_MAX: usize = 4096;

/// A cell that is not taken, and why.
pub(crate) struct Refused {
    pub(crate) request: Request,
    pub(crate) reason: &'static str,
}

/// A queue of cells.
#[derive(Default)]
pub(crate) struct ExecuteQueue {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    /// Fires when the running cell is interrupted. Set in the moment a cell leaves the queue, so
    /// that no interrupt falls between waiting and running.
    running: Option<CancellationToken>,
    /// Nobody will run what comes now.
    is_closed: bool,
}

impl ExecuteQueue {
    /// Appends a cell; gives it back if too many wait, or nobody runs them any more.
    pub(crate) fn push(&self, request: Request) -> Result<(), Box<Refused>> {
        let refuse = |request, reason| Err(Box::new(Refused { request, reason }));
        let mut state = self.lock();
        if state.is_closed {
            return refuse(request, "its subshell was deleted");
        }
        if state.waiting.len() >= CELLS_MAX {
            return refuse(request, "the queue of cells is full");
        }
        state.waiting.push_back(request);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for the next cell, which from then on is the running one.
    pub(crate) async fn next(&self) -> (Request, CancellationToken) {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.lock();
                if let Some(request) = state.waiting.pop_front() {
                    let cancellation = CancellationToken::new();
                    state.running = Some(cancellation.clone());
                    return (request, cancellation);
                }
            }
            arrived.await;
        }
    }

    /// Says that no cell runs.
    pub(crate) fn finished(&self) {
        self.lock().running = None;
    }

    /// Takes all cells that wait, to abort them.
    pub(crate) fn take_waiting(&self) -> Vec<Request> {
        self.lock().waiting.drain(..).collect()
    }

    /// Cancels the running cell and takes all that wait.
    pub(crate) fn interrupt(&self) -> Vec<Request> {
        let mut state = self.lock();
        if let Some(running) = &state.running {
            running.cancel();
        }
        state.waiting.drain(..).collect()
    }

    /// The same for the last time: from now on cells are refused.
    pub(crate) fn close(&self) -> Vec<Request> {
        self.lock().is_closed = true;
        self.interrupt()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
