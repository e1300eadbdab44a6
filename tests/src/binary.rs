//! Finds the binary under test and the repository.

use std::path::{Path, PathBuf};

/// The `bireme` binary of this build: `BIREME_BIN`, else the one beside the test executable.
///
/// # Panics
///
/// When it has not been built.
pub fn bireme_binary() -> PathBuf {
    if let Some(path) = bireme_settings::environment("BIREME_BIN") {
        return PathBuf::from(path);
    }
    // Test executables are in `target/debug/deps`.
    let path = std::env::current_exe()
        .ok()
        .and_then(|test| Some(test.parent()?.parent()?.join("bireme")))
        .unwrap_or_else(|| panic!("find the folder of the test executable"));
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace --bins` first",
        path.display()
    );
    path
}

/// The root of the repository. Tests run in the folder of their package; a path of the build
/// would be that of another checkout when both share a target folder.
pub fn repository() -> &'static Path {
    Path::new("..")
}
