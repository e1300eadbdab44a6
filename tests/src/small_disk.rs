//! A disk that is soon full.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A file system of its own, in memory.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// One of so many MiB. `None`, with the reason printed, where this user may mount nothing.
    ///
    /// # Panics
    ///
    /// When no directory can be made.
    #[expect(
        clippy::print_stdout,
        reason = "a test says why it leaves something out"
    )]
    pub fn mount(mib: u32) -> Option<Self> {
        let made = tempfile::Builder::new()
            .prefix("bm-disk-")
            .tempdir_in("/tmp");
        let home = made.unwrap_or_else(|error| panic!("make a directory in /tmp: {error}"));
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(home.path());
        match mount.output() {
            Ok(mount) if mount.status.success() => Some(Self(home)),
            other => {
                println!("skipped: a tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = Command::new("umount").arg(self.path()).status();
        let gone = unmount.is_ok_and(|status| status.success());
        assert!(
            gone || std::thread::panicking(),
            "unmount {}",
            self.path().display()
        );
    }
}
