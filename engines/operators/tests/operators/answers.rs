//! Answers as text that can be compared: rows sorted, floats rounded.

use crate::cluster::{TestCluster, in_time, single};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::SessionContext;
use std::collections::BTreeSet;

/// Registers tables in a session.
pub(crate) type Register<'a> = &'a (dyn Fn(&SessionContext) + Send + Sync);

/// Rows as text, in the order they came.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch
                .columns()
                .iter()
                .map(|column| match column.data_type() {
                    // Sums of floats depend on the order of their rows in the last digits.
                    DataType::Float64 if !column.is_null(row) => {
                        format!("{:.6e}", column.as_primitive::<Float64Type>().value(row))
                    }
                    _ => {
                        let formatter = ArrayFormatter::try_new(column, &options).unwrap();
                        formatter.value(row).to_string()
                    }
                });
            rows.push(values.collect::<Vec<_>>().join(" | "));
        }
    }
    rows
}

/// Runs a statement in a session: the plan as text, and the rows.
pub(crate) async fn run(context: &SessionContext, sql: &str) -> Result<(String, Vec<String>)> {
    let plan = context.sql(sql).await?.create_physical_plan().await?;
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let batches = in_time(collect(plan, context.task_ctx())).await?;
    Ok((text, rows(&batches)))
}

/// Runs a statement in one process and on clusters of these sizes, and compares. Returns the
/// plans of the clusters.
pub(crate) async fn compare(
    sizes: &[usize],
    settings: &[(&str, &str)],
    register: Register<'_>,
    sql: &str,
) -> Vec<String> {
    let context = single(settings);
    register(&context);
    let (_, expected) = run(&context, sql).await.unwrap();
    let mut plans = Vec::new();
    for size in sizes {
        let cluster = TestCluster::new(*size);
        plans.push(compare_on(&cluster, settings, register, sql, &expected).await);
        cluster.wait_until_free().await;
    }
    plans
}

/// Runs a statement on a cluster and compares with the rows of one process.
pub(crate) async fn compare_on(
    cluster: &TestCluster,
    settings: &[(&str, &str)],
    register: Register<'_>,
    sql: &str,
    expected: &[String],
) -> String {
    let size = cluster.engines.len();
    let (context, _) = cluster.session(size / 2, settings);
    register(&context);
    let (plan, rows) = run(&context, sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}\non {size} engines: {error}"));
    let (mut sorted, mut expected_sorted) = (rows.clone(), expected.to_vec());
    sorted.sort();
    expected_sorted.sort();
    if sorted != expected_sorted {
        let came: BTreeSet<_> = sorted.iter().collect();
        let wanted: BTreeSet<_> = expected_sorted.iter().collect();
        let extra: Vec<_> = came.difference(&wanted).take(5).collect();
        let missing: Vec<_> = wanted.difference(&came).take(5).collect();
        panic!(
            "{sql}\non {size} engines: {} rows instead of {}, extra {extra:#?}, missing \
             {missing:#?}\n{plan}",
            sorted.len(),
            expected_sorted.len()
        );
    }
    if sql.to_lowercase().contains("/* ordered */") {
        assert_eq!(
            rows, expected,
            "{sql}\non {size} engines: the order differs\n{plan}"
        );
    }
    plan
}
