//! Finds where in a cell a line of the compiled source comes from.
//!
//! evcxr puts every statement of a cell, and every item of earlier cells, into one generated file, word for
//! word. A panic tells its place in that file; looking the statements up in it gives the cell, line
//! and column the user knows.

use crate::rewrite::RewrittenCell;
use std::collections::VecDeque;

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

    /// Where in a cell a line and column of the generated source come from: in the longest statement
    /// that is written there, since a short one may be a part of others.
    pub fn locate(&self, source: &str, line: usize, column: usize) -> Option<Place> {
        let offset = byte_offset(source, line, column)?;
        let mut found: Option<(&Cell, &str, usize)> = None;
        for (cell, text) in self.statements() {
            // Of equals the first counts, which is of the newest cell.
            let is_longer = found.is_none_or(|(_, best, _)| text.len() > best.len());
            if is_longer && let Some(start) = start_around(source, text, offset) {
                found = Some((cell, text, start));
            }
        }
        let (cell, text, start) = found?;
        let is_own = |start: &usize| !self.is_inside_longer(source, *start, text.len());
        let before = source.match_indices(text).map(|(at, _)| at);
        let nth = before.filter(is_own).take_while(|at| *at < start).count();
        cell.locate(text, nth, offset - start)
    }

    fn statements(&self) -> impl Iterator<Item = (&Cell, &str)> {
        let cells = self.cells.iter();
        cells.flat_map(|cell| cell.statements().map(move |text| (cell, text)))
    }

    /// Whether a longer statement is written around this place.
    fn is_inside_longer(&self, source: &str, start: usize, length: usize) -> bool {
        let mut longer = self.statements().filter(|(_, text)| text.len() > length);
        longer.any(|(_, text)| start_around(source, text, start).is_some())
    }
}

/// Where a text that has this place in it begins.
fn start_around(source: &str, text: &str, offset: usize) -> Option<usize> {
    let from = (offset + 1).saturating_sub(text.len());
    let from = (0..=from).rev().find(|at| source.is_char_boundary(*at))?;
    let to = (offset + text.len()).min(source.len());
    let to = (to..=source.len()).find(|at| source.is_char_boundary(*at))?;
    let mut found = source.get(from..to)?.match_indices(text);
    found.find_map(|(at, _)| {
        let start = from + at;
        (start..start + text.len())
            .contains(&offset)
            .then_some(start)
    })
}

impl Cell {
    fn statements(&self) -> impl Iterator<Item = &str> {
        let RewrittenCell {
            code, statements, ..
        } = &self.cell;
        statements
            .iter()
            .filter_map(|range| code.get(range.clone()))
    }

    /// A place within the n-th statement of this text, or the last. The same statement twice in a cell is
    /// there twice in the source, in the same order.
    fn locate(&self, text: &str, nth: usize, within: usize) -> Option<Place> {
        let ranges = self.cell.statements.iter();
        let same: Vec<_> = ranges
            .filter(|range| self.cell.code.get((*range).clone()) == Some(text))
            .collect();
        let range = same.get(nth).or(same.last())?;
        Some(self.place(self.cell.original_offset(range.start + within)))
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

    #[test]
    fn a_statement_that_is_a_part_of_others_is_found_where_it_stands() {
        let map = map(&[
            "fn third(v: &[u8]) -> u8 {\n    v[2]\n}",
            "let a = v[2];\nlet i = 7;\nv[2]\n",
        ]);
        let source = "fn third(v: &[u8]) -> u8 {\n    v[2]\n}\nlet a = v[2];\nlet i = 7;\n(v[2])\n";
        let expected = |label: &str, line, column| Some((label.to_string(), line, column));
        assert_eq!(at(&map, source, 2, 5), expected("cell [1]", 2, 5));
        assert_eq!(at(&map, source, 4, 9), expected("cell [2]", 1, 9));
        assert_eq!(at(&map, source, 6, 2), expected("cell [2]", 3, 1));
    }
}
