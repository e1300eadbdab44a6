//! The disk that engines spill to is full, cannot be used, or gives back other bytes than were
//! written: what needs it fails with the reason, nothing is left behind, and the next query runs.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bireme_tests::{EngineStatus, SmallDisk, TestCluster, wait_until};

use crate::traffic::{self, DISTRIBUTED};

const SETTLED: Duration = Duration::from_secs(30);

/// Some 80 MB an engine has to sort.
const SORTED: &str = "
    SELECT \"MMSI\", \"Timestamp\", repeat('wave', 128) AS filling FROM 'ais/*.parquet'
    ORDER BY \"Timestamp\", \"MMSI\"";
/// So much as a frame.
const FRAME: &str =
    "CREATE TABLE f AS SELECT \"MMSI\", repeat('wave', 128) AS filling FROM 'ais/*.parquet'";
const TOTALS: &str = "SELECT count(*) AS n, sum(\"MMSI\") AS m, sum(length(filling)) AS c FROM f";

/// Settings with so little memory that both go to disk, which is here.
fn settings(spill: &Path) -> String {
    format!(
        "{DISTRIBUTED}[memory]\nhost_limit = \"100MB\"\nspill_dir = \"{}\"\n\
         spill_compression = \"none\"\n",
        spill.display()
    )
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path => vec![path],
        })
        .collect()
}

/// What a session's statements say that must fail.
fn error(cluster: &TestCluster, statements: &str) -> String {
    cluster
        .bireme(&["sql", "--session", "s", statements])
        .failure()
}

fn sql(cluster: &TestCluster, statements: &str) -> String {
    cluster
        .bireme(&["sql", "--session", "s", "--format", "csv", statements])
        .success()
}

/// Nothing of a query that failed is left, no engine ended, and the next query runs.
fn assert_goes_on(cluster: &TestCluster, spill: &Path) {
    wait_until("memory and files to be freed", SETTLED, || {
        let engines = cluster.engine_status();
        let is_free = engines.iter().all(EngineStatus::is_free);
        (is_free && files(spill).is_empty()).then_some(())
    });
    traffic::assert_run_by(
        2,
        &cluster.bireme(&["sql", "--format", "csv", traffic::COUNTED]),
    );
}

#[test]
fn a_full_disk_fails_what_spills_to_it_alone() {
    let Some(disk) = SmallDisk::mount(4) else {
        return;
    };
    let cluster = traffic::cluster(2, &settings(disk.path()));
    let engines = cluster.engines();
    let path = disk.path().display().to_string();
    for statement in [SORTED, FRAME] {
        let said = error(&cluster, statement);
        assert!(said.contains(&path), "{said}");
        assert!(said.contains("No space left on device"), "{said}");
        assert_goes_on(&cluster, disk.path());
    }
    assert!(error(&cluster, TOTALS).contains("no table or view"));
    assert_eq!(cluster.engines(), engines, "no engine was restarted");
}

#[test]
fn a_directory_that_cannot_be_used_is_told_before_there_is_a_cluster() {
    let cluster = TestCluster::new();
    let file = cluster.work().join("file");
    fs::write(&file, "no directory").unwrap();
    fs::write(cluster.home().join("config.toml"), settings(&file)).unwrap();
    let said = cluster
        .bireme(&["cluster", "start", "--engines", "2"])
        .failure();
    for part in [
        "open spill directory",
        "Not a directory",
        "memory.spill_dir",
    ] {
        assert!(said.contains(part), "{said}");
    }
    wait_until("all processes to end", SETTLED, || {
        cluster.processes().is_empty().then_some(())
    });
}

#[test]
fn other_bytes_than_were_written_fail_the_query_alone() {
    let spill = tempfile::tempdir().unwrap();
    let cluster = traffic::cluster(2, &settings(spill.path()));
    let engines = cluster.engines();
    sql(&cluster, FRAME);
    let totals = sql(&cluster, TOTALS);
    assert!(totals.contains("\n300000,"), "{totals}");
    let written = files(spill.path());
    assert!(!written.is_empty(), "the frame has not left memory");
    for path in &written {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&[0xaa; 4096], file.metadata().unwrap().len() / 2)
            .unwrap();
    }
    let said = error(&cluster, TOTALS);
    assert!(said.contains("is not what was written there"), "{said}");
    assert!(
        written
            .iter()
            .any(|path| said.contains(&*path.to_string_lossy())),
        "{said}"
    );
    sql(&cluster, "DROP TABLE f");
    assert_goes_on(&cluster, spill.path());
    sql(&cluster, FRAME);
    assert_eq!(sql(&cluster, TOTALS), totals);
    assert_eq!(cluster.engines(), engines, "no engine was restarted");
}
