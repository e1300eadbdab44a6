//! What the latest cells were compiled from, by the library that was made, and where in it a panic comes from.
//!
//! Values made by an earlier cell run code of that cell's library: a boxed closure, say. A library function without
//! `#[track_caller]` panics at a place of its own; which line of a cell called it is in that cell's library.

use crate::rewrite::RewrittenCell;
use crate::source_map::{Place, SourceMap};
use addr2line::Loader;
use bireme_px::relay::{Call, PanicReport};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// What the sources that are kept may hold together; panics of earlier cells than these have no line.
const BYTES_MAX: usize = 16 << 20;
/// How the compiler is given the source of every cell.
const SOURCE: &str = "src/lib.rs";

/// The cells, and the sources of their libraries, the newest first.
#[derive(Debug, Default)]
pub(crate) struct CompiledSources {
    cells: SourceMap,
    sources: VecDeque<(PathBuf, String)>,
}

impl CompiledSources {
    /// Remembers a cell that is about to be evaluated.
    pub(crate) fn push_cell(&mut self, label: &str, cell: &RewrittenCell) {
        self.cells.push(label, cell);
    }

    /// Remembers what a library was compiled from.
    pub(crate) fn push(&mut self, library: &Path, source: String) {
        self.sources.push_front((library.to_path_buf(), source));
        let mut bytes = 0;
        let fits = self.sources.iter().take_while(|(_, source)| {
            bytes += source.len();
            bytes <= BYTES_MAX
        });
        let kept = fits.count().max(1);
        self.sources.truncate(kept);
    }

    /// The user's own line of a panic: its place, or that of the latest call which led there.
    pub(crate) fn place(&self, panic: &PanicReport) -> Option<Place> {
        let own =
            is_cell(&panic.file).then(|| self.locate(&panic.library, panic.line, panic.column));
        own.flatten().or_else(|| {
            let mut calls = panic.calls.iter();
            calls.find_map(|call| self.calling(call))
        })
    }

    /// Where in a cell a call was made.
    fn calling(&self, call: &Call) -> Option<Place> {
        let lines = Loader::new(&call.library).ok()?;
        // What was inlined comes before what it was inlined into.
        let mut frames = lines.find_frames(call.offset).ok()?;
        while let Ok(Some(frame)) = frames.next() {
            let at = frame.location.and_then(|at| {
                let line = usize::try_from(at.line?).ok()?;
                let column = usize::try_from(at.column?.max(1)).ok()?;
                is_made_from(&call.library, at.file?).then_some((line, column))
            });
            let place = at.and_then(|(line, column)| self.locate(&call.library, line, column));
            if place.is_some() {
                return place;
            }
        }
        None
    }

    fn locate(&self, library: &Path, line: usize, column: usize) -> Option<Place> {
        let mut sources = self.sources.iter();
        let (_, source) = sources.find(|(of, _)| of == library)?;
        self.cells.locate(source, line, column)
    }
}

/// Whether a panic's file is the source of a cell, which the compiler is given by this path: libraries have whole ones.
pub(crate) fn is_cell(file: &str) -> bool {
    file == SOURCE
}

/// Whether a library was made from a file: it lies below the same directory.
fn is_made_from(library: &Path, file: &str) -> bool {
    let directory = file.strip_suffix(SOURCE).map(Path::new);
    directory.is_some_and(|directory| library.starts_with(directory))
}
