//! Finds `.await` in statements of a cell. A cell is no async function, and evcxr would bring in a
//! runtime with threads, which end the snapshots of cells; so each of them becomes a call that
//! waits on the cell's own thread.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
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
            TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ',') => in_async = false,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                // The braces of a macro may be anything, most likely async.
                let is_macro = at >= 2
                    && is_punct(&tokens, at - 1, '!')
                    && matches!(&tokens[at - 2], TokenTree::Ident(ident) if !is_keyword(ident));
                if !std::mem::take(&mut in_async) && !is_macro {
                    search(group.stream(), found);
                }
            }
            TokenTree::Group(group) if !in_async => search(group.stream(), found),
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
/// arguments, generics and `?` behind it. None for what is not understood.
fn operand_start(tokens: &[TokenTree], end: usize) -> Option<usize> {
    let mut at = end;
    loop {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '?' => at = at.checked_sub(1)?,
            TokenTree::Punct(punct) if punct.as_char() == '>' => at = generics_start(tokens, at)?,
            TokenTree::Punct(_) => return None,
            TokenTree::Literal(_) => return Some(at),
            TokenTree::Ident(_) => return path_start(tokens, at),
            TokenTree::Group(group) => match before_group(tokens, at, group.delimiter()) {
                Before::Nothing => return Some(at),
                Before::Link(before) => at = before,
                Before::Unknown => return choice_start(tokens, at),
            },
        }
    }
}

/// What a group belongs to.
enum Before {
    /// To nothing: it is the operand.
    Nothing,
    /// To what ends at this token.
    Link(usize),
    /// To an expression that begins with a keyword further back, or is not understood.
    Unknown,
}

fn before_group(tokens: &[TokenTree], at: usize, delimiter: Delimiter) -> Before {
    let Some(before) = at.checked_sub(1) else {
        return Before::Nothing;
    };
    let is_braced = delimiter == Delimiter::Brace;
    match &tokens[before] {
        TokenTree::Ident(ident) if is_block(ident) && is_braced => Before::Link(before),
        // `match x {}`, `if x {} else {}`, `loop {}`.
        TokenTree::Ident(_) if is_braced && begins_with_keyword(tokens, before) => Before::Unknown,
        TokenTree::Ident(ident) if is_keyword(ident) => Before::Nothing,
        TokenTree::Ident(_) => Before::Link(before),
        TokenTree::Group(_) if is_braced => Before::Unknown,
        TokenTree::Group(other) if other.delimiter() == Delimiter::Brace => Before::Nothing,
        TokenTree::Group(_) => Before::Link(before),
        TokenTree::Punct(punct) => match punct.as_char() {
            '?' if is_braced => Before::Unknown,
            '?' => Before::Link(before),
            '>' if generics_start(tokens, before).is_some() => Before::Link(before),
            '!' => match before.checked_sub(1).map(|at| (at, &tokens[at])) {
                Some((at, TokenTree::Ident(ident))) if !is_keyword(ident) => Before::Link(at),
                _ => Before::Nothing,
            },
            _ => Before::Nothing,
        },
        TokenTree::Literal(_) if is_braced => Before::Unknown,
        TokenTree::Literal(_) => Before::Nothing,
    }
}

