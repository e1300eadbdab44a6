//! Finds the processes that belong to a home, by their environment.
//!
//! Every process of a cluster is started with `BIREME_HOME`, whoever its parent is by now.

use std::fs;
use std::path::Path;

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

    /// Whether `bireme` was started with this subcommand.
    pub fn is(&self, subcommand: &str) -> bool {
        self.arguments.iter().any(|argument| argument == subcommand)
    }
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
