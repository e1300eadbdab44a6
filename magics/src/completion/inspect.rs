//! What stands under the cursor: a magic, a flag, a table, a column, a function, a parameter.

use super::place::{Place, find};
use super::sql_names::Scope;
use super::sql_words::{Word, WordKind, words};
use super::{Names, Table, byte_of};
use crate::display::grid::{Cell, Column, Grid};
use crate::display::listing::under;
use crate::display::units::{counted, escape_html};
use crate::help;
use crate::mime_bundle::MimeBundle;
use crate::registry;

/// Describes what stands under the cursor, or before it. `None` when that is Rust or nothing known.
pub fn inspect(cell: &str, cursor: usize, names: &Names) -> Option<MimeBundle> {
    let cursor = byte_of(cell, cursor);
    match find(cell, cursor) {
        Place::Rust => None,
        Place::MagicName { start, .. } => {
            let rest = cell[start..].trim_start_matches('%');
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            registry::find(&rest[..end]).map(help::page)
        }
        Place::Arguments { spec, .. } => registry::find(spec.name).map(help::page),
        Place::Sql { start, end } => sql(&cell[start..end], cursor - start, names),
    }
}

fn sql(text: &str, cursor: usize, names: &Names) -> Option<MimeBundle> {
    let all = words(text);
    let index = all
        .iter()
        .rposition(|word| word.start <= cursor && cursor <= word.end() && has_name(word))?;
    let word = all[index];
    if let Some(name) = word.text.strip_prefix('$') {
        let (name, value) = names.parameters.iter().find(|(known, _)| known == name)?;
        return Some(line(&format!("parameter {name} = {value}")));
    }
    let name = word.name()?;
    let scope = Scope::of(&all, names);
    let before = |offset: usize| index.checked_sub(offset).and_then(|at| all.get(at));
    if before(1).is_some_and(|sign| sign.is_sign(".")) {
        let table = scope.columns(before(2)?.name()?, names)?;
        return column(name, table);
    }
    let is_called = all.get(index + 1).is_some_and(|sign| sign.is_sign("("));
    if is_called && let Some(page) = function(name, names) {
        return Some(page);
    }
    let in_scope = scope
        .tables
        .iter()
        .filter_map(|(_, index)| names.tables.get((*index)?));
    let found = in_scope.filter_map(|table| column(name, table)).next();
    found
        .or_else(|| scope.columns(name, names).map(table))
        .or_else(|| function(name, names))
}

/// Describes a word on its own: the columns of that name, else a function, else a parameter.
pub(crate) fn word(name: &str, names: &Names) -> Option<MimeBundle> {
    let tables = names.tables.iter();
    let columns: Vec<String> = tables
        .filter_map(|table| column_text(name, table))
        .collect();
    if !columns.is_empty() {
        return Some(line(&columns.join("\n")));
    }
    let parameters = names.parameters.iter();
    let parameter = parameters.filter(|(known, _)| known == name);
    let mut parameter = parameter.map(|(name, value)| line(&format!("parameter {name} = {value}")));
    function(name, names).or_else(|| parameter.next())
}

fn function(name: &str, names: &Names) -> Option<MimeBundle> {
    let mut functions = names.functions.iter();
    let found = functions.find(|known| known.name.eq_ignore_ascii_case(name))?;
    Some(line(&format!(
        "{} function {}",
        found.kind, found.signature
    )))
}

fn has_name(word: &Word<'_>) -> bool {
    matches!(
        word.kind,
        WordKind::Name | WordKind::QuotedName | WordKind::Parameter
    )
}

fn line(text: &str) -> MimeBundle {
    MimeBundle::new(text, format!("<code>{}</code>", escape_html(text)))
}

fn column(name: &str, table: &Table) -> Option<MimeBundle> {
    column_text(name, table).map(|text| line(&text))
}

fn column_text(name: &str, table: &Table) -> Option<String> {
    let (name, kind) = table
        .columns
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(format!(
        "column {name} {kind} of {} {}",
        table.kind, table.name
    ))
}

fn table(table: &Table) -> MimeBundle {
    let columns = counted(table.columns.len() as u64, "column");
    let mut grid = Grid::new(vec![Column::left("column"), Column::left("type")]);
    for (name, kind) in &table.columns {
        grid.push(vec![name.as_str().into(), Cell::dim(kind)]);
    }
    under(&format!("{} {} · {columns}", table.kind, table.name), &grid)
}
