//! What can be said of code that is being typed without a compiler: the names of the session, of the
//! code itself and of the language. It is the answer while a cell runs and the analyst is not up yet.

use crate::cell_crate;
use crate::outline::Outline;
use crate::typing;
use bireme_px::host_protocol::{Bundle, CompletionItem, HostEvent, HostRequest};
use serde_json::Value;
use std::collections::HashSet;

const KEYWORDS: [&str; 35] = [
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "static", "struct", "trait", "true", "type", "unsafe", "use", "where",
    "while",
];
/// Of Rust's own prelude, with a kind each.
const STANDARD: [(&str, &str); 24] = [
    ("Box", "struct"),
    ("Clone", "trait"),
    ("Default", "trait"),
    ("Err", "function"),
    ("Iterator", "trait"),
    ("None", "constant"),
    ("Ok", "function"),
    ("Option", "enum"),
    ("Result", "enum"),
    ("Some", "function"),
    ("String", "struct"),
    ("ToString", "trait"),
    ("Vec", "struct"),
    ("assert!", "macro"),
    ("assert_eq!", "macro"),
    ("dbg!", "macro"),
    ("eprintln!", "macro"),
    ("format!", "macro"),
    ("panic!", "macro"),
    ("print!", "macro"),
    ("println!", "macro"),
    ("std", "module"),
    ("todo!", "macro"),
    ("vec!", "macro"),
];

/// Answers a question; nothing for what is no question.
pub(crate) fn answer(outline: &Outline, request: &HostRequest) -> Option<HostEvent> {
    match request {
        HostRequest::Complete { id, code, cursor } => Some(complete(outline, *id, code, *cursor)),
        HostRequest::Inspect { id, code, cursor } => Some(inspect(outline, *id, code, *cursor)),
        _ => None,
    }
}

fn complete(outline: &Outline, id: u64, code: &str, cursor: usize) -> HostEvent {
    let cursor = typing::floor(code, cursor);
    let start = name_start(code, cursor);
    let (before, typed) = (&code[..start], &code[start..cursor]);
    // What a value or a path has is not known here.
    if before.ends_with('.') && !before.ends_with("..") || before.ends_with("::") {
        return typing::nothing(id, cursor, true);
    }
    let mut items = names_of_session(outline);
    if !typed.is_empty() {
        items.extend(names_in(before).map(|name| item(name, "variable")));
        items.extend(names_of_language());
    }
    let mut told = HashSet::new();
    items.retain(|item| item.text.starts_with(typed) && told.insert(item.text.clone()));
    HostEvent::Completions {
        id,
        start,
        end: cursor,
        items,
        busy: true,
    }
}

fn inspect(outline: &Outline, id: u64, code: &str, cursor: usize) -> HostEvent {
    let cursor = typing::floor(code, cursor);
    let name = &code[name_start(code, cursor)..typing::name_end(code, cursor)];
    let variable = outline.variables().iter().find(|one| one.name == name);
    let text = match variable {
        Some(variable) => Some(format!("let {name}: {}", variable.type_name)),
        None => {
            let found = outline
                .items()
                .iter()
                .find(|one| one.name.as_deref() == Some(name));
            found.map(|item| item.text.clone())
        }
    };
    let bundle = text.map(|text| {
        let mut bundle = Bundle::default();
        bundle.data.insert("text/plain".into(), Value::String(text));
        bundle
    });
    HostEvent::Inspection { id, bundle }
}

fn names_of_session(outline: &Outline) -> Vec<CompletionItem> {
    let variables = outline.variables().iter().map(|variable| CompletionItem {
        label: format!("{}: {}", variable.name, variable.type_name),
        ..item(&variable.name, "variable")
    });
    let items = outline
        .items()
        .iter()
        .filter_map(|one| Some(item(one.name.as_deref()?, kind_of(&one.text))));
    variables.chain(items).collect()
}

