//! The compiler's version, for a kernel whose Rust host has not said it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A compiler that takes longer stays unknown until the Rust host is up.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What `rustc -V` says in a directory; `None` where there is no compiler.
pub(super) async fn rustc_version(directory: &Path) -> Option<String> {
    let mut command = Command::new("rustc");
    command
        .arg("-V")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let output = match tokio::time::timeout(ANSWER_LIMIT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => output,
        outcome => {
            tracing::debug!(?outcome, "the version of rustc is not known");
            return None;
        }
    };
    let line = String::from_utf8(output.stdout).ok()?;
    Some(line.trim().to_owned())
}
