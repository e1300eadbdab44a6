//! Compiles a cell without cargo when nothing but the cell has changed since cargo last did: a fifth
//! of what a small cell takes is cargo finding that out.
//!
//! evcxr starts cargo as `mold -run cargo ...` when it is told to use the linker mold. First on the `PATH`
//! it finds this program, which runs cargo as it was asked to, with itself as the wrapper
//! of the compiler, to note how cargo calls the compiler for a cell. As long as what cargo would look at is
//! as it was, the next cells call the compiler the same way.
//!
//! The Rust host itself runs with that `PATH`: for one that only the build has, the standard library copies
//! the whole process before it starts a program, which took a third of a small cell.

use crate::cell_crate::TELL_LIBRARIES_APART;
use crate::shared_store::with_shared_store;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What this program is called to be found in place of mold.
pub const NAME: &str = "mold";
/// Where a wrapped compiler notes how a cell is compiled.
pub const RECORD_ENV: &str = "BIREME_RECORDED_COMPILE";
/// Under which circumstances it was called, as a hash.
const CIRCUMSTANCES_ENV: &str = "BIREME_COMPILE_CIRCUMSTANCES";
const WRAPPER_ENV: &str = "RUSTC_WRAPPER";
/// Where programs are looked for but for this one.
const PATH_ENV: &str = "BIREME_BUILD_PATH";
/// Where evcxr reads what was made.
const LIBRARY_ENV: &str = "EVCXR_EXECUTION_SO_PATH";
/// The way to cargo's own job server, which ends with cargo.
const JOB_SERVER_ENVS: [&str; 3] = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];
/// In the directory evcxr compiles in.
const RECORD: &str = "recorded-compile";
/// The package of cells.
const CELL_PACKAGE: &str = "ctx";
const MANIFEST: &str = "Cargo.toml";
const SOURCE: &str = "src/lib.rs";
const LOCK: &str = "Cargo.lock";
/// Settings of cargo that this program does not understand.
const UNKNOWN_SETTINGS: [&str; 3] = ["rustc-wrapper", "rustc-workspace-wrapper", "paths"];

type Environment = BTreeMap<OsString, OsString>;

/// Becomes what evcxr wants of mold: the compiler as it was called before, or cargo. Comes back only
/// when neither can be started. `own_crate` is how a manifest names the one local crate that does not change.
pub fn run(own_crate: &str) -> std::io::Error {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut environment: Environment = std::env::vars_os().collect();
    let path = environment.remove(OsStr::new(PATH_ENV)).unwrap_or_default();
    let mold = find(NAME, &path);
    environment.insert("PATH".into(), path);
    let [run, cargo, options @ ..] = arguments.as_slice() else {
        return become_program(mold.as_deref(), &arguments, &environment);
    };
    if run != "-run" {
        return become_program(mold.as_deref(), &arguments, &environment);
    }
    if !environment.contains_key(OsStr::new(WRAPPER_ENV))
        && let Ok(directory) = std::env::current_dir()
        && let Ok(program) = std::env::current_exe()
    {
        let circumstances = hash(&(&arguments, &environment));
        let mut path = PathBuf::new();
        if options.iter().any(|option| option == "build") {
            path = directory.join(RECORD);
            let record = Record::read(&path);
            if let Some(record) = record.filter(|one| one.holds(circumstances, own_crate)) {
                return record.repeat(environment, own_crate);
            }
            // What cargo does not get to compile is not repeated either.
            let _ = fs::remove_file(&path);
        }
        // Also where there is nothing to note: cargo asks another compiler who it is.
        environment.insert(RECORD_ENV.into(), path.into());
        environment.insert(CIRCUMSTANCES_ENV.into(), circumstances.to_string().into());
        environment.insert(WRAPPER_ENV.into(), program.into());
    } else {
        // evcxr's own wrapper of the compiler, its cache, knows a cell's library by one name only.
        environment.remove(OsStr::new(TELL_LIBRARIES_APART.0));
    }
    match mold {
        Some(mold) => become_program(Some(&mold), &arguments, &environment),
        None => become_program(Some(Path::new(cargo)), options, &environment),
    }
}

