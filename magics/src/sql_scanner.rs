//! Just enough of SQL's lexical grammar to find `$name` and `{{...}}` where they mean something:
//! not in comments, quoted names or strings. Parsing is the engines' work.

/// A part of a SQL text. Parts follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Anything else, comments and quoted names with it.
    Plain {
        /// First byte.
        offset: usize,
        /// As typed.
        text: &'a str,
    },
    /// `$name`.
    Placeholder {
        /// The byte of the `$`.
        offset: usize,
        /// Without the `$`.
        name: &'a str,
    },
    /// `'...'` with its quotes.
    Quoted {
        /// First byte.
        offset: usize,
        /// As typed.
        text: &'a str,
    },
    /// `{{inner}}`.
    Braces {
        /// First byte.
        offset: usize,
        /// As typed.
        text: &'a str,
        /// What stands between the braces.
        inner: &'a str,
    },
}

/// Reads a text to its end. What is not closed reaches to the end.
pub(crate) fn scan(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        if offset >= text.len() {
            return None;
        }
        let (part, length) = next(text, offset);
        offset += length;
        Some(part)
    })
}

fn next(text: &str, offset: usize) -> (Part<'_>, usize) {
    let rest = &text[offset..];
    if let Some(length) = string_length(rest) {
        return (
            Part::Quoted {
                offset,
                text: &rest[..length],
            },
            length,
        );
    }
    if let Some((inner, length)) = braces(rest) {
        return (
            Part::Braces {
                offset,
                text: &rest[..length],
                inner,
            },
            length,
        );
    }
    if let Some(name) = placeholder(rest) {
        return (Part::Placeholder { offset, name }, name.len() + 1);
    }
    let length = plain_length(rest);
    (
        Part::Plain {
            offset,
            text: &rest[..length],
        },
        length,
    )
}

/// Everything up to what may be a string, braces or a placeholder.
fn plain_length(rest: &str) -> usize {
    let mut at = 0;
    while at < rest.len() {
        let here = &rest[at..];
        let is_first = at == 0;
        if !is_first && (string_length(here).is_some() || braces(here).is_some()) {
            return at;
        }
        let after_word =
            rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if !is_first && !after_word && placeholder(here).is_some() {
            return at;
        }
        at += opaque_length(here).unwrap_or_else(|| here.chars().next().map_or(1, char::len_utf8));
    }
    rest.len()
}

/// Comments, quoted names and dollar-quoted strings, which are passed over whole.
fn opaque_length(rest: &str) -> Option<usize> {
    if rest.starts_with("--") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(comment_length(rest));
    }
    if let Some(name) = rest.strip_prefix('"') {
        return Some(name.find('"').map_or(rest.len(), |at| at + 2));
    }
    let tag_end = rest
        .strip_prefix('$')?
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))?
        + 1;
    let tag = rest[tag_end..]
        .starts_with('$')
        .then(|| &rest[..=tag_end])?;
    let close = rest[tag.len()..].find(tag)?;
    Some(tag.len() + close + tag.len())
}

/// A comment with those nested in it.
fn comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string_length(rest: &str) -> Option<usize> {
    let mut at = rest.strip_prefix('\'').map(|_| 1)?;
    loop {
        match rest[at..].find('\'') {
            None => return Some(rest.len()),
            Some(quote) => {
                at += quote + 1;
                match rest[at..].starts_with('\'') {
                    true => at += 1,
                    false => return Some(at),
                }
            }
        }
    }
}

fn braces(rest: &str) -> Option<(&str, usize)> {
    let inner = rest.strip_prefix("{{")?;
    let end = inner.find("}}")?;
    Some((&inner[..end], end + 4))
}

fn placeholder(rest: &str) -> Option<&str> {
    if opaque_length(rest).is_some() {
        return None;
    }
    let after = rest.strip_prefix('$')?;
    let end = after
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(after.len());
    (end > 0).then(|| &after[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(sql: &str) -> Vec<String> {
        scan(sql)
            .filter_map(|part| match part {
                Part::Placeholder { name, .. } => Some(format!("${name}")),
                Part::Braces { inner, .. } => Some(format!("{{{inner}}}")),
                Part::Plain { .. } | Part::Quoted { .. } => None,
            })
            .collect()
    }

    #[test]
    fn marks_are_found_where_they_mean_something() {
        assert_eq!(marks("SELECT $a, {{ b }} + $c_1"), ["$a", "{ b }", "$c_1"]);
        assert_eq!(
            marks("SELECT '$a', \"$b\" -- $c\n /* {{d}} /* */ $e */, $f"),
            ["$f"]
        );
        assert_eq!(
            marks("SELECT $$ $a $$, $t$ {{b}} $t$, a$b, 'it''s $x'"),
            [""; 0]
        );
        assert_eq!(marks("$first"), ["$first"]);
        assert_eq!(marks("'open {{a}}"), [""; 0]);
    }
}
