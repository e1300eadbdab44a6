//! How a process of the cluster is told to end: by SIGTERM, or SIGINT at a terminal.

use crate::error::CliError;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Completes when this process is told to end. Call it within a runtime.
pub(crate) fn told_to_end() -> Result<impl Future<Output = ()>, CliError> {
    let listen = |kind| signal(kind).map_err(|source| CliError::io("listen for signals", source));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// A token that fires when this process is told to end, for one that makes its own runtimes.
pub(crate) fn token() -> Result<CancellationToken, CliError> {
    let token = CancellationToken::new();
    let fired = token.clone();
    let runtime = crate::context::Context::runtime()?;
    // Listening begins here, so that no signal is missed while the thread starts.
    let told = {
        let _within = runtime.enter();
        told_to_end()?
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(told);
            fired.cancel();
        })
        .map_err(|source| CliError::io("start the thread that listens for signals", source))?;
    Ok(token)
}