/// Becomes the compiler that cargo calls, and notes the call if it is for a cell.
pub fn run_compiler(own_crate: &str) -> std::io::Error {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if is_cell(&arguments) {
        arguments = with_lines(arguments);
    }
    let mut environment: Environment = std::env::vars_os().collect();
    let record_path = environment.remove(OsStr::new(RECORD_ENV));
    let circumstances = environment.remove(OsStr::new(CIRCUMSTANCES_ENV));
    environment.remove(OsStr::new(WRAPPER_ENV));
    let circumstances = circumstances.and_then(|text| text.to_str()?.parse().ok());
    if let (Some(path), Some(circumstances), Ok(directory)) =
        (record_path, circumstances, std::env::current_dir())
        && !path.is_empty()
        && is_cell(&arguments)
    {
        // What cargo puts elsewhere does not find the libraries beside it.
        if let Err(error) = tell_library(&arguments, &environment) {
            return error;
        }
        let mut record = Record {
            circumstances,
            surroundings: 0,
            directory,
            arguments: arguments.clone(),
            environment: environment.clone(),
        };
        if let Some(surroundings) = record.look_around(own_crate) {
            record.surroundings = surroundings;
            // Without it the next cell is compiled by cargo.
            let _ = record.write(Path::new(&path));
        }
    }
    match arguments.split_first() {
        Some((compiler, options)) => {
            become_program(Some(Path::new(compiler)), options, &environment)
        }
        None => become_program(None, &[], &environment),
    }
}

/// Starts this program anew with a directory first on its `PATH`; comes back when that was done before, or
/// cannot be.
pub fn restart_with(directory: &Path) {
    let Some(path) = std::env::var_os("PATH").filter(|path| !begins_with(path, directory)) else {
        return;
    };
    let places = std::iter::once(directory.to_path_buf()).chain(std::env::split_paths(&path));
    let error = match (std::env::join_paths(places), std::env::current_exe()) {
        (Ok(places), Ok(program)) => Command::new(program)
            .args(std::env::args_os().skip(1))
            .env("PATH", places)
            .env(PATH_ENV, path)
            .exec(),
        (Ok(_), Err(error)) => error,
        (Err(error), _) => std::io::Error::other(error),
    };
    tracing::warn!(%error, "cargo compiles every cell");
}

/// Gives a program the `PATH` that this one was started with at first.
pub fn without_tools(command: &mut Command) {
    if let Some(path) = std::env::var_os(PATH_ENV) {
        command.env("PATH", path).env_remove(PATH_ENV);
    }
}

/// Puts this program where evcxr finds it, and returns the commands that tell evcxr; none where that cannot be.
/// `linker` is what evcxr has chosen.
pub fn install(directory: &Path, linker: &str) -> Vec<String> {
    if !std::env::var_os("PATH").is_some_and(|path| begins_with(&path, directory)) {
        return Vec::new();
    }
    let link = directory.join(NAME);
    let linked = fs::create_dir_all(directory)
        .and_then(|()| std::env::current_exe())
        .and_then(|program| std::os::unix::fs::symlink(program, &link));
    if let Err(error) = linked {
        tracing::warn!(%error, "cargo compiles every cell");
        return Vec::new();
    }
    let (name, value) = TELL_LIBRARIES_APART;
    let mut commands = vec![
        format!(":linker {NAME}"),
        format!(":build_env {name}={value}"),
    ];
    if linker == "lld" {
        // What evcxr does for lld itself.
        let flags = "-Cprefer-dynamic -Clink-arg=-fuse-ld=lld";
        commands.push(format!(":build_env RUSTFLAGS={flags}"));
    }
    commands
}

/// How cargo called the compiler.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    /// Hash of how cargo was called.
    circumstances: u64,
    /// Hash of the files that cargo goes by.
    surroundings: u64,
    directory: PathBuf,
    /// The compiler comes first.
    arguments: Vec<OsString>,
    environment: Environment,
}

