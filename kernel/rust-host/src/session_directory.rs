//! The private directory of one Rust host: where evcxr compiles, and where the relay listens.
//!
//! It is made below `BIREME_HOME`, or in the system's temporary directory when the path has a space
//! (evcxr's commands are cut at spaces), is too long for a socket, or lies in a Rust source tree. A lock tells directories in use from those a
//! killed host left behind, which the next host removes.

use crate::error::RustHostError;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest directory that leaves room for the socket's name in a socket address.
const PATH_LIMIT: usize = 80;
const LOCK: &str = "lock";
/// Where evcxr compiles.
pub const CELL: &str = "cell";
/// Where evcxr finds what it starts to compile.
const TOOLS: &str = "tools";

/// What evcxr reads at its start. Cells are compiled fast and unoptimised, see [`CARGO_CONFIG`].
const EVCXR_CONFIG: &str = "opt_level = \"0\"\noffline_mode = true\n";

/// Cargo reads this for everything below: dependencies are compiled once and run often, but for
/// those that no cell spends time in. Checks are for the code of cells; compiling those of dependencies
/// took a seventh of the time. Each unit costs a small cell a
/// millisecond; a large one needs some to use two cores.
const CARGO_CONFIG: &str = r#"[profile.dev]
codegen-units = 4
[profile.dev.package."*"]
opt-level = 3
codegen-units = 16
debug-assertions = false
overflow-checks = false
[profile.dev.build-override]
opt-level = 0
"#;

/// Without loops that matter, so that the first use is not late.
const LIGHT_PACKAGES: [&str; 15] = [
    "ahash",
    "arrow-array",
    "arrow-buffer",
    "arrow-data",
    "arrow-schema",
    "bireme",
    "chrono",
    "half",
    "hashbrown",
    "libc",
    "libm",
    "num-bigint",
    "num-complex",
    "num-traits",
    "zerocopy",
];
/// They run in the compiler. `syn` alone took 21 s of 51 optimised, and everything waited for it.
const MACRO_PACKAGES: [&str; 5] = [
    "proc-macro2",
    "quote",
    "syn",
    "unicode-ident",
    "zerocopy-derive",
];

/// A directory that is removed when the host ends.
#[derive(Debug)]
pub struct SessionDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

impl SessionDirectory {
    /// Makes a directory and removes those of hosts that are gone.
    ///
    /// # Errors
    /// When it cannot be made or locked.
    pub fn create(home: &Path) -> Result<SessionDirectory, RustHostError> {
        let sessions = sessions(home);
        make(&sessions)?;
        check_owner(&sessions)?;
        remove_abandoned(&sessions);
        let path = own(&sessions);
        // Only a dead process of the same number can have left one behind here.
        let _ = fs::remove_dir_all(&path);
        make(&path)?;
        let lock = lock(&path).ok_or_else(|| {
            let busy = std::io::Error::from(std::io::ErrorKind::WouldBlock);
            RustHostError::io(format!("lock {}", path.display()), busy)
        })?;
        let directory = SessionDirectory { path, _lock: lock };
        directory.write_settings()?;
        Ok(directory)
    }

    /// The directory itself; evcxr reads its settings where the process runs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where evcxr compiles.
    pub fn cell(&self) -> PathBuf {
        self.path.join(CELL)
    }

    /// Where evcxr finds what it starts to compile.
    pub fn tools(&self) -> PathBuf {
        self.path.join(TOOLS)
    }

    /// Where the analyst works.
    pub fn analyst(&self) -> PathBuf {
        self.path.join("analyst")
    }

    /// Where the relay listens.
    pub fn socket(&self) -> PathBuf {
        self.path.join("relay")
    }

    fn write_settings(&self) -> Result<(), RustHostError> {
        write_evcxr_settings(&self.path)?;
        write_cargo_config(&self.path)
    }
}

impl Drop for SessionDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where this process has its tools once its directory is made.
pub fn tools_of_this_process(home: &Path) -> PathBuf {
    own(&sessions(home)).join(TOOLS)
}

/// Writes the settings of an evcxr that runs in a directory and compiles below it.
///
/// # Errors
/// When they cannot be written.
pub fn write_evcxr_settings(directory: &Path) -> Result<(), RustHostError> {
    let cell = directory.join(CELL);
    make(&cell)?;
    let quoted = toml_string(&cell);
    write(
        &directory.join("evcxr.toml"),
        &format!("[evcxr]\ntmpdir = {quoted}\n{EVCXR_CONFIG}"),
    )
}

