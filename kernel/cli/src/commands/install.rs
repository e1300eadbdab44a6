//! `bireme install` and `uninstall`: the kernelspec, by which Jupyter finds this kernel.

use crate::context::Context;
use crate::error::CliError;
use crate::terminal;
use bireme_jupyter::kernelspec::{self, InstallLocation};
use bireme_px::host_protocol::{PRELUDE_CRATES_ENV, WITHOUT_PRELUDE};
use bireme_settings::{Home, environment};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

/// How long Python may take to say where it lives.
const PYTHON_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether a program has ended.
const POLL: Duration = Duration::from_millis(10);

/// Where the kernelspec goes.
#[derive(Debug, Args)]
pub(crate) struct Location {
    /// For this user only; what holds without another flag.
    #[arg(long, group = "location")]
    user: bool,
    /// Into the Python environment that is active.
    #[arg(long, group = "location")]
    sys_prefix: bool,
    /// Below a directory, in share/jupyter/kernels.
    #[arg(long, group = "location", value_name = "DIR")]
    prefix: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    #[command(flatten)]
    location: Location,
    /// Leave the crate that Rust cells link against to the first Rust cell, which compiles it then.
    #[arg(long)]
    no_rust: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UninstallArguments {
    #[command(flatten)]
    location: Location,
}

impl InstallArguments {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let program = Context::program()?;
        let directory = kernelspec::install(&self.location.find()?, &program)?;
        terminal::note(&format!(
            "installed the kernelspec in {}",
            directory.display()
        ));
        if !self.no_rust {
            let home = context.home()?;
            let settings = context.settings(&home, None)?;
            prepare_rust(&program, &home, settings.get("rust.prelude_crates"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Compiles what Rust cells link against, so that no first cell has to. The kernel is installed
/// without it too: SQL needs none of it.
fn prepare_rust(program: &Path, home: &Home, crates: &str) {
    let more = match crates.is_empty() {
        true => String::new(),
        false => format!(", and {crates} (rust.prelude_crates)"),
    };
    terminal::note(&format!(
        "compiling what Rust cells link against{more}: a minute or more, once (--no-rust leaves it out)"
    ));
    terminal::note(&match preparation(program, home, crates).status() {
        Ok(status) if status.success() => "Rust cells are ready".to_owned(),
        Ok(status) if status.code() == Some(i32::from(WITHOUT_PRELUDE)) => {
            format!("Rust cells are ready, without {crates}: install again to try these again")
        }
        Ok(_) => "SQL cells are ready; the first Rust cell tries that again".to_owned(),
        Err(error) => format!("SQL cells are ready; bireme-rust cannot be started: {error}"),
    });
}

/// The program that compiles what Rust cells link against, and these crates, below a home.
pub(crate) fn preparation(program: &Path, home: &Home, crates: &str) -> Command {
    let mut command = Command::new(program.with_file_name("bireme-rust"));
    command
        .args(["prepare", "--home"])
        .arg(home.root())
        .env(PRELUDE_CRATES_ENV, crates)
        .stdin(Stdio::null());
    command
}

impl UninstallArguments {
    pub(crate) fn run(self) -> Result<ExitCode, CliError> {
        let location = self.location.find()?;
        let line = match kernelspec::uninstall(&location)? {
            Some(directory) => format!("removed {}", directory.display()),
            None => format!(
                "there is no kernelspec in {}",
                location.kernels_dir().display()
            ),
        };
        terminal::note(&line);
        Ok(ExitCode::SUCCESS)
    }
}

impl Location {
    fn find(&self) -> Result<InstallLocation, CliError> {
        match (&self.prefix, self.sys_prefix) {
            (Some(prefix), _) => Ok(InstallLocation::Prefix(prefix.clone())),
            (None, true) => sys_prefix().map(InstallLocation::Prefix).ok_or_else(|| {
                CliError::usage(
                    "no Python environment is active: activate one, or use --prefix DIR",
                )
            }),
            (None, false) => user_location(),
        }
    }
}

/// The user's own Jupyter directory.
pub(crate) fn user_location() -> Result<InstallLocation, CliError> {
    let home =
        environment("HOME").ok_or_else(|| CliError::usage("HOME is not set: use --prefix DIR"))?;
    let data_dir = environment("JUPYTER_DATA_DIR").map(PathBuf::from);
    let data_home = environment("XDG_DATA_HOME").map(PathBuf::from);
    Ok(InstallLocation::user(
        Path::new(&home),
        data_dir.as_deref(),
        data_home.as_deref(),
    ))
}

/// The prefix of the active Python environment.
pub(crate) fn sys_prefix() -> Option<PathBuf> {
    let active = environment("VIRTUAL_ENV").or_else(|| environment("CONDA_PREFIX"));
    if let Some(prefix) = active {
        return Some(PathBuf::from(prefix));
    }
    let mut python = Command::new("python3");
    python.args(["-c", "import sys; print(sys.prefix)"]);
    let asked = output_within(&mut python, PYTHON_TIMEOUT)?;
    let prefix = String::from_utf8(asked.stdout).ok()?;
    (asked.status.success() && !prefix.trim().is_empty()).then(|| PathBuf::from(prefix.trim()))
}

/// What a program that prints a line or two prints; none when it does not start or takes too long.
fn output_within(program: &mut Command, limit: Duration) -> Option<Output> {
    let mut running = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + limit;
    loop {
        match running.try_wait() {
            Ok(Some(_)) => return running.wait_with_output().ok(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
            Ok(None) | Err(_) => {
                // Killed and reaped; that it ended by itself meanwhile is as good.
                let _ = running.kill();
                let _ = running.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_not_waited_for() {
        let started = Instant::now();
        let mut sleeper = Command::new("sleep");
        sleeper.arg("60");
        assert!(output_within(&mut sleeper, Duration::from_millis(100)).is_none());
        assert!(started.elapsed() < Duration::from_secs(10));
        let mut echo = Command::new("echo");
        echo.arg("here");
        let printed = output_within(&mut echo, Duration::from_secs(10)).unwrap();
        assert_eq!(printed.stdout, b"here\n");
    }
}
