//! The database's tables, how a file of an earlier layout becomes one of this, and what is read from
//! it at the start.

use super::{history, names};
use crate::error::ControllerError;
use crate::state::sessions::Session;
use bireme_protocol::QueryId;
use bireme_protocol::process::now_ms;
use bireme_protocol::proto::QueryRecord;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;
use std::time::Duration;

/// Each entry brings a file from the layout of its index to the next one. Never edit one that was
/// released: add another.
const STEPS: &[&str] = &["
    CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE sessions (
        name TEXT PRIMARY KEY,
        client TEXT NOT NULL,
        touched_at_ms INTEGER NOT NULL,
        catalog_version INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE names (
        session TEXT NOT NULL,
        name TEXT NOT NULL,
        position INTEGER NOT NULL,
        entry BLOB NOT NULL,
        PRIMARY KEY (session, name)
    ) WITHOUT ROWID;
    CREATE TABLE session_settings (
        session TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (session, key)
    ) WITHOUT ROWID;
    CREATE TABLE queries (
        id TEXT PRIMARY KEY,
        session TEXT NOT NULL,
        state INTEGER NOT NULL,
        submitted_at_ms INTEGER NOT NULL,
        head INTEGER,
        record BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX queries_by_time ON queries (submitted_at_ms);
    CREATE INDEX queries_open ON queries (state) WHERE state IN (1, 2);
"];
/// How long a write waits for another process that reads the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Sessions without names are forgotten when nobody touched them for this long.
const EMPTY_SESSION_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What the database held when it was opened.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The cluster's id, for life.
    pub(crate) cluster_id: String,
    pub(crate) sessions: Vec<Session>,
    /// Queries that had not ended when the last controller did, with their head engines.
    pub(crate) open_queries: Vec<(QueryRecord, Option<u32>)>,
}

pub(super) fn open(path: &Path) -> Result<Connection, ControllerError> {
    let wrong = |source| ControllerError::Database {
        tried: "open",
        path: path.to_path_buf(),
        source,
    };
    let mut connection = Connection::open(path).map_err(wrong)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(wrong)?;
    // A commit survives the end of the process at once, a power failure after the next checkpoint.
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "NORMAL")] {
        connection
            .pragma_update(None, pragma, value)
            .map_err(wrong)?;
    }
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(wrong)?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(ControllerError::Layout {
            path: path.to_path_buf(),
            found,
            known,
        });
    }
    let done = usize::try_from(found).unwrap_or(0);
    let transaction = connection.transaction().map_err(wrong)?;
    for step in &STEPS[done..] {
        transaction.execute_batch(step).map_err(wrong)?;
    }
    transaction
        .pragma_update(None, "user_version", known)
        .map_err(wrong)?;
    transaction.commit().map_err(wrong)?;
    Ok(connection)
}

pub(super) fn load(connection: &Connection, path: &Path) -> Result<Loaded, ControllerError> {
    let read = || -> rusqlite::Result<Loaded> {
        let kept_ms = i64::try_from(EMPTY_SESSION_KEPT.as_millis()).unwrap_or(i64::MAX);
        names::forget_empty_sessions(connection, now_ms() - kept_ms)?;
        history::prune(connection)?;
        Ok(Loaded {
            cluster_id: cluster_id(connection)?,
            sessions: names::load_sessions(connection)?,
            open_queries: history::open(connection)?,
        })
    };
    read().map_err(|source| ControllerError::Database {
        tried: "read",
        path: path.to_path_buf(),
        source,
    })
}

fn cluster_id(connection: &Connection) -> rusqlite::Result<String> {
    let query = "SELECT value FROM facts WHERE key = 'cluster_id'";
    let known = connection.query_row(query, [], |row| row.get(0));
    if let Some(id) = known.optional()? {
        return Ok(id);
    }
    let id = QueryId::random().to_string();
    connection.execute(
        "INSERT INTO facts (key, value) VALUES ('cluster_id', ?1)",
        params![id],
    )?;
    Ok(id)
}
