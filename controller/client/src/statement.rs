//! Splits SQL text into statements and tells what kind each is, by its tokens alone. Planning, and
//! with it every other error in a statement, is the engines' work.

use bireme_protocol::{ErrorCode, Fault, Position};
use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// What a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Gives rows.
    Query,
    /// `EXPLAIN` of the statement that begins at a byte of this one's text.
    Explain {
        /// Whether it runs.
        is_analyze: bool,
        /// Where the explained statement begins.
        body: usize,
    },
    /// `CREATE [OR REPLACE] VIEW` or `CREATE EXTERNAL TABLE`.
    Define,
    /// `DROP VIEW` or `DROP TABLE`.
    Drop {
        /// The name as written, without quotes.
        name: String,
        /// `IF EXISTS` was said.
        if_exists: bool,
    },
    /// `SET key = value`; no value means the default.
    Set {
        /// The setting.
        key: String,
        /// Its value.
        value: Option<String>,
    },
    /// `CREATE TABLE` or `INSERT INTO`: runs a query whose rows become a frame, or a part of one.
    Keep,
    /// `COPY ... TO`: writes files, gives a count.
    Copy,
    /// Something Bireme does not run, with its leading words.
    Unsupported {
        /// The leading words, e.g. `UPDATE`.
        verb: String,
    },
}

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The statement without its semicolon.
    pub text: String,
    /// What it does.
    pub kind: StatementKind,
    /// Line in the text where it begins, from 1.
    pub line: u32,
    /// Column where it begins, from 1, in characters.
    pub column: u32,
    /// Byte offset where it begins.
    pub offset: usize,
    /// It reads no table.
    pub is_trivial: bool,
}

impl Statement {
    /// Moves a position in this statement to one in the text it was split from.
    pub fn locate(&self, position: Position) -> Position {
        Position {
            line: self.line + position.line - 1,
            column: match position.line {
                1 => self.column + position.column - 1,
                _ => position.column,
            },
            length: position.length,
        }
    }
}

/// Splits a text at its semicolons. Comments belong to the statement that follows them.
///
/// # Errors
/// [`ErrorCode::SqlParseError`] at a token that never ends (a string, a comment).
pub fn split(sql: &str) -> Result<Vec<Statement>, Fault> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| {
            let at = error.location;
            Fault::new(ErrorCode::SqlParseError, lower_first(&error.message)).at(Position {
                line: u32::try_from(at.line).unwrap_or(1).max(1),
                column: u32::try_from(at.column).unwrap_or(1).max(1),
                length: 1,
            })
        })?;
    let lines = LineIndex::new(sql);
    let mut statements = Vec::new();
    for run in tokens.split(|token| token.token == Token::SemiColon) {
        let words: Vec<&TokenWithSpan> = run
            .iter()
            .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
            .collect();
        let (Some(first), Some(last)) = (words.first(), words.last()) else {
            continue;
        };
        let start = lines.offset(first.span.start);
        let end = lines.offset(last.span.end);
        let kind = classify(&words, |at| lines.offset(at) - start);
        statements.push(Statement {
            text: sql[start..end].to_string(),
            line: u32::try_from(first.span.start.line).unwrap_or(1),
            column: u32::try_from(first.span.start.column).unwrap_or(1),
            offset: start,
            is_trivial: is_trivial(&kind, &words),
            kind,
        });
    }
    Ok(statements)
}

/// Byte offsets of lines, to turn the tokenizer's line and column into offsets.
struct LineIndex<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    fn new(sql: &'a str) -> Self {
        let breaks = sql.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            sql,
            starts: std::iter::once(0).chain(breaks).collect(),
        }
    }

    fn offset(&self, at: Location) -> usize {
        let line = usize::try_from(at.line).unwrap_or(1).max(1) - 1;
        let column = usize::try_from(at.column).unwrap_or(1).max(1) - 1;
        let start = self.starts.get(line).copied().unwrap_or(self.sql.len());
        let rest = &self.sql[start..];
        rest.char_indices()
            .nth(column)
            .map_or(self.sql.len(), |(at, _)| start + at)
    }
}

fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
        _ => None,
    }
}

