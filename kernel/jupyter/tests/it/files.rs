//! Connection files and kernelspecs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bireme_jupyter::kernelspec::{self, InstallLocation};
use bireme_jupyter::{BoundSockets, ConnectionFile, JupyterError};
use serde_json::json;

#[test]
fn a_connection_file_is_private_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel.json");
    let written = ConnectionFile::new_ipc(directory.path());
    written.write(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let read = ConnectionFile::read(&path).unwrap();
    assert_eq!(
        (read.key, read.ip),
        (written.key.clone(), written.ip.clone())
    );
    assert!(!format!("{written:?}").contains(&written.key));
}

#[test]
fn a_bad_connection_file_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel.json");
    let missing = ConnectionFile::read(&path).unwrap_err().to_string();
    assert!(
        missing.starts_with("read ") && missing.contains("No such file"),
        "{missing}"
    );
    std::fs::write(&path, "{\"ip\": \"127.0.0.1\"}").unwrap();
    let incomplete = ConnectionFile::read(&path).unwrap_err().to_string();
    assert!(
        incomplete.contains("missing field `shell_port`"),
        "{incomplete}"
    );
}

#[tokio::test]
async fn a_socket_in_use_is_not_taken_and_a_stale_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let connection = ConnectionFile::new_ipc(directory.path());
    let first = BoundSockets::bind(&connection).await.unwrap();
    let second = BoundSockets::bind(&connection).await;
    assert!(matches!(
        second,
        Err(JupyterError::Bind {
            channel: "shell",
            ..
        })
    ));
    drop(first);
    // What a killed kernel leaves behind: a socket file nobody listens on.
    let stale = directory.path().join("kernel-1");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    BoundSockets::bind(&connection).await.unwrap();
}

#[test]
fn a_kernelspec_is_installed_found_replaced_and_removed() {
    let prefix = tempfile::tempdir().unwrap();
    let location = InstallLocation::Prefix(prefix.path().to_owned());
    let locations = [
        InstallLocation::User(prefix.path().join("user")),
        location.clone(),
    ];
    assert_eq!(kernelspec::find(&locations), None);
    kernelspec::install(&location, Path::new("/old/bireme")).unwrap();
    let directory = kernelspec::install(&location, Path::new("/opt/bireme")).unwrap();
    assert_eq!(
        directory,
        prefix.path().join("share/jupyter/kernels/bireme")
    );
    assert_eq!(kernelspec::find(&locations), Some(directory.clone()));
    let spec = std::fs::read_to_string(directory.join("kernel.json")).unwrap();
    let spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
    assert_eq!(
        spec,
        json!({
            "argv": ["/opt/bireme", "kernel", "-f", "{connection_file}"],
            "display_name": "Rust (Bireme)",
            "language": "rust",
            "interrupt_mode": "message",
            "kernel_protocol_version": "5.5",
            "metadata": {},
        })
    );
    for logo in ["logo-svg.svg", "logo-64x64.png"] {
        assert!(
            directory.join(logo).metadata().unwrap().len() > 300,
            "{logo}"
        );
    }
    assert_eq!(kernelspec::uninstall(&location).unwrap(), Some(directory));
    assert_eq!(kernelspec::uninstall(&location).unwrap(), None);
}

#[test]
fn the_user_location_follows_jupyter() {
    let home = Path::new("/home/rower");
    let kernels = |data: Option<&str>, xdg: Option<&str>| {
        let location = InstallLocation::user(home, data.map(Path::new), xdg.map(Path::new));
        location.kernels_dir().display().to_string()
    };
    assert_eq!(
        kernels(None, None),
        "/home/rower/.local/share/jupyter/kernels"
    );
    assert_eq!(kernels(None, Some("/xdg")), "/xdg/jupyter/kernels");
    assert_eq!(kernels(Some("/data"), Some("/xdg")), "/data/kernels");
}
