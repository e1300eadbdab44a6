//! Whether a cell can run as it is, for consoles that ask before they send it.
//!
//! Code whose brackets and texts are closed is judged by the parser: an error at its very end means that more has
//! to follow. Other code is scanned for what is open.

use crate::rewrite::{blank_commands, parse};
use bireme_px::host_protocol::Completeness;

/// Spaces a new line gets for every open bracket.
const INDENT: usize = 4;

/// Whether a cell can run as it is, and how the next line starts if it cannot.
pub fn completeness(code: &str) -> (Completeness, String) {
    let (rust, _) = blank_commands(code);
    let answer = match Scan::of(&rust) {
        None => (Completeness::Invalid, String::new()),
        Some(scan) if scan.is_open() => {
            let indent = " ".repeat(scan.open.len() * INDENT);
            (Completeness::Incomplete, indent)
        }
        Some(_) => (judge(&rust), String::new()),
    };
    proc_macro2::extra::invalidate_current_thread_spans();
    answer
}

fn judge(code: &str) -> Completeness {
    let Err(error) = parse(code) else {
        return Completeness::Complete;
    };
    let text = error.to_string();
    if text.starts_with("unexpected end of input") {
        return Completeness::Incomplete;
    }
    // At the end of the code the parser gives no place, so try whether this is all that is missing.
    if text == "expected `;`" && parse(&format!("{code}\n;")).is_ok() {
        return Completeness::Incomplete;
    }
    Completeness::Invalid
}

/// What is open at the end of some code.
#[derive(Default)]
struct Scan {
    /// The brackets that have to close, innermost last.
    open: Vec<char>,
    /// Whether the code ends inside a string or comment.
    in_text: bool,
}

impl Scan {
    /// Scans code; `None` when a bracket closes that does not match.
    fn of(code: &str) -> Option<Scan> {
        let mut scan = Scan::default();
        let mut rest = code;
        while let Some(letter) = rest.chars().next() {
            let mut length = letter.len_utf8();
            if let Some(text) = Text::at_start(rest) {
                length = text.length;
                scan.in_text = text.unfinished;
            } else {
                match letter {
                    '(' => scan.open.push(')'),
                    '[' => scan.open.push(']'),
                    '{' => scan.open.push('}'),
                    ')' | ']' | '}' if scan.open.pop() != Some(letter) => return None,
                    'a'..='z' | 'A'..='Z' | '_' => length = word_length(rest),
                    _ => {}
                }
            }
            rest = rest.get(length..).unwrap_or("");
        }
        Some(scan)
    }

    fn is_open(&self) -> bool {
        self.in_text || !self.open.is_empty()
    }
}

/// A comment, string or character literal.
struct Text {
    length: usize,
    unfinished: bool,
}

impl Text {
    fn at_start(code: &str) -> Option<Text> {
        let prefix = ["b", "c", ""]
            .into_iter()
            .find(|prefix| code.starts_with(prefix))
            .unwrap_or("");
        let literal = &code[prefix.len()..];
        if code.starts_with("//") {
            let length = code.find('\n').unwrap_or(code.len());
            let unfinished = false;
            return Some(Text { length, unfinished });
        }
        if code.starts_with("/*") {
            return Some(Text::until(code, 2, "*/"));
        }
        if let Some(raw) = literal.strip_prefix('r') {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            if raw[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                return Some(Text::until(code, prefix.len() + hashes + 2, &end));
            }
        }
        if literal.starts_with('"') {
            return Some(Text::string(code, prefix.len() + 1));
        }
        if literal.starts_with('\'') {
            return Text::character(code, prefix.len());
        }
        None
    }

    fn until(code: &str, start: usize, end: &str) -> Text {
        let found = code[start..].find(end);
        Text {
            length: found.map_or(code.len(), |at| start + at + end.len()),
            unfinished: found.is_none(),
        }
    }

    fn string(code: &str, start: usize) -> Text {
        let mut escaped = false;
        for (at, letter) in code[start..].char_indices() {
            match letter {
                '"' if !escaped => {
                    let length = start + at + 1;
                    let unfinished = false;
                    return Text { length, unfinished };
                }
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        Text {
            length: code.len(),
            unfinished: true,
        }
    }

    /// A character literal; `None` for a lifetime or label.
    fn character(code: &str, quote: usize) -> Option<Text> {
        let inner = &code[quote + 1..];
        let escaped = inner.starts_with('\\');
        let skip = if escaped {
            2
        } else {
            inner.chars().next()?.len_utf8()
        };
        let end = if escaped {
            skip + inner.get(skip..)?.find('\'')?
        } else {
            skip
        };
        inner[end..].starts_with('\'').then_some(Text {
            length: quote + 1 + end + 1,
            unfinished: false,
        })
    }
}

/// Length of the identifier at the start, so that its last letter is not taken for a prefix. A raw
/// or byte string's prefix was looked at before.
fn word_length(code: &str) -> usize {
    code.find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(code.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete() {
        for code in [
            "let x = 1;",
            "x + 1",
            "fn f() { '{' ; \"}\" ; r#\"\"}\"# ; }",
            "// only a comment {",
            "fn f<'a>(x: &'a str) -> &'a str { x }",
            ":dep x = \"1\"",
            "",
        ] {
            assert_eq!(completeness(code).0, Completeness::Complete, "{code}");
        }
    }

    #[test]
    fn incomplete() {
        for (code, indent) in [
            ("fn f() {", "    "),
            ("foo(vec![1,", "        "),
            ("let x = 1", ""),
            ("let x =", ""),
            ("1 +", ""),
            ("\"text", ""),
            ("/* text", ""),
            ("struct A", ""),
        ] {
            let expected = (Completeness::Incomplete, indent.to_string());
            assert_eq!(completeness(code), expected, "{code}");
        }
    }

    #[test]
    fn invalid() {
        for code in ["let x = );", "fn f( }", "let let = 1; x"] {
            assert_eq!(completeness(code).0, Completeness::Invalid, "{code}");
        }
    }
}
