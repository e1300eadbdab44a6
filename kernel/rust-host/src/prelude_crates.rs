//! Crates that the setting `rust.prelude_crates` names: `bireme install` compiles them beside the
//! `bireme` crate, and a cell that uses one, or brings it in by `:dep`, finds it compiled.
//!
//! Cargo compiles a crate again when other crates want other features of what it depends on. So
//! each is compiled beside the `bireme` crate alone, and all are together. A session takes the
//! versions that were chosen then. How one compile goes is the cell crate's matter.

use crate::cell_crate::{CellCrate, CompileSettings};
use crate::error::RustHostError;
use bireme_px::host_protocol::PRELUDE_CRATES_ENV;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A crate by the words that `:dep` takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PreludeCrate {
    name: String,
    words: String,
}

/// The crates of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreludeCrates {
    crates: Vec<PreludeCrate>,
}

impl PreludeCrate {
    /// What evcxr is told to depend on.
    pub fn dependency(&self) -> String {
        format!("{} = {}", self.name, self.words)
    }

    /// Its name in code.
    pub fn ident(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Whether a command brings it in.
    pub fn is_brought_in_by(&self, command: &str) -> bool {
        let words = command.strip_prefix(":dep").map(str::trim_start);
        let rest = words.and_then(|words| words.strip_prefix(self.name.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.trim_start().starts_with('='))
    }
}

impl PreludeCrates {
    /// The crates the environment names.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn from_environment() -> Result<PreludeCrates, RustHostError> {
        let text = std::env::var_os(PRELUDE_CRATES_ENV).unwrap_or_default();
        PreludeCrates::read(&text.to_string_lossy())
    }

    /// Reads `name = "1", other = { version = "2", features = ["a"] }`.
    ///
    /// # Errors
    /// When a part is no dependency.
    pub fn read(text: &str) -> Result<PreludeCrates, RustHostError> {
        let mut crates: Vec<PreludeCrate> = Vec::new();
        for part in parts(text) {
            let read = read_one(part).filter(|new| crates.iter().all(|old| old.name != new.name));
            let read = read.ok_or_else(|| RustHostError::PreludeCrates {
                reason: format!(
                    "{part:?} is no crate, or one that is there already; write them as \
                     `serde_json = \"1\", rand = {{ version = \"0.9\", features = [\"small_rng\"] }}`"
                ),
            })?;
            crates.push(read);
        }
        Ok(PreludeCrates { crates })
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &PreludeCrate> {
        self.crates.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.crates.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.crates.iter().map(|one| one.name.as_str()).collect();
        names.join(", ")
    }

    /// Which set it is, for what is kept of it.
    pub fn key(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.crates.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// Compiles what is not compiled yet; `progress` hears how many crates were begun.
    ///
    /// # Errors
    /// When one cannot be downloaded or compiled.
    pub fn compile(
        &self,
        cell_crate: &CellCrate,
        settings: &CompileSettings,
        progress: &dyn Fn(usize),
    ) -> Result<(), RustHostError> {
        if self.crates.is_empty() || cell_crate.has_prelude(&self.key()) {
            return Ok(());
        }
        let mut sets = vec![self.dependencies()];
        if self.crates.len() > 1 {
            sets.extend(self.crates.iter().map(PreludeCrate::dependency));
        }
        let compiled = cell_crate.compile_prelude(&self.key(), settings, &sets, progress);
        compiled.map_err(|error| RustHostError::PreludeCrates {
            reason: format!(
                "compile {}: {error}\nthey are downloaded the first time; `bireme install` tries it again",
                self.names()
            ),
        })
    }

    fn dependencies(&self) -> String {
        let lines: Vec<String> = self.crates.iter().map(PreludeCrate::dependency).collect();
        lines.join("\n")
    }
}

fn read_one(part: &str) -> Option<PreludeCrate> {
    let (name, words) = part.split_once('=')?;
    let (name, words) = (name.trim(), words.trim());
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let is_name = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
    let is_whole = (words.starts_with('"') && words.ends_with('"') && words.len() > 2)
        || (words.starts_with('{') && words.ends_with('}'));
    (is_name && name.chars().all(is_word) && is_whole && !words.contains('\n')).then(|| {
        PreludeCrate {
            name: name.to_string(),
            words: words.to_string(),
        }
    })
}

/// The parts between commas and line ends that stand in no brackets and quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut in_quotes, mut start) = (0_usize, false, 0);
    let mut parts = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => in_quotes = !in_quotes,
            '{' | '[' if !in_quotes => depth += 1,
            '}' | ']' if !in_quotes => depth = depth.saturating_sub(1),
            ',' | '\n' if !in_quotes && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    let parts = parts.into_iter().map(str::trim);
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_read_as_dep_takes_them() {
        let text = "serde_json = \"1\", rand={ version = \"0.9\", features = [\"a\", \"b\"] },\nmy-crate = \"=2.1\",";
        let crates = PreludeCrates::read(text).unwrap();
        let dependencies: Vec<String> = crates.iter().map(PreludeCrate::dependency).collect();
        assert_eq!(
            dependencies,
            [
                "serde_json = \"1\"",
                "rand = { version = \"0.9\", features = [\"a\", \"b\"] }",
                "my-crate = \"=2.1\""
            ]
        );
        assert_eq!(crates.names(), "serde_json, rand, my-crate");
        assert_eq!(crates.iter().last().unwrap().ident(), "my_crate");
        assert_eq!(
            PreludeCrates::read(" \n").unwrap(),
            PreludeCrates::default()
        );
    }

    #[test]
    fn what_is_no_crate_is_refused() {
        for text in [
            "serde",
            "= \"1\"",
            "a = 1",
            "a b = \"1\"",
            "a = \"1\", a = \"2\"",
            "a = {",
        ] {
            let told = PreludeCrates::read(text).unwrap_err().to_string();
            assert!(told.contains("is no crate"), "{told}");
        }
    }

    #[test]
    fn a_command_brings_in_the_crate_of_its_name() {
        let crates = PreludeCrates::read("rand = \"0.9\"").unwrap();
        let rand = crates.iter().next().unwrap();
        assert!(rand.is_brought_in_by(":dep rand = { version = \"0.9\" }"));
        assert!(rand.is_brought_in_by(":dep rand"));
        assert!(!rand.is_brought_in_by(":dep rand_core = \"0.9\""));
        assert!(!rand.is_brought_in_by(":opt 2"));
    }
}
