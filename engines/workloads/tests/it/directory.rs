//! What happens to the output directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use bireme_workloads::{Dataset, Progress, WorkloadError, generate};

use crate::generate_quietly;

const SMALL: Dataset = Dataset::Ais { rows: 1_000 };

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into())
        .collect();
    names.sort();
    names
}

fn error_of(dataset: &Dataset, out: &Path) -> WorkloadError {
    generate(dataset, out, &mut |_| ()).unwrap_err()
}

#[test]
fn data_that_is_there_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("new/ais");
    let first = generate_quietly(&SMALL, &out);
    let modified = fs::metadata(out.join("ais-0001.parquet"))
        .unwrap()
        .modified()
        .unwrap();
    let second = generate_quietly(&SMALL, &out);
    assert!(!first.is_reused && second.is_reused);
    assert_eq!((first.rows, first.bytes), (second.rows, second.bytes));
    assert_eq!(
        fs::metadata(out.join("ais-0001.parquet"))
            .unwrap()
            .modified()
            .unwrap(),
        modified
    );
    assert_eq!(
        names(&out),
        [
            PathBuf::from("_manifest.json"),
            PathBuf::from("ais-0001.parquet")
        ]
    );
}

#[test]
fn anything_else_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), "years of work").unwrap();
    let error = error_of(&SMALL, directory.path());
    assert!(matches!(error, WorkloadError::NotEmpty { .. }), "{error}");
    assert!(error.to_string().ends_with(
        "the directory already holds \"thesis.txt\"; choose an empty directory or remove this one"
    ));
    assert_eq!(names(directory.path()), [PathBuf::from("thesis.txt")]);
}

#[test]
fn other_parameters_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    generate_quietly(&SMALL, directory.path());
    let error = error_of(&Dataset::Ais { rows: 999 }, directory.path());
    assert!(
        error
            .to_string()
            .contains("another data set, Ais { rows: 1000 } in revision"),
        "{error}"
    );
}

#[test]
fn a_damaged_data_set_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    generate_quietly(&SMALL, directory.path());
    fs::write(directory.path().join("ais-0001.parquet"), "cut short").unwrap();
    assert!(matches!(
        error_of(&SMALL, directory.path()),
        WorkloadError::NotEmpty { .. }
    ));
}

#[test]
fn what_a_killed_run_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    fs::create_dir(out.join(".unfinished")).unwrap();
    fs::write(out.join(".unfinished/ais-0001.parquet"), "half a file").unwrap();
    fs::write(out.join("ais-0001.parquet"), "already moved").unwrap();
    let summary = generate_quietly(&SMALL, out);
    assert!(!summary.is_reused);
    assert_eq!(
        names(out),
        [
            PathBuf::from("_manifest.json"),
            PathBuf::from("ais-0001.parquet")
        ]
    );
}

#[test]
fn two_runs_do_not_write_the_same_directory() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join(".unfinished")).unwrap();
    let other_run = File::open(directory.path().join(".unfinished")).unwrap();
    other_run.lock().unwrap();
    let error = error_of(&SMALL, directory.path());
    assert!(matches!(error, WorkloadError::Busy { .. }), "{error}");
}

#[test]
fn progress_grows_to_the_total() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen: Vec<Progress> = Vec::new();
    let dataset = Dataset::Ais { rows: 100_000 };
    let summary = generate(&dataset, directory.path(), &mut |now| seen.push(now)).unwrap();
    assert!(seen.len() > 10, "{} calls", seen.len());
    assert!(seen.is_sorted_by_key(|now| (now.rows_done, now.bytes_written)));
    let last = Progress {
        rows_done: 100_000,
        rows_total: 100_000,
        bytes_written: summary.bytes,
    };
    assert_eq!(seen.last(), Some(&last));
}

#[test]
fn nonsense_parameters_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let message = |dataset| error_of(&dataset, directory.path()).to_string();
    insta::assert_snapshot!(message(Dataset::Ais { rows: 0 }), @"generate ais: rows = 0 is outside of 1 to 1099511627776");
    insta::assert_snapshot!(message(Dataset::Tpch { scale: f64::NAN }), @"generate tpch: scale = NaN is outside of 0.001 to 10000");
    insta::assert_snapshot!(message(Dataset::Tpch { scale: -1.0 }), @"generate tpch: scale = -1 is outside of 0.001 to 10000");
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = error_of(&SMALL, &file.join("ais"));
    assert!(error.to_string().starts_with("create "), "{error}");
}
