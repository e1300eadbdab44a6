//! What lasts: sessions, their names and settings, and the history of queries, in one SQLite file.
//! A thread of its own owns the connection and takes requests in order from a bounded queue, so that
//! a read sees every earlier write; many writes share a commit. Once committed, a write survives
//! `kill -9`.

mod history;
mod layout;
mod names;

pub(crate) use layout::Loaded;

use crate::action::Answer;
use crate::error::ControllerError;
use bireme_protocol::proto::{CatalogEntry, HistoryRequest, QueryRecord};
use bireme_protocol::{ErrorCode, Fault};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for the thread.
const REQUESTS_MAX: usize = 4096;
/// Requests that share a commit at most.
const COMMIT_REQUESTS_MAX: usize = 256;

/// Requests after which the oldest queries are forgotten once more.
const PRUNE_EVERY: usize = 10_000;

/// Something to keep.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Session {
        name: String,
        client: String,
        touched_at_ms: i64,
    },
    ForgetSession {
        name: String,
    },
    Name {
        session: String,
        version: u64,
        entry: CatalogEntry,
    },
    DropName {
        session: String,
        version: u64,
        name: String,
    },
    /// A session's value of a setting; none takes it back.
    Setting {
        session: String,
        key: String,
        value: Option<String>,
    },
    /// A query as it is now, with its head engine once there is one.
    Query {
        record: Box<QueryRecord>,
        head: Option<u32>,
    },
}

enum Request {
    Write(Box<Write>, Option<Box<Answer>>),
    History(
        HistoryRequest,
        oneshot::Sender<Result<Vec<QueryRecord>, Fault>>,
    ),
    /// Records whose id begins so, two at most.
    Find(String, oneshot::Sender<Result<Vec<QueryRecord>, Fault>>),
}

/// The open database.
#[derive(Clone)]
pub(crate) struct Store {
    requests: mpsc::Sender<Request>,
}

impl Store {
    /// Opens the file, gives what it holds, and starts its thread. The thread ends when the last
    /// `Store` is gone and everything is written.
    pub(crate) fn open(path: &Path) -> Result<(Self, Loaded, JoinHandle<()>), ControllerError> {
        let connection = layout::open(path)?;
        let loaded = layout::load(&connection, path)?;
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let worker = Worker {
            connection,
            path: path.to_path_buf(),
            since_prune: 0,
        };
        let thread = std::thread::Builder::new()
            .name("bireme-store".to_string())
            .spawn(move || worker.work(queue))
            .map_err(|source| ControllerError::Thread { source })?;
        Ok((Self { requests }, loaded, thread))
    }

    /// Hands a write to the thread; the answer goes out once it is committed.
    pub(crate) fn write(&self, write: Write, then: Option<Answer>) {
        let request = Request::Write(Box::new(write), then.map(Box::new));
        let refused = match self.requests.try_send(request) {
            Ok(()) => return,
            Err(error) => error.into_inner(),
        };
        tracing::error!(
            waiting = REQUESTS_MAX,
            "database is too slow: a write is lost"
        );
        if let Request::Write(_, Some(answer)) = refused {
            answer.send(Err(Fault::new(
                ErrorCode::Unavailable,
                format!("write to the database: {REQUESTS_MAX} writes wait already"),
            )));
        }
    }

    pub(crate) async fn history(&self, request: HistoryRequest) -> Result<Vec<QueryRecord>, Fault> {
        self.ask(|reply| Request::History(request, reply)).await
    }

    pub(crate) async fn find(&self, beginning: String) -> Result<Vec<QueryRecord>, Fault> {
        self.ask(|reply| Request::Find(beginning, reply)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Fault>>) -> Request,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            Fault::new(
                ErrorCode::Unavailable,
                "read the database: its thread has ended",
            )
        };
        let sent = self.requests.send(request(reply)).await;
        sent.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

struct Worker {
    connection: Connection,
    path: PathBuf,
    /// Requests since the oldest queries were last forgotten.
    since_prune: usize,
}

impl Worker {
    fn work(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < COMMIT_REQUESTS_MAX {
                match queue.try_recv() {
                    Ok(request) => batch.push(request),
                    Err(_) => break,
                }
            }
            self.handle(batch);
        }
    }

