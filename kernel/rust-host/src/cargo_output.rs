//! What cargo says while it compiles or downloads for the host itself: how far it is, and why it failed.

use crate::error::RustHostError;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Lines of cargo's output that may wait to be looked at.
const LINES_WAITING: usize = 64;
/// Lines of cargo's output that an error shows.
const SHOWN_LINES: usize = 20;
/// Characters of each of them; cargo prints whole commands.
const SHOWN_WIDTH: usize = 200;

/// Reads cargo's output to its end, and ends cargo at the limit.
pub(crate) fn follow(
    mut child: Child,
    limit: Duration,
    progress: &dyn Fn(usize),
) -> Result<(), RustHostError> {
    let deadline = Instant::now() + limit;
    let output = read_lines(&mut child)?;
    let mut begun = 0;
    let mut lines: VecDeque<String> = VecDeque::new();
    let is_late = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match output.recv_timeout(left) {
            Ok(line) => {
                if line.trim_start().starts_with("Compiling") {
                    begun += 1;
                    progress(begun);
                }
                if lines.len() == SHOWN_LINES {
                    lines.pop_front();
                }
                lines.push_back(line.chars().take(SHOWN_WIDTH).collect());
            }
            Err(RecvTimeoutError::Timeout) => break true,
            Err(RecvTimeoutError::Disconnected) => break false,
        }
    };
    let failed = |error| RustHostError::io("wait for cargo", error);
    if is_late {
        child.kill().map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    let end = match (is_late, status.success()) {
        (false, true) => return Ok(()),
        (false, false) => format!("cargo ended with {status}"),
        (true, _) => format!("cargo did not end within {} s", limit.as_secs()),
    };
    let lines: Vec<String> = lines.into();
    let reason = format!("{end}\n{}", lines.join("\n"));
    Err(RustHostError::CellCrate { reason })
}

/// The lines a process writes to standard error, read by a thread that ends with them.
fn read_lines(child: &mut Child) -> Result<Receiver<String>, RustHostError> {
    let (lines_tx, lines) = sync_channel(LINES_WAITING);
    let output = child.stderr.take();
    let read = move || {
        let texts = output.into_iter().map(BufReader::new);
        for line in texts.flat_map(BufRead::lines).map_while(Result::ok) {
            if lines_tx.send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("cargo output".to_string())
        .spawn(read)
        .map_err(|error| RustHostError::io("start a thread", error))?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_compile_is_followed_and_ended_at_its_limit() {
        let run = |script: &str| {
            let mut shell = Command::new("sh");
            let shell = shell.args(["-c", script]).stderr(Stdio::piped());
            shell.spawn().unwrap()
        };
        let begun = std::cell::Cell::new(0);
        let progress = |count| begun.set(count);
        let works = run("echo '   Compiling one v1' >&2; echo '   Compiling two v2' >&2");
        follow(works, LIMIT, &progress).unwrap();
        assert_eq!(begun.get(), 2);
        let fails = follow(run("echo reason >&2; exit 3"), LIMIT, &progress);
        let text = fails.unwrap_err().to_string();
        assert!(text.contains("exit status: 3\nreason"), "{text}");
        let hangs = follow(run("exec sleep 60"), Duration::from_millis(20), &progress);
        let text = hangs.unwrap_err().to_string();
        assert!(text.contains("did not end within"), "{text}");
    }
}
