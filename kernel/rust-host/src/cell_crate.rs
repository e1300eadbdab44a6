//! The `bireme` crate as cells see it: unpacked from this binary, compiled once, then linked.
//!
//! Its dependencies take a minute to compile, so that is done once per compiler and set of versions, in the background and
//! at low priority, below `BIREME_HOME`; plain cells do not wait for it. Another version of the crate itself takes seconds. A session gets the outcome
//! by hard links into its own target directory, where cargo finds it fresh. When it is brought into a
//! session is the evaluator's matter.

use crate::cargo_output::follow;
use crate::error::RustHostError;
use crate::file_lock::lock;
use crate::session_directory::{cargo_config, make, toml_string, write, write_cargo_config};
use nix::fcntl::Flock;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

mod packed {
    include!(concat!(env!("OUT_DIR"), "/cell_crate_sources.rs"));
}

/// Marks a compiled crate as whole.
const DONE: &str = "done";
/// Longest compile, and longest wait for another process that compiles: minutes on a slow machine.
const COMPILE_LIMIT: Duration = Duration::from_secs(1800);
/// Longest download of sources.
const FETCH_LIMIT: Duration = Duration::from_secs(300);
/// Longest wait of a cell that only needs the outcome linked; others link for a moment.
pub const LINK_LIMIT: Duration = Duration::from_secs(10);
const LOCK_FILE: &str = "Cargo.lock";
/// The package evcxr compiles cells in; what a session made of it is its own.
const CELL_PACKAGE: &str = "ctx";
/// Keeps cargo from looking for a workspace in the directories above.
const OWN_WORKSPACE: &str = "\n[workspace]\n";
/// Makes cargo tell one library of a local crate from another by its file name: beside other dependencies
/// there is another one. It is cargo's own switch for the compiler's libraries.
pub const TELL_LIBRARIES_APART: (&str, &str) = ("__CARGO_DEFAULT_LIB_METADATA", "bireme");
/// Names a cell that needs the crate uses at least one of.
pub const NAMES: [&str; 20] = [
    "bireme",
    "Table",
    "Column",
    "Show",
    "Shown",
    "RecordBatch",
    "ArrayRef",
    "arrow_array",
    "arrow_schema",
    "DataType",
    "LazyFrame",
    "Expr",
    "FrameError",
    "JoinType",
    "sql",
    "frame",
    "scan_parquet",
    "scan_csv",
    "scan_json",
    "col",
];

/// Where the crate and its dependencies live for one compiler.
#[derive(Debug, Clone)]
pub struct CellCrate {
    root: PathBuf,
    target: String,
}

/// How a session compiles; the crate has to be compiled alike, or cargo compiles it again.
#[derive(Debug, Clone)]
pub struct CompileSettings {
    /// The manifest of the session's cells, with no dependency in it.
    pub manifest: String,
    /// The linker evcxr chose.
    pub linker: String,
}

