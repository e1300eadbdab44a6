//! The files of a query between their first byte and their place: all are moved when all are whole,
//! or none is.

use crate::error::OperatorsError;
use crate::sink_journal::{Entry, SinkJournal};
use crate::sink_target::{SinkTarget, whole_name};
use datafusion::error::Result;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The files that are being moved, beside them: who finds it takes those back that were moved.
const MOVED: &str = "moved";
/// Other engines may be about to open a file when a query ends: what they make is removed again
/// within this time, after which they cannot make anything.
const REMOVED_WITHIN: Duration = Duration::from_secs(2);
const REMOVE_EVERY: Duration = Duration::from_millis(10);

/// What a query makes before its first row is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Where its files are until all are whole.
    staging: PathBuf,
    /// Directories that were not there, outer ones first.
    folders: Vec<PathBuf>,
}

/// The unfinished files of a query. They are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    target: SinkTarget,
    begun: Begun,
    entry: Option<Entry>,
}

impl Begun {
    /// As it is noted.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let paths = std::iter::once(&self.staging).chain(&self.folders);
        let texts: Vec<_> = paths.map(|path| path.to_string_lossy()).collect();
        serde_json::json!(texts).to_string().into_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut paths: Vec<PathBuf> = serde_json::from_slice(bytes).ok()?;
        let is_whole = !paths.is_empty();
        is_whole.then(|| Self {
            staging: paths.remove(0),
            folders: paths,
        })
    }
}

impl Staging {
    /// Makes the place for unfinished files.
    pub(crate) fn begin(target: &SinkTarget, journal: &SinkJournal) -> Result<Self> {
        let failed = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| OperatorsError::Sink {
                action,
                path,
                source,
            }
        };
        if !target.is_directory() && target.path().is_dir() {
            let source = io::Error::from(ErrorKind::IsADirectory);
            return Err(failed("write", target.path())(source).into());
        }
        let begun = Begun {
            staging: target.staging(),
            folders: missing(target.folder()),
        };
        let entry = journal.note(target.query(), &begun);
        let staging = Self {
            target: target.clone(),
            entry: Some(entry.map_err(failed("note what is written to", target.path()))?),
            begun,
        };
        let made = fs::create_dir_all(target.folder()).map_err(|error| match error.kind() {
            // A file is where a directory should be.
            ErrorKind::AlreadyExists => ErrorKind::NotADirectory.into(),
            _ => error,
        });
        made.map_err(failed("write to", target.folder()))?;
        fs::create_dir(&staging.begun.staging).map_err(failed("write to", target.folder()))?;
        Ok(staging)
    }

    /// Moves the files to their place. `is_wanted` says of a file's name whether it counts. What
    /// has been moved goes back when this fails.
    pub(crate) fn commit(
        &mut self,
        files: u64,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), OperatorsError> {
        let staging = self.begun.staging.clone();
        let found = below(&staging).map_err(|source| self.failed("read", &staging, source))?;
        if found.len() as u64 != files {
            return Err(OperatorsError::SinkFiles {
                path: self.target.path().to_path_buf(),
                written: files,
                found: found.len() as u64,
            });
        }
        let wanted = found.into_iter().filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(&is_wanted)
        });
        if !self.target.is_directory() {
            for path in wanted {
                let moved = fs::rename(&path, self.target.path());
                moved.map_err(|source| self.failed("write", self.target.path(), source))?;
            }
            return Ok(());
        }
        let moves: Vec<_> = wanted.filter_map(|path| self.place_of(path)).collect();
        self.note_moves(&moves)?;
        for (from, to) in &moves {
            let folder = to.parent().unwrap_or(to);
            let moved = fs::create_dir_all(folder).and_then(|()| fs::rename(from, to));
            moved.map_err(|source| self.failed("write", to, source))?;
        }
        // From here on they stay.
        let note = staging.join(MOVED);
        fs::remove_file(&note).map_err(|source| self.failed("remove", &note, source))?;
        self.begun.folders.clear();
        Ok(())
    }

    /// Where a file goes.
    fn place_of(&self, path: PathBuf) -> Option<(PathBuf, PathBuf)> {
        let within = path.strip_prefix(&self.begun.staging).ok()?;
        let name = whole_name(within.file_name()?.to_str()?)?;
        let place = self.target.path().join(within.with_file_name(name));
        Some((path, place))
    }

    fn note_moves(&self, moves: &[(PathBuf, PathBuf)]) -> Result<(), OperatorsError> {
        let places: Vec<_> = moves.iter().map(|(_, to)| to.to_string_lossy()).collect();
        let note = self.begun.staging.join(MOVED);
        // Under its own name only when it is whole.
        let unfinished = note.with_extension("new");
        fs::write(&unfinished, serde_json::json!(places).to_string())
            .and_then(|()| fs::rename(&unfinished, &note))
            .map_err(|source| self.failed("write", &note, source))
    }

    /// Removes the unfinished files.
    pub(crate) fn discard(mut self) {
        if let Some(entry) = self.entry.take() {
            discard(&self.begun, &entry);
        }
    }

    fn failed(&self, action: &'static str, path: &Path, source: io::Error) -> OperatorsError {
        OperatorsError::Sink {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else {
            return;
        };
        let begun = self.begun.clone();
        let work = move || discard(&begun, &entry);
        match tokio::runtime::Handle::try_current() {
            // It ends by itself, and what it leaves when the process ends the next one removes.
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_) => work(),
        }
    }
}

/// Removes what was begun, and its entry once nothing is left.
fn discard(begun: &Begun, entry: &Entry) {
    match remove(begun) {
        Ok(()) => entry.strike(),
        Err(error) => {
            let path = begun.staging.display();
            tracing::warn!(%path, %error, "what a query has written stays until the next start");
        }
    }
}

/// Removes what was begun: files in their place that not all have followed, those that are not in
/// their place, and the directories that were made for them.
pub(crate) fn remove(begun: &Begun) -> io::Result<()> {
    let moved: Vec<PathBuf> = match fs::read(begun.staging.join(MOVED)) {
        Ok(note) => serde_json::from_slice(&note)?,
        Err(error) if is_nothing(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    for path in moved {
        gone(fs::remove_file(&path))?;
        // Those of values that no other file has.
        let within = path.ancestors().skip(1);
        for folder in within.take_while(|folder| Some(*folder) != begun.staging.parent()) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
    let begun_at = Instant::now();
    loop {
        match gone(fs::remove_dir_all(&begun.staging)) {
            Ok(()) => break,
            Err(error) if begun_at.elapsed() > REMOVED_WITHIN => return Err(error),
            Err(_) => std::thread::sleep(REMOVE_EVERY),
        }
    }
    for folder in begun.folders.iter().rev() {
        // One that has got files of others stays.
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

/// That it is not there is as good.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if is_nothing(&error) => Ok(()),
        other => other,
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The directories on the way to this one that are not there, outer ones first.
fn missing(folder: &Path) -> Vec<PathBuf> {
    let ancestors = folder.ancestors();
    let missing = ancestors.take_while(|ancestor| !ancestor.as_os_str().is_empty());
    let mut missing: Vec<_> = missing
        .take_while(|ancestor| !ancestor.exists())
        .map(Path::to_path_buf)
        .collect();
    missing.reverse();
    missing
}

/// All files in a directory and those in it, by path.
fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![directory.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort();
    Ok(files)
}
