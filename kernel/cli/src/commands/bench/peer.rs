//! Another query engine, as a Python process that lives for the whole measurement.

use crate::error::CliError;
use serde::Deserialize;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const SCRIPT: &str = include_str!("peers.py");

/// The peers there may be.
pub(super) const PEERS: [&str; 3] = ["duckdb", "polars", "datafusion"];

/// A running peer.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) version: String,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    version: Option<String>,
    seconds: Option<f64>,
    rows: Option<u64>,
    error: Option<String>,
}

/// How a query went.
pub(super) enum Ran {
    Took { time: Duration, rows: u64 },
    Failed { reason: String },
}

impl Peer {
    /// Starts a peer; `None` with the reason when Python does not have it.
    pub(super) fn start(
        python: &str,
        name: &'static str,
        data: &Path,
    ) -> Result<Result<Self, String>, CliError> {
        let failed = |source| CliError::io(format!("start {python}"), source);
        let mut child = Command::new(python)
            .args(["-c", SCRIPT, name])
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Ok(Err("its pipes are not there".to_owned()));
        };
        let answers = BufReader::new(answers);
        let mut peer = Self {
            name,
            version: String::new(),
            child,
            requests,
            answers,
        };
        let hello = peer.read()?;
        match (hello.version, hello.error) {
            (Some(version), _) => {
                peer.version = version;
                Ok(Ok(peer))
            }
            (None, error) => Ok(Err(error.unwrap_or_else(|| "it does not answer".to_owned()))),
        }
    }

    /// Runs a query.
    pub(super) fn run(&mut self, sql: &str) -> Result<Ran, CliError> {
        let request = serde_json::json!({ "sql": sql });
        // A peer that was killed, for memory say, fails its queries and nothing else.
        if let Err(error) = writeln!(self.requests, "{request}") {
            let reason = format!("{} has ended: {error}", self.name);
            return Ok(Ran::Failed { reason });
        }
        let answer = self.read()?;
        Ok(match (answer.seconds, answer.error) {
            (Some(seconds), None) => {
                let time = Duration::from_secs_f64(seconds);
                Ran::Took {
                    time,
                    rows: answer.rows.unwrap_or_default(),
                }
            }
            (_, error) => Ran::Failed {
                reason: error.unwrap_or_else(|| format!("{} ended meanwhile", self.name)),
            },
        })
    }

    fn read(&mut self) -> Result<Answer, CliError> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .map_err(|source| CliError::io(format!("listen to {}", self.name), source))?;
        Ok(serde_json::from_str(&line).unwrap_or_default())
    }
}

/// Ends the process with the measurement.
pub(super) fn end(mut peer: Peer) {
    drop(peer.requests);
    // It ends with its input; what it answers to no longer matters.
    let _ = peer.child.wait();
}
