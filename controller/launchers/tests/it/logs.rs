//! Logs are bounded, and their ends can be read.

use bireme_launchers::{LogFile, log_tail};

#[test]
fn a_log_is_bounded_and_keeps_its_end() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("engine-0.log");
    let mut log = LogFile::with_limit(&path, 100).unwrap();
    for number in 0..100 {
        log.append(format!("line {number}\n").as_bytes()).unwrap();
    }
    let files: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert!(file.metadata().unwrap().len() < 120);
    }
    let tail = log_tail(&path, 2);
    assert_eq!(tail.last().map(String::as_str), Some("line 99"));
    assert_eq!(
        log_tail(&directory.path().join("none.log"), 2),
        Vec::<String>::new()
    );
}
