//! Outputs of magics and of Rust in the form the Jupyter framework sends.

use bireme_jupyter::wire::{CellError, JsonMap, MimeBundle};
use bireme_magics::display::error;
use bireme_protocol::Fault;
use bireme_px::host_protocol as rust;

/// What a magic shows.
pub(crate) fn from_magic(bundle: &bireme_magics::MimeBundle) -> MimeBundle {
    MimeBundle::from(bundle.to_json())
}

/// What Rust shows, with its metadata.
pub(crate) fn from_rust(bundle: rust::Bundle) -> (MimeBundle, JsonMap) {
    (MimeBundle::from(bundle.data), bundle.metadata)
}

/// A fault whose position is a position in `cell`.
pub(crate) fn fault_error(fault: &Fault, cell: &str) -> CellError {
    let drawn = error::render(fault, cell);
    CellError {
        ename: drawn.ename,
        evalue: drawn.evalue,
        traceback: drawn.traceback,
    }
}

/// The failure of Rust code.
pub(crate) fn rust_error(error: rust::CellError) -> CellError {
    CellError {
        ename: error.ename,
        evalue: error.evalue,
        traceback: error.traceback,
    }
}
