//! The functions every engine has, with their signatures: a list that was read once from the
//! documentation of DataFusion, which is no dependency here.

use std::sync::LazyLock;

/// A function of SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `scalar`, `aggregate` or `window`.
    pub kind: String,
    /// How it is called.
    pub signature: String,
}

static BUILTIN: LazyLock<Vec<Function>> = LazyLock::new(|| {
    let lines = include_str!("functions.txt").lines();
    let functions = lines.filter_map(|line| {
        let (kind, signature) = line.split_once(' ')?;
        let (name, _) = signature.split_once('(')?;
        Some(Function {
            name: name.into(),
            kind: kind.into(),
            signature: signature.into(),
        })
    });
    functions.collect()
});

/// The functions every engine has, sorted by name.
pub fn builtin_functions() -> Vec<Function> {
    BUILTIN.clone()
}
