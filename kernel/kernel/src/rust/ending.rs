//! What ends a running cell but its own end: its time is over, or it wants a line of input that
//! nobody can give.

use super::host::RustHost;
use bireme_jupyter::wire::CellError;
use bireme_jupyter::{ExecuteContext, InputError};
use bireme_px::host_protocol::{HostRequest, InputRequest};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Asks the user for every line of standard input a cell waits for; ends when one is refused.
pub(super) async fn answer(
    host: &RustHost,
    context: &ExecuteContext,
    wanted: &mut mpsc::Receiver<InputRequest>,
) -> InputError {
    loop {
        let Some(request) = wanted.recv().await else {
            return std::future::pending().await;
        };
        let asked = context.input(&request.prompt, request.is_password);
        match asked.await {
            Ok(line) => {
                host.send(HostRequest::Input { line }).await;
            }
            // The cell is being stopped for that.
            Err(InputError::Interrupted) => return std::future::pending().await,
            Err(refused) => return refused,
        }
    }
}

/// What a cell says that wanted a line it cannot get; whatever else is said of it stays.
pub(super) fn input_refused(error: CellError, refused: &InputError) -> CellError {
    if error.ename != CellError::INTERRUPTED {
        return error;
    }
    let evalue = format!("read standard input: {refused}");
    ended_for("InputError", evalue, error, None)
}

/// The error of a cell that was interrupted for a reason of ours, with what that cost.
fn ended_for(
    ename: &str,
    evalue: String,
    interrupted: CellError,
    help: Option<String>,
) -> CellError {
    let first = format!("{ename}: {evalue}");
    // Rust itself had to be ended: only the message says so.
    let cost = interrupted
        .evalue
        .contains("gone")
        .then_some(interrupted.evalue);
    let rest = interrupted.traceback.into_iter().skip(1);
    let traceback = std::iter::once(first).chain(cost).chain(rest).chain(help);
    CellError::new(ename, evalue).with_traceback(traceback.collect())
}

/// Waits until a cell has run for too long; for ever when it never runs or has no limit.
pub(super) async fn overdue(begun: oneshot::Receiver<()>, limit: Duration) {
    if limit.is_zero() || begun.await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(limit).await;
}

/// What a cell that was ended for its time says; whatever else is said of it stays.
pub(super) fn timed_out(error: CellError, limit: Duration) -> CellError {
    if error.ename != CellError::INTERRUPTED {
        return error;
    }
    let evalue = format!("the cell ran longer than {limit:?} (rust.timeout)");
    let help = "  help: `%config rust.timeout 0` takes the limit away".to_owned();
    ended_for("TimedOut", evalue, error, Some(help))
}
