//! Inputs and outputs of cells, kept over restarts, for `history_request` and for knowing whether a
//! notebook has run Rust before.
//!
//! One thread owns the database; cells hand it their text and go on. A database that cannot be
//! opened costs the history of earlier runs, never a cell.

mod database;

use bireme_jupyter::wire::{HistoryAccess, HistoryEntry};
use database::Database;
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Entries that may wait for the disk; more are dropped with a warning.
const ENTRIES_WAITING_MAX: usize = 1024;
/// Longest wait for an answer of the database.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// One cell, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct CellRecord {
    /// The cell's number in its kernel.
    pub(crate) line: u32,
    /// Its text.
    pub(crate) input: String,
    /// Whether it has Rust in it.
    pub(crate) has_rust: bool,
}

enum Request {
    Cell(CellRecord),
    Output { line: u32, output: String },
    Find(HistoryAccess, oneshot::Sender<Vec<HistoryEntry>>),
    HasRust(oneshot::Sender<bool>),
    Flush(oneshot::Sender<()>),
}

/// The way to the history of all notebooks.
#[derive(Clone, Debug)]
pub(crate) struct CellHistory {
    requests: mpsc::Sender<Request>,
}

impl CellHistory {
    /// Opens the history and starts a session in it under the notebook's name.
    pub(crate) fn open(path: &Path, notebook: &str) -> Self {
        let (requests_tx, requests) = mpsc::channel(ENTRIES_WAITING_MAX);
        let (path, notebook) = (path.to_path_buf(), notebook.to_owned());
        let started = std::thread::Builder::new()
            .name("cell-history".into())
            .spawn(move || serve(&path, &notebook, requests));
        if let Err(error) = started {
            tracing::warn!(%error, "cells are not kept in the history");
        }
        Self {
            requests: requests_tx,
        }
    }

    /// Keeps a cell.
    pub(crate) fn add(&self, cell: CellRecord) {
        self.send(Request::Cell(cell));
    }

    /// Keeps what a cell gave.
    pub(crate) fn add_output(&self, line: u32, output: String) {
        self.send(Request::Output { line, output });
    }

    /// Finds earlier cells, oldest first.
    pub(crate) async fn find(&self, access: HistoryAccess) -> Vec<HistoryEntry> {
        self.ask(|reply| Request::Find(access, reply))
            .await
            .unwrap_or_default()
    }

    /// Whether this notebook has run Rust before this kernel.
    pub(crate) async fn has_rust(&self) -> bool {
        self.ask(Request::HasRust).await.unwrap_or(false)
    }

    /// Waits until everything so far is on disk.
    pub(crate) async fn flush(&self) {
        self.ask(Request::Flush).await;
    }

    fn send(&self, request: Request) {
        if self.requests.try_send(request).is_err() {
            tracing::warn!("a cell is missing in the history: the database is too slow or gone");
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply_tx, reply) = oneshot::channel();
        let asked = async {
            self.requests.send(request(reply_tx)).await.ok()?;
            reply.await.ok()
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asked)
            .await
            .ok()
            .flatten()
    }
}

fn serve(path: &Path, notebook: &str, mut requests: mpsc::Receiver<Request>) {
    let opened = Database::open(path, notebook).or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "the history of earlier runs is not available");
        Database::in_memory(notebook)
    });
    let database = match opened {
        Ok(database) => database,
        Err(error) => {
            tracing::warn!(%error, "cells are not kept in the history");
            return;
        }
    };
    while let Some(request) = requests.blocking_recv() {
        if let Err(error) = answer(&database, request) {
            tracing::warn!(%error, "the history missed a request");
        }
    }
}

fn answer(database: &Database, request: Request) -> rusqlite::Result<()> {
    // Who asked may have given up; the answer is of no use then.
    match request {
        Request::Cell(cell) => database.add(&cell),
        Request::Output { line, output } => database.add_output(line, &output),
        Request::Find(access, reply) => {
            let _ = reply.send(database.find(&access)?);
            Ok(())
        }
        Request::HasRust(reply) => {
            let _ = reply.send(database.has_rust()?);
            Ok(())
        }
        Request::Flush(reply) => {
            let _ = reply.send(());
            Ok(())
        }
    }
}
