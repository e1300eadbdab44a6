//! Just enough of Rust's lexical grammar to know where a statement may start, so that a line of a
//! string, a comment or an expression is never taken for a magic. The compiler does the rest.

/// Reads a cell line by line and knows what the next line would continue.
#[derive(Debug, Default)]
pub(crate) struct RustLexer {
    inside: Inside,
    depth: u32,
    last: Last,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Code,
    Comment {
        depth: u32,
    },
    Text,
    RawText {
        hashes: usize,
    },
}

/// The last thing that was no comment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Nothing,
    Semicolon,
    Brace,
    Other,
}

/// How sure it is that a line starts a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It continues what stands above.
    No,
    /// It follows a closing brace, which may also end an expression.
    Likely,
    /// It follows nothing or a semicolon.
    Certain,
}

impl RustLexer {
    /// Whether the next line starts a statement.
    pub(crate) fn start(&self) -> Start {
        if self.inside != Inside::Code || self.depth > 0 {
            return Start::No;
        }
        match self.last {
            Last::Nothing | Last::Semicolon => Start::Certain,
            Last::Brace => Start::Likely,
            Last::Other => Start::No,
        }
    }

    /// Reads a line of Rust.
    pub(crate) fn feed(&mut self, line: &str) {
        let mut rest = line;
        while !rest.is_empty() {
            rest = match self.inside {
                Inside::Code => self.code(rest),
                Inside::Comment { depth } => self.comment(rest, depth),
                Inside::Text => self.text(rest),
                Inside::RawText { hashes } => self.raw_text(rest, hashes),
            };
        }
    }

    fn code<'a>(&mut self, rest: &'a str) -> &'a str {
        if rest.starts_with("//") {
            return "";
        }
        if let Some(after) = rest.strip_prefix("/*") {
            self.inside = Inside::Comment { depth: 1 };
            return after;
        }
        if let Some((after, hashes)) = raw_text_start(rest) {
            self.last = Last::Other;
            self.inside = Inside::RawText { hashes };
            return after;
        }
        let Some(first) = rest.chars().next() else {
            return "";
        };
        let after = &rest[first.len_utf8()..];
        match first {
            '"' => self.inside = Inside::Text,
            '\'' => {
                self.last = Last::Other;
                return after_quote(after);
            }
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if is_word(first) {
            self.last = Last::Other;
            return after.trim_start_matches(is_word);
        }
        self.last = match first {
            ';' => Last::Semicolon,
            '}' => Last::Brace,
            c if c.is_whitespace() => self.last,
            _ => Last::Other,
        };
        after
    }

    fn comment<'a>(&mut self, rest: &'a str, depth: u32) -> &'a str {
        let opens = rest.find("/*");
        let closes = rest.find("*/");
        let (at, depth) = match (opens, closes) {
            (Some(open), Some(close)) if open < close => (open, depth + 1),
            (_, Some(close)) => (close, depth - 1),
            (Some(open), None) => (open, depth + 1),
            (None, None) => return "",
        };
        self.inside = match depth {
            0 => Inside::Code,
            depth => Inside::Comment { depth },
        };
        &rest[at + 2..]
    }

    fn text<'a>(&mut self, rest: &'a str) -> &'a str {
        let mut characters = rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => {
                    characters.next();
                }
                '"' => {
                    self.inside = Inside::Code;
                    return &rest[at + 1..];
                }
                _ => {}
            }
        }
        ""
    }

    fn raw_text<'a>(&mut self, rest: &'a str, hashes: usize) -> &'a str {
        let end = format!("\"{}", "#".repeat(hashes));
        match rest.find(&end) {
            Some(at) => {
                self.inside = Inside::Code;
                &rest[at + end.len()..]
            }
            None => "",
        }
    }
}

/// `r"`, `br#"`, `cr##"`: what follows, and how many hashes close it.
fn raw_text_start(rest: &str) -> Option<(&str, usize)> {
    let after = ["br", "cr", "r"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    Some((after[hashes..].strip_prefix('"')?, hashes))
}

/// After a single quote: past a character, or past nothing when it begins a lifetime.
fn after_quote(after: &str) -> &str {
    if let Some(escaped) = after.strip_prefix('\\') {
        let skipped = escaped.chars().next().map_or(0, char::len_utf8);
        return escaped[skipped..]
            .split_once('\'')
            .map_or("", |(_, rest)| rest);
    }
    let skipped = after.chars().next().map_or(0, char::len_utf8);
    after[skipped..].strip_prefix('\'').unwrap_or(after)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_after(text: &str) -> Start {
        let mut lexer = RustLexer::default();
        text.split('\n').for_each(|line| lexer.feed(line));
        lexer.start()
    }

    #[test]
    fn statements_start_after_what_ends_one() {
        assert_eq!(start_after(""), Start::Certain);
        assert_eq!(start_after("let x = 1;"), Start::Certain);
        assert_eq!(start_after("let x = 1; // why"), Start::Certain);
        assert_eq!(start_after("fn f() {}"), Start::Likely);
        assert_eq!(start_after("let s = \"it's; \\\" {\";"), Start::Certain);
        assert_eq!(
            start_after("let c = ('\\'', '{', b'\\\\');"),
            Start::Certain
        );
        assert_eq!(start_after("fn f<'a>(x: &'a str) {}"), Start::Likely);
        assert_eq!(start_after("let r = r#\"a\"b\n;\"#;"), Start::Certain);
    }

    #[test]
    fn nothing_starts_inside_something() {
        assert_eq!(start_after("let x = a"), Start::No);
        assert_eq!(start_after("f("), Start::No);
        assert_eq!(start_after("let s = \"one;"), Start::No);
        assert_eq!(start_after("let s = r##\"one\"#;"), Start::No);
        assert_eq!(start_after("let x = 1; /* /* */"), Start::No);
        assert_eq!(start_after("fn f() { g();"), Start::No);
    }
}
