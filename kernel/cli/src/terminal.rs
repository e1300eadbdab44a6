//! What is known of the terminal, and writing to standard output so that a reader who has had
//! enough ends the command quietly.

use crate::error::CliError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Columns of a terminal that does not say.
const WIDTH: usize = 100;
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// Whether a person watches standard error.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether standard error takes ANSI colours.
pub(crate) fn has_colours() -> bool {
    is_watched() && bireme_settings::environment("NO_COLOR").is_none()
}

/// Columns of standard output, if it is a terminal.
pub(crate) fn width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size();
    Some(size.map_or(WIDTH, |(columns, _)| usize::from(columns.0)))
}

/// Writes text to standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| CliError::io("write to standard output", source))
}

/// Writes a line to standard error. Nobody is left to tell when it is closed.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line on standard error that changes while something runs; hidden when nobody watches.
pub(crate) fn status_line() -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
