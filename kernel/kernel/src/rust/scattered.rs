//! Rows of a Rust variable on their way to the engines: a cell of our own writes them to memory that
//! only this process and the cell's know, and from there, where they are not copied once more, they
//! go to a file that engines read.

use super::value;
use super::{RustCode, RustLink};
use arrow::buffer::Buffer;
use arrow::ipc::writer::FileWriter;
use bireme::Table;
use bireme_jupyter::ExecuteContext;
use bireme_magics::host::RowsFile;
use bireme_protocol::{ErrorCode, Fault, QueryId};
use bireme_settings::Settings;
use bireme_shared_memory::Mapping;
use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Writes the rows of a variable to a file in this directory.
///
/// # Errors
/// The variable is none that can become a frame, or there is no room for its rows.
pub(crate) async fn write(
    link: &Arc<RustLink>,
    context: &ExecuteContext,
    settings: &Settings,
    variable: &str,
    directory: &Path,
) -> Result<RowsFile, Fault> {
    let failed = |reason: String| {
        let message = format!("scatter the Rust variable {variable}: {reason}");
        Fault::new(ErrorCode::ExecutionError, message)
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("bireme rows", flags);
    let memory = File::from(memory.map_err(|error| failed(error.to_string()))?);
    let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    let code = RustCode {
        code: format!(
            "match ::bireme::scatter::write(&{variable}, {path:?}) \
             {{ Ok(()) => (), Err(error) => panic!(\"{{error}}\") }};"
        ),
        label: format!("%scatter {variable}"),
        context,
        settings,
        is_quiet: false,
        queries: None,
    };
    let written = link.evaluate(&code).await;
    written.map_err(|error| value::unbound(variable, &error))?;
    let directory = directory.to_path_buf();
    let variable = variable.to_string();
    let kept = tokio::task::spawn_blocking(move || {
        let table = table_in(memory)?;
        Kept::write(&directory, &variable, &table)
    });
    let kept = kept.await.map_err(|error| failed(error.to_string()))?;
    let kept = kept.map_err(failed)?;
    let path = kept.path.to_string_lossy().into_owned();
    Ok(RowsFile::new(path, Box::new(kept)))
}

/// The table in memory that a cell has written, read in place.
fn table_in(memory: File) -> Result<Table, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let bytes = memory.metadata().map_err(|error| told(&error))?.len();
    // What is mapped may not become shorter under its readers.
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW)
        .map_err(|error| told(&error))?;
    let mapping = Mapping::new(&OwnedFd::from(memory)).map_err(|error| told(&error))?;
    let block = mapping.block(0, bytes, Arc::new(|_| {}));
    let block = block.map_err(|error| told(&error))?;
    let table = bireme::transfer::table_in(Buffer::from(Bytes::from_owner(block)));
    table.map_err(|error| told(&error))
}

/// A file that goes with this.
struct Kept {
    path: PathBuf,
}

impl Kept {
    fn write(directory: &Path, variable: &str, table: &Table) -> Result<Self, String> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory);
        made.map_err(|error| format!("make {}: {error}", directory.display()))?;
        let path = directory.join(format!("{variable}-{}.arrow", QueryId::random()));
        let kept = Self { path };
        let wrong = |error: &dyn std::fmt::Display| {
            format!(
                "write {} bytes to {}: {error}",
                table.num_bytes(),
                kept.path.display()
            )
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&kept.path)
            .map_err(|error| wrong(&error))?;
        let writer = FileWriter::try_new_buffered(file, table.schema());
        let mut writer = writer.map_err(|error| wrong(&error))?;
        for batch in table.batches() {
            writer.write(batch).map_err(|error| wrong(&error))?;
        }
        writer.finish().map_err(|error| wrong(&error))?;
        Ok(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It may never have been made.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "remove rows that were scattered");
        }
    }
}
