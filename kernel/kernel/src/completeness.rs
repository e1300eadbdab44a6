//! Whether Rust code can run as it is, by its syntax alone: the answer for a console while the Rust
//! host is not up.

use bireme_jupyter::wire::IsCompleteReply;

/// Spaces of one level.
const INDENT: usize = 4;

/// Judges Rust code: brackets and texts that are open want more lines, the rest the parser judges.
pub(crate) fn judge(code: &str) -> IsCompleteReply {
    let rust: String = code.split_inclusive('\n').map(without_command).collect();
    match open_brackets(&rust) {
        None => IsCompleteReply::Invalid,
        Some(0) => parse(&rust),
        Some(levels) => IsCompleteReply::Incomplete {
            indent: " ".repeat(levels * INDENT),
        },
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

fn parse(code: &str) -> IsCompleteReply {
    let block = format!("{{ {code}\n}}");
    match syn::parse_str::<syn::Block>(&block) {
        Ok(_) => IsCompleteReply::Complete,
        // Inside the braces an end that comes too early shows as a missing token.
        Err(error) if is_early_end(&error.to_string()) => IsCompleteReply::Incomplete {
            indent: String::new(),
        },
        Err(_) => IsCompleteReply::Invalid,
    }
}

fn is_early_end(message: &str) -> bool {
    message.starts_with("unexpected end of input") || message == "expected `;`"
}

/// How many brackets are open at the end, at least one inside a string or comment; `None` when one
/// closes that was not opened.
fn open_brackets(code: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = match text_length(rest) {
            Some(Text::Closed(length)) => length,
            Some(Text::Open) => return Some(open.len().max(1)),
            None => {
                match first {
                    '(' => open.push(')'),
                    '[' => open.push(']'),
                    '{' => open.push('}'),
                    ')' | ']' | '}' if open.pop() != Some(first) => return None,
                    _ => {}
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Some(open.len())
}

enum Text {
    /// A comment, string or character of so many bytes.
    Closed(usize),
    /// One that has not ended.
    Open,
}

/// The comment, string or character literal at the start of some code.
fn text_length(code: &str) -> Option<Text> {
    if code.starts_with("//") {
        return Some(Text::Closed(code.find('\n').unwrap_or(code.len())));
    }
    if code.starts_with("/*") {
        return Some(block_comment(code));
    }
    if let Some(raw) = raw_string(code) {
        return Some(raw);
    }
    if code.starts_with('"') {
        return Some(quoted(code, '"'));
    }
    let mut after = code.strip_prefix('\'')?.chars();
    match (after.next()?, after.next()) {
        ('\\', _) => Some(quoted(code, '\'')),
        (letter, Some('\'')) => Some(Text::Closed(2 + letter.len_utf8())),
        // A lifetime or a label.
        _ => None,
    }
}

fn block_comment(code: &str) -> Text {
    let mut depth = 0usize;
    let bytes = code.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'/', b'*') => depth += 1,
            (b'*', b'/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Text::Closed(at);
        }
    }
    Text::Open
}

fn raw_string(code: &str) -> Option<Text> {
    let after = code.strip_prefix("br").or_else(|| code.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let head = code.len() - body.len();
    Some(
        body.find(&end)
            .map_or(Text::Open, |at| Text::Closed(head + at + end.len())),
    )
}

fn quoted(code: &str, quote: char) -> Text {
    let mut is_escaped = false;
    for (at, letter) in code.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            letter if letter == quote => return Text::Closed(at + 1),
            _ => {}
        }
    }
    Text::Open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_judged_as_a_console_needs_it() {
        let incomplete = |levels: usize| IsCompleteReply::Incomplete {
            indent: " ".repeat(levels * 4),
        };
        let cases = [
            ("1 + 1", IsCompleteReply::Complete),
            ("let x = vec![1, 2];\nx.len()", IsCompleteReply::Complete),
            (
                ":dep regex = \"1\"\nfn f<'a>(x: &'a str) -> char { '}' }",
                IsCompleteReply::Complete,
            ),
            ("let s = r#\"{ \"#;", IsCompleteReply::Complete),
            ("fn f() {", incomplete(1)),
            ("f(vec![", incomplete(2)),
            ("let s = \"abc", incomplete(1)),
            ("/* open", incomplete(1)),
            ("let x =", incomplete(0)),
            ("}", IsCompleteReply::Invalid),
            ("let = 2;", IsCompleteReply::Invalid),
        ];
        for (code, expected) in cases {
            assert_eq!(judge(code), expected, "{code:?}");
        }
    }
}
