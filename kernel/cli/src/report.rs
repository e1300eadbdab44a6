//! How errors look on a terminal: one root cause with its place in the user's text, what lies
//! beneath and what to do. The only place where the exit code of a failure is chosen.

use crate::error::CliError;
use crate::terminal;
use bireme_magics::display::error as rendering;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// What failed is said on standard error.
const FAILED: u8 = 1;
/// The arguments are wrong.
const USAGE: u8 = 2;
/// As a shell reports a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Prints what clap says: help and versions are no errors.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the terminal is gone.
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(USAGE),
        false => ExitCode::SUCCESS,
    }
}

/// Prints why a command failed and gives its exit code.
pub(crate) fn failure(error: &CliError) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let mut text = String::new();
    let code = match error {
        CliError::Fault { fault, excerpt } => {
            let (source, origin) = match excerpt {
                Some(excerpt) => (excerpt.text.as_str(), excerpt.origin.as_str()),
                None => ("", "statement"),
            };
            let drawn = match terminal::has_colours() {
                true => rendering::coloured(fault, source, origin),
                false => rendering::plain(fault, source, origin),
            };
            text.push_str(&drawn);
            FAILED
        }
        CliError::Interrupted => {
            text.push_str("interrupted");
            INTERRUPTED
        }
        CliError::Usage { .. } => {
            text.push_str(&chain(error));
            USAGE
        }
        _ => {
            text.push_str(&chain(error));
            FAILED
        }
    };
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    ExitCode::from(code)
}

/// The reader of our output, such as `head`, has had enough.
fn is_broken_pipe(error: &CliError) -> bool {
    matches!(error, CliError::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
}

fn chain(error: &CliError) -> String {
    let mut text = format!("error: {error}");
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.contains(&cause) {
            text.push_str(&format!("\n  because: {cause}"));
        }
        next = source.source();
    }
    text
}
