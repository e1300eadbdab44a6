//! The log: to standard error, which the launcher keeps in files for the processes of a cluster.
//! Never to standard output: that belongs to results.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How much is said without `BIREME_LOG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// A person reads it: nothing but what went wrong.
    Quiet,
    /// A log file keeps it.
    Service,
}

/// Starts the log of this process.
pub(crate) fn start(verbosity: Verbosity) {
    let default = match verbosity {
        Verbosity::Quiet => "error,bireme=warn",
        Verbosity::Service => "warn,bireme=info",
    };
    let wanted = bireme_settings::environment("BIREME_LOG");
    // A directive without a module would also turn on every dependency; ours all begin alike.
    let directives = wanted.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(default));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbosity == Verbosity::Service)
        .try_init();
    debug_assert!(started.is_ok(), "the log is started once");
}
