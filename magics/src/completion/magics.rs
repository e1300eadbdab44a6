//! Proposals for names and arguments of magics.

use bireme_settings::{Kind, TABLE};

use super::{Match, MatchKind, Names, begins};
use crate::magic::{BodyKind, Flag, Form, Spec, ValueKind};
use crate::registry::REGISTRY;

/// Magics whose name begins as typed; with no form, of both.
pub(crate) fn names(form: Option<Form>, is_question: bool, typed: &str) -> Vec<Match> {
    let bare = typed.trim_start_matches('%');
    let forms = match form {
        Some(form) => vec![form],
        None => vec![Form::Line, Form::Cell],
    };
    let magics = REGISTRY
        .iter()
        .map(|magic| magic.spec())
        .filter(|spec| begins(spec.name, bare));
    let mut matches = Vec::new();
    for spec in magics {
        for form in forms.iter().filter(|form| spec.forms.has(**form)) {
            let text = match is_question && typed == bare {
                true => spec.name.to_string(),
                false => format!("{}{}", form.prefix(), spec.name),
            };
            if matches.iter().all(|known: &Match| known.text != text) {
                matches.push(Match::new(text, MatchKind::Magic, spec.summary));
            }
        }
    }
    matches
}

/// Arguments that may follow `before` and begin with `word`; with the byte of `word` they replace.
pub(crate) fn arguments(
    spec: &'static Spec,
    before: &str,
    word: &str,
    names: &Names,
) -> (usize, Vec<Match>) {
    let given: Vec<&str> = before.split_whitespace().collect();
    let find_flag = |typed: &str| find_flag(spec, typed);
    if let Some((name, value)) = word.split_once('=')
        && let Some(kind) = find_flag(name).and_then(|flag| flag.value)
    {
        return (name.len() + 1, values(kind, value, names));
    }
    if let Some(kind) = given
        .last()
        .and_then(|last| find_flag(last))
        .and_then(|flag| flag.value)
    {
        return (0, values(kind, word, names));
    }
    let mut matches = Vec::new();
    if !word.starts_with('-') {
        matches.extend(positional(spec, &given, word, names));
        matches.extend(body(spec, &given, word, names));
    }
    let has_begun_body = matches!(spec.body, BodyKind::Setting | BodyKind::Parameter)
        && given.iter().any(|word| !word.starts_with('-'));
    if has_begun_body {
        return (0, matches);
    }
    let is_given = |flag: &Flag| {
        given
            .iter()
            .any(|word| word.trim_start_matches('-') == flag.name)
    };
    let flags = spec
        .flags
        .iter()
        .filter(|flag| !flag.is_later && !is_given(flag));
    for flag in flags {
        let text = format!("--{}", flag.name);
        if text.starts_with(word) {
            matches.push(Match::new(text, MatchKind::Flag, flag.doc));
        }
    }
    (0, matches)
}

fn find_flag(spec: &'static Spec, typed: &str) -> Option<&'static Flag> {
    let name = typed.strip_prefix("--")?;
    spec.flags
        .iter()
        .find(|flag| flag.name == name && !flag.is_later)
}

fn positional(spec: &'static Spec, given: &[&str], word: &str, names: &Names) -> Vec<Match> {
    let mut index = 0;
    let mut takes_value = false;
    for typed in given {
        match typed.starts_with("--") {
            true => takes_value = find_flag(spec, typed).is_some_and(|flag| flag.value.is_some()),
            false if takes_value => takes_value = false,
            false => index += 1,
        }
    }
    match spec.positionals.get(index) {
        Some(positional) => values(positional.kind, word, names),
        None => Vec::new(),
    }
}

fn body(spec: &Spec, given: &[&str], word: &str, names: &Names) -> Vec<Match> {
    let words: Vec<&&str> = given
        .iter()
        .filter(|w| !w.starts_with("--") && **w != "=")
        .collect();
    match (spec.body, words.as_slice()) {
        (BodyKind::Setting, []) => TABLE
            .iter()
            .filter(|setting| begins(setting.key, word))
            .map(|setting| Match::new(setting.key, MatchKind::Setting, setting.doc))
            .collect(),
        (BodyKind::Setting, [key]) => match bireme_settings::find(key).map(|s| &s.kind) {
            Some(Kind::Choice(choices)) => words_of(choices, word),
            Some(Kind::Bool) => words_of(&["false", "true"], word),
            _ => Vec::new(),
        },
        (BodyKind::Parameter, []) => parameters(names, word),
        _ => Vec::new(),
    }
}

fn values(kind: ValueKind, word: &str, names: &Names) -> Vec<Match> {
    match kind {
        ValueKind::Choice(choices) => words_of(choices, word),
        ValueKind::Table => names
            .tables
            .iter()
            .filter(|table| begins(&table.name, word))
            .map(|table| Match::new(&table.name, MatchKind::Table, table.kind))
            .collect(),
        ValueKind::MagicName => REGISTRY
            .iter()
            .map(|magic| magic.spec())
            .filter(|spec| begins(spec.name, word))
            .map(|spec| Match::new(spec.name, MatchKind::Magic, spec.summary))
            .collect(),
        ValueKind::Text
        | ValueKind::NewName
        | ValueKind::Integer
        | ValueKind::Count
        | ValueKind::Duration
        | ValueKind::QueryId => Vec::new(),
    }
}

fn words_of(words: &[&str], typed: &str) -> Vec<Match> {
    let fitting = words.iter().filter(|word| begins(word, typed));
    fitting
        .map(|word| Match::new(*word, MatchKind::Value, ""))
        .collect()
}

/// Parameters whose name begins as typed.
pub(crate) fn parameters(names: &Names, typed: &str) -> Vec<Match> {
    let fitting = names
        .parameters
        .iter()
        .filter(|(name, _)| begins(name, typed));
    fitting
        .map(|(name, value)| Match::new(name, MatchKind::Parameter, value.to_string()))
        .collect()
}