/// Where the `match`, the `if` with its `else`s, or the `loop` begins whose last braces are at `end`. None for
/// one with a label, or with braces in its condition.
fn choice_start(tokens: &[TokenTree], end: usize) -> Option<usize> {
    let mut at = end;
    loop {
        at = at.checked_sub(1)?;
        match &tokens[at] {
            TokenTree::Ident(ident) if ident == "else" => {
                at = at.checked_sub(1)?;
                is_braces(&tokens[at]).then_some(())?;
            }
            TokenTree::Ident(ident) if ident == "if" => {
                let is_else =
                    |at: usize| matches!(&tokens[at], TokenTree::Ident(word) if word == "else");
                match at.checked_sub(1).filter(|before| is_else(*before)) {
                    Some(before) => at = before + 1,
                    None => return Some(at),
                }
            }
            TokenTree::Ident(ident) if ident == "match" || ident == "loop" => {
                let has_label = at >= 1 && is_punct(tokens, at - 1, ':');
                return (!has_label).then_some(at);
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            token if is_braces(token) => return None,
            _ => {}
        }
    }
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// Whether an expression with braces of its own ends at a token: a keyword stands there or before it.
fn begins_with_keyword(tokens: &[TokenTree], end: usize) -> bool {
    const WITH_BRACES: [&str; 6] = ["else", "for", "if", "loop", "match", "while"];
    let ended =
        |token: &&TokenTree| !matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';');
    let mut behind = tokens[..=end].iter().rev().take_while(ended);
    behind.any(|token| {
        matches!(token, TokenTree::Ident(ident) if WITH_BRACES.iter().any(|word| ident == word))
    })
}

fn is_block(ident: &Ident) -> bool {
    ["async", "move", "unsafe"].iter().any(|word| ident == word)
}

fn is_keyword(ident: &Ident) -> bool {
    const KEYWORDS: [&str; 12] = [
        "as", "break", "else", "if", "in", "let", "match", "move", "mut", "ref", "return", "while",
    ];
    KEYWORDS.iter().any(|word| ident == word)
}

/// The first token of a path such as `a::b`, `T::<U>::new` or `::a`, or of `async move`.
fn path_start(tokens: &[TokenTree], end: usize) -> Option<usize> {
    let mut at = end;
    loop {
        if matches!(&tokens[at], TokenTree::Ident(ident) if ident == "move") && at >= 1 {
            at -= 1;
            continue;
        }
        let is_path = at >= 2 && is_punct(tokens, at - 1, ':') && is_punct(tokens, at - 2, ':');
        if !is_path {
            return Some(at);
        }
        let Some(before) = at.checked_sub(3) else {
            return Some(at - 2);
        };
        match &tokens[before] {
            TokenTree::Ident(ident) if !is_keyword(ident) => at = before,
            // `<T as Trait>::f` begins at its own `<`.
            TokenTree::Punct(punct) if punct.as_char() == '>' => match opening(tokens, before)? {
                open if is_turbofish(tokens, open) => at = open - 3,
                open => return Some(open),
            },
            _ => return Some(at - 2),
        }
    }
}

/// The last token of the path before `::<...>` that ends at `end`.
fn generics_start(tokens: &[TokenTree], end: usize) -> Option<usize> {
    let open = opening(tokens, end)?;
    is_turbofish(tokens, open).then(|| open - 3)
}

/// The `<` of the `>` at `end`.
fn opening(tokens: &[TokenTree], end: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for at in (0..=end).rev() {
        // The arrow of a function's type is no bracket.
        let is_arrow = at >= 1 && is_punct(tokens, at - 1, '-');
        if is_punct(tokens, at, '>') && !is_arrow {
            depth += 1;
        } else if is_punct(tokens, at, '<') {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

fn is_turbofish(tokens: &[TokenTree], open: usize) -> bool {
    open >= 3 && is_punct(tokens, open - 1, ':') && is_punct(tokens, open - 2, ':')
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
            ("Client::<C>::new(x).await", "[Client::<C>::new(x)].await"),
            ("<T as Tr>::f(1).await", "[<T as Tr>::f(1)].await"),
            ("let x = ::tokio::f().await", "let x = [::tokio::f()].await"),
            ("if !(x).await {}", "if ![(x)].await {}"),
            (
                "{ let f = async |x| g(x).await; f(1).await }",
                "{ let f = async |x| g(x).await; [f(1)].await }",
            ),
            ("println!(\"{}\", x.await);", "println!(\"{}\", [x].await);"),
            ("return x.0.await", "return [x.0].await"),
            (
                "if a == b.await { c.await }",
                "if a == [b].await { [c].await }",
            ),
            ("for i in (1 + 2).await {}", "for i in [(1 + 2)].await {}"),
            ("match x { _ => y }.await", "[match x { _ => y }].await"),
            (
                "a; match f(x)? { _ => y }.b.await?;",
                "a; [match f(x)? { _ => y }.b].await?;",
            ),
            (
                "let x = if a { b } else if c { d } else { e }.await;",
                "let x = [if a { b } else if c { d } else { e }].await;",
            ),
            ("loop { break y }.await", "[loop { break y }].await"),
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
            "let s = stream! { yield f().await; };",
            // Not understood, and left to the compiler.
            "if let P { a } = c { a } else { b }.await",
            "let x = 'a: loop { break 'a y; }.await",
        ] {
            assert_eq!(marked(statement), statement);
        }
    }
}
