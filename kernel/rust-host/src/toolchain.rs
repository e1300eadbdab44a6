//! What Rust cells need of the toolchain: a compiler, a standard library that is shared, and its sources, by which
//! the types of variables are told. Whoever starts the compiler is told of these.

use crate::error::RustHostError;
use crate::file_lock::lock;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where the dynamic linker looks for libraries.
pub(crate) const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";
/// Longest wait for the compiler's version: rustup may have to fetch the compiler first.
const COMPILER_LIMIT: Duration = Duration::from_secs(300);
/// Longest download of the sources, which are 3 MB.
const SOURCES_LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked whether a program has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// Where a toolchain has what is not for the compiler alone.
const LIBRARIES: &str = "lib/rustlib";
const SOURCES: &str = "lib/rustlib/src/rust/library";
/// What rustup calls them.
const SOURCES_COMPONENT: &str = "rust-src";

/// The toolchain of the working directory.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// What `rustc -vV` says.
    pub(crate) compiler: String,
    /// Where compiled cells find Rust's own libraries, as [`LIBRARY_PATH`].
    pub(crate) libraries: OsString,
    /// Why there are no sources of the standard library, and what to do.
    pub(crate) without_sources: Option<String>,
}

impl Toolchain {
    /// Looks what is there, and has rustup get the sources if they are missing. `tell` hears of what takes long.
    ///
    /// # Errors
    /// There is no compiler, or no shared standard library.
    pub(crate) fn find(tell: &dyn Fn(&str)) -> Result<Toolchain, RustHostError> {
        let compiler = ask_compiler(&["-vV"])?;
        let answers = ask_compiler(&["--print", "target-libdir", "--print", "sysroot"])?;
        let mut answers = answers.lines();
        let libraries = answers.next().unwrap_or_default();
        check_libraries(Path::new(libraries))?;
        let root = Path::new(answers.next().unwrap_or_default());
        let mut rustup = Command::new("rustup");
        rustup
            .args(["component", "add", SOURCES_COMPONENT])
            .env("RUST_BACKTRACE", "0");
        let without_sources = provide_sources(root, &mut rustup, tell).err();
        if let Some(reason) = &without_sources {
            tracing::warn!(reason, "variables need explicit types");
        }
        Ok(Toolchain {
            compiler,
            libraries: library_path(libraries),
            without_sources,
        })
    }
}

/// What rustc says of itself.
fn ask_compiler(question: &[&str]) -> Result<String, RustHostError> {
    let missing = |reason: String| RustHostError::Start {
        reason: format!(
            "{reason}; Rust cells need rustc and cargo 1.95 or later on the PATH (see https://rustup.rs)"
        ),
    };
    let output = output_of(Command::new("rustc").args(question), COMPILER_LIMIT)
        .map_err(|error| missing(format!("run `rustc {}`: {error}", question.join(" "))))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(missing(format!("run rustc: {text}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Cells share one standard library, which some toolchains have only as a static one.
fn check_libraries(directory: &Path) -> Result<(), RustHostError> {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    if names.any(|name| name.starts_with("libstd-") && name.ends_with(".so")) {
        return Ok(());
    }
    Err(RustHostError::Start {
        reason: format!(
            "look for libstd-*.so in {}: there is none, and Rust cells share it; toolchains of rustup have it \
             (see https://rustup.rs), some of distributions do not",
            directory.display()
        ),
    })
}

/// Where compiled cells find Rust's own libraries. The way that rustc writes into a cell is relative
/// to where it puts it first, and evcxr moves it.
fn library_path(libraries: &str) -> OsString {
    let mut path = OsString::from(libraries);
    if let Some(others) = std::env::var_os(LIBRARY_PATH) {
        path.push(":");
        path.push(others);
    }
    path
}

/// Gets the sources into a toolchain that lacks them, as rustup installs it, by a command. The error says why there
/// are none, and what to do.
fn provide_sources(root: &Path, get: &mut Command, tell: &dyn Fn(&str)) -> Result<(), String> {
    let sources = root.join(SOURCES);
    if sources.is_dir() {
        return Ok(());
    }
    provide_alone(&sources, root, get, tell).map_err(|reason| {
        format!(
            "run `rustup component add {SOURCES_COMPONENT}`, or install it as rustc was installed, and restart the \
             kernel: the types of variables are told by the sources of Rust's standard library, and {} has none: \
             {reason}",
            sources.display()
        )
    })
}

/// Two hosts that start at once would undo what the other gets.
fn provide_alone(
    sources: &Path,
    root: &Path,
    get: &mut Command,
    tell: &dyn Fn(&str),
) -> Result<(), String> {
    let directory = root.join(LIBRARIES);
    let file =
        File::open(&directory).map_err(|error| format!("open {}: {error}", directory.display()))?;
    let _lock = lock(file, &directory, SOURCES_LIMIT).map_err(|error| error.to_string())?;
    if sources.is_dir() {
        return Ok(());
    }
    tell("getting the sources of Rust's standard library");
    let got = output_of(get, SOURCES_LIMIT);
    tell("");
    let got = got.map_err(|error| format!("run rustup: {error}"))?;
    if sources.is_dir() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&got.stderr);
    let lines = said.lines().map(str::trim);
    let reasons: Vec<&str> = lines.filter(|line| !line.starts_with("info:")).collect();
    Err(format!(
        "rustup ended with {}: {}",
        got.status,
        reasons.join(" ").trim()
    ))
}

/// What a program that prints little has printed, once it has ended; it is ended at the limit.
fn output_of(command: &mut Command, limit: Duration) -> std::io::Result<Output> {
    let pipes = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn()?;
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            let text = format!("it did not end within {} s and was ended", limit.as_secs());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    child.wait_with_output()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let text = output_of(Command::new("echo").arg("one"), COMPILER_LIMIT).unwrap();
        assert_eq!(text.stdout, b"one\n");
        let begun = Instant::now();
        let limit = Duration::from_millis(20);
        let error = output_of(Command::new("sleep").arg("60"), limit).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    fn shell(script: &str, root: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(root);
        command
    }

    #[test]
    fn hosts_that_start_at_once_get_missing_sources_once() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join(LIBRARIES)).unwrap();
        let script = format!("echo got >> log; mkdir -p {SOURCES}");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| provide_sources(root, &mut shell(&script, root), &|_| {}).unwrap());
            }
        });
        assert_eq!(fs::read_to_string(root.join("log")).unwrap(), "got\n");
    }

    #[test]
    fn sources_that_cannot_be_had_are_told_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let get = |script: &str| provide_sources(root, &mut shell(script, root), &|_| {});
        let no_toolchain = get("true").unwrap_err();
        assert!(
            no_toolchain.contains("lib/rustlib: No such file"),
            "{no_toolchain}"
        );
        fs::create_dir_all(root.join(LIBRARIES)).unwrap();
        let offline = get("echo info: tries >&2; echo no network >&2; exit 1").unwrap_err();
        for part in [
            "exit status: 1: no network",
            "rustup component add rust-src",
        ] {
            assert!(offline.contains(part), "{offline}");
        }
        let absent = provide_sources(root, &mut Command::new("no-rustup"), &|_| {}).unwrap_err();
        assert!(absent.contains("run rustup: No such file"), "{absent}");
    }
}
