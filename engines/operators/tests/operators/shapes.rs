//! Shapes of plans that joins do not cover: limits, orders, unions, windows, grouping sets,
//! distinct, constants, rows in memory, and what runs whole on the head.

use crate::answers::{compare_on, run};
use crate::cluster::{TestCluster, single};
use crate::tables::Tables;

const STATEMENTS: [&str; 34] = [
    "select * from facts",
    "select id from facts where id % 7 = 3 order by id /* ordered */",
    "select id, s from facts order by s nulls first, id limit 20 /* ordered */",
    "select id from facts order by id limit 10 offset 25 /* ordered */",
    "select count(*) from (select id from facts limit 77)",
    "select count(*) from (select id from facts where g > 3 limit 50 offset 20)",
    "select count(*), sum(id), min(s), max(d), avg(x) from facts",
    "select count(*) from facts where id < 0",
    "select sum(id) from empty e join facts f on e.k = f.k",
    "select g, count(*), sum(m), avg(x), min(d) from facts group by g",
    "select g, count(distinct s), count(distinct k) from facts group by g",
    "select count(distinct s) from facts",
    "select distinct g, k from facts",
    "select distinct g from facts order by g limit 4 /* ordered */",
    "select s, g, count(*) from facts group by s, g having count(*) > 1",
    "select g, d, sum(x) from facts group by rollup(g, d)",
    "select g, k, count(*) from facts where id < 500 group by cube(g, k)",
    "select g, k, count(*) from facts group by grouping sets ((g), (k), ())",
    "select id from facts where g = 1 union all select k from dimensions",
    "select g from facts union select w from dimensions",
    "select k from facts intersect select k from dimensions",
    "select k from facts except select k from dimensions",
    "select id, row_number() over (partition by g order by id) from facts",
    "select id, avg(x) over (partition by g) from facts",
    "select id, sum(id) over (partition by g order by id rows between 2 preceding and current row), \
     rank() over (partition by k order by d, id) from facts",
    "select id, sum(id) over (order by id) from facts where id < 100 order by id /* ordered */",
    "select id, x from facts where x > (select avg(x) from facts)",
    "select id from facts f where x > (select avg(x) from facts h where h.g = f.g)",
    "with t as (select g, sum(x) as total from facts group by g) \
     select a.g, b.g from t a join t b on a.total < b.total",
    "select f.id, v.b from facts f join (values (1, 'one'), (2, 'two')) as v(a, b) on f.k = v.a",
    "select g, array_agg(id order by id) from facts group by g",
    "select g, first_value(id order by d desc, id), last_value(s order by id) from facts group by g",
    "select unnest(make_array(id, g)) from facts where id < 50",
    "select * from (select g, id, rank() over (partition by g order by id desc) as r from facts) where r <= 2",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_do_not_depend_on_the_number_of_engines() {
    let tables = Tables::new();
    let register = |context: &datafusion::prelude::SessionContext| tables.register(context);
    let context = single(&[]);
    register(&context);
    let clusters: Vec<_> = [1, 2, 3, 5].map(TestCluster::new).into();
    for sql in STATEMENTS {
        let (_, expected) = run(&context, sql).await.unwrap();
        for cluster in &clusters {
            let plan = compare_on(cluster, &[], &register, sql, &expected).await;
            assert!(
                plan.contains("QueryScopeExec") || plan.contains("HeadExec"),
                "{plan}"
            );
        }
    }
    for cluster in &clusters {
        cluster.wait_until_free().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_on_the_head_says_why() {
    let tables = Tables::new();
    let cluster = TestCluster::new(2);
    let reason = async |above: u64, sql: &str| {
        let (context, _) = cluster.session_above(0, above, &[]);
        tables.register(&context);
        let (plan, _) = run(&context, sql).await.unwrap();
        plan.lines().next().unwrap_or_default().to_string()
    };
    insta::assert_snapshot!(reason(0, "select 1").await, @"HeadExec: it scans no files");
    let small = reason(1 << 30, "select count(id + 1) from facts").await;
    assert!(
        small.starts_with("HeadExec: it scans ") && small.ends_with("less than 1.0 GiB"),
        "{small}"
    );
    let recursive = "with recursive r as (select 1 as n union all select n + 1 from r where n < 5) \
                     select count(*) from r join facts on n = g";
    let stays = reason(0, recursive).await;
    assert!(stays.starts_with("HeadExec: "), "{stays}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_analyze_shows_what_each_collective_moved() {
    let tables = Tables::new();
    let cluster = TestCluster::new(2);
    let (context, _) = cluster.session(0, &[]);
    tables.register(&context);
    let sql = "explain analyze select g, count(*) from facts group by g";
    let (_, rows) = run(&context, sql).await.unwrap();
    let text = rows.join("\n");
    assert!(text.contains("CollectiveShuffleExec"), "{text}");
    assert!(
        text.contains("rows_sent") && text.contains("bytes_sent"),
        "{text}"
    );
}
