//! Notices the death of the process that started the kernel, so that no orphan is left behind.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often the process is looked at where the system cannot tell us by itself.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Waits until the process is gone. A pid that cannot be one is waited for for ever: 0 and 1 stand
/// for a parent that is not known.
pub(crate) async fn wait_for_exit(pid: u32) {
    let known = i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .and_then(Pid::from_raw);
    let Some(pid) = known else {
        return std::future::pending().await;
    };
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(process) => {
            if watch(process).await.is_err() {
                poll(pid).await;
            }
        }
        Err(rustix::io::Errno::SRCH) => {}
        Err(_) => poll(pid).await,
    }
}

#[expect(
    deprecated,
    reason = "an owned descriptor stays open as long as it is registered"
)]
async fn watch(process: OwnedFd) -> io::Result<()> {
    let process = AsyncFd::with_interest(process, Interest::READABLE)?;
    process.readable().await.map(drop)
}

async fn poll(pid: Pid) {
    while !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
