//! Files that one process at a time has.

use crate::error::RustHostError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a lock that another process holds is tried again.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Locks an open file or directory, which is at this path, until the result is dropped.
///
/// # Errors
/// Another process holds it for longer than the limit, or the system has no locks there.
pub(crate) fn lock(
    mut file: File,
    path: &Path,
    limit: Duration,
) -> Result<Flock<File>, RustHostError> {
    let deadline = Instant::now() + limit;
    loop {
        let error = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((same, Errno::EAGAIN)) if Instant::now() < deadline => {
                file = same;
                std::thread::sleep(LOOK_INTERVAL);
                continue;
            }
            Err((_, error)) => error,
        };
        let tried = format!("lock {} within {} s", path.display(), limit.as_secs());
        return Err(RustHostError::io(tried, error));
    }
}
