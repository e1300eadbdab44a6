//! The benchmark's tables and queries.

use bireme_workloads::{Dataset, TPCH_QUERY_COUNT, tpch_queries, tpch_query};

use crate::{fingerprint, generate_quietly, read_directory};

#[test]
fn the_rows_never_change() {
    let directory = tempfile::tempdir().unwrap();
    let dataset = Dataset::Tpch { scale: 0.002 };
    generate_quietly(&dataset, directory.path());
    let lines: Vec<_> = dataset
        .tables()
        .iter()
        .map(|(table, _)| {
            let print = fingerprint(&read_directory(&directory.path().join(table)));
            format!("{table}: {print}")
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    lineitem: 11957 rows, d915dbcec203a39b
    orders: 3000 rows, 421294a9777e8f0d
    partsupp: 1600 rows, 825d65ee1ed7ed19
    part: 400 rows, 8e439d35c2a17838
    customer: 300 rows, c5bc5ee58da667ba
    supplier: 20 rows, f2745004c4047825
    nation: 25 rows, 896c281a18203777
    region: 5 rows, 71008d7cee084d97
    ");
}

#[test]
fn tables_in_several_files_have_the_same_rows() {
    // 0.1 is the smallest scale at which lineitem, orders and partsupp are split.
    let directory = tempfile::tempdir().unwrap();
    let summary = generate_quietly(&Dataset::Tpch { scale: 0.1 }, directory.path());
    let orders = read_directory(&directory.path().join("orders"));
    assert_eq!(
        orders.iter().map(|batch| batch.num_rows()).sum::<usize>(),
        150_000
    );
    assert_eq!(summary.rows, 866_602);
    assert_eq!(
        std::fs::read_dir(directory.path().join("lineitem"))
            .unwrap()
            .count(),
        4
    );
}

#[test]
fn there_are_22_queries() {
    assert_eq!(tpch_queries().len(), TPCH_QUERY_COUNT);
    assert_eq!(tpch_query(0), None);
    assert_eq!(tpch_query(23), None);
    for (number, text) in tpch_queries() {
        assert!(text.starts_with(&format!("-- TPC-H Q{number}, ")), "{text}");
        assert!(!text.contains(';'), "{text}");
    }
}
