//! Tells Jupyter that the kernel exists: writes, finds and removes its kernelspec.
//! <https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs>

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{JupyterError, Result};

/// Directory of the kernelspec, by which clients name the kernel.
pub const KERNEL_NAME: &str = "bireme";
/// What a launcher shows.
const DISPLAY_NAME: &str = "Rust (Bireme)";

const LOGO_SVG: &[u8] = include_bytes!("../resources/logo-svg.svg");
const LOGO_PNG: &[u8] = include_bytes!("../resources/logo-64x64.png");

/// Where a kernelspec is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallLocation {
    /// For one user: the path is the user's Jupyter data directory.
    User(PathBuf),
    /// Below a prefix such as that of a Python environment.
    Prefix(PathBuf),
}

impl InstallLocation {
    /// The user's data directory, given the home directory and the values of `JUPYTER_DATA_DIR`
    /// and `XDG_DATA_HOME`.
    pub fn user(
        home: &Path,
        jupyter_data_dir: Option<&Path>,
        xdg_data_home: Option<&Path>,
    ) -> Self {
        let data_dir = match (jupyter_data_dir, xdg_data_home) {
            (Some(data_dir), _) => data_dir.to_owned(),
            (None, Some(data_home)) => data_home.join("jupyter"),
            (None, None) => home.join(".local/share/jupyter"),
        };
        Self::User(data_dir)
    }

    /// The directory that holds this location's kernelspecs.
    pub fn kernels_dir(&self) -> PathBuf {
        match self {
            Self::User(data_dir) => data_dir.join("kernels"),
            Self::Prefix(prefix) => prefix.join("share/jupyter/kernels"),
        }
    }

    fn spec_dir(&self) -> PathBuf {
        self.kernels_dir().join(KERNEL_NAME)
    }
}

/// Installs the kernelspec for `executable` and returns its directory. An older one is replaced.
pub fn install(location: &InstallLocation, executable: &Path) -> Result<PathBuf> {
    let spec_dir = location.spec_dir();
    fs::create_dir_all(&spec_dir).map_err(|source| file_error("create", &spec_dir, source))?;
    let spec = kernel_json(executable)?;
    // The description comes last: a directory without it is not taken for a kernelspec.
    write(&spec_dir.join("logo-svg.svg"), LOGO_SVG)?;
    write(&spec_dir.join("logo-64x64.png"), LOGO_PNG)?;
    write(&spec_dir.join("kernel.json"), spec.as_bytes())?;
    Ok(spec_dir)
}

/// Removes the kernelspec; returns its directory, or `None` if there was none.
pub fn uninstall(location: &InstallLocation) -> Result<Option<PathBuf>> {
    let spec_dir = location.spec_dir();
    match fs::remove_dir_all(&spec_dir) {
        Ok(()) => Ok(Some(spec_dir)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file_error("remove", &spec_dir, source)),
    }
}

/// Finds an installed kernelspec, in the order of the locations.
pub fn find(locations: &[InstallLocation]) -> Option<PathBuf> {
    let mut spec_dirs = locations.iter().map(InstallLocation::spec_dir);
    spec_dirs.find(|spec_dir| spec_dir.join("kernel.json").is_file())
}

fn kernel_json(executable: &Path) -> Result<String> {
    let Some(executable) = executable.to_str() else {
        let reason = "a kernelspec is json, which needs a path in UTF-8".to_owned();
        return Err(JupyterError::Malformed {
            path: executable.to_owned(),
            reason,
        });
    };
    let spec = json!({
        "argv": [executable, "kernel", "-f", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "rust",
        "interrupt_mode": "message",
        "kernel_protocol_version": crate::wire::PROTOCOL_VERSION,
        "metadata": {},
    });
    Ok(format!("{spec:#}\n"))
}

/// Writes beside the file and renames, so that a client never reads half of it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, bytes).map_err(|source| file_error("write", &unfinished, source))?;
    fs::rename(&unfinished, path).map_err(|source| file_error("write", path, source))
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> JupyterError {
    JupyterError::File {
        action,
        path: path.to_owned(),
        source,
    }
}
