//! Finds the processes that belong to a home, by their environment.
//!
//! Every process of a cluster is started with `BIREME_HOME`, whoever its parent is by now.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: u32,
    /// Its command line.
    pub arguments: Vec<String>,
}

impl Process {
    /// Its resident memory, unless it has ended.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// Its rank, if it is an engine.
    pub fn rank(&self) -> Option<u32> {
        let mut arguments = self.arguments.iter();
        arguments.find(|argument| *argument == "--rank")?;
        arguments.next()?.parse().ok()
    }

    /// The session it runs in, named by the process that began it, unless it has ended.
    pub fn session(&self) -> Option<u32> {
        session(self.id)
    }

    /// Bytes it has read and written, unless it has ended. Of sockets Linux counts only what is
    /// written from a list of buffers, as gRPC does: what a process receives is not in it.
    pub fn moved_bytes(&self) -> Option<u64> {
        let counters = fs::read_to_string(format!("/proc/{}/io", self.id)).ok()?;
        let counter = |name: &str| -> Option<u64> {
            let value = counters.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse().ok()
        };
        Some(counter("rchar:")? + counter("wchar:")?)
    }

    /// Sends it a signal, such as `KILL`.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn signal(&self, name: &str) {
        signal(self.id, name);
    }

    /// Whether `bireme` was started with this subcommand.
    pub fn is(&self, subcommand: &str) -> bool {
        self.arguments.iter().any(|argument| argument == subcommand)
    }
}

/// Sends a signal, such as `KILL`, to a process.
///
/// # Panics
///
/// When it has ended and was waited for.
pub fn signal(id: u32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), id.to_string()])
        .status();
    let is_sent = status.is_ok_and(|status| status.success());
    assert!(is_sent, "send {name} to process {id}");
}

/// The session a process runs in, unless it has ended.
pub fn session(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The program's name is in parentheses and may hold anything. State, parent, group and session
    // follow it.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(3)?.parse().ok()
}

/// All processes, but this one, that run with `BIREME_HOME` set to `home`.
pub fn of_home(home: &Path) -> Vec<Process> {
    let variable = [b"BIREME_HOME=", home.as_os_str().as_encoded_bytes()].concat();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&id| id != std::process::id())
        .filter_map(|id| {
            // Processes of other users and those that have ended cannot be read.
            let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
            let arguments = fs::read(format!("/proc/{id}/cmdline")).ok()?;
            let is_ours = environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == variable);
            is_ours.then(|| Process {
                id,
                arguments: split(&arguments),
            })
        })
        .collect()
}

fn split(arguments: &[u8]) -> Vec<String> {
    let parts = arguments
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}
