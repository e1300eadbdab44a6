//! The tables of the history and what is asked of them.

use super::CellRecord;
use bireme_jupyter::wire::{HistoryAccess, HistoryEntry};
use rusqlite::{Connection, Params, params};
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// Several kernels write the same file; each write is short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Cells kept; the oldest go first.
const CELLS_MAX: i64 = 200_000;
/// Most characters of an output that are kept.
const OUTPUT_CHARACTERS_MAX: usize = 10_000;
/// What a tail without a number gives.
const TAIL_DEFAULT: usize = 1_000;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        notebook TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS cells (
        session INTEGER NOT NULL,
        line INTEGER NOT NULL,
        input TEXT NOT NULL,
        output TEXT,
        has_rust INTEGER NOT NULL,
        PRIMARY KEY (session, line)
    ) WITHOUT ROWID;
";

/// The history, with one session of its own.
pub(super) struct Database {
    connection: Connection,
    session: i64,
    notebook: String,
}

impl Database {
    pub(super) fn open(path: &Path, notebook: &str) -> rusqlite::Result<Self> {
        Self::start(Connection::open(path)?, notebook)
    }

    pub(super) fn in_memory(notebook: &str) -> rusqlite::Result<Self> {
        Self::start(Connection::open_in_memory()?, notebook)
    }

    fn start(connection: Connection, notebook: &str) -> rusqlite::Result<Self> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch(SCHEMA)?;
        connection.execute("INSERT INTO sessions (notebook) VALUES (?1)", [notebook])?;
        let session = connection.last_insert_rowid();
        let oldest = "DELETE FROM cells WHERE session <= (
            SELECT session FROM cells ORDER BY session DESC, line DESC LIMIT 1 OFFSET ?1)";
        connection.execute(oldest, [CELLS_MAX])?;
        Ok(Self {
            connection,
            session,
            notebook: notebook.to_owned(),
        })
    }

    pub(super) fn add(&self, cell: &CellRecord) -> rusqlite::Result<()> {
        let insert =
            "INSERT OR REPLACE INTO cells (session, line, input, has_rust) VALUES (?1, ?2, ?3, ?4)";
        let values = params![self.session, cell.line, cell.input, cell.has_rust];
        self.connection.prepare_cached(insert)?.execute(values)?;
        Ok(())
    }

    pub(super) fn add_output(&self, line: u32, output: &str) -> rusqlite::Result<()> {
        let kept: String = output.chars().take(OUTPUT_CHARACTERS_MAX).collect();
        let update = "UPDATE cells SET output = ?3 WHERE session = ?1 AND line = ?2";
        self.connection
            .prepare_cached(update)?
            .execute(params![self.session, line, kept])?;
        Ok(())
    }

    pub(super) fn has_rust(&self) -> rusqlite::Result<bool> {
        let query =
            "SELECT EXISTS (SELECT 1 FROM cells JOIN sessions ON sessions.id = cells.session
            WHERE sessions.notebook = ?1 AND cells.session < ?2 AND cells.has_rust)";
        self.connection
            .query_row(query, params![self.notebook, self.session], |row| {
                row.get(0)
            })
    }

    pub(super) fn find(&self, access: &HistoryAccess) -> rusqlite::Result<Vec<HistoryEntry>> {
        match access {
            HistoryAccess::Tail { n } => {
                let wanted = Wanted {
                    most: n.unwrap_or(TAIL_DEFAULT),
                    is_unique: false,
                };
                self.latest("1", [], wanted)
            }
            HistoryAccess::Range {
                session,
                start,
                stop,
            } => {
                let session = if *session > 0 {
                    *session
                } else {
                    self.session + session
                };
                let condition = "session = ?1 AND line >= ?2 AND line < ?3";
                let values = params![session, start, stop.unwrap_or(i64::MAX)];
                self.latest(
                    condition,
                    values,
                    Wanted {
                        most: usize::MAX,
                        is_unique: false,
                    },
                )
            }
            HistoryAccess::Search { pattern, n, unique } => {
                let wanted = Wanted {
                    most: n.unwrap_or(usize::MAX),
                    is_unique: *unique,
                };
                self.latest("input GLOB ?1", [pattern], wanted)
            }
        }
    }

    /// Takes the latest cells of a condition and gives them oldest first.
    fn latest(
        &self,
        condition: &str,
        values: impl Params,
        wanted: Wanted,
    ) -> rusqlite::Result<Vec<HistoryEntry>> {
        let query = format!(
            "SELECT session, line, input, output FROM cells WHERE {condition} ORDER BY session DESC, line DESC"
        );
        let mut statement = self.connection.prepare_cached(&query)?;
        let mut rows = statement.query(values)?;
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while entries.len() < wanted.most
            && let Some(row) = rows.next()?
        {
            let input: String = row.get(2)?;
            // Of equal inputs the latest counts.
            if wanted.is_unique && !seen.insert(input.clone()) {
                continue;
            }
            let (session, line, output) = (row.get(0)?, row.get(1)?, row.get(3)?);
            entries.push(HistoryEntry {
                session,
                line,
                input,
                output,
            });
        }
        entries.reverse();
        Ok(entries)
    }
}

/// How many cells are wanted, and whether equal ones count once.
struct Wanted {
    most: usize,
    is_unique: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(entries: &[HistoryEntry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.input.as_str()).collect()
    }

    fn add(database: &Database, line: u32, input: &str) {
        let has_rust = !input.starts_with('%');
        database
            .add(&CellRecord {
                line,
                input: input.into(),
                has_rust,
            })
            .unwrap();
    }

    #[test]
    fn cells_are_found_by_tail_range_and_search() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cells.db");
        let first = Database::open(&path, "a.ipynb").unwrap();
        add(&first, 1, "%sql SELECT 1");
        add(&first, 2, "1 + 1");
        first.add_output(2, "2").unwrap();
        assert!(!first.has_rust().unwrap());
        let second = Database::open(&path, "a.ipynb").unwrap();
        add(&second, 1, "1 + 1");
        assert!(second.has_rust().unwrap());
        assert!(
            !Database::open(&path, "b.ipynb")
                .unwrap()
                .has_rust()
                .unwrap()
        );

        let tail = second.find(&HistoryAccess::Tail { n: Some(2) }).unwrap();
        assert_eq!(inputs(&tail), ["1 + 1", "1 + 1"]);
        assert_eq!(tail[0].output.as_deref(), Some("2"));
        let range = HistoryAccess::Range {
            session: -1,
            start: 1,
            stop: Some(2),
        };
        assert_eq!(inputs(&second.find(&range).unwrap()), ["%sql SELECT 1"]);
        let search = |n, unique| {
            let search = HistoryAccess::Search {
                pattern: "*1 + 1*".into(),
                n,
                unique,
            };
            second.find(&search).unwrap().len()
        };
        assert_eq!(
            (
                search(None, false),
                search(None, true),
                search(Some(1), false)
            ),
            (2, 1, 1)
        );
    }
}
