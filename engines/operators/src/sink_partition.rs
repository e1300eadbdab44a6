//! The files of one partition: one, or one of each value of the keys. What their formats hold back is
//! reserved; a file gives its part back when there is no more memory.

use crate::error::OperatorsError;
use crate::file_sink::FileSink;
use crate::sink_keys::{KeySplitter, KeyedRows};
use crate::sink_writer::{Failure, SinkWriter};
use datafusion::arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::metrics::Count;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files that are open at once. When there are more, those there are end, and later rows of their
/// keys begin new ones.
const OPEN_MAX: usize = 128;

/// The files of one partition of one engine.
#[derive(Debug)]
pub(crate) struct PartitionFiles {
    sink: Arc<FileSink>,
    /// The partition among those of all engines.
    part: usize,
    splitter: Option<KeySplitter>,
    /// By folder: two keys may have one text.
    open: HashMap<PathBuf, SinkWriter>,
    /// How often open files were ended because there were too many.
    sequence: usize,
    reservation: MemoryReservation,
    bytes: Count,
    written: Written,
}

/// What a partition has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) files: u64,
}

impl PartitionFiles {
    pub(crate) fn new(
        sink: Arc<FileSink>,
        part: usize,
        pool: &Arc<dyn MemoryPool>,
        bytes: Count,
    ) -> Result<Self> {
        let keys = sink.keys();
        let splitter = match keys.is_empty() {
            true => None,
            false => {
                let keeps_keys = sink.config().keep_partition_by_columns;
                Some(KeySplitter::new(sink.rows_schema(), &keys, keeps_keys)?)
            }
        };
        let consumer = MemoryConsumer::new(format!("SinkExec[{part}]")).with_can_spill(true);
        Ok(Self {
            reservation: consumer.register(pool),
            sink,
            part,
            splitter,
            open: HashMap::new(),
            sequence: 0,
            bytes,
            written: Written::default(),
        })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.written.rows += batch.num_rows() as u64;
        let groups = match &self.splitter {
            None => vec![KeyedRows {
                folder: PathBuf::new(),
                rows: batch.clone(),
            }],
            Some(splitter) => splitter.split(batch)?,
        };
        for group in groups {
            let writer = self.writer(&group.folder)?;
            let failure = writer.failure();
            let written = writer.write(&group.rows);
            written.map_err(|error| self.explained(error, &failure))?;
        }
        self.reserve()
    }

    /// Makes all files whole. The first partition makes one even if it has no rows, so that there
    /// is one that tells the columns.
    pub(crate) fn finish(mut self) -> Result<Written> {
        let is_told = self.written.rows > 0 || self.splitter.is_some() || self.part > 0;
        if !is_told {
            let empty = RecordBatch::new_empty(Arc::clone(self.sink.rows_schema()));
            let writer = self.writer(Path::new(""))?;
            let failure = writer.failure();
            let written = writer.write(&empty);
            written.map_err(|error| self.explained(error, &failure))?;
        }
        self.end_open()?;
        Ok(self.written)
    }

    /// The open file of a folder.
    fn writer(&mut self, folder: &Path) -> Result<&mut SinkWriter> {
        if !self.open.contains_key(folder) {
            if self.open.len() >= OPEN_MAX {
                self.end_open()?;
                self.sequence += 1;
            }
            let name = self.sink.target().partial_name(self.part, self.sequence);
            let staging = self.sink.target().staging();
            let path = staging.join(folder).join(name);
            let made = make_within(&staging, folder)
                .map_err(DataFusionError::from)
                .and_then(|()| SinkWriter::create(&self.sink, &path, self.bytes.clone()));
            let made = made.map_err(|error| self.explained(error, &Failure::default()))?;
            self.open.insert(folder.to_path_buf(), made);
            self.written.files += 1;
        }
        let missing = || DataFusionError::Internal("a file that was opened is not".to_string());
        self.open.get_mut(folder).ok_or_else(missing)
    }

    fn end_open(&mut self) -> Result<()> {
        for (_, writer) in std::mem::take(&mut self.open) {
            let failure = writer.failure();
            let ended = writer.finish();
            ended.map_err(|error| self.explained(error, &failure))?;
        }
        self.reservation.free();
        Ok(())
    }

    /// Reserves what the files hold back; where that is refused, those that hold the most write it.
    fn reserve(&mut self) -> Result<()> {
        loop {
            let held = self.open.values().map(SinkWriter::memory_bytes).sum();
            let Err(refused) = self.reservation.try_resize(held) else {
                return Ok(());
            };
            let largest = self
                .open
                .values_mut()
                .max_by_key(|file| file.memory_bytes());
            let Some(largest) = largest.filter(|file| file.memory_bytes() > 0) else {
                return Err(refused);
            };
            let before = largest.memory_bytes();
            let failure = largest.failure();
            let flushed = largest.flush();
            let is_less = largest.memory_bytes() < before;
            flushed.map_err(|error| self.explained(error, &failure))?;
            if !is_less {
                return Err(refused);
            }
        }
    }

    /// An error of a file, in words that tell which.
    fn explained(&self, error: DataFusionError, failure: &Failure) -> DataFusionError {
        let source = match (failure.take(), error) {
            (Some(source), _) | (None, DataFusionError::IoError(source)) => source,
            (None, other) => return other,
        };
        let path = self.sink.target().path();
        match source.kind() {
            // Other engines tell the head no more of an error than its words, but for a few.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                let path = path.display();
                DataFusionError::ResourcesExhausted(format!(
                    "write to {path}: {source}; free space on that disk or write elsewhere"
                ))
            }
            _ => OperatorsError::Sink {
                action: "write to",
                path: path.to_path_buf(),
                source,
            }
            .into(),
        }
    }
}

/// Makes a directory below one that must be there: when it is gone, the query has ended.
fn make_within(root: &Path, folder: &Path) -> io::Result<()> {
    let mut path = root.to_path_buf();
    for part in folder {
        path.push(part);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
