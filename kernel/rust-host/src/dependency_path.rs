//! Directories that `:dep` lines name, taken from where the notebook is: evcxr runs elsewhere and would
//! take them from there.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

/// A cell whose `:dep` lines name directories from the root on.
pub(crate) fn with_whole_paths<'a>(code: &'a str, notebook: &Path) -> Cow<'a, str> {
    if !code.contains(":dep") {
        return Cow::Borrowed(code);
    }
    let lines = code.split_inclusive('\n').map(|line| {
        let is_dependency = line.trim_start().starts_with(":dep");
        let named = is_dependency.then(|| named(line)).flatten();
        match named {
            Some(path) if Path::new(&line[path.clone()]).is_relative() => {
                let whole = notebook.join(&line[path.clone()]);
                let whole = whole.to_string_lossy();
                let escaped = whole.replace('\\', "\\\\").replace('"', "\\\"");
                [&line[..path.start], &escaped, &line[path.end..]].concat()
            }
            _ => line.to_string(),
        }
    });
    Cow::Owned(lines.collect())
}

/// What stands between the quotes of `path = "..."`.
fn named(line: &str) -> Option<Range<usize>> {
    let keys = line.match_indices("path");
    keys.filter_map(|(at, key)| {
        let is_whole =
            !line[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        let value = line[at + key.len()..].trim_start().strip_prefix('=')?;
        let text = value.trim_start().strip_prefix('"')?;
        let start = line.len() - text.len();
        let end = start + text.find('"')?;
        is_whole.then_some(start..end)
    })
    .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_begin_at_the_notebook() {
        let notebook = Path::new("/home/me/note books");
        let whole = |code| with_whole_paths(code, notebook).into_owned();
        assert_eq!(
            whole(":dep mine = { path = \"../mine\", features = [\"path\"] }\nlet path = \"x\";"),
            ":dep mine = { path = \"/home/me/note books/../mine\", features = [\"path\"] }\n\
             let path = \"x\";"
        );
        for same in [
            ":dep mine = { path = \"/mine\" }\n1",
            ":dep regex = \"1\"",
            ":dep a = { mypath = \"b\" }",
            "let dep = { path = \"b\" };",
        ] {
            assert_eq!(whole(same), same);
        }
    }
}
