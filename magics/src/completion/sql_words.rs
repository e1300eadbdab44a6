//! The words of a SQL text: names, quoted names and signs, with their places. Strings and comments
//! are single words, so that nothing inside them is taken for a name.

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub kind: WordKind,
    pub text: &'a str,
    pub start: usize,
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordKind {
    /// A name, keyword or number.
    Name,
    /// A name in double quotes.
    QuotedName,
    /// A string; `is_open` when its end is not typed yet.
    Text { is_open: bool },
    /// A comment.
    Comment { is_open: bool },
    /// `$name`.
    Parameter,
    /// One character of anything else.
    Sign,
}

impl<'a> Word<'a> {
    /// The byte after the word.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this sign.
    pub(crate) fn is_sign(&self, sign: &str) -> bool {
        self.kind == WordKind::Sign && self.text == sign
    }

    /// Whether it is this keyword, in any case.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.kind == WordKind::Name && self.text.eq_ignore_ascii_case(keyword)
    }

    /// The name without quotes, if it is one.
    pub(crate) fn name(&self) -> Option<&'a str> {
        match self.kind {
            WordKind::Name => Some(self.text),
            WordKind::QuotedName => Some(self.text.trim_matches('"')),
            _ => None,
        }
    }

    /// Whether what it opens is not closed.
    pub(crate) fn is_open(&self) -> bool {
        matches!(
            self.kind,
            WordKind::Text { is_open: true } | WordKind::Comment { is_open: true }
        )
    }
}

/// The words of a text.
pub(crate) fn words(sql: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = sql[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = read(&sql[at..], first);
        words.push(Word {
            kind,
            text: &sql[at..at + length],
            start: at,
        });
        at += length;
    }
    words
}

fn read(rest: &str, first: char) -> (WordKind, usize) {
    let name_length = |from: usize| {
        let after = &rest[from..];
        from + after
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(after.len())
    };
    if rest.starts_with("--") {
        return match rest.find('\n') {
            Some(end) => (WordKind::Comment { is_open: false }, end),
            None => (WordKind::Comment { is_open: true }, rest.len()),
        };
    }
    if let Some(inside) = rest.strip_prefix("/*") {
        return match inside.find("*/") {
            Some(end) => (WordKind::Comment { is_open: false }, end + 4),
            None => (WordKind::Comment { is_open: true }, rest.len()),
        };
    }
    match first {
        '\'' => match rest[1..].find('\'') {
            Some(end) => (WordKind::Text { is_open: false }, end + 2),
            None => (WordKind::Text { is_open: true }, rest.len()),
        },
        '"' => (
            WordKind::QuotedName,
            rest[1..].find('"').map_or(rest.len(), |end| end + 2),
        ),
        '$' => (WordKind::Parameter, name_length(1)),
        c if c.is_alphanumeric() || c == '_' => (WordKind::Name, name_length(0)),
        c => (WordKind::Sign, c.len_utf8()),
    }
}
