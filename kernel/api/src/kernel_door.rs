//! How a cell asks its kernel for a query: one connection per request, opened when it is needed and
//! closed after it, because the process is forked between cells. The answer is waited for without a
//! limit of its own: `query.timeout`, `rust.timeout` and an interrupt end the query, or the cell.

use crate::frame_error::FrameError;
use crate::request::{Answer, LENGTH_MAX, PREFIX, Request, SOCKET_ENV, TAKEN};
use crate::table::Table;
use crate::transfer;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the kernel may take to take a request; it takes some at once, while a cell runs.
const TAKE_LIMIT: Duration = Duration::from_secs(30);

/// Asks the kernel.
pub(crate) fn ask(request: &Request) -> Result<Answer, FrameError> {
    exchange(request).map(|(answer, _)| answer)
}

/// Asks the kernel for rows.
pub(crate) fn rows(sql: String) -> Result<Table, FrameError> {
    // The rows are there as long as the connection is.
    let (answer, _connection) = exchange(&Request::Rows(sql))?;
    match answer {
        Answer::Rows(path) => Ok(transfer::map_file(path)?),
        other => Err(unexpected("rows", &other)),
    }
}

/// An answer that does not fit the request.
pub(crate) fn unexpected(wanted: &str, answer: &Answer) -> FrameError {
    match answer {
        Answer::Done(_) => FrameError::kernel(format!(
            "{wanted} were wanted, and the statement is no query: it gives none"
        )),
        other => FrameError::kernel(format!("{wanted} were wanted, and it answered {other:?}")),
    }
}

fn exchange(request: &Request) -> Result<(Answer, UnixStream), FrameError> {
    let Some(path) = std::env::var_os(SOCKET_ENV) else {
        return Err(FrameError::kernel(
            "there is none: only cells of a notebook can run queries",
        ));
    };
    let failed = |what: &str, error: &io::Error| {
        let path = path.to_string_lossy();
        FrameError::kernel(format!("{what} at {path}: {error}"))
    };
    let mut kernel = UnixStream::connect(&path).map_err(|error| failed("connect", &error))?;
    let bytes = request.to_bytes();
    let length = (bytes.len() - PREFIX) as u64;
    if length > LENGTH_MAX {
        return Err(FrameError::kernel(format!(
            "the query has {length} bytes, and {LENGTH_MAX} are the most; put its data into a file"
        )));
    }
    let limits = kernel.set_read_timeout(Some(TAKE_LIMIT));
    limits
        .and_then(|()| kernel.set_write_timeout(Some(TAKE_LIMIT)))
        .map_err(|error| failed("limit the wait", &error))?;
    be_taken(&mut kernel).map_err(|error| failed("wait for the kernel", &error))?;
    kernel
        .write_all(&bytes)
        .map_err(|error| failed("send the query", &error))?;
    let answered = kernel
        .set_read_timeout(None)
        .and_then(|()| read(&mut kernel));
    let bytes = answered.map_err(|error| failed("wait for the answer", &error))?;
    match Answer::from_bytes(bytes) {
        Ok(Answer::Failed(code, message, hint, report)) => Err(FrameError::Query {
            code,
            message,
            hint,
            report,
        }),
        Ok(answer) => Ok((answer, kernel)),
        Err(error) => Err(FrameError::kernel(error.to_string())),
    }
}

fn be_taken(kernel: &mut UnixStream) -> io::Result<()> {
    let mut byte = [0];
    match kernel.read_exact(&mut byte) {
        Ok(()) if byte == [TAKEN] => Ok(()),
        Ok(()) => Err(io::Error::other("it speaks another language")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let text = format!(
                "it did not take the query within {} s: it takes them while a cell runs, a few at once",
                TAKE_LIMIT.as_secs()
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
        Err(error) => Err(error),
    }
}

fn read(kernel: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut prefix = [0; PREFIX];
    kernel.read_exact(&mut prefix)?;
    let length = u64::from_le_bytes(prefix);
    if length > LENGTH_MAX {
        return Err(io::Error::other("the answer has no end"));
    }
    let mut bytes = vec![0; length as usize];
    kernel.read_exact(&mut bytes)?;
    Ok(bytes)
}
