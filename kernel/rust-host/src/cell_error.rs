//! How a failed cell is told: one error, at the user's own line.
//!
//! Compiler errors are written the way rustc writes them, from the spans evcxr maps back to the cell; panics and failed
//! `?` name the cell and line they come from. Nothing here decides whether a cell failed.

use crate::compiled_sources::is_cell;
use crate::rewrite::RewrittenCell;
use crate::source_map::{Place, Position};
use bireme_px::host_protocol::CellError;
use bireme_px::relay::PanicReport;
use bireme_px::side_channel::memory_limit;
use evcxr::{CompilationError, Error};
use std::collections::BTreeMap;

/// Compiler errors shown of one cell.
const SHOWN_ERRORS: usize = 8;

/// What helps when cargo does not find a crate on this machine.
pub const OFFLINE_HELP: &str =
    "help: cargo works offline here; `:offline 0` in a cell before lets it use the network";

/// How evcxr says that it cannot tell the type of a variable.
const TYPE_UNKNOWN: &str = "automatically determine type of variable";

/// An error without a place.
pub fn plain(ename: &str, evalue: impl Into<String>, details: Vec<String>) -> CellError {
    let evalue = evalue.into();
    let first = format!("{ename}: {evalue}");
    CellError {
        ename: ename.to_string(),
        evalue,
        traceback: std::iter::once(first).chain(details).collect(),
    }
}

/// The error of a cell that does not compile.
pub fn compile(label: &str, cell: &RewrittenCell, errors: &[CompilationError]) -> CellError {
    let is_error = |error: &&CompilationError| error.level() == "error";
    let mut shown: Vec<&CompilationError> = errors.iter().filter(is_error).collect();
    if shown.is_empty() {
        shown = errors.iter().collect();
    }
    let mut traceback = Vec::new();
    for error in shown.iter().take(SHOWN_ERRORS) {
        let marks = marks(error, cell);
        if !traceback.is_empty() {
            traceback.push(String::new());
        }
        traceback.extend(headline(error).lines().map(str::to_string));
        traceback.extend(snippet(label, &cell.user_code, &marks));
        traceback.extend(helps(error));
        if marks.is_empty() {
            let rendered = error.rendered();
            traceback.extend(rendered.lines().skip(1).map(str::to_string));
        }
    }
    let more = shown.len().saturating_sub(1);
    let mut evalue = shown.first().map_or_else(
        || "the compiler gave no reason".to_string(),
        |error| first_line(&headline(error)).to_string(),
    );
    match more {
        0 => {}
        1 => evalue.push_str(" (and one more error)"),
        _ => evalue.push_str(&format!(" (and {more} more errors)")),
    }
    if shown.len() > SHOWN_ERRORS {
        let hidden = shown.len() - SHOWN_ERRORS;
        traceback.push(format!("... and {hidden} more errors"));
    }
    CellError {
        ename: "CompileError".to_string(),
        evalue,
        traceback,
    }
}

/// The same error, of a cell that does not compile because an earlier one moved a variable away.
pub fn with_moved(mut error: CellError, moved: &BTreeMap<String, String>) -> CellError {
    let text = error.traceback.join("\n");
    for (name, cell) in moved {
        if text.contains(&format!("cannot find value `{name}`")) {
            let help = "give a reference or a clone where it is wanted again";
            let line = format!("help: `{name}` was moved by {cell}; {help}");
            error.traceback.push(line);
        }
    }
    error
}

/// The error of a cell that panicked.
pub fn panic(report: Option<&PanicReport>, place: Option<Place>) -> CellError {
    let message = report.map_or("the cell panicked", |report| report.message.as_str());
    let mut error = plain("Panic", first_line(message), Vec::new());
    error.traceback = lines("Panic", message);
    let raised = report.filter(|report| !report.file.is_empty());
    let at = raised.map(|report| {
        let file = file_of_library(&report.file);
        format!("{file}:{}:{}", report.line, report.column)
    });
    match (place, at) {
        (None, Some(at)) => error.traceback.push(format!(" --> {at}")),
        (Some(place), at) => {
            error.traceback.extend(pointer(&place));
            let at = at.filter(|_| raised.is_some_and(|report| !is_cell(&report.file)));
            let note = at.map(|at| format!("note: the panic itself is at {at}"));
            error.traceback.extend(note);
        }
        (None, None) => {}
    }
    error
}

/// A source file of the standard library or of a crate, without where this machine has them.
fn file_of_library(file: &str) -> &str {
    let below = |marker| file.split_once(marker).map(|(_, rest)| rest);
    let behind_one = |rest: &'_ str| rest.find('/').map(|at| at + 1);
    let rest = below("/rustlib/src/rust/");
    let rest = rest.or_else(|| {
        let rest = below("/registry/src/").or_else(|| file.strip_prefix("/rustc/"))?;
        rest.get(behind_one(rest)?..)
    });
    rest.unwrap_or(file)
}

