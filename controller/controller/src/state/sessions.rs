//! What exists: sessions with their names and settings. A session outlives its kernel; its names
//! outlive the controller.

use crate::clock::Moment;
use bireme_protocol::proto::{CatalogEntry, SessionInfo, Setting};
use bireme_protocol::{ErrorCode, Fault};
use std::collections::BTreeMap;

/// Sessions held. Beyond, the one without names that was touched least recently makes room.
const SESSIONS_MAX: usize = 4096;
/// Names of one session.
const NAMES_MAX: usize = 10_000;

/// One notebook's names on the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) client: String,
    pub(crate) touched_at_ms: i64,
    /// When its latest client opened it: names made before are carried over.
    pub(crate) opened_at_ms: i64,
    /// When a client was last known to be there, since this controller began.
    pub(crate) attended: Option<Moment>,
    /// Whether it has asked this controller for anything.
    pub(crate) is_in_use: bool,
    /// Grows with every change of its names.
    pub(crate) catalog_version: u64,
    /// In the order they were first defined.
    pub(crate) entries: Vec<CatalogEntry>,
    /// What differs from the cluster's settings.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Session {
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let settings = self.settings.iter().map(|(key, value)| Setting {
            key: key.clone(),
            value: value.clone(),
        });
        settings.collect()
    }

    pub(crate) fn info(&self, created: bool) -> SessionInfo {
        SessionInfo {
            session: self.name.clone(),
            created,
            catalog_version: self.catalog_version,
            settings: self.settings(),
        }
    }

    /// Keeps a name, in place of what has it. True when there was something.
    ///
    /// # Errors
    /// The session has too many names.
    pub(crate) fn define(&mut self, entry: CatalogEntry) -> Result<bool, Fault> {
        let same_name = |known: &CatalogEntry| known.name == entry.name;
        let replaced = match self.entries.iter().position(same_name) {
            Some(index) => {
                self.entries[index] = entry;
                true
            }
            None if self.entries.len() >= NAMES_MAX => return Err(too_many(&self.name, &entry)),
            None => {
                self.entries.push(entry);
                false
            }
        };
        self.catalog_version += 1;
        Ok(replaced)
    }

    /// The name as it is kept: exactly so, or the only one that differs in case.
    pub(crate) fn resolve(&self, name: &str) -> Option<String> {
        if let Some(entry) = self.entries.iter().find(|entry| entry.name == name) {
            return Some(entry.name.clone());
        }
        let lower = name.to_lowercase();
        let mut similar = self
            .entries
            .iter()
            .filter(|entry| entry.name.to_lowercase() == lower);
        match (similar.next(), similar.next()) {
            (Some(entry), None) => Some(entry.name.clone()),
            _ => None,
        }
    }

    pub(crate) fn drop_name(&mut self, name: &str) {
        self.entries.retain(|entry| entry.name != name);
        self.catalog_version += 1;
    }
}

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_name: BTreeMap<String, Session>,
}

impl Sessions {
    pub(crate) fn new(sessions: Vec<Session>) -> Self {
        let named = sessions
            .into_iter()
            .map(|session| (session.name.clone(), session));
        Self {
            by_name: named.collect(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Session, Fault> {
        self.by_name.get(name).ok_or_else(|| unknown(name))
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Result<&mut Session, Fault> {
        self.by_name.get_mut(name).ok_or_else(|| unknown(name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_name.values()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Adds a session that is not there. Returns the name of the one that made room.
    ///
    /// # Errors
    /// There are too many, all with names.
    pub(crate) fn add(
        &mut self,
        name: &str,
        touched_at_ms: i64,
        is_busy: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, Fault> {
        let forgotten = if self.by_name.len() < SESSIONS_MAX {
            None
        } else {
            Some(self.forget_one(is_busy)?)
        };
        let session = Session {
            name: name.to_string(),
            client: String::new(),
            touched_at_ms,
            opened_at_ms: touched_at_ms,
            attended: None,
            is_in_use: true,
            catalog_version: 0,
            entries: Vec::new(),
            settings: BTreeMap::new(),
        };
        self.by_name.insert(name.to_string(), session);
        Ok(forgotten)
    }

    fn forget_one(&mut self, is_busy: impl Fn(&str) -> bool) -> Result<String, Fault> {
        let oldest = self
            .by_name
            .values()
            .filter(|session| session.entries.is_empty() && !is_busy(&session.name))
            .min_by_key(|session| session.touched_at_ms)
            .map(|session| session.name.clone());
        let oldest = oldest.ok_or_else(|| {
            Fault::new(
                ErrorCode::Unavailable,
                format!("open a session: {SESSIONS_MAX} sessions have names or queries, the most there may be"),
            )
            .with_hint("drop the views and tables of sessions that are not needed")
        })?;
        self.by_name.remove(&oldest);
        Ok(oldest)
    }
}

fn too_many(session: &str, entry: &CatalogEntry) -> Fault {
    Fault::new(
        ErrorCode::InvalidArgument,
        format!(
            "define {:?}: session {session:?} has {NAMES_MAX} names, the most it may have",
            entry.name
        ),
    )
    .with_hint("DROP VIEW or DROP TABLE those that are not needed")
}

fn unknown(name: &str) -> Fault {
    Fault::new(
        ErrorCode::NotFound,
        format!("find session {name:?}: it is not open on this cluster"),
    )
    .with_hint("open it first; a cluster forgets sessions without names after a day")
}