fn names_of_language() -> impl Iterator<Item = CompletionItem> {
    let ours = cell_crate::prelude_names().map(|name| item(name, kind_of_name(name)));
    let standard = STANDARD.iter().map(|(name, kind)| item(name, kind));
    ours.chain(standard)
        .chain(KEYWORDS.iter().map(|word| item(word, "keyword")))
}

/// Names that the code has, which it may use again.
fn names_in(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split(|letter: char| !is_name_letter(letter));
    let is_name =
        |word: &&str| word.len() > 1 && !word.starts_with(|letter: char| letter.is_ascii_digit());
    words
        .filter(is_name)
        .filter(|word| !KEYWORDS.contains(word))
}

/// What an item is, by the word that introduces it.
fn kind_of(text: &str) -> &'static str {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with(['/', '#']));
    let words = lines.flat_map(|line| line.split(|letter: char| !is_name_letter(letter)));
    let kinds = words.filter_map(|word| match word {
        "fn" => Some("function"),
        "struct" | "union" => Some("struct"),
        "enum" => Some("enum"),
        "trait" => Some("trait"),
        "mod" => Some("module"),
        "macro_rules" => Some("macro"),
        "type" => Some("type"),
        "static" => Some("constant"),
        _ => None,
    });
    kinds.into_iter().next().unwrap_or("constant")
}

fn kind_of_name(name: &str) -> &'static str {
    match name.starts_with(|letter: char| letter.is_uppercase()) {
        true => "struct",
        false => "function",
    }
}

fn item(name: &str, kind: &str) -> CompletionItem {
    CompletionItem {
        text: name.to_owned(),
        kind: kind.to_owned(),
        label: name.to_owned(),
    }
}

fn name_start(code: &str, cursor: usize) -> usize {
    let before = &code[..cursor];
    before.trim_end_matches(is_name_letter).len()
}

fn is_name_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::rewrite;
    use bireme_px::host_protocol::Variable;

    fn outline() -> Outline {
        let mut outline = Outline::default();
        outline.note(&rewrite(
            "/// Sails.\npub fn hoist(n: u8) {}\nstruct Hull;\nlet vessels = vec![1];",
        ));
        outline.set_variables(vec![Variable {
            name: "vessels".into(),
            type_name: "Vec<i32>".into(),
        }]);
        outline
    }

    fn completed(code: &str) -> (usize, Vec<String>) {
        let HostEvent::Completions { start, items, .. } = complete(&outline(), 1, code, code.len())
        else {
            panic!("completions");
        };
        let words = items
            .into_iter()
            .map(|item| format!("{} {}", item.text, item.kind));
        (start, words.collect())
    }

    #[test]
    fn names_are_completed_without_a_compiler() {
        for (code, start, expected) in [
            ("ves", 0, "vessels variable"),
            ("let é = ho", 9, "hoist function"),
            ("Hu", 0, "Hull struct"),
            ("let tonnage = 1; ton", 17, "tonnage variable"),
            ("scan_p", 0, "scan_parquet function"),
            ("whi", 0, "while keyword"),
            ("printl", 0, "println! macro"),
            ("0..ves", 3, "vessels variable"),
            ("", 0, "vessels variable"),
        ] {
            let (at, items) = completed(code);
            assert!(
                at == start && items.contains(&expected.to_owned()),
                "{code}: {at} {items:?}"
            );
        }
        for code in ["vessels.le", "Vec::wi", "nosuchname"] {
            assert_eq!(completed(code).1, Vec::<String>::new(), "{code}");
        }
    }

    #[test]
    fn names_of_the_session_are_described() {
        for (code, cursor, expected) in [
            ("vessels.len()", 3, "let vessels: Vec<i32>"),
            ("hoist", 5, "/// Sails.\npub fn hoist(n: u8) {}"),
        ] {
            let HostEvent::Inspection { bundle, .. } = inspect(&outline(), 1, code, cursor) else {
                panic!("an inspection");
            };
            assert_eq!(bundle.unwrap().data["text/plain"], expected);
        }
        let nothing = inspect(&outline(), 1, "é", 1);
        assert_eq!(
            nothing,
            HostEvent::Inspection {
                id: 1,
                bundle: None
            }
        );
    }
}
