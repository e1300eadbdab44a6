//! What a kernel is started with.

use bireme_protocol::SessionName;
use bireme_settings::{Home, Settings, environment};
use std::path::{Path, PathBuf};

/// The surroundings of one notebook's kernel.
#[derive(Clone, Debug)]
pub struct KernelOptions {
    /// The cluster's directory.
    pub home: Home,
    /// The settings before those of the session.
    pub settings: Settings,
    /// The `bireme` program, which starts a cluster.
    pub program: PathBuf,
    /// The `bireme-rust` program, which compiles Rust cells.
    pub rust_program: PathBuf,
    /// The session's name on the cluster.
    pub session: SessionName,
    /// Who opens the session: `kernel` or `run`.
    pub client: &'static str,
    /// Where relative paths of the notebook begin.
    pub directory: PathBuf,
}

impl KernelOptions {
    /// Options with the Rust host beside `program`.
    pub fn new(
        home: Home,
        settings: Settings,
        program: PathBuf,
        session: SessionName,
        directory: PathBuf,
    ) -> Self {
        let rust_program = program.with_file_name("bireme-rust");
        Self {
            home,
            settings,
            program,
            rust_program,
            session,
            client: "kernel",
            directory,
        }
    }
}

/// The session of a kernel that Jupyter started: `BIREME_SESSION`, else the notebook's path as
/// Jupyter tells it, else the name of the connection file.
pub fn session_name(connection_file: &Path) -> SessionName {
    let told = environment("BIREME_SESSION").or_else(|| environment("JPY_SESSION_NAME"));
    let name = told.unwrap_or_else(|| {
        let stem = connection_file.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    });
    SessionName(name)
}
