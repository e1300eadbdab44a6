//! `bireme cluster logs`: the ends of the log files, and what is written to them from now on.

use crate::error::CliError;
use crate::terminal;
use bireme_launchers::log_tail;
use bireme_settings::Home;
use clap::Args;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Whose log: `launcher`, `controller`, `engine-0`; all without it.
    process: Option<String>,
    /// Lines from the end of each.
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: usize,
    /// Go on as lines are written.
    #[arg(short, long)]
    follow: bool,
}

impl LogsArguments {
    pub(super) fn run(&self, home: &Home) -> Result<ExitCode, CliError> {
        let mut logs = self.find(home)?;
        for log in &logs {
            let tail = log_tail(&log.path, self.lines);
            if !tail.is_empty() {
                terminal::print(&format!("==> {} <==\n{}\n", log.name, tail.join("\n")))?;
            }
        }
        if !self.follow {
            return Ok(ExitCode::SUCCESS);
        }
        // Until the user has seen enough.
        loop {
            std::thread::sleep(FOLLOW_INTERVAL);
            for log in &mut logs {
                let text = log.read_more()?;
                if !text.is_empty() {
                    terminal::print(&prefixed(&log.name, &text))?;
                }
            }
        }
    }

    fn find(&self, home: &Home) -> Result<Vec<Log>, CliError> {
        let entries = std::fs::read_dir(home.logs())
            .map_err(|source| CliError::io(format!("list {}", home.logs().display()), source))?;
        let mut logs: Vec<Log> = entries
            .flatten()
            .filter_map(|entry| Log::at(entry.path()))
            .collect();
        logs.sort_by(|a, b| a.name.cmp(&b.name));
        let Some(wanted) = &self.process else {
            return Ok(logs);
        };
        let names: Vec<String> = logs.iter().map(|log| log.name.clone()).collect();
        logs.retain(|log| &log.name == wanted);
        if logs.is_empty() {
            let known = names.join(", ");
            return Err(CliError::usage(format!(
                "there is no log of {wanted:?}; there is: {known}"
            )));
        }
        Ok(logs)
    }
}

fn prefixed(name: &str, text: &str) -> String {
    text.lines()
        .map(|line| format!("{name}: {line}\n"))
        .collect()
}

/// One log file and how far it was read.
struct Log {
    name: String,
    path: PathBuf,
    offset: u64,
}

impl Log {
    fn at(path: PathBuf) -> Option<Self> {
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let name = path.file_stem()?.to_str()?.to_string();
        let offset = std::fs::metadata(&path).map_or(0, |file| file.len());
        is_log.then_some(Self { name, path, offset })
    }

    /// What was written since; a file that became shorter was started anew.
    fn read_more(&mut self) -> Result<String, CliError> {
        let failed = |source| CliError::io(format!("read {}", self.path.display()), source);
        let mut file = File::open(&self.path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length < self.offset {
            self.offset = 0;
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        file.read_to_end(&mut bytes).map_err(failed)?;
        self.offset += bytes.len() as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