/// The error of a cell that ended at a failed `?`.
pub fn question_mark(message: Option<&str>) -> CellError {
    let message = message.unwrap_or("a `?` returned an error");
    let mut error = plain("Error", first_line(message), Vec::new());
    error.traceback = lines("Error", message);
    error
}

/// The same error, of a cell that took its process with it: names the variables that are gone.
pub fn with_lost(mut error: CellError, variables: &[String]) -> CellError {
    const ITEMS: &str = "items such as functions and types are still there";
    error.traceback.push(match variables {
        [] => format!("no variables were lost; {ITEMS}"),
        names => format!("variables lost: {}; {ITEMS}", names.join(", ")),
    });
    error
}

/// evcxr itself failed.
pub fn broken() -> CellError {
    let text = "the compiler front end failed; the Rust host restarts";
    plain("HostError", text, Vec::new())
}

/// What evcxr says without a place in the cell. `without_sources` is why types cannot be told, if they cannot.
pub fn compiler_message(text: &str, without_sources: Option<&str>) -> CellError {
    let mut lines = text.lines().map(str::to_string);
    let mut first = lines.next().unwrap_or_default();
    let mut details: Vec<String> = lines.collect();
    if text.contains("--offline") || text.contains("no matching package") {
        details.push(OFFLINE_HELP.to_string());
    }
    if text.contains(TYPE_UNKNOWN)
        && let Some(reason) = without_sources
    {
        details.push(format!("help: {reason}"));
    }
    if first.contains("no parsable errors") {
        let text = "the compiler ended without a reason; it may have been killed for memory";
        details.insert(0, std::mem::replace(&mut first, text.to_string()));
    }
    plain("CompileError", first, details)
}

/// Everything a failed evaluation of our own code says, for the log.
pub fn describe(error: &Error) -> String {
    match error {
        Error::CompilationErrors(errors) => {
            let text = |error: &CompilationError| match error.rendered() {
                // Cargo's own errors are not rendered.
                rendered if rendered.trim().is_empty() => error.message(),
                rendered => rendered,
            };
            let texts: Vec<String> = errors.iter().map(text).collect();
            texts.join("\n")
        }
        other => other.to_string(),
    }
}

/// Why the cell host ended, from evcxr's words for its exit status.
pub fn host_ended(reason: &str) -> CellError {
    let (_, status) = reason
        .split_once("terminated with status: ")
        .unwrap_or(("", reason));
    ended(status)
}

/// How a cell ended its process, from the words of `std::process::ExitStatus`.
pub fn ended(status: &str) -> CellError {
    let status = status.trim().trim_end_matches(" (core dumped)");
    match status.strip_prefix("exit status: ") {
        Some(code) => {
            let text = format!("the cell ended its process with exit status {code}");
            plain("Exited", text, Vec::new())
        }
        None => {
            let text = format!("the cell's process was killed by {status}");
            let mut error = plain("Crashed", text, Vec::new());
            error.traceback.extend(memory_help(status));
            error
        }
    }
}

/// What to do when memory was the reason, which these signals may mean.
fn memory_help(status: &str) -> Option<String> {
    if !status.contains("SIGABRT") && !status.contains("SIGKILL") {
        return None;
    }
    let gibibytes = memory_limit()? as f64 / (1_u64 << 30) as f64;
    Some(format!(
        "help: if it ran out of memory: the cell and all variables may hold {gibibytes:.1} GiB (rust.memory_limit)"
    ))
}

/// The same error, of a cell whose process died and whose snapshot went on: what that cost.
pub fn with_snapshot(mut error: CellError, lost: &[String], unsaved: Option<&str>) -> CellError {
    const KEPT: &str = "the variables of earlier cells are as they were";
    let reason = unsaved.map_or(String::new(), |reason| {
        format!(" (their cells could not be saved: {reason})")
    });
    error.traceback.push(match lost {
        [] => KEPT.to_string(),
        names => format!("variables lost: {}{reason}", names.join(", ")),
    });
    error
}