    /// Handles requests in one transaction. Answers go out after its commit, those to reads too: what
    /// they tell has to be there after `kill -9`.
    fn handle(&mut self, batch: Vec<Request>) {
        let mut outcomes = Vec::new();
        self.since_prune += batch.len();
        let is_prune_due = self.since_prune >= PRUNE_EVERY;
        if is_prune_due {
            self.since_prune = 0;
        }
        let transaction = self.connection.transaction();
        let committed = transaction.and_then(|transaction| {
            for request in batch {
                outcomes.push(match request {
                    Request::Write(write, answer) => {
                        let written = apply(&transaction, &write);
                        if let Err(error) = &written {
                            tracing::error!(%error, ?write, "database refuses a write");
                        }
                        Outcome::Written(answer, written)
                    }
                    Request::History(request, reply) => {
                        Outcome::Read(reply, history::latest(&transaction, &request))
                    }
                    Request::Find(beginning, reply) => {
                        Outcome::Read(reply, history::find(&transaction, &beginning))
                    }
                });
            }
            if is_prune_due {
                history::prune(&transaction)?;
            }
            transaction.commit()
        });
        if let Err(error) = &committed {
            tracing::error!(%error, path = %self.path.display(), "database does not commit");
        }
        for outcome in outcomes {
            outcome.tell(&committed, &self.path);
        }
    }
}

/// What came of a request, to be told once its transaction has ended.
enum Outcome {
    Written(Option<Box<Answer>>, rusqlite::Result<()>),
    Read(
        oneshot::Sender<Result<Vec<QueryRecord>, Fault>>,
        rusqlite::Result<Vec<QueryRecord>>,
    ),
}

impl Outcome {
    fn tell(self, committed: &rusqlite::Result<()>, path: &Path) {
        let committed = committed
            .as_ref()
            .map_err(|error| fault("commit to", path, error));
        match self {
            Self::Written(None, _) => {}
            Self::Written(Some(answer), written) => answer.send(
                committed.and_then(|()| written.map_err(|error| fault("write to", path, &error))),
            ),
            Self::Read(reply, records) => drop(reply.send(
                committed.and_then(|()| records.map_err(|error| fault("read", path, &error))),
            )),
        }
    }
}

fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Session {
            name,
            client,
            touched_at_ms,
        } => names::keep_session(connection, name, client, *touched_at_ms),
        Write::ForgetSession { name } => names::forget_session(connection, name),
        Write::Name {
            session,
            version,
            entry,
        } => names::keep_name(connection, session, *version, entry),
        Write::DropName {
            session,
            version,
            name,
        } => names::drop_name(connection, session, *version, name),
        Write::Setting {
            session,
            key,
            value,
        } => names::keep_setting(connection, session, key, value.as_deref()),
        Write::Query { record, head } => history::keep(connection, record, *head),
    }
}

fn fault(tried: &str, path: &Path, error: &rusqlite::Error) -> Fault {
    Fault::new(
        ErrorCode::Unavailable,
        format!("{tried} the database {}", path.display()),
    )
    .with_sources(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_a_read_tells_is_on_disk() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("state.sqlite");
        let (store, _, thread) = Store::open(&path).unwrap();
        // As another process finds it after this one was killed.
        let other = Connection::open(&path).unwrap();
        other.busy_timeout(Duration::from_secs(10)).unwrap();
        for queries in 1..=200_usize {
            let record = QueryRecord {
                query_id: format!("{queries:032x}"),
                ..QueryRecord::default()
            };
            let write = Write::Query {
                record: Box::new(record),
                head: None,
            };
            store.write(write, None);
            let told = store.history(HistoryRequest::default()).await.unwrap();
            let kept: i64 = other
                .query_row("SELECT count(*) FROM queries", [], |row| row.get(0))
                .unwrap();
            assert_eq!(usize::try_from(kept).unwrap(), queries);
            assert_eq!(told.len(), queries.min(100));
        }
        drop(store);
        thread.join().unwrap();
    }
}
