//! What a statement calls its tables: the tables it reads, their aliases, its common table
//! expressions and the aliases of its columns. Read from the words, so that it also works on a
//! statement that is half typed.

use super::keywords::is_keyword;
use super::sql_words::{Word, WordKind};
use super::{Names, Table};

/// The names a statement brings into scope.
#[derive(Debug, Default)]
pub(crate) struct Scope<'a> {
    /// Name in the statement, and the table of the session it stands for, if it is one.
    pub tables: Vec<(&'a str, Option<usize>)>,
    /// Common table expressions.
    pub expressions: Vec<&'a str>,
    /// Aliases of columns.
    pub column_aliases: Vec<&'a str>,
}

impl<'a> Scope<'a> {
    /// Reads the names of a statement.
    pub(crate) fn of(words: &[Word<'a>], names: &Names) -> Self {
        let words: Vec<Word<'a>> = words
            .iter()
            .copied()
            .filter(|word| !matches!(word.kind, WordKind::Comment { .. }))
            .collect();
        let mut scope = Self::default();
        for index in 0..words.len() {
            scope.read(&words, index, names);
        }
        scope
    }

    /// The columns of a table or alias.
    pub(crate) fn columns<'n>(&self, qualifier: &str, names: &'n Names) -> Option<&'n Table> {
        let found = self
            .tables
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(qualifier));
        let index = match found {
            Some((_, index)) => *index,
            None => table_index(qualifier, names),
        };
        names.tables.get(index?)
    }

    fn read(&mut self, words: &[Word<'a>], index: usize, names: &Names) {
        let word = words[index];
        if word.is("FROM") || word.is("JOIN") {
            self.read_tables(words, index + 1, names);
        }
        let after = |offset: usize| words.get(index + offset);
        let opens = after(1).is_some_and(|word| word.is("AS"))
            && after(2).is_some_and(|word| word.is_sign("("));
        if opens && let Some(name) = word.name() {
            self.expressions.push(name);
        }
        let is_table_alias = self
            .tables
            .iter()
            .any(|(name, _)| Some(*name) == after(1).and_then(Word::name));
        if word.is("AS")
            && !is_table_alias
            && let Some(name) = after(1).and_then(Word::name)
            && !is_keyword(name)
        {
            self.column_aliases.push(name);
        }
    }

    /// `a, b AS c, d e` after FROM, or one of them after JOIN.
    fn read_tables(&mut self, words: &[Word<'a>], start: usize, names: &Names) {
        let mut at = start;
        while let Some(table) = words.get(at) {
            let is_file = matches!(table.kind, WordKind::Text { .. });
            let Some(mut name) = table.name().or(is_file.then_some("")) else {
                return;
            };
            if table.kind == WordKind::Name && is_keyword(name) {
                return;
            }
            at += 1;
            while words.get(at).is_some_and(|word| word.is_sign("."))
                && let Some(part) = words.get(at + 1).and_then(Word::name)
            {
                name = part;
                at += 2;
            }
            let index = table_index(name, names);
            if !name.is_empty() {
                self.tables.push((name, index));
            }
            at += usize::from(words.get(at).is_some_and(|word| word.is("AS")));
            if let Some(alias) = words.get(at).and_then(Word::name)
                && !is_keyword(alias)
            {
                self.tables.push((alias, index));
                at += 1;
            }
            if !words.get(at).is_some_and(|word| word.is_sign(",")) {
                return;
            }
            at += 1;
        }
    }
}

fn table_index(name: &str, names: &Names) -> Option<usize> {
    let exact = names.tables.iter().position(|table| table.name == name);
    exact.or_else(|| {
        names
            .tables
            .iter()
            .position(|t| t.name.eq_ignore_ascii_case(name))
    })
}
