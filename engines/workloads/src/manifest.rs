//! The manifest: a small JSON file that says which data set a directory holds.
//!
//! It is written last, so its presence means that every file is there.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Dataset, WorkloadError};

/// The name starts with an underscore, so that readers of a directory of Parquet files skip it.
pub(crate) const FILE_NAME: &str = "_manifest.json";

/// What a finished directory holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) dataset: Dataset,
    pub(crate) revision: u32,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) files: Vec<FileEntry>,
}

/// One file of a finished directory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) path: PathBuf,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Manifest {
    /// Describes files that have been written.
    pub(crate) fn new(dataset: Dataset, files: Vec<FileEntry>) -> Self {
        Self {
            dataset,
            revision: dataset.revision(),
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            files,
        }
    }

    /// Reads the manifest of a directory; `None` where there is none that can be read.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        let text = fs::read(directory.join(FILE_NAME)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes the manifest into a directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), WorkloadError> {
        let path = directory.join(FILE_NAME);
        let text = serde_json::to_vec_pretty(self).map_err(|source| WorkloadError::Manifest {
            path: path.clone(),
            source,
        })?;
        fs::write(&path, text).map_err(WorkloadError::io("write", path))
    }

    /// Says whether the directory holds exactly this data set, with every file in its full length.
    pub(crate) fn matches(&self, dataset: &Dataset, directory: &Path) -> bool {
        let is_complete = |file: &FileEntry| {
            fs::metadata(directory.join(&file.path)).is_ok_and(|found| found.len() == file.bytes)
        };
        self.dataset == *dataset
            && self.revision == dataset.revision()
            && self.files.iter().all(is_complete)
    }
}
