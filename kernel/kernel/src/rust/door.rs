//! The socket where a running Rust cell asks for queries: a connection per request, answered while the cell runs
//! and by what runs it, so that the cell's end ends its queries. What is asked is run by
//! [`CellQueries`]; a client that goes away ends its query.

use super::row_file::RowFile;
use super::shared_files::SharedFiles;
use bireme::request::{Answer, LENGTH_MAX, PREFIX, Request, TAKEN};
use bireme_magics::MimeBundle;
use bireme_magics::cell_queries::{CellQueries, Defined};
use bireme_magics::display::error;
use bireme_magics::host::Host;
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::Home;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Requests of one cell that are answered at once; more wait to be taken.
const REQUESTS_MAX: usize = 8;
/// How long a request may take to come once it was taken, and an answer to be read.
const TRANSFER_LIMIT: Duration = Duration::from_secs(60);
/// How long no connections are taken after the system refused one.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Where cells ask. Dropping it removes the socket.
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens a door of its own for a Rust host.
    pub(crate) fn open(home: &Home) -> Result<Self, Fault> {
        static DOORS: AtomicU64 = AtomicU64::new(0);
        let number = DOORS.fetch_add(1, Ordering::Relaxed);
        // Not where the cluster's sockets are: a launcher that starts removes what is there.
        let directory = home.root().join("rust").join("doors");
        let path = directory.join(format!("{}-{number}", std::process::id()));
        let opened = make(&directory).and_then(|()| {
            remove_abandoned(&directory);
            UnixListener::bind(&path)
        });
        let listener = opened.map_err(|error| {
            let tried = format!("listen for Rust cells at {}", path.display());
            Fault::new(ErrorCode::Unavailable, tried).with_sources(&error)
        })?;
        Ok(Self { listener, path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers requests until it is dropped, which ends their queries.
    pub(crate) async fn serve(&self, host: &dyn Host) {
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(()) = open.next() => {}
                accepted = self.listener.accept(), if open.len() < REQUESTS_MAX => match accepted {
                    Ok((stream, _)) => open.push(answer_one(stream, host)),
                    Err(error) => {
                        tracing::warn!(%error, "a Rust cell could not connect");
                        tokio::time::sleep(REFUSED_PAUSE).await;
                    }
                },
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Only its owner may enter.
fn make(directory: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)
}

/// Removes the doors of kernels that were killed.
fn remove_abandoned(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let process = name.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            // Another kernel may have been faster.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

async fn answer_one(mut stream: UnixStream, host: &dyn Host) {
    let read = tokio::time::timeout(TRANSFER_LIMIT, read_request(&mut stream));
    let request = match read.await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return tracing::warn!(%error, "a request of a Rust cell is not read"),
        Err(_) => return tracing::warn!("a request of a Rust cell did not come"),
    };
    let (reader, mut writer) = stream.split();
    let mut gone = std::pin::pin!(ended(reader));
    let answered = tokio::select! {
        biased;
        answered = answer(request, host) => answered,
        () = &mut gone => return,
    };
    let (answer, _rows) = answered;
    let bytes = answer.to_bytes();
    let sent = tokio::time::timeout(TRANSFER_LIMIT, writer.write_all(&bytes));
    if let Ok(Ok(())) = sent.await {
        // The file of rows is there until they were read.
        let _ = tokio::time::timeout(TRANSFER_LIMIT, gone).await;
    }
}

async fn read_request(stream: &mut UnixStream) -> Result<Request, Fault> {
    let failed = |error: &dyn std::fmt::Display| {
        Fault::new(ErrorCode::InvalidArgument, format!("read it: {error}"))
    };
    stream
        .write_all(&[TAKEN])
        .await
        .map_err(|error| failed(&error))?;
    let mut prefix = [0; PREFIX];
    let read = stream.read_exact(&mut prefix).await;
    read.map_err(|error| failed(&error))?;
    let length = u64::from_le_bytes(prefix);
    if length > LENGTH_MAX {
        return Err(failed(&format!("it has {length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    let read = stream.read_exact(&mut bytes).await;
    read.map_err(|error| failed(&error))?;
    Request::from_bytes(bytes).map_err(|error| failed(&error))
}

/// Waits until the other side has closed; it says nothing more before.
async fn ended(mut reader: tokio::net::unix::ReadHalf<'_>) {
    let mut byte = [0];
    while let Ok(1..) = reader.read(&mut byte).await {}
}

/// The answer, and the rows that have to stay while it is read.
async fn answer(request: Request, host: &dyn Host) -> (Answer, Option<SharedFiles>) {
    let sql = match &request {
        Request::Define(sql) | Request::Rows(sql) | Request::Show(sql) => sql.clone(),
        Request::Explain(sql, _) => sql.clone(),
    };
    let is_text = matches!(request, Request::Define(_));
    let ran = run(request, host).await;
    ran.unwrap_or_else(|mut fault| {
        // Nobody has written the SQL of a frame: its places tell nothing.
        if !is_text {
            fault.position = None;
        }
        let report = error::plain(&fault, &sql, "sql");
        let failed = Answer::Failed(fault.code.to_string(), fault.message, fault.hint, report);
        (failed, None)
    })
}

async fn run(request: Request, host: &dyn Host) -> Result<(Answer, Option<SharedFiles>), Fault> {
    let queries = CellQueries::new(host);
    Ok(match request {
        Request::Define(sql) => match queries.define(&sql).await? {
            Defined::Query { sql, schema } => {
                let columns = schema.fields().iter().map(|field| field.name().clone());
                (Answer::Query(sql, columns.collect()), None)
            }
            Defined::Done(text) => (Answer::Done(text), None),
        },
        Request::Rows(sql) => {
            let mut file = RowFile::default();
            let mut write = |batch: &_| file.write(batch);
            let schema = queries.rows(&sql, &mut write).await?;
            let files = file.finish(&schema)?;
            let path = files.paths().into_iter().next().unwrap_or_default();
            (Answer::Rows(path), Some(files))
        }
        Request::Show(sql) => (drawn(queries.show(&sql).await?), None),
        Request::Explain(sql, is_run) => (drawn(queries.explain(&sql, is_run).await?), None),
    })
}

fn drawn(bundle: MimeBundle) -> Answer {
    Answer::Drawn(bundle.plain, bundle.html.unwrap_or_default())
}
