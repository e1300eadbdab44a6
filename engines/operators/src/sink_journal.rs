//! What the engines of a home have begun to write and not finished. Each entry is a file that is
//! locked while its query runs: that of a process that was killed can be locked by the next to
//! start, which removes what was left.

use crate::error::OperatorsError;
use crate::sink_staging::{self, Begun};
use bireme_protocol::QueryId;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Locked by who adds an entry, shared, and by who looks for entries that nobody has locked.
const GATE: &str = "gate";

/// The unfinished files of the engines of one home. It is an extension of a head's session.
#[derive(Debug)]
pub struct SinkJournal {
    directory: PathBuf,
}

/// An entry; it is locked as long as this lives.
#[derive(Debug)]
pub(crate) struct Entry {
    path: PathBuf,
    _locked: File,
}

impl SinkJournal {
    /// Opens the journal in a directory, which is made, and removes what killed processes left.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(directory: PathBuf) -> Result<Arc<Self>> {
        let failed = |action| {
            let path = directory.clone();
            move |source| OperatorsError::Sink {
                action,
                path,
                source,
            }
        };
        std::fs::create_dir_all(&directory).map_err(failed("make"))?;
        let gate = File::create(directory.join(GATE)).map_err(failed("open"))?;
        gate.lock().map_err(failed("lock"))?;
        let entries = std::fs::read_dir(&directory).map_err(failed("read"))?;
        for entry in entries.filter_map(io::Result::ok) {
            if entry.file_name() == GATE {
                continue;
            }
            let path = entry.path();
            if let Err(error) = clear(&path) {
                let path = path.display();
                tracing::warn!(%path, %error, "what a killed query has written stays");
            }
        }
        Ok(Arc::new(Self { directory }))
    }

    /// The journal of a session.
    pub(crate) fn of(context: &TaskContext, node: &'static str) -> Result<Arc<Self>> {
        let journal = context.session_config().get_extension::<Self>();
        Ok(journal.ok_or(OperatorsError::NoJournal { node })?)
    }

    /// Notes what a query is about to make.
    pub(crate) fn note(&self, query: QueryId, begun: &Begun) -> io::Result<Entry> {
        let gate = File::open(self.directory.join(GATE))?;
        gate.lock_shared()?;
        let path = self.directory.join(query.to_string());
        let mut file = File::create_new(&path)?;
        file.lock()?;
        let entry = Entry {
            path,
            _locked: file.try_clone()?,
        };
        if let Err(error) = file.write_all(&begun.to_bytes()) {
            entry.strike();
            return Err(error);
        }
        Ok(entry)
    }
}

impl Entry {
    /// Nothing is left of what was noted.
    pub(crate) fn strike(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "a note about written files stays");
        }
    }
}

/// Removes what an entry of a killed process tells of, and the entry.
fn clear(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // Of an entry that is not whole nothing has been made.
    if let Some(begun) = Begun::from_bytes(&bytes) {
        sink_staging::remove(&begun)?;
    }
    std::fs::remove_file(path)
}
