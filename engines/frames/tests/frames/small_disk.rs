//! A disk that is soon full.

use std::path::Path;

/// A file system of its own that is full after a megabyte.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// None where this user may mount nothing.
    pub(crate) fn mount() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(home.path())
            .output();
        match mount {
            Ok(mount) if mount.status.success() => Some(Self(home)),
            other => {
                println!("skipped: a tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
        assert!(unmount.unwrap().success());
    }
}
