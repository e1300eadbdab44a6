//! Queries in the database: one row each, from its submission on, replaced as it goes.

use bireme_protocol::proto::{HistoryRequest, QueryRecord, QueryState};
use prost::Message;
use rusqlite::{Connection, Row, params};

/// Queries kept.
const QUERIES_KEPT: i64 = 100_000;
/// Queries answered at once, and when no number is asked for.
const ANSWER_MAX: u32 = 10_000;
const ANSWER_DEFAULT: u32 = 100;

pub(super) fn keep(
    connection: &Connection,
    record: &QueryRecord,
    head: Option<u32>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO queries (id, session, state, submitted_at_ms, head, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO UPDATE SET state = ?3, head = ?5, record = ?6",
        )?
        .execute(params![
            record.query_id,
            record.session,
            record.state,
            record.submitted_at_ms,
            head,
            record.encode_to_vec()
        ])?;
    Ok(())
}

/// The latest queries, latest first, of one session or all.
pub(super) fn latest(
    connection: &Connection,
    request: &HistoryRequest,
) -> rusqlite::Result<Vec<QueryRecord>> {
    let limit = match request.limit {
        0 => ANSWER_DEFAULT,
        limit => limit.min(ANSWER_MAX),
    };
    connection
        .prepare_cached(
            "SELECT record FROM queries WHERE ?1 = '' OR session = ?1
             ORDER BY submitted_at_ms DESC LIMIT ?2",
        )?
        .query_map(params![request.session, limit], read)?
        .collect()
}

/// Queries whose id begins so, two at most: enough to tell one from several.
pub(super) fn find(connection: &Connection, beginning: &str) -> rusqlite::Result<Vec<QueryRecord>> {
    // Ids are hexadecimal: everything that begins so sorts before the beginning followed by 'g'.
    connection
        .prepare_cached("SELECT record FROM queries WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2")?
        .query_map(params![beginning], read)?
        .collect()
}

/// Queries that have not ended, with their heads.
pub(super) fn open(connection: &Connection) -> rusqlite::Result<Vec<(QueryRecord, Option<u32>)>> {
    let (queued, running) = (QueryState::Queued as i32, QueryState::Running as i32);
    connection
        .prepare("SELECT record, head FROM queries WHERE state IN (?1, ?2)")?
        .query_map(params![queued, running], |row| {
            Ok((read(row)?, row.get(1)?))
        })?
        .collect()
}

/// Forgets the oldest queries.
pub(super) fn prune(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM queries WHERE id IN
         (SELECT id FROM queries ORDER BY submitted_at_ms DESC LIMIT -1 OFFSET ?1)",
        params![QUERIES_KEPT],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<QueryRecord> {
    let bytes: Vec<u8> = row.get(0)?;
    QueryRecord::decode(bytes.as_slice()).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error))
    })
}

/// SQLite's integers are signed.
pub(super) fn to_signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn from_signed(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
