//! What several tests share: vessel traffic in Parquet files, and queries over it that run on every
//! engine.

use std::io::{BufRead, BufReader, Lines};
use std::process::ChildStdout;
use std::time::Duration;

use bireme_tests::{EngineStatus, Finished, Running, TestCluster, wait_until};

/// Settings under which every query over files runs on all engines, however small they are.
pub(crate) const DISTRIBUTED: &str = "[query]\ndistribute_above = \"0\"\n";

/// No command of a test takes longer, on two cores that are shared.
pub(crate) const CALL: Duration = Duration::from_secs(120);

/// Every pair of reports of vessels of one type, and a third of all vessels are of one: with the
/// rows of [`make`], minutes of work.
pub(crate) const LONG: &str = "
    SELECT a.\"VesselType\", count(*) AS pairs, sum(abs(a.\"SOG\" - b.\"SOG\")) AS apart
    FROM 'ais/*.parquet' AS a JOIN 'ais/*.parquet' AS b ON a.\"VesselType\" = b.\"VesselType\"
    GROUP BY a.\"VesselType\"
    ORDER BY a.\"VesselType\"";

/// A short query that exchanges rows between all engines.
pub(crate) const COUNTED: &str = "
    SELECT \"VesselType\", count(*) AS reports, sum(\"MMSI\") AS total
    FROM 'ais/*.parquet'
    GROUP BY \"VesselType\"
    ORDER BY \"VesselType\"";

/// Every report, as 267 bytes of text: no buffer on the way holds a good part of the rows.
pub(crate) const WIDE: &str = "SELECT \"MMSI\", repeat('wave', 64) AS filling FROM 'ais/*.parquet'";

/// The number of rows and their sum, which [`WideRows::read`] finds too.
pub(crate) const WIDE_TOTALS: &str =
    "SELECT count(*) AS rows_there, sum(\"MMSI\") AS total FROM 'ais/*.parquet'";

/// The rows of [`WIDE`], of which nobody has read more than the first. The query cannot end before
/// they are read.
pub(crate) struct WideRows {
    client: Running,
    rows: Lines<BufReader<ChildStdout>>,
}

impl WideRows {
    /// Starts the query and returns once its rows flow.
    pub(crate) fn start(cluster: &TestCluster) -> Self {
        let mut client = cluster.start_bireme(&["sql", "--format", "csv", WIDE]);
        let mut rows = BufReader::new(client.take_output()).lines();
        match rows.next() {
            Some(Ok(header)) => assert_eq!(header, "MMSI,filling"),
            _ => panic!("no row came: {}", client.finish(CALL)),
        }
        Self { client, rows }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.client.is_running()
    }

    /// Reads all rows and gives their totals as [`WIDE_TOTALS`] does; two engines must have run it.
    pub(crate) fn read(self) -> String {
        let (mut count, mut total) = (0_u64, 0_u64);
        for row in self.rows {
            let row = row.unwrap();
            let (number, filling) = row.split_once(',').unwrap();
            assert_eq!(filling.len(), 4 * 64);
            count += 1;
            total += number.parse::<u64>().unwrap();
        }
        let finished = self.client.finish(CALL);
        assert_run_by(2, &finished);
        finished.success();
        format!("rows_there,total\n{count},{total}\n")
    }
}

/// A cluster with these settings and the files the queries read.
pub(crate) fn cluster(engines: u32, settings: &str) -> TestCluster {
    let cluster = TestCluster::start_with(engines, settings);
    make(&cluster, "300_000");
    cluster
}

/// Makes the files the queries read.
pub(crate) fn make(cluster: &TestCluster, rows: &str) {
    let arguments = ["datagen", "ais", "--rows", rows, "--out", "ais"];
    cluster.bireme(&arguments).success();
}

/// Starts a command and returns once the engines look as wanted, while it runs.
pub(crate) fn start_until(
    cluster: &TestCluster,
    arguments: &[&str],
    looks_so: impl Fn(&[EngineStatus]) -> bool,
) -> Running {
    let mut client = cluster.start_bireme(arguments);
    let is_running = wait_until("the query to run on the engines", CALL, || {
        if !client.is_running() {
            return Some(false);
        }
        looks_so(&cluster.engine_status()).then_some(true)
    });
    if !is_running {
        panic!("it ended too early: {}", client.finish(CALL));
    }
    client
}

/// Whether one query runs on all engines and holds memory.
pub(crate) fn is_on_every_engine(engines: &[EngineStatus]) -> bool {
    engines.iter().all(|engine| engine.queries == 1)
        && engines.iter().any(|engine| engine.reserved > 0)
}

/// Fails unless a query was run by so many engines; its summary says by how many.
pub(crate) fn assert_run_by(engines: u32, finished: &Finished) {
    let said = format!("{engines} engines");
    assert!(finished.stderr.contains(&said), "{finished}");
}
