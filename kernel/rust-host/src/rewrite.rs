//! Reads a cell as Rust: what its statements are, and what its last expression is.
//!
//! A last expression without a semicolon is wrapped in a macro of the cell prelude that shows it,
//! so that evcxr does not compile the cell twice to find out how to show it, and `.await` becomes a
//! call that waits. Nothing else of the cell changes, and no line moves. Code that does not parse
//! goes to the compiler as it is.

use crate::awaits::awaits;
use crate::edits::{Edit, Edits};
use crate::source_map::Position;
use proc_macro2::{Span, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::ops::Range;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Attribute, Block, Expr, Item, MacroDelimiter, Pat, Stmt};

const TAIL_START: &str = "crate::__bireme_tail!(";
const TAIL_END: &str = ");";
const WAIT_START: &str = "crate::__bireme_wait::here().wait_for(";
const WAIT_END: &str = ")";

/// A cell as it goes to the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrittenCell {
    /// As the user wrote it.
    pub user_code: String,
    /// The code to compile.
    pub code: String,
    /// Byte ranges of the statements in the code to compile; empty when it does not parse.
    pub statements: Vec<Range<usize>>,
    /// Lines before the first line of Rust that are commands of evcxr, such as `:dep`.
    pub commands: Vec<String>,
    edits: Edits,
}

impl RewrittenCell {
    /// Puts a position in the compiled code back to where it is in the user's.
    pub fn original(&self, position: Position) -> Position {
        self.edits.original(&self.user_code, &self.code, position)
    }

    /// Puts items behind the code, which move no line of it.
    pub fn with_items(mut self, items: &str) -> Self {
        self.code = [&self.code, "\n", items].concat();
        self
    }

    /// Whether its commands bring in a crate with one of these features, as far as can be told.
    pub fn adds(&self, name: &str, features: &[&str]) -> bool {
        self.commands.iter().any(|command| {
            let words = command.strip_prefix(":dep").map(str::trim_start);
            let rest = words.and_then(|words| words.strip_prefix(name));
            rest.is_some_and(|rest| {
                let is_whole = rest.trim_start().starts_with('=');
                let has = |feature: &&str| rest.contains(&format!("\"{feature}"));
                is_whole && features.iter().any(has)
            })
        })
    }

    /// Puts a byte offset in the compiled code back to where it is in the user's.
    pub fn original_offset(&self, offset: usize) -> usize {
        self.edits.undo(offset)
    }
}

/// An item of a cell: a function, a type, a `use`, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellItem {
    /// None for those without a name of their own, such as `use` and `impl`.
    pub name: Option<String>,
    /// As it was written.
    pub text: String,
}

/// The items of a cell; none of one that does not parse.
pub fn items(code: &str) -> Vec<CellItem> {
    let (rust, _) = blank_commands(code);
    let statements = parse(&rust).unwrap_or_default();
    let found = statements.iter().filter_map(|statement| {
        let Stmt::Item(item) = statement else {
            return None;
        };
        let text = rust.get(item.span().byte_range())?.to_string();
        let name = name_of(item);
        Some(CellItem { name, text })
    });
    let found = found.collect();
    drop(statements);
    forget_spans();
    found
}

