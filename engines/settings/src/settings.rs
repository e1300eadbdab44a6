//! The values in force, each with where it came from.

use crate::home::Home;
use crate::memory::parse_memory_limit;
use crate::table::{Setting, TABLE, find};
use crate::value::parse_duration;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Where a value came from, in rising precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table.
    Default,
    /// `config.toml` in `BIREME_HOME`.
    File,
    /// An environment variable.
    Environment,
    /// A command-line flag.
    Flag,
    /// `%config` or `SET`.
    Session,
}

impl Source {
    /// The source as `%config` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
            Self::Session => "session",
        }
    }
}

/// Why a setting is not accepted.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// No setting has this key.
    #[error("set {key:?}: there is no such setting{}", nearest(.key))]
    Unknown {
        /// What was asked for.
        key: String,
    },
    /// The value does not fit the setting's type.
    #[error("set {key} from {origin}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The kind of source.
        origin: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is not what it should be.
    #[error("read settings from {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn nearest(key: &str) -> String {
    let common = |candidate: &&Setting| {
        let tail = key.rsplit('.').next().unwrap_or(key);
        candidate.key.contains(tail) || candidate.key.split('.').next() == key.split('.').next()
    };
    match TABLE.iter().find(common) {
        Some(setting) => format!("; did you mean {:?}?", setting.key),
        None => "; `%config` lists them all".to_string(),
    }
}

/// All settings with their values.
#[derive(Clone, Debug)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Source)>,
}

impl Default for Settings {
    fn default() -> Self {
        let defaults = TABLE
            .iter()
            .map(|setting| (setting.key, (setting.default.to_string(), Source::Default)));
        Self {
            values: defaults.collect(),
        }
    }
}

impl Settings {
    /// Reads the file and the environment over the defaults.
    ///
    /// # Errors
    /// A key or a value that is not accepted, with its source.
    pub fn load(home: &Home) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        settings.read_file(&home.config_file())?;
        for setting in TABLE {
            let name = format!("BIREME_{}", setting.key.to_uppercase().replace('.', "_"));
            if let Some(value) = crate::environment(&name) {
                settings.set(setting.key, &value, Source::Environment)?;
            }
        }
        Ok(settings)
    }

    fn read_file(&mut self, path: &std::path::Path) -> Result<(), SettingsError> {
        let wrong = |reason: String| SettingsError::File {
            path: path.to_path_buf(),
            reason,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let table: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        for (group, entries) in &table {
            let entries = entries
                .as_table()
                .ok_or_else(|| wrong(format!("{group} is not a [section]")))?;
            for (name, value) in entries {
                let text = match value {
                    toml::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                self.set(&format!("{group}.{name}"), &text, Source::File)?;
            }
        }
        Ok(())
    }

    /// Sets a value.
    ///
    /// # Errors
    /// No such key, or a value its type does not admit.
    pub fn set(&mut self, key: &str, value: &str, source: Source) -> Result<(), SettingsError> {
        let setting = find(key).ok_or_else(|| SettingsError::Unknown { key: key.into() })?;
        if let Some(reason) = setting.kind.reject(value) {
            return Err(SettingsError::Invalid {
                key: key.into(),
                origin: source.name(),
                reason,
            });
        }
        self.values.insert(setting.key, (value.to_string(), source));
        Ok(())
    }

    /// The value as text; empty for a key that is not in the table.
    pub fn get(&self, key: &str) -> &str {
        debug_assert!(find(key).is_some(), "no setting {key}");
        self.values.get(key).map_or("", |(value, _)| value)
    }

    /// Where the value came from.
    pub fn source(&self, key: &str) -> Source {
        self.values.get(key).map_or(Source::Default, |(_, s)| *s)
    }

    /// A whole number.
    pub fn integer(&self, key: &str) -> u64 {
        self.get(key).replace('_', "").parse().unwrap_or_default()
    }

    /// A truth value.
    pub fn boolean(&self, key: &str) -> bool {
        self.get(key) == "true"
    }

    /// A size in bytes; a share is of what this process may use.
    pub fn bytes(&self, key: &str) -> u64 {
        parse_memory_limit(self.get(key)).unwrap_or_default()
    }

    /// A duration.
    pub fn duration(&self, key: &str) -> Duration {
        parse_duration(self.get(key)).unwrap_or_default()
    }

    /// How many engines `cluster.engines` asks for.
    pub fn engines(&self) -> u32 {
        self.get("cluster.engines").parse().unwrap_or_else(|_| {
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            u32::try_from(cores / 2).unwrap_or(2).max(2)
        })
    }

    /// Every setting with its value and source, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Setting, &str, Source)> {
        TABLE
            .iter()
            .map(|s| (s, self.get(s.key), self.source(s.key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = Settings::default()
            .set("memory.limit", "1GiB", Source::Flag)
            .unwrap_err();
        assert!(
            error.to_string().contains("did you mean \"memory."),
            "{error}"
        );
    }

    #[test]
    fn a_file_sets_values_and_a_wrong_one_is_named() {
        let directory =
            std::env::temp_dir().join(format!("bireme-settings-{}", std::process::id()));
        let home = Home::at(&directory).unwrap();
        std::fs::write(home.config_file(), "[query]\nmax_concurrent = 2\n").unwrap();
        let settings = Settings::load(&home).unwrap();
        assert_eq!(settings.integer("query.max_concurrent"), 2);
        assert_eq!(settings.source("query.max_concurrent"), Source::File);
        std::fs::write(home.config_file(), "[query]\nmax_concurrent = 0\n").unwrap();
        let error = Settings::load(&home).unwrap_err().to_string();
        assert_eq!(
            error,
            "set query.max_concurrent from file: \"0\" is not integer 1..=64"
        );
        std::fs::remove_dir_all(directory).unwrap();
    }
}
