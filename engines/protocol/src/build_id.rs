//! Which build a process runs. Every connection exchanges it; another build is refused, because
//! plans and messages are only understood by the build that made them.

use crate::fault::{ErrorCode, Fault};
use crate::proto::Hello;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// The id of the running build: version, and the executable's size and time of change.
pub fn build_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let version = env!("CARGO_PKG_VERSION");
        // The link survives a replaced file: it still names the bytes this process runs.
        match std::fs::metadata("/proc/self/exe") {
            Ok(file) => {
                let stamp = (file.mtime() as u64).rotate_left(30) ^ file.mtime_nsec() as u64;
                format!("{version}-{:x}-{stamp:x}", file.size())
            }
            Err(_) => version.to_string(),
        }
    })
}

/// The greeting of this process in a role.
pub fn hello(role: &str) -> Hello {
    Hello {
        build_id: build_id().to_string(),
        role: role.to_string(),
        pid: std::process::id(),
    }
}

/// Accepts a peer of the same build.
///
/// # Errors
/// [`ErrorCode::BuildMismatch`], with both builds and what a restart would cost.
pub fn check(peer: &str, theirs: &str) -> Result<(), Fault> {
    let ours = build_id();
    if theirs == ours {
        return Ok(());
    }
    Err(Fault::new(
        ErrorCode::BuildMismatch,
        format!(
            "let two builds work together: the {peer} is build {theirs}, what it speaks to is build {ours}"
        ),
    )
    .with_hint(
        "run `bireme cluster restart`: running queries end and frames are dropped; views, external tables and history stay",
    ))
}
