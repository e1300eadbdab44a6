//! The `bireme` crate as cells see it: unpacked from this binary, compiled once, then linked.
//!
//! Its dependencies take a minute to compile, so that is done once per compiler and set of versions, in the background and
//! at low priority, below `BIREME_HOME`; plain cells do not wait for it. Another version of the crate itself takes seconds. A session gets the outcome
//! by hard links into its own target directory, where cargo finds it fresh. When it is brought into a
//! session is the evaluator's matter.

use crate::error::RustHostError;
use crate::session_directory::{make, toml_string, write, write_cargo_config};
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

mod packed {
    include!(concat!(env!("OUT_DIR"), "/cell_crate_sources.rs"));
}

/// Marks a compiled crate as whole.
const DONE: &str = "done";
/// Lines of cargo's output that an error shows.
const SHOWN_LINES: usize = 20;
/// Characters of each of them; cargo prints whole commands.
const SHOWN_WIDTH: usize = 200;
/// The package evcxr compiles cells in; what a session made of it is its own.
const CELL_PACKAGE: &str = "ctx";
/// Keeps cargo from looking for a workspace in the directories above.
const OWN_WORKSPACE: &str = "\n[workspace]\n";
/// Names a cell has to mention to need the crate.
pub const NAMES: [&str; 9] = [
    "bireme",
    "Table",
    "Column",
    "Show",
    "Shown",
    "RecordBatch",
    "ArrayRef",
    "arrow_array",
    "arrow_schema",
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
        (compiler, packed::MANIFEST).hash(&mut hasher);
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
        let _lock = self.lock()?;
        if self.is_compiled() {
            return Ok(());
        }
        self.unpack()?;
        let package = self.prepare(settings)?;
        let child = self.cargo(settings, &package)?;
        started(child.id());
        follow(child, progress)?;
        write(&self.done(), "")
    }

    /// Brings what was compiled into a session's directory, for cargo to find.
    ///
    /// # Errors
    /// When it can neither be linked nor copied.
    pub fn link_into(&self, session: &Path) -> Result<(), RustHostError> {
        let _lock = self.lock()?;
        let built = self.build();
        link_tree(&built.join("target"), &session.join("target"))?;
        let lock = "Cargo.lock";
        fs::copy(built.join(lock), session.join(lock))
            .map_err(|error| RustHostError::io("copy the lock file of the bireme crate", error))?;
        Ok(())
    }

    fn source(&self) -> PathBuf {
        self.root.join(format!("bireme-{}", packed::CONTENT))
    }

    fn done(&self) -> PathBuf {
        self.root.join(format!("{DONE}-{}", packed::CONTENT))
    }

    /// Keeps others from compiling, or from linking what is half compiled.
    fn lock(&self) -> Result<Flock<File>, RustHostError> {
        make(&self.root)?;
        let path = self.root.join("lock");
        let file = File::create(&path)
            .map_err(|error| RustHostError::io(format!("make {}", path.display()), error))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| RustHostError::io(format!("lock {}", path.display()), error))
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

    /// A package like a session's, with the crate as its dependency.
    fn prepare(&self, settings: &CompileSettings) -> Result<PathBuf, RustHostError> {
        let package = self.build();
        make(&package.join("src"))?;
        write_cargo_config(&self.root.join("build"))?;
        write(&package.join("src/lib.rs"), "")?;
        // Cargo keeps of it what is needed.
        write(&package.join("Cargo.lock"), packed::LOCK)?;
        let dependency = self.dependency();
        let manifest = format!("{}\n{dependency}\n{OWN_WORKSPACE}", settings.manifest);
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
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| RustHostError::io("run cargo for the bireme crate", error))
    }
}

/// Reads cargo's output to its end.
fn follow(mut child: Child, progress: &dyn Fn(usize)) -> Result<(), RustHostError> {
    let mut begun = 0;
    let mut lines: Vec<String> = Vec::new();
    if let Some(output) = child.stderr.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.trim_start().starts_with("Compiling") {
                begun += 1;
                progress(begun);
            }
            lines.push(line.chars().take(SHOWN_WIDTH).collect());
        }
    }
    let status = child
        .wait()
        .map_err(|error| RustHostError::io("wait for cargo", error))?;
    if status.success() {
        return Ok(());
    }
    let from = lines.len().saturating_sub(SHOWN_LINES);
    let reason = format!("cargo ended with {status}\n{}", lines[from..].join("\n"));
    Err(RustHostError::CellCrate { reason })
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
