//! `%show`: runs a view, or looks at a table.

use async_trait::async_trait;
use bireme_client::{Rows, RunOptions};
use bireme_protocol::Fault;

use crate::display::table::{self, Facts};
use crate::host::Host;
use crate::magic::{
    BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind, is_name,
};
use crate::output::{CUT, extent};
use crate::runner::Runner;

/// `%show`.
#[derive(Debug)]
pub struct Show;

static SPEC: Spec = Spec {
    name: "show",
    forms: Forms::Line,
    summary: "Runs a view, or looks at a table or file.",
    doc: "",
    positionals: &[Positional {
        name: "NAME",
        kind: ValueKind::Table,
        is_required: true,
        doc: "a view, a table, or a file such as 'data/*.parquet'.",
    }],
    flags: &[
        Flag::value(
            "limit",
            ValueKind::Count,
            "none",
            "Most rows the result has.",
        ),
        Flag::value("rows", ValueKind::Count, "display.rows", "Most rows shown."),
        Flag::TIMEOUT,
    ],
    body: BodyKind::None,
    examples: &[
        Example {
            cell: "%show fast_vessels",
            doc: "the rows of a view",
        },
        Example {
            cell: "%show 'data/*.parquet' --limit 100",
            doc: "the first rows of some files",
        },
    ],
};

#[async_trait]
impl Magic for Show {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let name = call.arguments.text("NAME").unwrap_or_default();
        let rows = call.arguments.integer("rows");
        let extent = extent(host, rows);
        let options = RunOptions {
            limit: call.arguments.integer("limit"),
            timeout: call.timeout(),
            rows: Rows::Preview {
                head: extent.head() as u64,
                tail: extent.tail() as u64,
            },
            ..RunOptions::default()
        };
        let sql = select_all(name);
        let outcome = Runner::new(host).run(&sql, &options).await;
        let outcome = outcome.map_err(|mut fault| {
            fault.position = call.arguments.position("NAME");
            fault
        })?;
        let mut remarks = vec![name.to_string()];
        if outcome.is_cut {
            remarks.push(CUT.into());
        }
        let facts = Facts::of(&outcome.summary, remarks);
        let bundle = table::render(&outcome.schema, &outcome.batches, &facts, extent, None);
        host.result(bundle);
        Ok(())
    }
}

/// `SELECT * FROM` a name, a path of names, or a file.
pub(crate) fn select_all(name: &str) -> String {
    match is_name(name) || name.split('.').all(is_name) {
        true => format!("SELECT * FROM {name}"),
        false => format!(
            "SELECT * FROM '{}'",
            name.trim_matches('"').replace('\'', "''")
        ),
    }
}
