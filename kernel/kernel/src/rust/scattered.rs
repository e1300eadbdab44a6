//! Rows of a Rust variable on their way to the engines: a cell of our own writes them to memory that
//! this process holds open, divided as the engines will hold them; sealed, the engines read it where it
//! is, or keep it as their own. This process looks at what lies where, and at no row.

use super::shared_files::{self, SharedFiles};
use super::value;
use super::{RustCode, RustLink, places};
use bireme::transfer::Layout;
use bireme_jupyter::ExecuteContext;
use bireme_magics::host::RowsFile;
use bireme_protocol::proto::SharedRows;
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::Settings;
use bireme_shared_memory::seal;
use prost::Message;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Files that hold the rows, about: an engine gives memory back file by file.
const FILES: usize = 64;
/// Files of each part, at most: each holds columns of its own.
const FILES_OF_PART_MAX: usize = 8;
/// More parts than this share engines.
const PARTS_MAX: usize = 256;

/// Puts the rows of a variable where engines can read them, divided into so many parts.
///
/// # Errors
/// The variable is none that can become a frame, or there is no room for its rows.
pub(crate) async fn write(
    link: &Arc<RustLink>,
    context: &ExecuteContext,
    settings: &Settings,
    variable: &str,
    parts: usize,
) -> Result<RowsFile, Fault> {
    let parts = parts.clamp(1, PARTS_MAX);
    let of_part = (FILES / parts).clamp(1, FILES_OF_PART_MAX);
    let files = SharedFiles::new(1 + parts * of_part)?;
    let code = RustCode {
        code: format!(
            "match ::bireme::scatter::write(&{variable}, {}, {}, {parts}) \
             {{ Ok(()) => (), Err(error) => panic!(\"{{error}}\") }};",
            std::process::id(),
            files.descriptors(),
        ),
        label: format!("%scatter {variable}"),
        context,
        settings,
        is_quiet: false,
        queries: None,
    };
    let written = link.evaluate(&code).await;
    written.map_err(|error| value::unbound(variable, &error))?;
    let described = describe(&files, parts).map_err(|mut fault| {
        fault.message = format!("scatter the Rust variable {variable}: {}", fault.message);
        fault
    })?;
    let path = shared_files::path(&described);
    Ok(RowsFile::new(path, Box::new((files, described))))
}

/// Seals what a cell has written and describes it to engines, in memory too.
fn describe(files: &SharedFiles, parts: usize) -> Result<File, Fault> {
    let failed =
        |error: &dyn std::error::Error| Fault::new(ErrorCode::ExecutionError, error.to_string());
    files.seal()?;
    let heads = files.files().first();
    let heads = heads.ok_or_else(|| Fault::internal("there is nothing to describe"))?;
    let length = heads.metadata().map_err(|error| failed(&error))?.len();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    heads
        .read_exact_at(&mut bytes, 0)
        .map_err(|error| failed(&error))?;
    let layout = Layout::read(&bytes).map_err(|error| failed(&error))?;
    let rows = SharedRows {
        schema_json: serde_json::to_string(layout.schema.as_ref())
            .map_err(|error| failed(&error))?,
        files: files.paths(),
        batches: layout.batches.iter().map(places::for_engines).collect(),
        parts: u32::try_from(parts).unwrap_or(u32::MAX),
    };
    let mut described = shared_files::memory()?;
    described
        .write_all(&rows.encode_to_vec())
        .map_err(|error| failed(&error))?;
    seal(&described).map_err(|error| failed(&error))?;
    Ok(described)
}
