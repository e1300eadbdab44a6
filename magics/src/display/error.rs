//! A failure as Jupyter's `error` and as text: what failed, the line of the cell with carets below
//! it, the hint, the causes, and which engine and query it came from.

use bireme_protocol::{ErrorCode, Fault, Position};
use unicode_width::UnicodeWidthStr;

use super::units::{clip, one_line};

const RED: &str = "\u{1b}[1;31m";
const BLUE: &str = "\u{1b}[1;34m";
const GREEN: &str = "\u{1b}[1;32m";
const RESET: &str = "\u{1b}[0m";

/// Widest `evalue`.
const EVALUE_WIDTH: usize = 300;
/// Widest source line that is shown whole; of a longer one, the part around the carets.
const SOURCE_WIDTH: usize = 120;

/// A failure in the form of Jupyter's `error` message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedError {
    /// The stable code, e.g. `SqlPlanError`.
    pub ename: String,
    /// One line.
    pub evalue: String,
    /// Lines for the cell, with ANSI colours.
    pub traceback: Vec<String>,
}

/// Renders a fault whose position is a position in `cell`.
pub fn render(fault: &Fault, cell: &str) -> RenderedError {
    RenderedError {
        ename: fault.code.to_string(),
        evalue: clip(&one_line(&fault.message), EVALUE_WIDTH),
        traceback: lines(fault, cell, "cell", &Paint { is_on: true }),
    }
}

/// Renders a fault as text; `origin` names what its position is in, e.g. `cell` or a file.
pub fn plain(fault: &Fault, source: &str, origin: &str) -> String {
    lines(fault, source, origin, &Paint { is_on: false }).join("\n")
}

/// The same with ANSI colours, for a terminal that has them.
pub fn coloured(fault: &Fault, source: &str, origin: &str) -> String {
    lines(fault, source, origin, &Paint { is_on: true }).join("\n")
}

struct Paint {
    is_on: bool,
}

impl Paint {
    fn with(&self, colour: &str, text: &str) -> String {
        match self.is_on {
            true => format!("{colour}{text}{RESET}"),
            false => text.to_string(),
        }
    }
}

fn lines(fault: &Fault, source: &str, origin: &str, paint: &Paint) -> Vec<String> {
    let code = paint.with(RED, &fault.code.to_string());
    let mut message = fault.message.lines();
    let mut lines = vec![format!("{code}: {}", message.next().unwrap_or_default())];
    lines.extend(message.map(str::to_string));
    if let Some(position) = fault.position {
        lines.extend(excerpt(position, source, origin, paint));
    }
    for cause in &fault.causes {
        lines.push(format!(
            "  {} {}",
            paint.with(BLUE, "because:"),
            one_line(cause)
        ));
    }
    if let Some(hint) = &fault.hint {
        let mut hint = hint.lines();
        let first = hint.next().unwrap_or_default();
        lines.push(format!("  {} {first}", paint.with(GREEN, "help:")));
        lines.extend(hint.map(|line| format!("        {line}")));
    }
    lines.extend(place(fault));
    if fault.code == ErrorCode::Internal {
        lines.push("  this is a defect in Bireme: please report it with the cell".into());
    }
    lines
}

/// `--> cell:3:14`, the line, and carets below the place.
fn excerpt(position: Position, source: &str, origin: &str, paint: &Paint) -> Vec<String> {
    let Position {
        line,
        column,
        length,
    } = position;
    let mut lines = vec![format!(
        "  {} {origin}:{line}:{column}",
        paint.with(BLUE, "-->")
    )];
    let Some(text) = source.lines().nth((line as usize).saturating_sub(1)) else {
        return lines;
    };
    let text = text.replace('\t', " ");
    let window = Window::around(&text, column as usize, length as usize);
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let bar = paint.with(BLUE, "|");
    let carets = format!("{}{}", " ".repeat(window.indent), "^".repeat(window.carets));
    lines.push(format!("{gutter} {bar}"));
    lines.push(format!(
        "{} {bar} {}",
        paint.with(BLUE, &number),
        window.text
    ));
    lines.push(format!("{gutter} {bar} {}", paint.with(RED, &carets)));
    lines
}

/// The part of a line that is shown, and where the carets stand below it, in terminal columns.
struct Window {
    text: String,
    indent: usize,
    carets: usize,
}

impl Window {
    fn around(line: &str, column: usize, length: usize) -> Self {
        let characters: Vec<char> = line.chars().collect();
        let start = column.saturating_sub(1).min(characters.len());
        let end = (start + length.max(1)).min(characters.len().max(start + 1));
        let from = match characters.len() > SOURCE_WIDTH {
            true => start.saturating_sub(SOURCE_WIDTH / 2),
            false => 0,
        };
        let to = characters.len().min(from + SOURCE_WIDTH);
        let ellipsis = |cut: bool| if cut { "…" } else { "" };
        let piece = |range: std::ops::Range<usize>| -> String {
            characters
                .get(range)
                .map(|part| part.iter().collect())
                .unwrap_or_default()
        };
        let before = format!("{}{}", ellipsis(from > 0), piece(from..start.max(from)));
        let under = piece(start..end.min(to)).width().max(1);
        let after = ellipsis(to < characters.len());
        let text = format!("{}{}{after}", ellipsis(from > 0), piece(from..to));
        Self {
            text: text.trim_end().to_string(),
            indent: before.width(),
            carets: under,
        }
    }
}

/// Which engine and query.
fn place(fault: &Fault) -> Option<String> {
    let engine = fault.engine.map(|rank| format!("engine {rank}"));
    let query = fault.query.as_ref().map(|query| format!("query {query}"));
    let parts: Vec<String> = [engine, query].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("  on {}", parts.join(", ")))
}
