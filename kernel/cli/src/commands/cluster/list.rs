//! `bireme cluster list`: the running clusters of this user, found among the processes: each home
//! knows only of its own.

use super::counted;
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_client::Cluster;
use bireme_launchers::ClusterLock;
use bireme_settings::Home;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Lists the homes in which a launcher runs. A launcher works in its home.
pub(super) fn run() -> Result<ExitCode, CliError> {
    let own = std::fs::metadata("/proc/self")
        .map_err(|e| CliError::io("look at /proc", e))?
        .uid();
    let processes = std::fs::read_dir("/proc").map_err(|e| CliError::io("look at /proc", e))?;
    let mut homes: Vec<PathBuf> = processes
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|of| of.uid() == own))
        .filter(|entry| is_launcher(&entry.path()))
        .filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok())
        .collect();
    homes.sort();
    homes.dedup();
    let mut text = String::new();
    for root in homes {
        let Ok(home) = Home::at(&root) else { continue };
        let Some(pid) = ClusterLock::holder(&home)? else {
            continue;
        };
        let engines =
            Context::block_on(async { Ok(Cluster::attach(&home).await?.status().await?) });
        let engines = match engines {
            Ok(status) => counted(u32::try_from(status.engines.len()).unwrap_or(u32::MAX)),
            Err(_) => "does not answer this build".to_string(),
        };
        text.push_str(&format!(
            "{}  launcher pid {pid}  {engines}\n",
            root.display()
        ));
    }
    if text.is_empty() {
        text.push_str("no cluster runs\n");
    }
    terminal::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn is_launcher(process: &Path) -> bool {
    let Ok(command) = std::fs::read(process.join("cmdline")) else {
        return false;
    };
    let mut words = command.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    program.ends_with(b"bireme") && words.any(|word| word == b"launcher")
}
