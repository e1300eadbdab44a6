//! Whether Rust code can run as it is, by its syntax alone, for consoles that ask before they send it.
//!
//! Code whose brackets and texts are closed is judged by the parser: an error at its very end means
//! that more has to follow. Other code is scanned for what is open. No compiler is asked.

use bireme_jupyter::wire::IsCompleteReply;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Block, Stmt};

/// Spaces a new line gets for every open bracket.
const INDENT: usize = 4;

/// Judges Rust code.
pub(crate) fn judge(code: &str) -> IsCompleteReply {
    let rust: String = code.split_inclusive('\n').map(without_command).collect();
    let verdict = match Scan::of(&rust) {
        None => IsCompleteReply::Invalid,
        Some(scan) if scan.is_open() => incomplete(scan.open.len()),
        Some(_) => judge_closed(&rust),
    };
    // The parser keeps what it has read for ever without this.
    proc_macro2::extra::invalidate_current_thread_spans();
    verdict
}

fn incomplete(levels: usize) -> IsCompleteReply {
    IsCompleteReply::Incomplete {
        indent: " ".repeat(levels * INDENT),
    }
}

/// `:dep x = "1"` and its kin are no Rust.
fn without_command(line: &str) -> &str {
    let is_command = line.trim_start().strip_prefix(':');
    match is_command.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic())) {
        true => "\n",
        false => line,
    }
}

fn judge_closed(code: &str) -> IsCompleteReply {
    let Err(error) = parse(code) else {
        return IsCompleteReply::Complete;
    };
    let text = error.to_string();
    if text.starts_with("unexpected end of input") {
        return incomplete(0);
    }
    // At the end of the code the parser gives no place, so try whether this is all that is missing.
    if text == "expected `;`" && parse(&format!("{code}\n;")).is_ok() {
        return incomplete(0);
    }
    IsCompleteReply::Invalid
}

/// The whole code as statements, after inner attributes.
fn parse(code: &str) -> syn::Result<Vec<Stmt>> {
    let cell = |input: ParseStream<'_>| {
        input.call(Attribute::parse_inner)?;
        input.call(Block::parse_within)
    };
    cell.parse_str(code)
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
            "let x = vec![1, 2];\nx.len()",
            "fn f() { '{' ; \"}\" ; r#\"\"}\"# ; }",
            "// only a comment {",
            ":dep regex = \"1\"\nfn f<'a>(x: &'a str) -> char { '}' }",
            "let s = r#\"{ \"#;",
            ":dep x = \"1\"",
            "",
        ] {
            assert_eq!(judge(code), IsCompleteReply::Complete, "{code}");
        }
    }

    #[test]
    fn more_must_follow() {
        for (code, levels) in [
            ("fn f() {", 1),
            ("f(vec![1,", 2),
            ("fn f() { \"text", 1),
            ("let x = 1", 0),
            ("let x =", 0),
            ("1 +", 0),
            ("\"text", 0),
            ("/* text", 0),
            ("struct A", 0),
        ] {
            assert_eq!(judge(code), incomplete(levels), "{code}");
        }
    }

    #[test]
    fn invalid() {
        for code in ["}", "let x = );", "fn f( }", "let = 2;", "let let = 1; x"] {
            assert_eq!(judge(code), IsCompleteReply::Invalid, "{code}");
        }
    }
}
