//! `BIREME_HOME`: the directory that holds all state of one user's cluster.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Only the owner may enter: sockets without further authentication live below.
const PRIVATE_MODE: u32 = 0o700;

/// The directory of one cluster: sockets, state, logs and spill files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home named by `BIREME_HOME`, else `~/.bireme`; made when missing, closed to others.
    ///
    /// # Errors
    /// The directory cannot be made or closed.
    pub fn from_environment() -> io::Result<Self> {
        let root = match crate::environment("BIREME_HOME") {
            Some(path) => PathBuf::from(path),
            None => dirs::home_dir()
                .ok_or_else(|| io::Error::other("no home directory: set BIREME_HOME"))?
                .join(".bireme"),
        };
        Self::at(&root)
    }

    /// The home at `root`; made when missing, closed to others.
    ///
    /// # Errors
    /// The directory cannot be made or closed.
    pub fn at(root: &Path) -> io::Result<Self> {
        let private = |path: &Path| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(PRIVATE_MODE)
                .create(path)
        };
        private(root)?;
        let root = root.canonicalize()?;
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(PRIVATE_MODE))?;
        let home = Self { root };
        for directory in [home.sockets(), home.logs()] {
            private(&directory)?;
        }
        Ok(home)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where Unix sockets live.
    pub fn sockets(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The controller's socket.
    pub fn controller_socket(&self) -> PathBuf {
        self.sockets().join("controller.sock")
    }

    /// The launcher's socket.
    pub fn launcher_socket(&self) -> PathBuf {
        self.sockets().join("launcher.sock")
    }

    /// Held by the launcher while its cluster lives.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("cluster.lock")
    }

    /// The socket of the engine of a rank.
    pub fn engine_socket(&self, rank: u32) -> PathBuf {
        self.sockets().join(format!("engine-{rank}.sock"))
    }

    /// The socket on which the engine of a rank exchanges rows with its peers.
    pub fn exchange_socket(&self, rank: u32) -> PathBuf {
        self.sockets().join(format!("exchange-{rank}.sock"))
    }

    /// Sessions, catalog and history.
    pub fn database(&self) -> PathBuf {
        self.root.join("bireme.db")
    }

    /// Inputs of past cells, for `history_request`.
    pub fn cell_history(&self) -> PathBuf {
        self.root.join("cells.db")
    }

    /// Where processes of the cluster log.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Where engines spill unless `memory.spill_dir` says otherwise.
    pub fn spill(&self) -> PathBuf {
        self.root.join("spill")
    }

    /// Notes about files that queries are writing.
    pub fn sinks(&self) -> PathBuf {
        self.root.join("sinks")
    }

    /// What can be made again: the cell crate's sources, compiled dependencies.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Settings the user keeps.
    pub fn config_file(&self) -> PathBuf {
        self.root.join("config.toml")
    }
}
