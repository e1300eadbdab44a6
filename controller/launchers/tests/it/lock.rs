//! One cluster per home.

use bireme_launchers::{ClusterLock, LauncherError};
use bireme_settings::Home;

#[test]
fn a_lock_is_held_by_one_and_free_when_dropped() {
    let directory = tempfile::TempDir::new().unwrap();
    let home = Home::at(directory.path()).unwrap();
    assert_eq!(ClusterLock::holder(&home).unwrap(), None);
    let lock = ClusterLock::take(&home).unwrap();
    let us = std::process::id();
    assert_eq!(ClusterLock::holder(&home).unwrap(), Some(us));
    match ClusterLock::take(&home) {
        Err(LauncherError::AlreadyRunning { pid, .. }) => assert_eq!(pid, us),
        other => panic!("{other:?}"),
    }
    drop(lock);
    assert!(!home.lock_file().exists());
    drop(ClusterLock::take(&home).unwrap());
}

#[test]
fn a_file_left_by_a_dead_launcher_holds_nobody_up() {
    let directory = tempfile::TempDir::new().unwrap();
    let home = Home::at(directory.path()).unwrap();
    std::fs::write(home.lock_file(), "4194304\n").unwrap();
    assert_eq!(ClusterLock::holder(&home).unwrap(), None);
    drop(ClusterLock::take(&home).unwrap());
}
