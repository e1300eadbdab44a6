//! Where the rows of a COPY go: one file, or a directory that gets a file of every partition. Files
//! are written in a hidden directory beside their place, under names that no format reads, until all
//! of them are whole.

use bireme_protocol::QueryId;
use datafusion::datasource::physical_plan::FileSinkConfig;
use std::path::{Path, PathBuf};
use url::Url;

/// What is not whole ends with this.
const PARTIAL: &str = ".partial";

/// The place of the files of one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTarget {
    query: QueryId,
    path: PathBuf,
    is_directory: bool,
    extension: String,
}

impl SinkTarget {
    /// The place a sink writes to; `None` if it is on no file system of this machine.
    pub(crate) fn of(config: &FileSinkConfig, query: QueryId) -> Option<Self> {
        let url = config.original_url.as_str();
        let path = match url.contains("://") {
            true => Url::parse(url).ok()?.to_file_path().ok()?,
            false => std::path::absolute(url).ok()?,
        };
        let is_one_file = config.table_partition_cols.is_empty()
            && config
                .file_output_mode
                .single_file_output(config.table_paths.first()?);
        Some(Self::new(query, path, !is_one_file, config))
    }

    /// A place as it came to an engine.
    pub(crate) fn new(
        query: QueryId,
        path: PathBuf,
        is_directory: bool,
        config: &FileSinkConfig,
    ) -> Self {
        Self {
            query,
            path,
            is_directory,
            extension: config.file_extension.clone(),
        }
    }

    /// The query that writes.
    pub(crate) fn query(&self) -> QueryId {
        self.query
    }

    /// The file or the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it gets several files.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// The directory the files will be in.
    pub(crate) fn folder(&self) -> &Path {
        match self.is_directory {
            true => &self.path,
            false => self.path.parent().unwrap_or(&self.path),
        }
    }

    /// Where files are until all are whole. On the file system of their place, so that they are
    /// moved and not copied.
    pub(crate) fn staging(&self) -> PathBuf {
        self.folder().join(format!(".bireme-{}", self.query))
    }

    /// The name of a file that is not whole: by partition, then by what comes first. The query in it
    /// keeps files of several queries in one directory apart.
    pub(crate) fn partial_name(&self, part: usize, sequence: usize) -> String {
        let sequence = match sequence {
            0 => String::new(),
            more => format!("-{more}"),
        };
        let (query, extension) = (self.query, &self.extension);
        format!("part-{part:04}{sequence}-{query}.{extension}{PARTIAL}")
    }

    /// Whether a file is one of the first partition.
    pub(crate) fn is_of_first(name: &str) -> bool {
        name.starts_with("part-0000-")
    }
}

/// The name of a file once it is whole.
pub(crate) fn whole_name(partial: &str) -> Option<&str> {
    partial.strip_suffix(PARTIAL)
}
