//! `bireme datagen` from the shell.

use std::fs;

use bireme_tests::TestCluster;

#[test]
fn data_is_made_once() {
    let home = TestCluster::new();
    let make = ["datagen", "ais", "--rows", "1000", "--out", "ais"];
    home.bireme(&make).success();
    let file = home.work().join("ais/ais-0001.parquet");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    home.bireme(&make).success();
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), modified);
    let refused = home
        .bireme(&["datagen", "ais", "--rows", "2000", "--out", "ais"])
        .failure();
    assert!(
        refused.contains("already holds another data set"),
        "{refused}"
    );
    assert!(home.processes().is_empty(), "no cluster is needed");
}

#[test]
fn tpch_tables_can_be_queried() {
    let cluster = TestCluster::start(2);
    cluster
        .bireme(&["datagen", "tpch", "--scale", "0.01", "--out", "tpch"])
        .success();
    let rows = cluster.sql("SELECT count(*) AS n FROM 'tpch/lineitem/*.parquet'");
    assert_eq!(rows, "n\n60175\n");
}