fn lines(ename: &str, message: &str) -> Vec<String> {
    let text = format!("{ename}: {message}");
    text.lines().map(str::to_string).collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

/// A labelled span of a compiler error, in the user's own cell.
struct Mark {
    start: Position,
    /// Exclusive; on the same line, or the end of the first line.
    end_column: Option<usize>,
    label: String,
    is_primary: bool,
}

fn headline(error: &CompilationError) -> String {
    let code = error.code().map(|code| format!("[{code}]"));
    let message = error.message();
    // Cargo's own errors bring the word with them.
    let message = message.trim_start_matches("error: ");
    format!("error{}: {message}", code.unwrap_or_default())
}

/// The spans of an error, the primary one first.
fn marks(error: &CompilationError, cell: &RewrittenCell) -> Vec<Mark> {
    let headline = format!("{}: {}", error.level(), error.message());
    let mut marks: Vec<Mark> = error
        .spanned_messages()
        .iter()
        .filter_map(|message| {
            let span = message.span?;
            let original = |line, column| cell.original(Position { line, column });
            let is_single = span.start_line == span.end_line;
            let end = original(span.end_line, span.end_column).column;
            let is_label = message.label != headline;
            Some(Mark {
                start: original(span.start_line, span.start_column),
                end_column: is_single.then_some(end),
                label: if is_label {
                    message.label.clone()
                } else {
                    String::new()
                },
                is_primary: message.is_primary,
            })
        })
        .collect();
    marks.sort_by_key(|mark| !mark.is_primary);
    marks
}

/// The marked lines with their marks, as rustc draws them, in the order of lines.
fn snippet(label: &str, code: &str, marks: &[Mark]) -> Vec<String> {
    let Some(first) = marks.first() else {
        return Vec::new();
    };
    let lines: Vec<&str> = code.lines().collect();
    let mut order: Vec<&Mark> = marks.iter().collect();
    order.sort_by_key(|mark| (mark.start.line, !mark.is_primary));
    let width = order
        .iter()
        .map(|mark| mark.start.line.to_string().len())
        .max()
        .unwrap_or(1);
    let pad = " ".repeat(width);
    let Position { line, column } = first.start;
    let mut drawn = vec![
        format!("{pad}--> {label}:{line}:{column}"),
        format!("{pad} |"),
    ];
    let mut last_line = 0;
    for mark in order {
        let line = mark.start.line;
        let text = lines.get(line.saturating_sub(1)).copied().unwrap_or("");
        if line != last_line {
            if last_line != 0 && line > last_line + 1 {
                drawn.push("...".to_string());
            }
            drawn.push(format!("{line:width$} | {text}"));
            last_line = line;
        }
        drawn.push(format!("{pad} | {}", underline(text, mark).trim_end()));
    }
    drawn
}

fn underline(text: &str, mark: &Mark) -> String {
    let start = mark.start.column.saturating_sub(1);
    let end = mark
        .end_column
        .map_or_else(|| text.chars().count(), |column| column.saturating_sub(1));
    // Tabs stay tabs, so that the mark stands below what it marks.
    let blank: String = text
        .chars()
        .take(start)
        .map(|letter| if letter == '\t' { '\t' } else { ' ' })
        .collect();
    let sign = if mark.is_primary { "^" } else { "-" };
    let signs = sign.repeat(end.saturating_sub(start).max(1));
    format!("{blank}{signs} {}", mark.label)
}

/// Helps of the compiler, such as a name that is spelled almost alike.
fn helps(error: &CompilationError) -> Vec<String> {
    let mut helps: Vec<String> = error
        .help()
        .iter()
        .map(|help| {
            let mut parts = help.splitn(2, "\n\n");
            let text = parts.next().unwrap_or("");
            match parts.next() {
                Some(code) if !code.trim().is_empty() => format!("help: {text}: `{}`", code.trim()),
                _ => format!("help: {text}"),
            }
        })
        .collect();
    if error.message().contains("--offline") {
        helps.push(OFFLINE_HELP.to_string());
    }
    helps.extend(error.evcxr_extra_hint().map(|hint| format!("note: {hint}")));
    helps
}

fn pointer(place: &Place) -> Vec<String> {
    let Position { line, column } = place.position;
    let pad = " ".repeat(line.to_string().len());
    let blank: String = place
        .text
        .chars()
        .take(column.saturating_sub(1))
        .map(|letter| if letter == '\t' { '\t' } else { ' ' })
        .collect();
    vec![
        format!("{pad}--> {}:{line}:{column}", place.label),
        format!("{pad} |"),
        format!("{line} | {}", place.text),
        format!("{pad} | {blank}^"),
    ]
}

#[cfg(test)]
mod tests {
    use super::{compiler_message, file_of_library};

    #[test]
    fn a_type_that_cannot_be_told_without_sources_says_so() {
        let text = "Couldn't automatically determine type of variable `v`.\nPlease give it an explicit type.";
        let told = compiler_message(text, Some("there are none in /lib"));
        assert!(
            told.traceback
                .contains(&"help: there are none in /lib".to_string()),
            "{told:?}"
        );
        for other in [
            compiler_message(text, None),
            compiler_message("no", Some("none")),
        ] {
            assert!(
                !other.traceback.iter().any(|line| line.contains("help")),
                "{other:?}"
            );
        }
    }

    #[test]
    fn files_of_libraries_are_named_from_the_crate_on() {
        let files = [
            (
                "/a/lib/rustlib/src/rust/library/core/src/time.rs",
                "library/core/src/time.rs",
            ),
            (
                "/rustc/59807616e1fa/library/alloc/src/lib.rs",
                "library/alloc/src/lib.rs",
            ),
            (
                "/a/registry/src/an-index-12/rand-0.9.1/src/rng.rs",
                "rand-0.9.1/src/rng.rs",
            ),
            ("/my/own/crate/src/lib.rs", "/my/own/crate/src/lib.rs"),
        ];
        for (file, named) in files {
            assert_eq!(file_of_library(file), named);
        }
    }
}