impl CellCrate {
    /// The place for a compiler, told by `rustc -vV`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(home: &Path, compiler: &str) -> Result<CellCrate, RustHostError> {
        let mut hasher = DefaultHasher::new();
        (compiler, packed::MANIFEST, cargo_config()).hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        let host = compiler
            .lines()
            .find_map(|line| line.strip_prefix("host: "));
        let all = home.join("rust").join("crate");
        make(&all)?;
        // Cargo knows a crate by its path, so every session must call it by the same one.
        let all = all
            .canonicalize()
            .map_err(|error| RustHostError::io(format!("find {}", all.display()), error))?;
        Ok(CellCrate {
            root: all.join(name),
            target: host.unwrap_or_default().to_string(),
        })
    }

    /// What evcxr is told to depend on.
    pub fn dependency(&self) -> String {
        format!("bireme = {{ path = {} }}", toml_string(&self.source()))
    }

    /// Whether a session can link it at once.
    pub fn is_compiled(&self) -> bool {
        self.done().exists()
    }

    /// Compiles it, unless that is done or another process does it, which is waited for. `started` hears of cargo's
    /// process, `progress` how many crates were begun.
    ///
    /// # Errors
    /// When it cannot be unpacked or compiled.
    pub fn compile(
        &self,
        settings: &CompileSettings,
        started: &dyn Fn(u32),
        progress: &dyn Fn(usize),
    ) -> Result<(), RustHostError> {
        let _lock = self.lock(COMPILE_LIMIT)?;
        if self.is_compiled() {
            return Ok(());
        }
        self.unpack()?;
        let package = self.prepare(settings, packed::LOCK, "")?;
        fetch(&package)?;
        let child = self.cargo(settings, &package)?;
        started(child.id());
        follow(child, COMPILE_LIMIT, progress)?;
        write(&self.done(), "")
    }

    /// Compiles sets of dependencies, each beside the crate itself, which must be compiled. The first
    /// set has all others in it and decides versions. `key` says which sets they are.
    ///
    /// # Errors
    /// When a set cannot be downloaded or compiled.
    pub fn compile_prelude(
        &self,
        key: &str,
        settings: &CompileSettings,
        sets: &[String],
        progress: &dyn Fn(usize),
    ) -> Result<(), RustHostError> {
        let _lock = self.lock(COMPILE_LIMIT)?;
        let mut versions = packed::LOCK.to_string();
        for (at, set) in sets.iter().enumerate() {
            let package = self.prepare(settings, &versions, set)?;
            fetch(&package)?;
            if at == 0 {
                let path = package.join(LOCK_FILE);
                versions = fs::read_to_string(&path).map_err(|error| {
                    RustHostError::io(format!("read {}", path.display()), error)
                })?;
            }
            let child = self.cargo(settings, &package)?;
            follow(child, COMPILE_LIMIT, progress)?;
        }
        // What sessions without any of them begin with.
        self.prepare(settings, packed::LOCK, "")?;
        write(&self.prelude_lock(key), &versions)
    }

    /// Whether sets of dependencies are compiled.
    pub fn has_prelude(&self, key: &str) -> bool {
        self.prelude_lock(key).exists()
    }

    /// Makes a session take the versions that were compiled.
    ///
    /// # Errors
    /// When the lock file cannot be copied.
    pub fn provide_prelude(&self, key: &str, session: &Path) -> Result<(), RustHostError> {
        let copy = fs::copy(self.prelude_lock(key), session.join(LOCK_FILE));
        copy.map_err(|error| RustHostError::io("copy the lock file of the prelude crates", error))?;
        Ok(())
    }

    /// Brings what was compiled into a session's directory, for cargo to find. Waits so long for a
    /// process that compiles.
    ///
    /// # Errors
    /// When it can neither be linked nor copied, or is still being compiled.
    pub fn link_into(&self, session: &Path, wait: Duration) -> Result<(), RustHostError> {
        let _lock = self.lock(wait)?;
        let built = self.build();
        link_session(&built, session)
    }

    fn source(&self) -> PathBuf {
        self.root.join(source_name())
    }

    fn done(&self) -> PathBuf {
        self.root.join(format!("{DONE}-{}", packed::CONTENT))
    }

    fn prelude_lock(&self, key: &str) -> PathBuf {
        self.root
            .join(format!("prelude-{}-{key}.lock", packed::CONTENT))
    }

    /// Keeps others from compiling, or from linking what is half compiled.
    fn lock(&self, limit: Duration) -> Result<Flock<File>, RustHostError> {
        make(&self.root)?;
        let path = self.root.join("lock");
        let file = File::create(&path)
            .map_err(|error| RustHostError::io(format!("make {}", path.display()), error))?;
        lock(file, &path, limit)
    }

    fn build(&self) -> PathBuf {
        self.root.join("build").join("cell")
    }

    fn unpack(&self) -> Result<(), RustHostError> {
        let source = self.source();
        make(&source)?;
        let manifest = format!("{}{OWN_WORKSPACE}", packed::MANIFEST);
        write(&source.join("Cargo.toml"), &manifest)?;
        for (name, text) in packed::SOURCES {
            let path = source.join("src").join(name);
            if let Some(parent) = path.parent() {
                make(parent)?;
            }
            write(&path, text)?;
        }
        Ok(())
    }

    /// A package like a session's, with the crate and others as its dependencies.
    fn prepare(
        &self,
        settings: &CompileSettings,
        versions: &str,
        others: &str,
    ) -> Result<PathBuf, RustHostError> {
        let package = self.build();
        make(&package.join("src"))?;
        write_cargo_config(&self.root.join("build"))?;
        write(&package.join("src/lib.rs"), "")?;
        // Cargo keeps of it what is needed.
        write(&package.join(LOCK_FILE), versions)?;
        let dependency = self.dependency();
        let manifest = format!(
            "{}\n{dependency}\n{others}\n{OWN_WORKSPACE}",
            settings.manifest
        );
        write(&package.join("Cargo.toml"), &manifest)?;
        Ok(package)
    }

    fn cargo(&self, settings: &CompileSettings, package: &Path) -> Result<Child, RustHostError> {
        let mut flags = String::from("-Cprefer-dynamic");
        if settings.linker == "lld" {
            flags.push_str(" -Clink-arg=-fuse-ld=lld");
        }
        Command::new("nice")
            .args([
                "-n",
                "10",
                "cargo",
                "build",
                "--offline",
                "--target",
                &self.target,
            ])
            .current_dir(package)
            .env("CARGO_TARGET_DIR", "target")
            .env("CARGO_BUILD_BUILD_DIR", "target")
            .env("RUSTFLAGS", flags)
            .env(TELL_LIBRARIES_APART.0, TELL_LIBRARIES_APART.1)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| RustHostError::io("run cargo for the bireme crate", error))
    }
}

