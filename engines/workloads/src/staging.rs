//! The unfinished part of an output directory.
//!
//! Files are written below `.unfinished/` in the output directory (not beside it: the output may
//! be a mount of its own) and moved to their place when all are there, the manifest last. A reader
//! therefore sees none of the files or all. What a killed run left behind is recognised by that
//! name and removed by the next one; a lock on the directory tells a killed run from a running one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::dataset::Piece;
use crate::{Dataset, WorkloadError, manifest};

const STAGING_NAME: &str = ".unfinished";

/// A locked staging directory; removed with all it holds when dropped.
pub(crate) struct Staging {
    output: PathBuf,
    path: PathBuf,
    /// Top-level names that belong to the data set, the manifest last.
    names: Vec<OsString>,
    _lock: File,
}

impl Staging {
    /// Makes the output directory, if needed, and an empty staging directory in it.
    pub(crate) fn create(
        dataset: &Dataset,
        output: &Path,
        pieces: &[Piece],
    ) -> Result<Self, WorkloadError> {
        let names = top_level_names(pieces);
        let path = output.join(STAGING_NAME);
        fs::create_dir_all(output).map_err(WorkloadError::io("create", output))?;
        refuse_foreign(dataset, output, path.exists().then_some(&names))?;
        fs::create_dir_all(&path).map_err(WorkloadError::io("create", &path))?;
        let lock = File::open(&path).map_err(WorkloadError::io("open", &path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => WorkloadError::Busy {
                dataset: dataset.name(),
                path: output.to_path_buf(),
            },
            TryLockError::Error(source) => WorkloadError::Io {
                action: "lock",
                path: path.clone(),
                source,
            },
        })?;
        let staging = Self {
            output: output.to_path_buf(),
            path,
            names,
            _lock: lock,
        };
        staging.remove_leftovers(pieces)?;
        Ok(staging)
    }

    /// Where files are written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves everything to its place. The manifest must have been written.
    pub(crate) fn publish(self) -> Result<(), WorkloadError> {
        for name in &self.names {
            let target = self.output.join(name);
            fs::rename(self.path.join(name), &target)
                .map_err(WorkloadError::io("move into place", target))?;
        }
        Ok(())
    }

    fn remove_leftovers(&self, pieces: &[Piece]) -> Result<(), WorkloadError> {
        for directory in [&self.path, &self.output] {
            for name in &self.names {
                let path = directory.join(name);
                let removed = match fs::symlink_metadata(&path) {
                    Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                    Ok(_) => fs::remove_file(&path),
                    Err(_) => Ok(()),
                };
                removed.map_err(WorkloadError::io("remove the leftover", path))?;
            }
        }
        let parents = pieces.iter().filter_map(|piece| piece.path.parent());
        for parent in parents.collect::<BTreeSet<_>>() {
            let path = self.path.join(parent);
            fs::create_dir_all(&path).map_err(WorkloadError::io("create", path))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A failure leaves a directory that the next run removes.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn top_level_names(pieces: &[Piece]) -> Vec<OsString> {
    let first = |piece: &Piece| {
        piece
            .path
            .components()
            .next()
            .map(|part| part.as_os_str().to_owned())
    };
    let mut names: Vec<_> = pieces.iter().filter_map(first).collect();
    names.dedup();
    names.push(OsString::from(manifest::FILE_NAME));
    names
}

/// Fails when the directory holds anything but the staging directory and, where a run was killed
/// (`leftovers`), what that run had already moved.
fn refuse_foreign(
    dataset: &Dataset,
    output: &Path,
    leftovers: Option<&Vec<OsString>>,
) -> Result<(), WorkloadError> {
    let entries = fs::read_dir(output).map_err(WorkloadError::io("list", output))?;
    for entry in entries {
        let name = entry
            .map_err(WorkloadError::io("list", output))?
            .file_name();
        let is_ours = name == STAGING_NAME || leftovers.is_some_and(|names| names.contains(&name));
        if !is_ours {
            let found = match manifest::Manifest::read(output) {
                Some(other) => format!(
                    "another data set, {:?} in revision {}",
                    other.dataset, other.revision
                ),
                None => format!("{name:?}"),
            };
            let path = output.to_path_buf();
            return Err(WorkloadError::NotEmpty {
                dataset: dataset.name(),
                path,
                found,
            });
        }
    }
    Ok(())
}
