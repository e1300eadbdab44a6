//! Sessions, their names and their settings in the database.

use super::history::{from_signed, to_signed};
use crate::state::sessions::Session;
use bireme_protocol::process::now_ms;
use bireme_protocol::proto::CatalogEntry;
use prost::Message;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

pub(super) fn keep_session(
    connection: &Connection,
    name: &str,
    client: &str,
    touched_at_ms: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO sessions (name, client, touched_at_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET client = ?2, touched_at_ms = ?3",
        )?
        .execute(params![name, client, touched_at_ms])?;
    Ok(())
}

pub(super) fn forget_session(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM names WHERE session = ?1",
        "DELETE FROM session_settings WHERE session = ?1",
        "DELETE FROM sessions WHERE name = ?1",
    ] {
        connection.execute(statement, params![name])?;
    }
    Ok(())
}

/// Forgets sessions without names that nobody touched since.
pub(super) fn forget_empty_sessions(
    connection: &Connection,
    since_ms: i64,
) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM sessions WHERE touched_at_ms < ?1
         AND name NOT IN (SELECT session FROM names)",
        params![since_ms],
    )?;
    connection.execute(
        "DELETE FROM session_settings WHERE session NOT IN (SELECT name FROM sessions)",
        [],
    )?;
    Ok(())
}

pub(super) fn keep_name(
    connection: &Connection,
    session: &str,
    version: u64,
    entry: &CatalogEntry,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO names (session, name, position, entry) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (session, name) DO UPDATE SET entry = ?4",
        )?
        .execute(params![
            session,
            entry.name,
            to_signed(version),
            entry.encode_to_vec()
        ])?;
    set_version(connection, session, version)
}

pub(super) fn drop_name(
    connection: &Connection,
    session: &str,
    version: u64,
    name: &str,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM names WHERE session = ?1 AND name = ?2")?
        .execute(params![session, name])?;
    set_version(connection, session, version)
}

fn set_version(connection: &Connection, session: &str, version: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE sessions SET catalog_version = ?2 WHERE name = ?1")?
        .execute(params![session, to_signed(version)])?;
    Ok(())
}

pub(super) fn keep_setting(
    connection: &Connection,
    session: &str,
    key: &str,
    value: Option<&str>,
) -> rusqlite::Result<()> {
    match value {
        Some(value) => connection.execute(
            "INSERT INTO session_settings (session, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (session, key) DO UPDATE SET value = ?3",
            params![session, key, value],
        )?,
        None => connection.execute(
            "DELETE FROM session_settings WHERE session = ?1 AND key = ?2",
            params![session, key],
        )?,
    };
    Ok(())
}

pub(super) fn load_sessions(connection: &Connection) -> rusqlite::Result<Vec<Session>> {
    let mut statement =
        connection.prepare("SELECT name, client, touched_at_ms, catalog_version FROM sessions")?;
    let sessions = statement.query_map([], |row| {
        Ok(Session {
            name: row.get(0)?,
            client: row.get(1)?,
            touched_at_ms: row.get(2)?,
            opened_at_ms: now_ms(),
            attended: None,
            is_in_use: false,
            catalog_version: from_signed(row.get(3)?),
            entries: Vec::new(),
            settings: BTreeMap::new(),
        })
    })?;
    let mut sessions = sessions.collect::<rusqlite::Result<Vec<_>>>()?;
    for session in &mut sessions {
        session.entries = load_names(connection, &session.name)?;
        session.settings = load_settings(connection, &session.name)?;
    }
    Ok(sessions)
}

fn load_names(connection: &Connection, session: &str) -> rusqlite::Result<Vec<CatalogEntry>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, entry FROM names WHERE session = ?1 ORDER BY position, name",
    )?;
    let rows = statement.query_map(params![session], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    let mut entries = Vec::new();
    for row in rows {
        let (name, bytes) = row?;
        match CatalogEntry::decode(bytes.as_slice()) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                tracing::warn!(session, name, %error, "a name cannot be read: it is left out")
            }
        }
    }
    Ok(entries)
}

fn load_settings(
    connection: &Connection,
    session: &str,
) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare_cached("SELECT key, value FROM session_settings WHERE session = ?1")?
        .query_map(params![session], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