/// The variables that a cell binds by a plain `let`.
pub fn bindings(code: &str) -> Vec<String> {
    let (rust, _) = blank_commands(code);
    let statements = parse(&rust).unwrap_or_default();
    let bound = statements.iter().filter_map(|statement| {
        let Stmt::Local(local) = statement else {
            return None;
        };
        let pattern = match &local.pat {
            Pat::Type(typed) => &*typed.pat,
            pattern => pattern,
        };
        match pattern {
            Pat::Ident(name) => Some(name.ident.to_string()),
            _ => None,
        }
    });
    let bound = bound.collect();
    drop(statements);
    forget_spans();
    bound
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Mod(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Prepares a cell for the compiler.
pub fn rewrite(code: &str) -> RewrittenCell {
    let (rust, commands) = blank_commands(code);
    let mut cell = RewrittenCell {
        user_code: code.to_string(),
        code: code.to_string(),
        statements: Vec::new(),
        commands,
        edits: Edits::default(),
    };
    let Ok(statements) = parse(&rust) else {
        forget_spans();
        return cell;
    };
    let mut ranges: Vec<Range<usize>> = statements
        .iter()
        .map(|statement| statement.span().byte_range())
        .collect();
    let mut edits = Vec::new();
    let insert = |at, inserted| Edit {
        at,
        removed: 0,
        inserted,
    };
    let tail = statements
        .last()
        .and_then(shown)
        .map(|tail| tail.byte_range());
    if let (Some(tail), Some(range)) = (&tail, ranges.last_mut()) {
        range.clone_from(tail);
        edits.push(insert(tail.start, TAIL_START));
    }
    for (statement, range) in statements.iter().zip(&ranges) {
        if !matches!(statement, Stmt::Item(_)) {
            wait(&rust, range, &mut edits);
        }
    }
    edits.extend(tail.map(|tail| insert(tail.end, TAIL_END)));
    drop(statements);
    forget_spans();
    cell.edits = Edits::new(edits);
    cell.code = cell.edits.apply(code);
    cell.statements = ranges.iter().map(|range| cell.edits.redo(range)).collect();
    cell
}

/// Makes each `.await` of a statement a call that waits.
fn wait(code: &str, range: &Range<usize>, edits: &mut Vec<Edit>) {
    let Some(statement) = code.get(range.clone()) else {
        return;
    };
    if !statement.contains("await") {
        return;
    }
    for found in awaits(statement) {
        edits.push(Edit {
            at: range.start + found.start,
            removed: 0,
            inserted: WAIT_START,
        });
        edits.push(Edit {
            at: range.start + found.range.start,
            removed: found.range.len(),
            inserted: WAIT_END,
        });
    }
}

/// Spans that nobody needs any more keep the text of their cell for ever without this.
fn forget_spans() {
    proc_macro2::extra::invalidate_current_thread_spans();
}

/// Code without its layout and comments; none if it does not come apart into tokens.
pub fn tokens(code: &str) -> Option<String> {
    let tokens = code.parse::<TokenStream>();
    let text = tokens.ok().map(|tokens| tokens.to_string());
    forget_spans();
    text
}

/// Whether a cell uses one of some names: as identifiers, not in its strings and comments.
pub fn uses(code: &str, names: &[&str]) -> bool {
    let (rust, _) = blank_commands(code);
    // What does not come apart into tokens does not compile either, whatever it names.
    let tokens = rust.parse::<TokenStream>();
    let found = tokens.is_ok_and(|tokens| has_name(tokens, names));
    forget_spans();
    found
}

fn has_name(tokens: TokenStream, names: &[&str]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.iter().any(|name| ident == *name),
        TokenTree::Group(group) => has_name(group.stream(), names),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// The names by which a cell may use crates: they begin a path, or stand behind `use`.
pub fn crates_named(code: &str) -> BTreeSet<String> {
    let (rust, _) = blank_commands(code);
    let mut names = BTreeSet::new();
    if let Ok(tokens) = rust.parse::<TokenStream>() {
        add_roots(tokens, &mut names);
    }
    forget_spans();
    names
}

fn add_roots(tokens: TokenStream, names: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(one)) if one.as_char() == ':');
    let word = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    };
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => add_roots(group.stream(), names),
            TokenTree::Ident(ident) => {
                let begins = is_colon(at + 1) && is_colon(at + 2);
                let is_within =
                    at >= 3 && is_colon(at - 1) && is_colon(at - 2) && word(at - 3).is_some();
                let before = at.checked_sub(1).and_then(word);
                let is_named = before.is_some_and(|word| word == "use" || word == "crate");
                if (begins && !is_within) || is_named {
                    names.insert(ident.to_string());
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether a name occurs in a type as a word of its own.
pub fn mentions(code: &str, names: &[&str]) -> bool {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|word| names.contains(&word))
}

/// The whole code as statements, after inner attributes.
fn parse(code: &str) -> syn::Result<Vec<Stmt>> {
    let cell = |input: ParseStream<'_>| {
        input.call(Attribute::parse_inner)?;
        input.call(Block::parse_within)
    };
    cell.parse_str(code)
}

/// The expression to show, if the last statement is one.
fn shown(statement: &Stmt) -> Option<Span> {
    match statement {
        Stmt::Expr(Expr::Macro(call), None) if is_braced(&call.mac.delimiter) => None,
        Stmt::Expr(Expr::Verbatim(_), None) => None,
        Stmt::Expr(expression, None) => Some(expression.span()),
        Stmt::Macro(call) if call.semi_token.is_none() && !is_braced(&call.mac.delimiter) => {
            Some(call.span())
        }
        _ => None,
    }
}

fn is_braced(delimiter: &MacroDelimiter) -> bool {
    matches!(delimiter, MacroDelimiter::Brace(_))
}

/// The code with blanks in the place of evcxr's commands.
pub fn without_commands(code: &str) -> String {
    blank_commands(code).0
}

/// The commands of evcxr that a cell begins with.
pub fn commands(code: &str) -> Vec<String> {
    blank_commands(code).1
}

/// Puts blanks in the place of the commands before the first line of Rust, as evcxr reads them.
fn blank_commands(code: &str) -> (String, Vec<String>) {
    let mut commands = Vec::new();
    let mut rust = String::with_capacity(code.len());
    let mut in_commands = true;
    for line in code.split_inclusive('\n') {
        let is_command = line.starts_with('!') || line.trim_start_matches(' ').starts_with(':');
        let is_blank = line.starts_with("//") || line.trim().is_empty();
        in_commands &= is_command || is_blank;
        if in_commands && is_command {
            commands.push(line.trim().to_string());
            rust.extend(line.chars().flat_map(|letter| {
                let blank = if letter == '\n' { '\n' } else { ' ' };
                std::iter::repeat_n(blank, letter.len_utf8())
            }));
        } else {
            rust.push_str(line);
        }
    }
    (rust, commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(cell: &str) -> String {
        rewrite(cell).code
    }

    #[test]
    fn a_last_expression_is_wrapped_where_it_stands() {
        insta::assert_snapshot!(code("let x = 1;\nx + 1 // sum"), @r"
        let x = 1;
        crate::__bireme_tail!(x + 1); // sum
        ");
        insta::assert_snapshot!(code("println!(\"hi\")"), @r#"crate::__bireme_tail!(println!("hi"));"#);
        insta::assert_snapshot!(code("é(\"ü\"); for i in 0..3 { }"), @r#"é("ü"); crate::__bireme_tail!(for i in 0..3 { });"#);
    }

    #[test]
    fn a_crate_is_used_where_its_name_begins_a_path() {
        for cell in [
            "rand::random::<u8>()",
            "use rand::Rng;",
            "use {std::fmt, rand::Rng};",
            "use rand;",
            "let n = ::rand::random::<u8>();",
            "fn f() { let x: Vec<rand::rngs::StdRng> = vec![]; }",
            "println!(\"{}\", rand::random::<u8>())",
        ] {
            assert!(crates_named(cell).contains("rand"), "{cell}");
        }
        for cell in [
            "let rand = 1; rand + 1",
            "x.rand()",
            "my::rand::f()",
            "\"rand::random\" // rand::random",
            "fn rand() -> u8 { 4 }",
        ] {
            assert!(!crates_named(cell).contains("rand"), "{cell}");
        }
    }

    #[test]
    fn other_cells_stay_as_they_are() {
        for cell in [
            "let x = 1;",
            "fn f() -> i32 { 1 }",
            "f();",
            "thread_local! { static A: u8 = 1; }",
            "let x = ;",
            "macro_rules! m { () => {} }",
            "",
        ] {
            assert_eq!(code(cell), cell);
        }
    }

    #[test]
    fn commands_come_first_and_stay() {
        let cell = rewrite(":dep é = \"1\"\n// note\n\nx");
        assert_eq!(cell.commands, [":dep é = \"1\""]);
        assert!(cell.code.ends_with("\n\ncrate::__bireme_tail!(x);"));
    }

    #[test]
    fn waiting_is_a_call() {
        insta::assert_snapshot!(code("let x = f(1).await?;\nasync fn g() { h().await }\nx.await"), @r"
        let x = crate::__bireme_wait::here().wait_for(f(1))?;
        async fn g() { h().await }
        crate::__bireme_tail!(crate::__bireme_wait::here().wait_for(x));
        ");
    }

    #[test]
    fn columns_of_the_wrapped_line_come_back() {
        let cell = rewrite("a; b + c");
        let at = |column| cell.original(Position { line: 1, column }).column;
        assert_eq!(at(1), 1);
        let b = cell.code.find("b + c").unwrap() + 1;
        assert_eq!((at(b), at(b + 4)), (4, 8));
    }

    #[test]
    fn only_identifiers_use_a_name() {
        for cell in [
            "println!(\"Table 1\"); // a Table",
            "/* Table */ let tables = r#\"Table\"#;",
            ":dep Table = \"1\"\nlet c = 'T';",
            "Table \"",
        ] {
            assert!(!uses(cell, &["Table"]), "{cell}");
        }
        for cell in ["let t = Table::new();", "f(vec![{ Table }])", "a = !Table"] {
            assert!(uses(cell, &["Column", "Table"]), "{cell}");
        }
    }

    #[test]
    fn names_are_found_as_whole_words() {
        assert!(mentions("let t = Table::new();", &["Table"]));
        assert!(!mentions("let tables = 1;", &["Table", "table"]));
    }
}
