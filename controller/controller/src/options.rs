//! What the controller runs with.

use crate::clock::Clock;
use bireme_settings::{Home, Settings};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// Queries that may wait. More are refused.
const QUEUE_MAX: usize = 1000;

/// Settings of the controller, read once.
#[derive(Debug)]
pub struct ControllerOptions {
    /// The cluster's directory.
    pub home: Home,
    /// The socket to serve; made at the home's `controller_socket` when absent.
    pub listener: Option<UnixListener>,
    /// How many engines there shall be.
    pub engines_wanted: u32,
    /// Queries that run at once.
    pub max_concurrent: usize,
    /// Queries that wait at most.
    pub queue_max: usize,
    /// The cluster ends when it was idle for this long; zero = never.
    pub idle_timeout: Duration,
    /// How long frames of a session stay when nobody works with it; zero = for ever.
    pub keep_frames: Duration,
    /// How often engines report.
    pub heartbeat_interval: Duration,
    /// A silent engine is lost after this.
    pub lost_after: Duration,
    /// Where the time comes from.
    pub clock: Clock,
}

impl ControllerOptions {
    /// Options as the settings have them, with a listener of its own and the time that passes.
    pub fn new(home: Home, engines_wanted: u32, settings: &Settings) -> Self {
        Self {
            home,
            listener: None,
            engines_wanted,
            max_concurrent: usize::try_from(settings.integer("query.max_concurrent"))
                .unwrap_or(usize::MAX)
                .max(1),
            queue_max: QUEUE_MAX,
            idle_timeout: settings.duration("cluster.idle_timeout"),
            keep_frames: settings.duration("session.keep_frames"),
            heartbeat_interval: settings.duration("engine.heartbeat_interval"),
            lost_after: settings.duration("engine.lost_after"),
            clock: Clock::real(),
        }
    }
}

/// The listening socket a launcher hands over as standard input. It stays open in the launcher, so
/// that nobody is refused while the controller restarts.
///
/// # Errors
/// Standard input is no Unix socket.
pub fn listener_from_stdin() -> io::Result<UnixListener> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let listener = UnixListener::from(socket);
    listener.local_addr()?;
    Ok(listener)
}
