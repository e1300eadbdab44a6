//! Did you mean: the known word closest to a mistyped one.

/// A typo this much worse than one edit per three characters is another word.
const CHARACTERS_PER_EDIT: usize = 3;

/// The closest of `words`, if it is close enough to be meant.
pub(crate) fn nearest<'a>(
    typed: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let allowed = (typed.chars().count() / CHARACTERS_PER_EDIT).max(1);
    words
        .into_iter()
        .map(|word| (distance(&typed, &word.to_lowercase()), word))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

fn distance(typed: &str, word: &str) -> usize {
    // A word that was typed to its middle counts as one edit.
    if typed.len() >= 3 && word.starts_with(typed) {
        return 1;
    }
    strsim::damerau_levenshtein(typed, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_edit_is_forgiven_and_another_word_is_not() {
        let words = ["sql", "show", "explain", "engines"];
        assert_eq!(nearest("sqll", words), Some("sql"));
        assert_eq!(nearest("hsow", words), Some("show"));
        assert_eq!(nearest("explian", words), Some("explain"));
        assert_eq!(nearest("eng", words), Some("engines"));
        assert_eq!(nearest("plot", words), None);
    }
}
