//! What is known of the terminal, and writing to standard output so that a reader who has had
//! enough ends the command quietly.

use crate::error::CliError;
use bireme_magics::display::progress::{INTERVAL, Pace};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Columns of a terminal that does not say.
const WIDTH: usize = 100;
/// Most redraws of a line in a second.
const REDRAWS: u8 = 4;

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

/// A line on standard error that says one thing while something runs; hidden when nobody watches.
pub(crate) fn status_line() -> ProgressBar {
    let bar = line("{spinner:.cyan} {wide_msg}");
    if !bar.is_hidden() {
        bar.enable_steady_tick(INTERVAL);
    }
    bar
}

fn line(template: &str) -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// A line on standard error whose text changes, at most four times a second: it is drawn when it
/// changes and at no other time, for the drawing library lets bursts through. Hidden when nobody
/// watches.
pub(crate) struct StatusLine {
    bar: ProgressBar,
    pace: Pace,
}

impl StatusLine {
    pub(crate) fn new() -> Self {
        Self {
            bar: line("{wide_msg}"),
            pace: Pace::new(Instant::now(), Duration::ZERO),
        }
    }

    /// Shows a text, unless the one before is too fresh.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.pace.is_due(Instant::now()) {
            self.bar.set_message(text());
        }
    }

    /// Takes the line away while something is written to the terminal.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_changes_four_times_a_second_at_most() {
        let started = Instant::now();
        let mut line = StatusLine::new();
        let mut changes = 0_u128;
        while started.elapsed() < Duration::from_millis(600) {
            line.show(|| {
                changes += 1;
                changes.to_string()
            });
            std::thread::sleep(Duration::from_millis(1));
        }
        // At once, then after every interval.
        let most = started.elapsed().as_millis() / INTERVAL.as_millis() + 1;
        assert!((2..=most).contains(&changes), "{changes} of {most}");
    }
}