impl Record {
    fn holds(&self, circumstances: u64, own_crate: &str) -> bool {
        self.circumstances == circumstances
            && self.look_around(own_crate) == Some(self.surroundings)
    }

    /// What all that cargo would look at comes to, besides the cell itself; nothing when that cannot be told.
    fn look_around(&self, own_crate: &str) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        let manifest = fs::read_to_string(self.directory.join(MANIFEST)).ok()?;
        let lock = fs::read_to_string(self.directory.join(LOCK)).ok()?;
        let is_known =
            |name: &str| name == CELL_PACKAGE || (name == "bireme" && manifest.contains(own_crate));
        if !local_packages(&lock).all(is_known) {
            return None;
        }
        (&manifest, &lock).hash(&mut hasher);
        for path in self.settings() {
            let text = fs::read_to_string(&path).ok();
            let is_clear = |text: &String| !UNKNOWN_SETTINGS.iter().any(|one| text.contains(one));
            if !text.as_ref().is_none_or(is_clear) {
                return None;
            }
            (path, text).hash(&mut hasher);
        }
        for path in self.inputs() {
            let found = fs::metadata(&path).ok()?;
            (path, found.len(), found.mtime(), found.mtime_nsec()).hash(&mut hasher);
        }
        Some(hasher.finish())
    }

    /// The files in which cargo may be told something.
    fn settings(&self) -> Vec<PathBuf> {
        let user = match self.environment.get(OsStr::new("CARGO_HOME")) {
            Some(home) => Some(PathBuf::from(home)),
            None => std::env::home_dir().map(|home| home.join(".cargo")),
        };
        let above = self.directory.ancestors().map(|path| path.join(".cargo"));
        above
            .chain(user)
            .flat_map(|directory| [directory.join("config.toml"), directory.join("config")])
            .collect()
    }

    /// The compiler and the crates that it is given.
    fn inputs(&self) -> Vec<PathBuf> {
        let mut inputs: Vec<PathBuf> = self
            .arguments
            .first()
            .map(PathBuf::from)
            .into_iter()
            .collect();
        let pairs = self.arguments.iter().zip(self.arguments.iter().skip(1));
        for (_, value) in pairs.filter(|(name, _)| *name == "--extern") {
            let value = value.as_bytes();
            if let Some(at) = value.iter().position(|byte| *byte == b'=') {
                inputs.push(PathBuf::from(OsStr::from_bytes(&value[at + 1..])));
            }
        }
        inputs
    }

    /// Becomes the compiler, called as it was, and tells evcxr where the outcome will be.
    fn repeat(mut self, now: Environment, own_crate: &str) -> std::io::Error {
        for name in JOB_SERVER_ENVS {
            self.environment.remove(OsStr::new(name));
            if let Some(value) = now.get(OsStr::new(name)) {
                self.environment.insert(name.into(), value.clone());
            }
        }
        let told = tell_library(&self.arguments, &now).and_then(|()| self.share_store(own_crate));
        if let Err(error) = told {
            return error;
        }
        match self.arguments.split_first() {
            Some((compiler, options)) => {
                become_program(Some(Path::new(compiler)), options, &self.environment)
            }
            None => become_program(None, &[], &self.environment),
        }
    }

    /// Where a cell links against the crate, it compiles less.
    fn share_store(&self, own_crate: &str) -> std::io::Result<()> {
        let manifest = fs::read_to_string(self.directory.join(MANIFEST))?;
        let path = self.directory.join(SOURCE);
        // Of one that cannot be read the compiler tells.
        let source = fs::read_to_string(&path).unwrap_or_default();
        match with_shared_store(&source) {
            Some(source) if manifest.contains(own_crate) => fs::write(path, source),
            _ => Ok(()),
        }
    }

    fn read(path: &Path) -> Option<Record> {
        let bytes = fs::read(path).ok()?;
        let mut words = bytes
            .split(|byte| *byte == 0)
            .map(|word| OsString::from_vec(word.to_vec()));
        let circumstances = words.next()?.to_str()?.parse().ok()?;
        let surroundings = words.next()?.to_str()?.parse().ok()?;
        let directory = PathBuf::from(words.next()?);
        let count: usize = words.next()?.to_str()?.parse().ok()?;
        let arguments: Vec<OsString> = words.by_ref().take(count).collect();
        let mut environment = Environment::new();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            environment.insert(name, value);
        }
        (arguments.len() == count).then_some(Record {
            circumstances,
            surroundings,
            directory,
            arguments,
            environment,
        })
    }

    /// Words with a zero between two: neither arguments nor environments have one inside.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let numbers =
            [self.circumstances, self.surroundings].map(|one| OsString::from(one.to_string()));
        let count = OsString::from(self.arguments.len().to_string());
        let mut words: Vec<&OsStr> = numbers.iter().map(OsString::as_os_str).collect();
        words.extend([self.directory.as_os_str(), &count]);
        words.extend(self.arguments.iter().map(OsString::as_os_str));
        for (name, value) in &self.environment {
            words.extend([name.as_os_str(), value]);
        }
        let words: Vec<&[u8]> = words.into_iter().map(OsStr::as_bytes).collect();
        fs::write(path, words.join(&0))
    }
}

