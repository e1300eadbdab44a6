//! Finds `.await` in statements of a cell. A cell is no async function, and evcxr would bring in a
//! runtime with threads, which end the snapshots of cells; so each of them becomes a call that
//! waits on the cell's own thread.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::ops::Range;

/// One `.await` that stands in no async block, function or closure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Await {
    /// Where the expression that is waited for begins.
    pub(crate) start: usize,
    /// Where `.await` stands behind it.
    pub(crate) range: Range<usize>,
}

/// All in a statement, as byte offsets in it; none in one that does not come apart into tokens.
pub(crate) fn awaits(statement: &str) -> Vec<Await> {
    let mut found = Vec::new();
    if let Ok(tokens) = statement.parse::<TokenStream>() {
        search(tokens, &mut found);
    }
    found
}

fn search(tokens: TokenStream, found: &mut Vec<Await>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut in_async = false;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) if ident == "async" => in_async = true,
            TokenTree::Group(group) => {
                let is_body = in_async && group.delimiter() == Delimiter::Brace;
                if is_body {
                    in_async = false;
                } else {
                    search(group.stream(), found);
                }
            }
            TokenTree::Ident(ident) if ident == "await" && !in_async && is_dot(&tokens, at) => {
                let dot = at - 1;
                let Some(first) = chain_start(&tokens, dot) else {
                    continue;
                };
                found.push(Await {
                    start: tokens[first].span().byte_range().start,
                    range: tokens[dot].span().byte_range().start..ident.span().byte_range().end,
                });
            }
            _ => {}
        }
    }
}

/// Whether one dot stands before a token, and no range.
fn is_dot(tokens: &[TokenTree], at: usize) -> bool {
    at >= 2 && is_punct(tokens, at - 1, '.') && !is_punct(tokens, at - 2, '.')
}

/// Where the chain of calls, fields and indices begins that ends before `end`.
fn chain_start(tokens: &[TokenTree], end: usize) -> Option<usize> {
    let mut at = end.checked_sub(1)?;
    loop {
        let start = operand_start(tokens, at)?;
        match start.checked_sub(1) {
            Some(before) if is_punct(tokens, before, '.') => at = before.checked_sub(1)?,
            _ => return Some(start),
        }
    }
}

/// Where one link of the chain begins: a path, a literal or a group, with the groups, macro
/// arguments, generics and `?` behind it.
fn operand_start(tokens: &[TokenTree], end: usize) -> Option<usize> {
    let mut at = end;
    loop {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '?' => at = at.checked_sub(1)?,
            TokenTree::Punct(punct) if punct.as_char() == '>' => at = generics_start(tokens, at)?,
            TokenTree::Punct(_) => return None,
            TokenTree::Literal(_) => return Some(at),
            TokenTree::Ident(_) => return Some(path_start(tokens, at)),
            TokenTree::Group(group) => {
                let Some(before) = at.checked_sub(1) else {
                    return Some(at);
                };
                let continues = match &tokens[before] {
                    TokenTree::Ident(ident) => is_callee(&ident.to_string(), group.delimiter()),
                    TokenTree::Group(other) => other.delimiter() != Delimiter::Brace,
                    TokenTree::Punct(punct) => match punct.as_char() {
                        '!' => before > 0 && matches!(tokens[before - 1], TokenTree::Ident(_)),
                        '?' => true,
                        '>' => generics_start(tokens, before).is_some(),
                        _ => false,
                    },
                    TokenTree::Literal(_) => false,
                };
                if !continues {
                    return Some(at);
                }
                at = if is_punct(tokens, before, '!') {
                    before - 1
                } else {
                    before
                };
            }
        }
    }
}

/// Whether an identifier before a group belongs to it: a callee, or what makes a block one.
fn is_callee(ident: &str, delimiter: Delimiter) -> bool {
    const BLOCKS: [&str; 3] = ["async", "move", "unsafe"];
    const KEYWORDS: [&str; 10] = [
        "return", "in", "if", "else", "match", "while", "let", "mut", "ref", "break",
    ];
    match delimiter {
        Delimiter::Brace => !KEYWORDS.contains(&ident),
        _ => !KEYWORDS.contains(&ident) && !BLOCKS.contains(&ident),
    }
}

/// The first token of a path such as `a::b`, or of `async move`.
fn path_start(tokens: &[TokenTree], end: usize) -> usize {
    let mut at = end;
    loop {
        let is_path = at >= 3 && is_punct(tokens, at - 1, ':') && is_punct(tokens, at - 2, ':');
        if is_path && matches!(tokens[at - 3], TokenTree::Ident(_)) {
            at -= 3;
            continue;
        }
        let moves = matches!(&tokens[at], TokenTree::Ident(ident) if ident == "move");
        if moves && at >= 1 {
            at -= 1;
            continue;
        }
        return at;
    }
}

/// The last token of the path before `::<...>` that ends at `end`.
fn generics_start(tokens: &[TokenTree], end: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for at in (0..=end).rev() {
        if is_punct(tokens, at, '>') {
            depth += 1;
        } else if is_punct(tokens, at, '<') {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                let is_turbofish =
                    at >= 3 && is_punct(tokens, at - 1, ':') && is_punct(tokens, at - 2, ':');
                return is_turbofish.then(|| at - 3);
            }
        }
    }
    None
}

fn is_punct(tokens: &[TokenTree], at: usize, letter: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statement with what is waited for in brackets.
    fn marked(statement: &str) -> String {
        let mut marks: Vec<(usize, &str)> = Vec::new();
        for Await { start, range } in awaits(statement) {
            marks.push((start, "["));
            marks.push((range.start, "]"));
        }
        marks.sort();
        let mut text = statement.to_string();
        for (at, mark) in marks.into_iter().rev() {
            text.insert_str(at, mark);
        }
        text
    }

    #[test]
    fn what_is_waited_for_is_the_whole_chain_of_calls() {
        for (statement, expected) in [
            ("f().await", "[f()].await"),
            (
                "let x = a::b::f(1, g().await)?.h.await;",
                "let x = [a::b::f(1, [g()].await)?.h].await;",
            ),
            ("-*x.get(1)[2].await + 1", "-*[x.get(1)[2]].await + 1"),
            ("a().await?.b().await", "[[a()].await?.b()].await"),
            ("call::<Vec<u8>>(x).await", "[call::<Vec<u8>>(x)].await"),
            (
                "x.collect::<Vec<_>>().await",
                "[x.collect::<Vec<_>>()].await",
            ),
            ("async { f().await }.await", "[async { f().await }].await"),
            ("async move { 1 }.await", "[async move { 1 }].await"),
            ("join!(a, b).await", "[join!(a, b)].await"),
            ("println!(\"{}\", x.await);", "println!(\"{}\", [x].await);"),
            ("return x.0.await", "return [x.0].await"),
            (
                "if a == b.await { c.await }",
                "if a == [b].await { [c].await }",
            ),
            ("for i in (1 + 2).await {}", "for i in [(1 + 2)].await {}"),
        ] {
            assert_eq!(marked(statement), expected);
        }
    }

    #[test]
    fn what_is_async_already_stays() {
        for statement in [
            "let f = async || g().await;",
            "let f = async move |x| { x.await };",
            "let f = async { g().await };",
            "let text = \".await\"; // x.await",
            "let range = 0..await_it;",
        ] {
            assert_eq!(marked(statement), statement);
        }
    }
}
