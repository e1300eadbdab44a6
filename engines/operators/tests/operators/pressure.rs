//! Queries under small budgets give the same answers, from disk if need be.

use crate::answers::{compare_on, run};
use crate::cluster::{TestCluster, single};
use crate::tables::Tables;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_budgets_change_no_answer() {
    let tables = Tables::new();
    let register = |context: &datafusion::prelude::SessionContext| tables.register(context);
    let settings = [
        ("datafusion.execution.sort_spill_reservation_bytes", "16384"),
        ("datafusion.execution.batch_size", "256"),
    ];
    let context = single(&settings);
    register(&context);
    for sql in [
        "select a.id, b.id from facts a join facts b on a.g = b.g and a.id < b.id and b.id < 900 \
         order by a.id, b.id /* ordered */",
        "select s, k, count(*), sum(x) from facts group by s, k",
        "select id, s, row_number() over (order by s, id) from facts",
    ] {
        let (_, expected) = run(&context, sql).await.unwrap();
        let cluster = TestCluster::with_memory(2, 3 << 20);
        compare_on(&cluster, &settings, &register, sql, &expected).await;
        cluster.wait_until_free().await;
    }
}
