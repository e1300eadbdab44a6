//! Subqueries in the place of a value: one row or none is a value, more are an error.

use crate::answers::run;
use crate::cluster::TestCluster;
use crate::tables::Tables;

/// What comes back, and the error of what does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_rows_are_an_error_on_any_number_of_engines() {
    let tables = Tables::new();
    for engines in [1, 2] {
        let cluster = TestCluster::new(engines);
        let (context, _) = cluster.session(0, &[]);
        tables.register(&context);
        for (sql, expected) in [
            (
                "select count(*) from facts where id = (select min(id) from facts)",
                1,
            ),
            (
                "select count(*) from facts where id < (select id from facts where id = 7)",
                7,
            ),
            (
                "select count(*) from facts where id < (select id from facts where id < 0)",
                0,
            ),
            (
                "select count(*) from facts where id < (select id from facts order by id limit 1)",
                0,
            ),
        ] {
            let (_, rows) = run(&context, sql).await.unwrap();
            assert_eq!(rows, [expected.to_string()], "{sql}");
        }
        let sql = "select count(*) from facts where id < (select id from facts where id < 5)";
        let error = run(&context, sql).await.unwrap_err().to_string();
        assert!(error.contains("gave 5 rows, not one"), "{error}");
    }
}
