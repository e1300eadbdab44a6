//! Logs are bounded, and their ends can be read.

use bireme_launchers::{LogFile, log_tail};
use bireme_settings::environment;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LOG: &str = "BIREME_LAUNCHER_TEST_LOG";

/// Three files of at most about 100 bytes, the last line in the newest.
fn is_bounded(path: &Path) {
    let files: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert!(file.metadata().unwrap().len() < 120);
    }
    let tail = log_tail(path, 2);
    assert_eq!(tail.last().map(String::as_str), Some("line 99"));
}

#[test]
fn a_log_is_bounded_and_keeps_its_end() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("engine-0.log");
    let mut log = LogFile::with_limit(&path, 100).unwrap();
    for number in 0..100 {
        log.append(format!("line {number}\n").as_bytes()).unwrap();
    }
    is_bounded(&path);
    assert_eq!(
        log_tail(&directory.path().join("none.log"), 2),
        Vec::<String>::new()
    );
}

#[test]
fn a_log_that_is_a_process_s_standard_error_is_bounded_while_it_runs() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("launcher.log");
    let log = std::fs::File::create(&path).unwrap();
    let arguments = [
        "logs::process_that_logs",
        "--exact",
        "--ignored",
        "--nocapture",
    ];
    let status = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env(LOG, &path)
        .stdout(Stdio::null())
        .stderr(log)
        .status();
    assert!(status.unwrap().success());
    is_bounded(&path);
}

#[test]
#[ignore = "a process that another test starts"]
fn process_that_logs() {
    let Some(path) = environment(LOG).map(PathBuf::from) else {
        return;
    };
    // What is not its standard error is left alone.
    LogFile::bound_stderr(&path.with_extension("other"), 0).unwrap();
    for number in 0..100 {
        LogFile::bound_stderr(&path, 100).unwrap();
        eprintln!("line {number}");
    }
}
