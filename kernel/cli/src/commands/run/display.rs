//! What a person sees of a headless run: on a terminal a line that lives with the cell, elsewhere
//! one plain line per cell.

use crate::terminal::{self, StatusLine};
use bireme_jupyter::FrontendMessage;
use bireme_jupyter::wire::CellError;
use bireme_magics::display::units::{clip, duration, one_line};
use std::time::{Duration, Instant};

/// Widest beginning of a cell that is shown.
const SOURCE_WIDTH: usize = 60;

/// The display of one run.
pub(crate) struct RunDisplay {
    line: StatusLine,
    total: usize,
    cell: Option<ShownCell>,
}

struct ShownCell {
    place: usize,
    source: String,
    started_at: Instant,
    /// The display that changes, and its latest line.
    live: Option<(String, String)>,
}

impl RunDisplay {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            line: StatusLine::new(),
            total,
            cell: None,
        }
    }

    /// Says something that is no cell's.
    pub(crate) fn note(&self, line: &str) {
        self.line.suspend(|| terminal::note(line));
    }

    /// A cell starts; `place` counts from 1.
    pub(crate) fn begin(&mut self, place: usize, source: &str) {
        let first = source
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let rest = source
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count()
            > 1;
        let shown = clip(&one_line(first), SOURCE_WIDTH);
        let source = if rest { format!("{shown} …") } else { shown };
        self.cell = Some(ShownCell {
            place,
            source,
            started_at: Instant::now(),
            live: None,
        });
        self.refresh();
    }

    /// Takes up what a cell says of its progress.
    pub(crate) fn message(&mut self, message: &FrontendMessage) {
        let (FrontendMessage::DisplayData(display) | FrontendMessage::UpdateDisplayData(display)) =
            message
        else {
            return;
        };
        let (Some(cell), Some(id)) = (&mut self.cell, &display.transient.display_id) else {
            return;
        };
        let line = display.data.plain_text().unwrap_or_default();
        if !line.contains('\n') {
            cell.live = Some((id.clone(), line.to_owned()));
        }
    }

    /// Lets the time go on.
    pub(crate) fn refresh(&mut self) {
        let (Some(cell), total) = (&self.cell, self.total) else {
            return;
        };
        self.line.show(|| cell.line(total));
    }

    /// A cell has ended.
    pub(crate) fn end(&mut self, error: Option<&CellError>) {
        let Some(cell) = self.cell.take() else { return };
        let took = duration(cell.started_at.elapsed());
        let word = match (error, terminal::has_colours()) {
            (None, true) => "\u{1b}[32mok\u{1b}[0m",
            (None, false) => "ok",
            (Some(_), true) => "\u{1b}[31mfailed\u{1b}[0m",
            (Some(_), false) => "failed",
        };
        self.note(&format!(
            "[{}/{}] {word} {took}  {}",
            cell.place, self.total, cell.source
        ));
    }

    /// Shows a cell that failed, with what it said.
    pub(crate) fn failure(&self, source: &str, error: &CellError) {
        let mut text = String::new();
        for line in source.lines() {
            text.push_str(&format!("    {line}\n"));
        }
        let said = error.traceback.join("\n");
        let said = match said.is_empty() {
            true => format!("{}: {}", error.ename, error.evalue),
            false => said,
        };
        match terminal::has_colours() {
            true => text.push_str(&said),
            false => text.push_str(&without_colours(&said)),
        }
        self.note(text.trim_end());
    }
}

impl ShownCell {
    fn line(&self, total: usize) -> String {
        let elapsed = seconds(self.started_at.elapsed());
        let live = self.live.as_ref().map_or("", |(_, line)| line);
        let what = match live {
            "" => self.source.as_str(),
            live => live,
        };
        format!("[{}/{total}] {elapsed} {what}", self.place)
    }
}

/// A time that does not jump about while it goes on.
fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

/// Removes ANSI colour sequences.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(after.len(), |end| end + 1);
        rest = &after[end..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::without_colours;

    #[test]
    fn colours_are_removed_and_text_is_not() {
        assert_eq!(without_colours("\u{1b}[1;31mno\u{1b}[0m [x]"), "no [x]");
    }
}
