//! `avg(x) over (partition by k)` as group-by and null-safe join: the same answers, with nulls in
//! keys and in values, on any number of engines; every other shape is left alone.

use crate::answers::{compare_on, run};
use crate::cluster::{PARTITIONS, TestCluster};
use crate::tables::Tables;
use bireme_operators::WindowRewrite;
use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::Optimizer;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;

/// Each is planned without a window.
const REWRITTEN: [&str; 8] = [
    "select id, avg(x) over (partition by g) from facts",
    "select id, count(*) over (partition by k), count(x) over (partition by k) from facts",
    "select id, sum(m) over (partition by g), min(s) over (partition by g, k), \
     max(d) over (partition by s), bool_or(g > 3) over (partition by s) from facts",
    // All values of one group are null, and one group has a null key.
    "select id, avg(x) over (partition by id % 19), sum(x) over (partition by nullif(id % 19, 4)) \
     from facts",
    "select id, count(x) filter (where id % 2 = 0) over (partition by s) from facts",
    "select f.id, d.name, sum(f.x) over (partition by d.name, f.g) \
     from facts f left join dimensions d on f.k = d.k",
    "select id, x from (select id, x, avg(x) over (partition by s, g) as mean from facts \
     where x is not null) where x > 1.5 * mean",
    "select count(*), sum(a) from (select avg(x) over (partition by g) as a from facts where id < 0)",
];

/// Of the windows of each, one is a value per group.
const WITH_BOTH: [&str; 2] = [
    "select id, avg(x) over (partition by g), row_number() over (partition by g order by id) \
     from facts",
    "select id, sum(length(s)) over (partition by g), sum(x) over (partition by k order by id) \
     from facts",
];

/// Each keeps its window.
const WITH_ONLY_WINDOWS: [&str; 8] = [
    "select id, sum(x) over (partition by g order by id) from facts",
    "select id, sum(x) over (partition by g order by id rows between 2 preceding and current row) \
     from facts",
    "select id, sum(x) over (partition by g order by id \
     rows between unbounded preceding and unbounded following) from facts",
    "select id, avg(x) over () from facts",
    // Zeros of floats have signs: a group is not what a join finds equal.
    "select id, count(*) over (partition by x) from facts",
    "select id, first_value(s) over (partition by g order by id) from facts",
    // What is read twice must give the same rows twice.
    "select id, count(*) over (partition by g) from (select id, g from facts order by id limit 99)",
    "select g, avg(total) over (partition by g % 2) \
     from (select g, sum(x) as total from facts group by g)",
];

/// One process, with the rewrite or without.
fn process(tables: &Tables, rewrite: bool) -> SessionContext {
    let mut rules = Optimizer::new().rules;
    if rewrite {
        rules.insert(0, Arc::new(WindowRewrite));
    }
    let config = SessionConfig::new().with_target_partitions(PARTITIONS);
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_optimizer_rules(rules)
        .build();
    let context = SessionContext::new_with_state(state);
    tables.register(&context);
    context
}

async fn logical(context: &SessionContext, sql: &str) -> String {
    let frame = context.sql(sql).await.unwrap();
    let plan = frame.into_optimized_plan().unwrap();
    plan.display_indent().to_string()
}

async fn answers_agree(statements: &[&str]) {
    let tables = Tables::new();
    let (with, without) = (process(&tables, true), process(&tables, false));
    let register = |context: &SessionContext| tables.register(context);
    let clusters = [2, 3].map(TestCluster::new);
    for sql in statements {
        let (_, mut expected) = run(&without, sql).await.unwrap();
        let (_, mut rows) = run(&with, sql).await.unwrap();
        for cluster in &clusters {
            compare_on(cluster, &[], &register, sql, &expected).await;
        }
        expected.sort();
        rows.sort();
        assert_eq!(rows, expected, "{sql}");
    }
    for cluster in &clusters {
        cluster.wait_until_free().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_with_and_without_it() {
    answers_agree(&REWRITTEN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_with_other_windows_are_the_same_too() {
    answers_agree(&WITH_BOTH).await;
    answers_agree(&WITH_ONLY_WINDOWS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_per_group_is_a_group_by_and_a_join() {
    let tables = Tables::new();
    let (with, without) = (process(&tables, true), process(&tables, false));
    for sql in REWRITTEN {
        let before = logical(&without, sql).await;
        assert!(before.contains("WindowAggr"), "{sql}\n{before}");
        let after = logical(&with, sql).await;
        assert!(!after.contains("WindowAggr"), "{sql}\n{after}");
        assert!(after.contains("__bireme_window_0"), "{sql}\n{after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_shapes_are_left_alone() {
    let tables = Tables::new();
    let with = process(&tables, true);
    let random = "select id, sum(random()) over (partition by g) from facts";
    for sql in WITH_ONLY_WINDOWS.into_iter().chain([random]) {
        let after = logical(&with, sql).await;
        assert!(after.contains("WindowAggr"), "{sql}\n{after}");
        assert!(!after.contains("__bireme_window"), "{sql}\n{after}");
    }
    for sql in WITH_BOTH {
        let after = logical(&with, sql).await;
        assert!(after.contains("WindowAggr"), "{sql}\n{after}");
        assert!(after.contains("__bireme_window_0"), "{sql}\n{after}");
    }
}
