//! A compiled cell: loaded, called, never unloaded.
//!
//! evcxr compiles every cell to a shared library of its own with one entry point that takes and gives back the
//! pointer to its variable store. It has two more functions from the prelude every cell is compiled with, in itself or in the
//! library of the `bireme` crate: one prepares the shared standard library for the cell, one flushes what the cell printed.

use crate::PxError;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::os::fd::RawFd;
use std::os::raw::c_void;
use std::path::Path;
use std::sync::atomic::AtomicPtr;

/// evcxr's variable store: made, used and known by compiled cells only.
pub(crate) type VariableStore = *mut c_void;
type Entry = unsafe extern "C" fn(VariableStore) -> VariableStore;
type Begin = unsafe extern "C" fn(RawFd, *const AtomicPtr<()>);
type End = unsafe extern "C" fn();

/// One pointer for all cells of this process: without the crate's library they share no statics. The prelude of cells says
/// what it points to.
static SLOT: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Of the cell prelude: where panics are reported to, and the slot.
const BEGIN: &[u8] = b"bireme_cell_begin\0";
/// Of the cell prelude: flush what was printed.
const END: &[u8] = b"bireme_cell_end\0";

/// A loaded cell.
pub(crate) struct CellLibrary {
    entry: Symbol<Entry>,
    begin: Option<Symbol<Begin>>,
    end: Option<Symbol<End>>,
}

impl CellLibrary {
    /// Loads the library of a cell and finds its functions.
    pub(crate) fn load(path: &Path, function: &str) -> Result<CellLibrary, PxError> {
        let failed = |error: libloading::Error| PxError::Load {
            library: path.to_path_buf(),
            reason: error.to_string(),
        };
        // SAFETY: the library was just compiled by evcxr from the user's cell; running that code,
        // its initialisers included, is what this process is for.
        let library =
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(failed)?;
        // SAFETY: evcxr gives every entry point this signature.
        let entry = unsafe { library.get::<Entry>(function.as_bytes()) }.map_err(failed)?;
        // SAFETY: the cell prelude declares the function with this signature.
        let begin = unsafe { library.get::<Begin>(BEGIN) }.ok();
        // SAFETY: the cell prelude declares the function with this signature.
        let end = unsafe { library.get::<End>(END) }.ok();
        // Values of the cell's types, its statics and thread-locals live on, so the code must.
        std::mem::forget(library);
        Ok(CellLibrary { entry, begin, end })
    }

    /// Runs the cell; `report` is where its panics are told.
    pub(crate) fn run(&self, variables: VariableStore, report: RawFd) -> VariableStore {
        if let Some(begin) = &self.begin {
            // SAFETY: the library is never unloaded, and the function only stores the number and the
            // slot, which is there for ever, and sets the panic hook.
            unsafe { begin(report, &raw const SLOT) };
        }
        // SAFETY: the library is never unloaded; the pointer is null or what an earlier cell of this
        // process gave back; the generated function catches panics.
        let variables = unsafe { (self.entry)(variables) };
        if let Some(end) = &self.end {
            // SAFETY: the library is never unloaded; the function only flushes standard output.
            unsafe { end() };
        }
        variables
    }
}