fn classify(words: &[&TokenWithSpan], offset: impl Fn(Location) -> usize) -> StatementKind {
    let upper: Vec<Option<String>> = words.iter().map(|token| word(token)).collect();
    let at = |index: usize| upper.get(index).and_then(Option::as_deref).unwrap_or("");
    match at(0) {
        "SELECT" | "WITH" | "VALUES" | "SHOW" | "DESCRIBE" | "DESC" | "TABLE" | "FROM" | "" => {
            StatementKind::Query
        }
        "EXPLAIN" => {
            let is_analyze = at(1) == "ANALYZE";
            let mut body = 1 + usize::from(is_analyze);
            body += usize::from(at(body) == "VERBOSE");
            StatementKind::Explain {
                is_analyze,
                body: words.get(body).map_or(0, |token| offset(token.span.start)),
            }
        }
        "CREATE" => {
            let subject = if at(1) == "OR" && at(2) == "REPLACE" {
                3
            } else {
                1
            };
            match (at(subject), at(subject + 1)) {
                ("VIEW", _) | ("EXTERNAL", "TABLE") => StatementKind::Define,
                ("TABLE", _) => StatementKind::Keep,
                (what, _) => unsupported(&["CREATE", what]),
            }
        }
        "INSERT" if at(1) == "INTO" => StatementKind::Keep,
        "DROP" if matches!(at(1), "VIEW" | "TABLE") => {
            let if_exists = at(2) == "IF" && at(3) == "EXISTS";
            let name = words.get(if if_exists { 4 } else { 2 });
            StatementKind::Drop {
                name: name.map(|token| unquoted(token)).unwrap_or_default(),
                if_exists,
            }
        }
        "SET" | "RESET" => setting(words, at(0) == "RESET"),
        "COPY" => StatementKind::Copy,
        verb => unsupported(&[verb]),
    }
}

fn unsupported(words: &[&str]) -> StatementKind {
    StatementKind::Unsupported {
        verb: words.join(" ").trim_end().to_string(),
    }
}

fn unquoted(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        other => other.to_string(),
    }
}

fn setting(words: &[&TokenWithSpan], is_reset: bool) -> StatementKind {
    let separator = words
        .iter()
        .position(|token| token.token == Token::Eq || word(token).as_deref() == Some("TO"));
    let key_end = separator.unwrap_or(words.len());
    let text = |tokens: &[&TokenWithSpan]| {
        tokens
            .iter()
            .map(|token| unquoted(token))
            .collect::<String>()
    };
    StatementKind::Set {
        key: text(&words[1..key_end.max(1)]),
        value: separator
            .filter(|_| !is_reset)
            .map(|at| text(&words[at + 1..])),
    }
}

fn is_trivial(kind: &StatementKind, words: &[&TokenWithSpan]) -> bool {
    let reads_table = || {
        words
            .iter()
            .any(|token| word(token).as_deref() == Some("FROM"))
    };
    match kind {
        StatementKind::Query => match word(words[0]).as_deref() {
            Some("SHOW" | "DESCRIBE" | "DESC") => true,
            Some("TABLE") => false,
            _ => !reads_table(),
        },
        StatementKind::Explain { is_analyze, .. } => !is_analyze,
        _ => false,
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<StatementKind> {
        split(sql).unwrap().into_iter().map(|s| s.kind).collect()
    }

    #[test]
    fn statements_are_split_with_their_places() {
        let sql = "-- first\nSELECT 'a;b' AS \"ä;\";\n\n  CREATE VIEW v AS\nSELECT 1;;";
        let statements = split(sql).unwrap();
        assert_eq!(statements.len(), 2);
        assert_eq!(statements[0].text, "SELECT 'a;b' AS \"ä;\"");
        assert_eq!((statements[1].line, statements[1].column), (4, 3));
        assert_eq!(statements[1].text, "CREATE VIEW v AS\nSELECT 1");
        assert_eq!(&sql[statements[1].offset..][..6], "CREATE");
        let inside = Position {
            line: 1,
            column: 8,
            length: 1,
        };
        assert_eq!(statements[1].locate(inside).column, 10);
    }

    #[test]
    fn kinds_are_told_by_their_words() {
        assert_eq!(
            kinds("create or replace view a as select 1"),
            [StatementKind::Define]
        );
        assert_eq!(
            kinds("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x'"),
            [StatementKind::Define]
        );
        assert_eq!(
            kinds("create table a as select 1; insert into a values (2)"),
            [StatementKind::Keep, StatementKind::Keep]
        );
        assert_eq!(
            kinds("drop view if exists \"My View\""),
            [StatementKind::Drop {
                name: "My View".into(),
                if_exists: true
            }]
        );
        assert_eq!(
            kinds("set query.partitions = 8"),
            [StatementKind::Set {
                key: "query.partitions".into(),
                value: Some("8".into())
            }]
        );
        assert_eq!(
            kinds("update t set a = 1"),
            [StatementKind::Unsupported {
                verb: "UPDATE".into()
            }]
        );
        assert_eq!(
            kinds("explain analyze select 1"),
            [StatementKind::Explain {
                is_analyze: true,
                body: 16
            }]
        );
    }

    #[test]
    fn only_statements_without_tables_are_trivial() {
        let trivial = |sql: &str| split(sql).unwrap()[0].is_trivial;
        assert!(trivial("SELECT 1"));
        assert!(trivial("SHOW TABLES"));
        assert!(!trivial("SELECT a FROM t"));
        assert!(!trivial("SELECT (SELECT max(a) FROM t)"));
    }

    #[test]
    fn an_open_string_is_an_error_where_it_begins() {
        let fault = split("SELECT 1,\n  'abc").unwrap_err();
        assert_eq!(fault.code, ErrorCode::SqlParseError);
        assert_eq!(fault.position.unwrap().line, 2);
    }
}