/// Writes cargo's settings for every package that is compiled below a directory.
///
/// # Errors
/// When the file cannot be written.
pub fn write_cargo_config(directory: &Path) -> Result<(), RustHostError> {
    make(&directory.join(".cargo"))?;
    write(&directory.join(".cargo/config.toml"), &cargo_config())
}

/// How everything is compiled: what was compiled otherwise is of no use.
pub fn cargo_config() -> String {
    let level = |name, level| format!("[profile.dev.package.{name}]\nopt-level = {level}\n");
    let light = LIGHT_PACKAGES.map(|name| level(name, 1));
    let macros = MACRO_PACKAGES.map(|name| level(name, 0));
    format!("{CARGO_CONFIG}{}{}", light.concat(), macros.concat())
}

/// Makes a directory only its owner can enter.
///
/// # Errors
/// When it cannot be made.
pub fn make(path: &Path) -> Result<(), RustHostError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| RustHostError::io(format!("make {}", path.display()), error))
}

/// Writes a small file.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), RustHostError> {
    fs::write(path, text)
        .map_err(|error| RustHostError::io(format!("write {}", path.display()), error))
}

/// A path as a TOML string.
pub fn toml_string(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn sessions(home: &Path) -> PathBuf {
    let wanted = home.join("rust").join("sessions");
    let text = wanted.to_string_lossy();
    // In a source tree cargo would take the cells for a part of it.
    let is_source = home
        .ancestors()
        .any(|path| path.join("Cargo.toml").exists());
    if text.len() <= PATH_LIMIT && !text.contains(char::is_whitespace) && !is_source {
        return wanted;
    }
    let user = nix::unistd::getuid();
    std::env::temp_dir().join(format!("bireme-rust-{user}"))
}

/// Where everybody may make directories, somebody else may have made this one.
fn check_owner(sessions: &Path) -> Result<(), RustHostError> {
    let failed = |error| RustHostError::io(format!("use {}", sessions.display()), error);
    let facts = fs::symlink_metadata(sessions).map_err(failed)?;
    let is_ours = facts.is_dir() && facts.uid() == nix::unistd::geteuid().as_raw();
    if !is_ours || facts.mode() & 0o022 != 0 {
        let reason = "it is somebody else's, or others can write to it: remove it, or choose another BIREME_HOME";
        return Err(failed(std::io::Error::other(reason)));
    }
    Ok(())
}

fn own(sessions: &Path) -> PathBuf {
    sessions.join(std::process::id().to_string())
}

fn lock(directory: &Path) -> Option<Flock<File>> {
    let file = File::create(directory.join(LOCK)).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

fn remove_abandoned(sessions: &Path) {
    let Ok(entries) = fs::read_dir(sessions) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let number = path.file_name().and_then(|name| name.to_str());
        let process = number.and_then(|number| number.parse::<u32>().ok());
        let is_gone = process.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if is_gone && lock(&path).is_some() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn directories_of_hosts_that_are_gone_are_removed_and_live_ones_stay() {
        let home = tempfile::tempdir().unwrap();
        let sessions = home.path().join("rust/sessions");
        make(&sessions.join("4194999")).unwrap();
        let first = SessionDirectory::create(home.path()).unwrap();
        assert!(!sessions.join("4194999").exists());
        assert!(first.path().join("evcxr.toml").exists());
        let path = first.path().to_path_buf();
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let sessions = home.path().join("rust/sessions");
        make(&sessions).unwrap();
        fs::set_permissions(&sessions, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = SessionDirectory::create(home.path()).err().unwrap();
        assert!(
            refused.to_string().contains("others can write to it"),
            "{refused}"
        );
        fs::set_permissions(&sessions, fs::Permissions::from_mode(0o700)).unwrap();
        SessionDirectory::create(home.path()).unwrap();
    }

    #[test]
    fn a_home_with_a_space_or_too_long_is_not_used() {
        for home in ["/tmp/with space", &format!("/tmp/{}", "x".repeat(90))] {
            let path = sessions(Path::new(home));
            assert!(!path.starts_with(home), "{}", path.display());
        }
    }
}