/// The directory of the crate's sources: another version is in another one.
pub fn source_name() -> String {
    format!("bireme-{}", packed::CONTENT)
}

/// The names that `use bireme::prelude::*` brings into a cell.
pub fn prelude_names() -> impl Iterator<Item = &'static str> {
    let source = packed::SOURCES
        .iter()
        .find(|(name, _)| *name == "prelude.rs");
    let uses = source
        .map_or("", |(_, text)| text)
        .split("pub use ")
        .skip(1);
    let words = uses.flat_map(|one| one.split(';').next().unwrap_or("").split(['{', ',', '}']));
    let names = words.filter_map(|word| word.trim().rsplit("::").next());
    names.filter(|name| !name.is_empty() && *name != "self")
}

/// Gets what is missing of the crate's dependencies, those of other platforms among them: evcxr asks
/// cargo about all of them, without a network.
fn fetch(package: &Path) -> Result<(), RustHostError> {
    let fetch = |arguments: &[&str]| {
        let child = Command::new("cargo")
            .arg("fetch")
            .args(arguments)
            .current_dir(package)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| RustHostError::io("run cargo for the bireme crate", error))?;
        follow(child, FETCH_LIMIT, &|_| {})
    };
    fetch(&["--offline"]).or_else(|_| fetch(&[]))
}

/// Puts what one session has compiled where another compiles.
///
/// # Errors
/// When it cannot be linked or copied.
pub fn link_session(from: &Path, to: &Path) -> Result<(), RustHostError> {
    link_tree(&from.join("target"), &to.join("target"))?;
    let copy = fs::copy(from.join(LOCK_FILE), to.join(LOCK_FILE));
    copy.map_err(|error| RustHostError::io("copy the lock file of a session", error))?;
    Ok(())
}

/// Links every file of a tree, or copies it where it cannot be linked; what exists stays.
fn link_tree(from: &Path, to: &Path) -> Result<(), RustHostError> {
    let failed = |error| RustHostError::io(format!("link {}", from.display()), error);
    make(to)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if is_own(&name) {
            continue;
        }
        let (source, place) = (entry.path(), to.join(&name));
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            link_tree(&source, &place)?;
        } else if kind.is_file() && !place.exists() && fs::hard_link(&source, &place).is_err() {
            copy_with_times(&source, &place).map_err(failed)?;
        }
    }
    Ok(())
}

/// Cargo compares times, so a copy must keep them.
fn copy_with_times(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    let modified = fs::metadata(from)?.modified()?;
    File::options().write(true).open(to)?.set_modified(modified)
}

/// What belongs to the package of one session, or is a lock.
fn is_own(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let package = name.strip_prefix("lib").unwrap_or(&name);
    let is_cell = package == CELL_PACKAGE
        || [".", "-"]
            .iter()
            .any(|end| package.starts_with(&format!("{CELL_PACKAGE}{end}")));
    is_cell || name == "incremental" || name == ".cargo-lock"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packed_crate_is_whole() {
        assert!(packed::SOURCES.iter().any(|(name, _)| *name == "lib.rs"));
        assert!(packed::MANIFEST.contains("arrow-array = \"=59"));
        assert_eq!(packed::CONTENT.len(), 16);
    }

    #[test]
    fn a_lock_that_another_holds_is_not_waited_for_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let cell_crate = CellCrate {
            root: directory.path().to_path_buf(),
            target: String::new(),
        };
        let held = cell_crate.lock(LINK_LIMIT).unwrap();
        let error = cell_crate.lock(Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("lock"), "{error}");
        drop(held);
        cell_crate.lock(LINK_LIMIT).unwrap();
    }

    #[test]
    fn what_belongs_to_a_session_is_not_linked() {
        for own in [
            "ctx-1234",
            "libctx.so",
            "libctx-12.rlib",
            "ctx.d",
            "incremental",
        ] {
            assert!(is_own(OsStr::new(own)), "{own}");
        }
        for shared in ["libbireme-12.rlib", "ctxt-1", "deps"] {
            assert!(!is_own(OsStr::new(shared)), "{shared}");
        }
    }
}
