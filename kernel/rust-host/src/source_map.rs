//! Finds where in a cell a line of the compiled source comes from.
//!
//! evcxr puts every statement of a cell, and every item of earlier cells, into one generated file, word for
//! word. A panic tells its place in that file; looking the statements up in it gives the cell, line
//! and column the user knows.

use crate::rewrite::RewrittenCell;
use std::collections::VecDeque;
use std::ops::Range;

/// Cells that are remembered; older ones lose their names in panics only.
const CELLS: usize = 500;

/// The cells that were evaluated, newest first.
#[derive(Debug, Default)]
pub struct SourceMap {
    cells: VecDeque<Cell>,
}

#[derive(Debug)]
struct Cell {
    label: String,
    cell: RewrittenCell,
}

/// A place in a cell's text; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A place in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the cell is called.
    pub label: String,
    /// Where in it.
    pub position: Position,
    /// The line's text.
    pub text: String,
}

impl SourceMap {
    /// Remembers a cell that is about to be evaluated.
    pub fn push(&mut self, label: &str, cell: &RewrittenCell) {
        self.cells.push_front(Cell {
            label: label.to_string(),
            cell: cell.clone(),
        });
        self.cells.truncate(CELLS);
    }

    /// Where in a cell a line and column of the generated source come from.
    pub fn locate(&self, source: &str, line: usize, column: usize) -> Option<Place> {
        let offset = byte_offset(source, line, column)?;
        self.cells
            .iter()
            .find_map(|cell| cell.locate(source, offset))
    }
}

impl Cell {
    fn locate(&self, source: &str, offset: usize) -> Option<Place> {
        let RewrittenCell {
            code, statements, ..
        } = &self.cell;
        for (at, range) in statements.iter().enumerate() {
            let text = code.get(range.clone())?;
            // The same statement twice in a cell is there twice in the source, in the same order.
            let is_same = |other: &&Range<usize>| code.get((*other).clone()) == Some(text);
            let nth = statements[..at].iter().filter(is_same).count();
            let found = source.match_indices(text).nth(nth);
            if let Some((start, _)) = found
                && (start..start + text.len()).contains(&offset)
            {
                let compiled = range.start + offset - start;
                return Some(self.place(self.cell.original_offset(compiled)));
            }
        }
        None
    }

    fn place(&self, offset: usize) -> Place {
        let code = &self.cell.user_code;
        let before = code.get(..offset).unwrap_or(code);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let text = code[line_start..].lines().next().unwrap_or("");
        Place {
            label: self.label.clone(),
            position: Position {
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            },
            text: text.to_string(),
        }
    }
}

/// Where a line and column, counted from 1 and in characters, are in a text.
fn byte_offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let start = match line.checked_sub(2) {
        None => 0,
        Some(skipped) => text.match_indices('\n').nth(skipped)?.0 + 1,
    };
    let rest = text.get(start..)?.lines().next().unwrap_or("");
    let inner = rest
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(rest.len(), |(at, _)| at);
    Some(start + inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::rewrite;

    fn map(cells: &[&str]) -> SourceMap {
        let mut map = SourceMap::default();
        for (at, code) in cells.iter().enumerate() {
            map.push(&format!("cell [{}]", at + 1), &rewrite(code));
        }
        map
    }

    fn at(
        map: &SourceMap,
        source: &str,
        line: usize,
        column: usize,
    ) -> Option<(String, usize, usize)> {
        let place = map.locate(source, line, column)?;
        Some((place.label, place.position.line, place.position.column))
    }

    #[test]
    fn statements_and_items_of_earlier_cells_are_found() {
        let map = map(&["\nfn f() {\n    panic!()\n}", "let é = 1; f();\nf();"]);
        let source = "generated\nfn f() {\n    panic!()\n}\nmore\nlet é = 1; \nf();\nf();\nend";
        let expected = |label: &str, line, column| Some((label.to_string(), line, column));
        assert_eq!(at(&map, source, 3, 5), expected("cell [1]", 3, 5));
        assert_eq!(at(&map, source, 6, 9), expected("cell [2]", 1, 9));
        assert_eq!(at(&map, source, 7, 1), expected("cell [2]", 1, 12));
        assert_eq!(at(&map, source, 8, 2), expected("cell [2]", 2, 2));
        assert_eq!(at(&map, source, 1, 1), None);
        assert_eq!(at(&map, source, 99, 1), None);
    }
}
