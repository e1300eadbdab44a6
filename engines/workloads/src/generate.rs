//! Generates a data set with all processors, or finds that it is already there.
//!
//! Writer threads take files from a shared list, each file is made by one thread, and the caller's
//! thread hears of every batch. What is in a file does not depend on who made it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::dataset::Piece;
use crate::manifest::{FileEntry, Manifest};
use crate::parquet_file::{self, Written};
use crate::staging::Staging;
use crate::{Dataset, WorkloadError};

/// Messages that may wait for the caller's thread before writers wait for it.
const EVENTS_WAITING_MAX: usize = 64;
/// Each writer holds one row group; more writers than this only cost memory.
const WRITERS_MAX: usize = 16;

/// How far the generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rows that have been made.
    pub rows_done: u64,
    /// Rows that are wanted; an estimate for TPC-H until the end.
    pub rows_total: u64,
    /// Bytes that have been written to files.
    pub bytes_written: u64,
}

/// What the output directory holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The output directory.
    pub directory: PathBuf,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of Parquet files.
    pub file_count: usize,
    /// Whether the data was there already, so that nothing was written.
    pub is_reused: bool,
}

/// Makes the data set in the directory `out` and reports to `progress` after every batch.
///
/// A directory that already holds the same data set with the same parameters is left as it is; one
/// that holds anything else is refused. The files appear together when all of them are written.
///
/// # Errors
///
/// When a parameter is out of range, when the directory is not empty or is being written by another
/// process, and when the file system refuses. No file is left behind then.
pub fn generate(
    dataset: &Dataset,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, WorkloadError> {
    let writers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WRITERS_MAX);
    generate_with(dataset, out, writers, progress)
}

fn generate_with(
    dataset: &Dataset,
    out: &Path,
    writers: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, WorkloadError> {
    dataset.validate()?;
    if let Some(summary) = find_existing(dataset, out) {
        return Ok(summary);
    }
    let pieces = dataset.pieces();
    let staging = Staging::create(dataset, out, &pieces)?;
    let files = write_pieces(dataset, &pieces, staging.path(), writers, progress)?;
    let manifest = Manifest::new(*dataset, files);
    manifest.write(staging.path())?;
    staging.publish()?;
    progress(Progress {
        rows_done: manifest.rows,
        rows_total: manifest.rows,
        bytes_written: manifest.bytes,
    });
    Ok(summary(out, &manifest, false))
}

fn find_existing(dataset: &Dataset, out: &Path) -> Option<Summary> {
    let manifest = Manifest::read(out)?;
    manifest
        .matches(dataset, out)
        .then(|| summary(out, &manifest, true))
}

fn summary(out: &Path, manifest: &Manifest, is_reused: bool) -> Summary {
    Summary {
        directory: out.to_path_buf(),
        rows: manifest.rows,
        bytes: manifest.bytes,
        file_count: manifest.files.len(),
        is_reused,
    }
}

/// What a writer tells the caller's thread.
enum Event {
    Added(Written),
    Finished(usize, Written),
    Failed(WorkloadError),
}

/// What the writers share.
struct Work<'a> {
    pieces: &'a [Piece],
    directory: &'a Path,
    next: AtomicUsize,
    stop: AtomicBool,
}

fn write_pieces(
    dataset: &Dataset,
    pieces: &[Piece],
    directory: &Path,
    writers: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<FileEntry>, WorkloadError> {
    let work = Work {
        pieces,
        directory,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let (event_tx, event_rx) = sync_channel(EVENTS_WAITING_MAX);
        let threads: Vec<_> = (0..writers.clamp(1, pieces.len()))
            .map(|_| {
                let (work, event_tx) = (&work, event_tx.clone());
                scope.spawn(move || write_some(work, &event_tx))
            })
            .collect();
        drop(event_tx);
        let files = collect(dataset, &work, event_rx, progress);
        for thread in threads {
            // A panic shows as a missing file; joined here, the scope does not raise it again.
            let _ = thread.join();
        }
        files
    })
}

/// Takes pieces until none is left or a writer failed.
fn write_some(work: &Work<'_>, event_tx: &SyncSender<Event>) {
    while !work.stop.load(Ordering::Relaxed) {
        let index = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(piece) = work.pieces.get(index) else {
            return;
        };
        let path = work.directory.join(&piece.path);
        let result = parquet_file::write(&path, piece.source.as_ref(), &work.stop, |added| {
            // The receiver is gone only when the result no longer matters.
            let _ = event_tx.send(Event::Added(added));
        });
        let event = match result {
            Ok(written) => Event::Finished(index, written),
            Err(error) => Event::Failed(error),
        };
        if event_tx.send(event).is_err() {
            return;
        }
    }
}

/// Hears the writers out; the first failure stops them all.
fn collect(
    dataset: &Dataset,
    work: &Work<'_>,
    event_rx: Receiver<Event>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<FileEntry>, WorkloadError> {
    let rows_total = work.pieces.iter().map(|piece| piece.rows_expected).sum();
    let mut now = Progress {
        rows_done: 0,
        rows_total,
        bytes_written: 0,
    };
    let mut finished: Vec<Option<Written>> = vec![None; work.pieces.len()];
    let mut failure = None;
    for event in event_rx {
        match event {
            Event::Added(added) => {
                now.rows_done += added.rows;
                now.rows_total = now.rows_total.max(now.rows_done);
                now.bytes_written += added.bytes;
                progress(now);
            }
            Event::Finished(index, written) => finished[index] = Some(written),
            Event::Failed(error) => {
                work.stop.store(true, Ordering::Relaxed);
                failure.get_or_insert(error);
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let files_done = finished.iter().flatten().count();
    let entries = work.pieces.iter().zip(finished).map(|(piece, written)| {
        written.map(|Written { rows, bytes }| FileEntry {
            path: piece.path.clone(),
            rows,
            bytes,
        })
    });
    entries
        .collect::<Option<Vec<_>>>()
        .ok_or(WorkloadError::WriterPanicked {
            dataset: dataset.name(),
            files_done,
            files_total: work.pieces.len(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_do_not_depend_on_the_number_of_writers() {
        let dataset = Dataset::Ais { rows: 100_000 };
        let files = [1, 3].map(|writers| {
            let directory = tempfile::tempdir().unwrap();
            generate_with(&dataset, directory.path(), writers, &mut |_| ()).unwrap();
            let pieces = dataset.pieces();
            assert_eq!(pieces.len(), 4);
            let read = |piece: &Piece| std::fs::read(directory.path().join(&piece.path)).unwrap();
            pieces.iter().map(read).collect::<Vec<_>>()
        });
        assert!(files[0] == files[1]);
    }
}
