//! Packs the sources of the `bireme` crate into this binary, with a manifest of its own whose
//! versions are those of the workspace's lock file, so that cells can be compiled against it where
//! there is no source tree.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const DEPENDENCIES: [&str; 4] = ["arrow-array", "arrow-buffer", "arrow-data", "arrow-schema"];

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let api = here.join("../api/src");
    let lock_path = here.join("../../Cargo.lock").canonicalize()?;
    println!("cargo::rerun-if-changed={}", api.display());
    println!("cargo::rerun-if-changed={}", lock_path.display());
    let lock = fs::read_to_string(&lock_path)?;
    let mut sources = Vec::new();
    collect(&api, &api, &mut sources)?;
    sources.sort();
    let manifest = manifest(&lock)?;
    let mut text = String::from(
        "/// The crate's sources by path.\npub(crate) const SOURCES: &[(&str, &str)] = &[\n",
    );
    let mut hash = Fnv::default();
    hash.add(manifest.as_bytes());
    for (name, path) in &sources {
        let absolute = path.canonicalize()?;
        let _ = writeln!(text, "    ({name:?}, include_str!({absolute:?})),");
        hash.add(name.as_bytes());
        hash.add(&fs::read(path)?);
    }
    let _ = writeln!(
        text,
        "];\n/// The crate's manifest.\npub(crate) const MANIFEST: &str = {manifest:?};"
    );
    let _ = writeln!(
        text,
        "/// The workspace's lock file.\npub(crate) const LOCK: &str = include_str!({lock_path:?});"
    );
    let _ = writeln!(
        text,
        "/// Tells one version of the crate from another.\npub(crate) const CONTENT: &str = \"{:016x}\";",
        hash.0
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("cell_crate_sources.rs"), text)
}

fn collect(root: &Path, directory: &Path, sources: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, sources)?;
        } else if path.extension().is_some_and(|end| end == "rs")
            && let Ok(name) = path.strip_prefix(root)
        {
            sources.push((name.to_string_lossy().into_owned(), path));
        }
    }
    Ok(())
}

fn manifest(lock: &str) -> io::Result<String> {
    let mut text = format!(
        "[package]\nname = \"bireme\"\nversion = \"{}\"\nedition = \"2024\"\n\n[dependencies]\n",
        env!("CARGO_PKG_VERSION")
    );
    for name in DEPENDENCIES {
        let version = locked(lock, name).ok_or_else(|| {
            io::Error::other(format!(
                "read the version of {name}: Cargo.lock does not have it"
            ))
        })?;
        let _ = writeln!(text, "{name} = \"={version}\"");
    }
    // A cell that finds all of it in a library links in two thirds of the time.
    text.push_str("\n[lib]\ncrate-type = [\"rlib\", \"dylib\"]\n");
    // Lints are checked in the workspace.
    text.push_str("\n[lints.rust]\nunfulfilled_lint_expectations = \"allow\"\n");
    Ok(text)
}

fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, entry) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    entry.split('"').next()
}

/// FNV-1a: the same on every machine and with every compiler.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
