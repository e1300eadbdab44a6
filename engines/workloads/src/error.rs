//! Everything that can go wrong while sample data is made.

use std::path::PathBuf;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

/// Why a data set could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A parameter is outside of what the generator can make.
    #[error("generate {dataset}: {parameter} = {value} is outside of {allowed}")]
    Parameter {
        /// The data set's name.
        dataset: &'static str,
        /// The parameter's name.
        parameter: &'static str,
        /// What was asked for.
        value: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// The directory holds something else.
    #[error(
        "generate {dataset} in {}: the directory already holds {found}; choose an empty directory or remove this one",
        path.display()
    )]
    NotEmpty {
        /// The data set's name.
        dataset: &'static str,
        /// The output directory.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// Another process writes the same directory now.
    #[error(
        "generate {dataset} in {}: another process is writing there now; wait for it and try again",
        path.display()
    )]
    Busy {
        /// The data set's name.
        dataset: &'static str,
        /// The output directory.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Rows could not be put together.
    #[error("build rows for {}: {source}", path.display())]
    Rows {
        /// The file the rows were for.
        path: PathBuf,
        /// Why it failed.
        source: ArrowError,
    },
    /// A Parquet file could not be written.
    #[error("write {}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: ParquetError,
    },
    /// The manifest could not be encoded.
    #[error("encode the manifest for {}: {source}", path.display())]
    Manifest {
        /// The manifest's file.
        path: PathBuf,
        /// Why it failed.
        source: serde_json::Error,
    },
    /// A writing thread ended without a result.
    #[error(
        "generate {dataset}: a writing thread panicked after {files_done} of {files_total} files"
    )]
    WriterPanicked {
        /// The data set's name.
        dataset: &'static str,
        /// Files that were finished.
        files_done: usize,
        /// Files that were wanted.
        files_total: usize,
    },
}

impl WorkloadError {
    /// Returns a closure that adds the action and the path to an I/O error.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
