//! Aggregates of distinct values as two levels of groups: the same answers and types on any number of engines;
//! every other shape is left alone. Little memory is left to `test_frames.py`.

use crate::answers::{compare_on, run};
use crate::cluster::{TestCluster, single};
use crate::tables::Tables;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::prelude::SessionContext;

/// Each has no aggregate of distinct values in its plan.
const REWRITTEN: [&str; 14] = [
    "select count(*), count(k), sum(m), count(distinct s) from facts",
    "select g, count(*), count(distinct s), min(s), max(distinct d) from facts group by g",
    "select count(distinct s), sum(m), sum(distinct m), sum(distinct k) from facts",
    // Grouping sets: several columns, or aggregates that are not made of aggregates of parts.
    "select count(distinct s), count(distinct k), count(*) from facts",
    "select s, count(distinct k), count(distinct g), avg(distinct g), sum(m), min(id) from facts group by s",
    "select g, avg(x), count(distinct s), stddev(x), avg(m) from facts group by g",
    "select g % 3 as g, count(distinct s || k), corr(x, id), count(x) from facts group by g % 3",
    // Filters, on either.
    "select g, count(distinct s) filter (where id % 2 = 0), count(*) filter (where x > 5), count(distinct k) \
     from facts group by g",
    // One of the columns is a key of the groups.
    "select k, count(distinct k), count(distinct s), count(*), avg(x) from facts group by k",
    // Of no rows, counts are 0 and all else is missing.
    "select count(distinct s), count(*), sum(m), avg(x), count(distinct k), bool_or(g > 3) from facts where id < 0",
    "select g, count(distinct s), count(*) from facts where id < 0 group by g",
    // Equal aggregates, and names given twice.
    "select count(distinct s) as a, count(distinct s) as b, count(*) as c, count(1) as d from facts",
    "select f.s, count(distinct o.name), count(*), avg(o.w) from facts f left join dimensions o on f.k = o.k \
     group by f.s having count(distinct o.name) > 1",
    // A subquery that becomes a join.
    "select o.k, (select count(distinct f.s) + count(*) from facts f where f.k = o.k) from dimensions o",
];

/// Each keeps its aggregate of distinct values: those that hold their rows, that have an order, those by
/// grouping sets of the user's, and several of integers, which DataFusion counts faster.
const KEPT: [&str; 5] = [
    "select g, array_agg(distinct k order by k), count(distinct s) from facts group by g",
    "select g, count(distinct s), median(x) from facts group by g",
    "select g, k, count(distinct s) from facts group by grouping sets ((g), (k))",
    "select k, count(distinct k), count(*) from facts group by k",
    "select g, count(distinct k), count(distinct id), avg(x) from facts group by g",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_with_and_without_it() {
    let tables = Tables::new();
    let register = |context: &SessionContext| tables.register(context);
    let without = single(&[]);
    tables.register(&without);
    let clusters = [1, 2, 3].map(TestCluster::new);
    for (sql, kept) in with(&REWRITTEN, false).chain(with(&KEPT, true)) {
        let (_, expected) = run(&without, sql).await.unwrap();
        for cluster in &clusters {
            let plan = compare_on(cluster, &[], &register, sql, &expected).await;
            let mut aggregates = plan.lines().filter(|line| line.contains("AggregateExec"));
            let has_distinct = aggregates.any(|line| line.contains("(DISTINCT"));
            assert_eq!(has_distinct, kept, "{sql}\n{plan}");
        }
    }
    for cluster in &clusters {
        cluster.wait_until_free().await;
    }
}

fn with<'a>(statements: &'a [&str], kept: bool) -> impl Iterator<Item = (&'a str, bool)> {
    statements.iter().map(move |sql| (*sql, kept))
}

/// Of sums of sums, a decimal has more digits than the sum has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_have_the_types_that_were_declared() {
    let tables = Tables::new();
    let cluster = TestCluster::new(2);
    for sql in REWRITTEN {
        let (context, _) = cluster.session(0, &[]);
        tables.register(&context);
        let frame = context.sql(sql).await.unwrap();
        let declared = frame.schema().as_arrow().clone();
        let planned = frame.create_physical_plan().await.unwrap().schema();
        let types = |schema: &Schema| -> Vec<(String, DataType)> {
            let fields = schema.fields().iter();
            fields
                .map(|field| (field.name().clone(), field.data_type().clone()))
                .collect()
        };
        assert_eq!(types(&planned), types(&declared), "{sql}");
    }
}

/// As in DuckDB: zeros are one value, and so is what is no number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubles_that_are_equal_are_one_value() {
    let cluster = TestCluster::new(1);
    let (context, _) = cluster.session(0, &[]);
    let sql = "select count(distinct x), count(*) from (values (0.0::double), (-0.0::double), ('NaN'::double), \
               ('NaN'::double)) as t(x)";
    assert_eq!(run(&context, sql).await.unwrap().1, ["2 | 4"]);
}
