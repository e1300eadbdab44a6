//! Proposals in SQL: tables after FROM and JOIN, columns of the tables in scope, aliases resolved,
//! functions with their signatures, parameters, keywords.

use super::keywords::KEYWORDS;
use super::magics::parameters;
use super::sql_names::Scope;
use super::sql_words::{Word, WordKind, words};
use super::{Match, MatchKind, Names, begins};

/// Proposes at a byte of the text; with the byte from which the proposals replace.
pub(crate) fn complete(sql: &str, cursor: usize, names: &Names) -> (usize, Vec<Match>) {
    let all = words(sql);
    let (start, end) = statement(&all, cursor, sql.len());
    let before: Vec<Word<'_>> = all
        .iter()
        .copied()
        .filter(|word| word.start >= start && word.start < cursor)
        .collect();
    let (typed, typed_start, before) = match before.split_last() {
        Some((last, before)) if last.end() >= cursor && is_typed(last) => {
            (&sql[last.start..cursor], last.start, before)
        }
        Some((last, _)) if last.is_open() || last.end() > cursor => return (cursor, Vec::new()),
        _ => ("", cursor, before.as_slice()),
    };
    if let Some(name) = typed.strip_prefix('$') {
        return (typed_start + 1, parameters(names, name));
    }
    if in_braces(sql, typed_start) {
        return (typed_start, parameters(names, typed));
    }
    let in_statement =
        |word: &&Word<'_>| word.start >= start && word.end() <= end && word.start != typed_start;
    let others: Vec<Word<'_>> = all.iter().filter(in_statement).copied().collect();
    let scope = Scope::of(&others, names);
    let typed = typed.trim_start_matches('"');
    if let Some(qualifier) = qualifier(before) {
        return (typed_start, columns_of(qualifier, typed, &scope, names));
    }
    let mut matches = Vec::new();
    if expects_table(before) {
        matches.extend(tables(typed, &scope, names));
        return (typed_start, matches);
    }
    matches.extend(columns(typed, &scope, names));
    matches.extend(functions(typed, names));
    matches.extend(tables(typed, &scope, names));
    matches.extend(keywords(typed));
    (typed_start, matches)
}

fn is_typed(word: &Word<'_>) -> bool {
    matches!(
        word.kind,
        WordKind::Name | WordKind::QuotedName | WordKind::Parameter
    )
}

/// The statement around a byte.
fn statement(words: &[Word<'_>], cursor: usize, length: usize) -> (usize, usize) {
    let signs = words.iter().filter(|word| word.is_sign(";"));
    let start = signs
        .clone()
        .filter(|sign| sign.end() <= cursor)
        .map(Word::end)
        .max();
    let end = signs
        .filter(|sign| sign.start >= cursor)
        .map(|sign| sign.start)
        .min();
    (start.unwrap_or(0), end.unwrap_or(length))
}

fn in_braces(sql: &str, at: usize) -> bool {
    let before = sql[..at].trim_end().trim_end_matches('!').trim_end();
    before.ends_with("{{")
}

/// The name before a dot.
fn qualifier<'a>(before: &[Word<'a>]) -> Option<&'a str> {
    let [.., name, dot] = before else { return None };
    match dot.is_sign(".") {
        true => name.name(),
        false => None,
    }
}

/// Whether a table's name comes next: after FROM and its kin, and after a comma in their list.
fn expects_table(before: &[Word<'_>]) -> bool {
    let opens = |word: &Word<'_>| {
        ["FROM", "JOIN", "INTO", "TABLE", "VIEW", "DESCRIBE", "DESC"]
            .iter()
            .any(|k| word.is(k))
    };
    match before.last() {
        None => false,
        Some(last) if last.is("DESC") => before.len() == 1,
        Some(last) if last.is_sign(",") => {
            let clause = before.iter().rev().find(|word| {
                opens(word)
                    || word.is_sign("(")
                    || ["SELECT", "WHERE", "BY", "ON", "VALUES"]
                        .iter()
                        .any(|k| word.is(k))
            });
            clause.is_some_and(|word| word.is("FROM"))
        }
        Some(last) => opens(last),
    }
}

fn columns_of(qualifier: &str, typed: &str, scope: &Scope<'_>, names: &Names) -> Vec<Match> {
    let Some(table) = scope.columns(qualifier, names) else {
        return Vec::new();
    };
    let columns = table.columns.iter().filter(|(name, _)| begins(name, typed));
    columns
        .map(|(name, kind)| Match::new(quoted(name), MatchKind::Column, kind))
        .collect()
}

/// Columns of the tables in scope; of all tables while none is named.
fn columns(typed: &str, scope: &Scope<'_>, names: &Names) -> Vec<Match> {
    let mut in_scope: Vec<usize> = scope
        .tables
        .iter()
        .filter_map(|(_, index)| *index)
        .collect();
    if scope.tables.is_empty() {
        in_scope = (0..names.tables.len()).collect();
    }
    in_scope.sort_unstable();
    in_scope.dedup();
    let mut matches: Vec<Match> = Vec::new();
    for table in in_scope.iter().filter_map(|index| names.tables.get(*index)) {
        for (name, kind) in table.columns.iter().filter(|(name, _)| begins(name, typed)) {
            let detail = format!("{kind} · {}", table.name);
            match matches.iter_mut().find(|known| known.text == quoted(name)) {
                Some(known) => known.detail = format!("{}, {}", known.detail, table.name),
                None => matches.push(Match::new(quoted(name), MatchKind::Column, detail)),
            }
        }
    }
    for alias in scope
        .column_aliases
        .iter()
        .filter(|alias| begins(alias, typed))
    {
        if matches.iter().all(|known| known.text != **alias) {
            matches.push(Match::new(*alias, MatchKind::Column, "alias"));
        }
    }
    matches
}

fn tables(typed: &str, scope: &Scope<'_>, names: &Names) -> Vec<Match> {
    let expressions = scope
        .expressions
        .iter()
        .map(|name| ((*name).to_string(), "common table expression"));
    let aliases = scope
        .tables
        .iter()
        .filter(|(name, _)| names.tables.iter().all(|table| table.name != **name))
        .map(|(name, _)| ((*name).to_string(), "alias"));
    let known = names
        .tables
        .iter()
        .map(|table| (table.name.clone(), table.kind));
    let mut matches: Vec<Match> = Vec::new();
    for (name, detail) in expressions.chain(known).chain(aliases) {
        if begins(&name, typed) && matches.iter().all(|known| known.text != quoted(&name)) {
            matches.push(Match::new(quoted(&name), MatchKind::Table, detail));
        }
    }
    matches
}

fn functions(typed: &str, names: &Names) -> Vec<Match> {
    let fitting = names
        .functions
        .iter()
        .filter(|function| begins(&function.name, typed));
    fitting
        .map(|function| Match::new(&function.name, MatchKind::Function, &function.signature))
        .collect()
}

fn keywords(typed: &str) -> Vec<Match> {
    let is_lower = typed.chars().any(char::is_lowercase);
    let fitting = KEYWORDS.iter().filter(|keyword| begins(keyword, typed));
    let written = fitting.map(|keyword| match is_lower {
        true => keyword.to_lowercase(),
        false => (*keyword).to_string(),
    });
    written
        .map(|keyword| Match::new(keyword, MatchKind::Keyword, ""))
        .collect()
}

/// A name as it must be written: in quotes unless it is letters, digits and `_`.
fn quoted(name: &str) -> String {
    let is_plain = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    match is_plain {
        true => name.to_string(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}