/// Whether a compiler is called for a cell.
fn is_cell(arguments: &[OsString]) -> bool {
    let has = |name: &str, value: &str| {
        arguments
            .windows(2)
            .any(|pair| pair[0] == name && pair[1] == value)
    };
    has("--crate-name", CELL_PACKAGE) && has("--crate-type", "cdylib")
}

/// Lets the compiler note which line each instruction of a cell comes from, which evcxr has it leave out: a panic in a
/// library names the line of the cell that called it.
fn with_lines(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut with_lines: Vec<OsString> = Vec::with_capacity(arguments.len() + 2);
    for word in arguments {
        let is_codegen = with_lines.last().is_some_and(|last| last == "-C");
        let is_stripped = word.to_str().is_some_and(|word| word.starts_with("strip="));
        if is_codegen && is_stripped {
            with_lines.pop();
        } else {
            with_lines.push(word);
        }
    }
    with_lines.extend(["-C", "debuginfo=line-tables-only"].map(OsString::from));
    with_lines
}

/// Tells evcxr what the compiler makes of a cell; it looks when the compiler has succeeded.
fn tell_library(arguments: &[OsString], environment: &Environment) -> std::io::Result<()> {
    match library(arguments).zip(environment.get(OsStr::new(LIBRARY_ENV))) {
        Some((library, path)) => fs::write(path, library.as_os_str().as_bytes()),
        None => Ok(()),
    }
}

fn library(arguments: &[OsString]) -> Option<PathBuf> {
    let at = arguments.iter().position(|word| word == "--out-dir")?;
    let directory = arguments.get(at + 1)?;
    let suffix = arguments
        .iter()
        .find_map(|word| word.to_str()?.strip_prefix("extra-filename="));
    let name = format!("lib{CELL_PACKAGE}{}.so", suffix.unwrap_or_default());
    Some(Path::new(directory).join(name))
}

/// Packages whose source may change: those of registries and of git do not.
fn local_packages(lock: &str) -> impl Iterator<Item = &str> {
    let packages = lock.split("[[package]]").skip(1);
    packages
        .filter(|package| !package.contains("\nsource = "))
        .map(|package| {
            let name = package.split_once("name = \"").map(|(_, rest)| rest);
            name.and_then(|rest| rest.split('"').next())
                .unwrap_or_default()
        })
}

fn begins_with(path: &OsStr, directory: &Path) -> bool {
    std::env::split_paths(path).next().as_deref() == Some(directory)
}

fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        fs::metadata(file)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .map(|directory| directory.join(name))
        .find(is_program)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Runs a program in this one's place; comes back with the reason why that cannot be.
fn become_program(
    program: Option<&Path>,
    arguments: &[OsString],
    environment: &Environment,
) -> std::io::Error {
    let Some(program) = program else {
        return std::io::Error::from(std::io::ErrorKind::NotFound);
    };
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .exec()
}
