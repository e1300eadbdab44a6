//! `%%sql` and `%sql`: runs SQL on the engines and shows what it gives.

use async_trait::async_trait;
use bireme_client::{Statement, StatementKind};
use bireme_protocol::{ErrorCode, Fault};

use crate::cell::script::{Script, Showing};
use crate::frame;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind};
use crate::output::Format;

/// `%%sql` and `%sql`.
#[derive(Debug)]
pub struct Sql;

static SPEC: Spec = Spec {
    name: "sql",
    forms: Forms::Both,
    summary: "Runs SQL on the engines and shows the result.",
    doc: "All statements of the cell run, and every query's result is shown. `NAME`, `--lazy`, `--limit` \
          and `--format` mean the last one.\n\n\
          `--to V` binds the rows of the last query to the Rust variable V: a `Table`, whose `batches()` are \
          Arrow record batches.\n\n\
          `NAME` defines a view by the last query, then shows it; it lives in the session, for later cells \
          and after a restart. `--lazy` only defines it.\n\n\
          `$name` is the value of a parameter, `{{expression}}` that of a parameter or of any Rust \
          expression: a number, a truth value, text, or an `Option` of these, typed and never pasted. \
          `{{!name}}` puts the text of the value into the statement. Files are tables: `FROM 'data/*.parquet'`.\n\n\
          `--persist` keeps the rows on the engines, as the frame NAME: later cells read them from memory. \
          `CREATE TABLE f AS SELECT ...` does the same, `INSERT INTO f` adds rows.\n\n\
          `--sink PATH` writes the rows to files: one if PATH ends like `.parquet`, `.csv`, `.json` or \
          `.arrow`, which is replaced; else a directory, to which every engine adds Parquet files. \
          `COPY (SELECT ...) TO 'PATH'` does the same.\n\n\
          In a line, the name comes with an arrow: `%sql fast << SELECT ...`.",
    positionals: &[Positional {
        name: "NAME",
        kind: ValueKind::NewName,
        is_required: false,
        doc: "Define this view by the last query, and show it.",
    }],
    flags: &[
        Flag::switch("lazy", "Define the view NAME and run nothing."),
        Flag::value(
            "limit",
            ValueKind::Count,
            "none",
            "Most rows the result has; the view has no limit.",
        ),
        Flag::value("rows", ValueKind::Count, "display.rows", "Most rows shown."),
        Flag {
            doc: "Longest time a query may run.",
            ..Flag::TIMEOUT
        },
        Flag::value(
            "format",
            ValueKind::Choice(Format::WORDS),
            "table",
            "Show a table, or print at most 1000 rows as text.",
        ),
        Flag::value(
            "to",
            ValueKind::NewName,
            "none",
            "Bind all rows to this Rust variable, a `Table` of Arrow batches, and show none.",
        ),
        Flag::switch(
            "persist",
            "Keep the rows of the last query on the engines as the frame NAME.",
        ),
        frame::BY,
        frame::REPLICATE,
        Flag::value(
            "sink",
            ValueKind::Text,
            "none",
            "Write all rows of the last query to this file, or to files in this directory/, and show none.",
        ),
        Flag::later("device"),
    ],
    body: BodyKind::Sql,
    examples: &[
        Example {
            cell: "%%sql\nSELECT count(*) FROM 'data/*.parquet'",
            doc: "ask files",
        },
        Example {
            cell: "%%sql fast\nSELECT * FROM ais WHERE SOG > $speed",
            doc: "define the view fast, and show it",
        },
        Example {
            cell: "%%sql fast --persist --by MMSI\nSELECT * FROM ais WHERE SOG > 20",
            doc: "keep the rows on the engines, vessels together",
        },
        Example {
            cell: "%%sql --to rows\nSELECT * FROM fast",
            doc: "bind the rows to a Rust variable",
        },
        Example {
            cell: "%%sql --sink fast.parquet\nSELECT * FROM fast",
            doc: "write the rows to a file, as COPY does",
        },
        Example {
            cell: "%sql --limit 5 SELECT * FROM fast",
            doc: "in a line",
        },
    ],
};

#[async_trait]
impl Magic for Sql {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let mut script = Script::new(host, &call.body).await?;
        let statements = script.statements()?;
        let Some((last, before)) = statements.split_last() else {
            let message = format!("{} has no statement", call.title());
            let fault = Fault::new(ErrorCode::InvalidArgument, message).at(call.position());
            return Err(fault.with_hint(format!("{}? shows examples", call.title())));
        };
        check_last(&script, call, last)?;
        for statement in before {
            let plain = Showing {
                format: Format::Table,
                limit: None,
                rows: call.arguments.integer("rows"),
                remarks: Vec::new(),
                is_result: false,
            };
            run_statement(&mut script, statement, plain, call).await?;
        }
        run_last(&mut script, call, last).await
    }
}

/// Flags that do not go together, and why: a flag, then the one that is pointed at.
const CONFLICTS: [(&str, &str, &str); 8] = [
    (
        "lazy",
        "to",
        "--lazy runs nothing, so there are no rows for --to",
    ),
    (
        "persist",
        "lazy",
        "--lazy runs nothing, so there is nothing to persist",
    ),
    (
        "persist",
        "to",
        "--persist keeps the rows on the engines, --to brings them here",
    ),
    (
        "persist",
        "limit",
        "a frame has all rows: write LIMIT into the query",
    ),
    (
        "sink",
        "lazy",
        "--lazy runs nothing, so there is nothing to write",
    ),
    (
        "sink",
        "persist",
        "--sink writes the rows to files, --persist keeps them on the engines",
    ),
    (
        "sink",
        "to",
        "--sink writes the rows to files, --to brings them here",
    ),
    (
        "sink",
        "limit",
        "--sink writes all rows: write LIMIT into the query",
    ),
];

/// What names the last statement only fits a query.
fn check_last(script: &Script<'_>, call: &Call, last: &Statement) -> Result<(), Fault> {
    let usage = |message: String, argument: &str| {
        let fault = Fault::new(ErrorCode::InvalidArgument, message);
        let position = call.arguments.position(argument).unwrap_or(call.position());
        fault.at(position)
    };
    let name = call.arguments.text("NAME");
    for (flag, other, reason) in CONFLICTS {
        if call.arguments.has(flag) && call.arguments.has(other) {
            return Err(usage(reason.into(), other).with_hint("leave one of the two out"));
        }
    }
    if call.arguments.has("lazy") && name.is_none() {
        let hint = format!("{} NAME --lazy defines the view NAME", call.title());
        return Err(usage("--lazy needs the NAME it defines".into(), "lazy").with_hint(hint));
    }
    let persists = call.arguments.has("persist");
    if persists && name.is_none() {
        let hint = format!("{} NAME --persist keeps the frame NAME", call.title());
        return Err(usage("--persist needs the NAME it keeps".into(), "persist").with_hint(hint));
    }
    for layout in ["by", "replicate"] {
        if !persists && call.arguments.has(layout) {
            let message = format!("--{layout} lays out a frame, and none is kept");
            return Err(usage(message, layout).with_hint("--persist NAME keeps one"));
        }
    }
    let variable = call.arguments.text("to");
    let wants = name.map(|name| format!("the view {name}"));
    let wants = wants.or(variable.map(|variable| format!("the variable {variable}")));
    let path = call.arguments.text("sink");
    let wants = wants.or(path.map(|path| format!("--sink {path}")));
    match wants {
        Some(wants) if last.kind != StatementKind::Query => {
            let message = format!("{wants} needs a query, and the last statement is none");
            let fault = Fault::new(ErrorCode::InvalidArgument, message);
            Err(script.at_statement(fault, last))
        }
        _ => Ok(()),
    }
}

async fn run_statement(
    script: &mut Script<'_>,
    statement: &Statement,
    showing: Showing,
    call: &Call,
) -> Result<(), Fault> {
    match script.command(statement, call.timeout()).await? {
        Some(acknowledgement) => script.acknowledge(&acknowledgement),
        None => script.show(statement, showing, call.timeout()).await?,
    }
    Ok(())
}

async fn run_last(script: &mut Script<'_>, call: &Call, last: &Statement) -> Result<(), Fault> {
    let mut remarks = Vec::new();
    if let Some(name) = call.arguments.text("NAME") {
        let name_at = call.arguments.position("NAME").unwrap_or(call.position());
        if call.arguments.has("persist") {
            let layout = frame::layout(call)?;
            let made = script.persist(name, name_at, last, layout, call.timeout());
            let made = made.await?;
            script.acknowledge(&made);
            return Ok(());
        }
        let acknowledgement = script.define_view(name, name_at, last).await?;
        if call.arguments.has("lazy") {
            script.acknowledge(&acknowledgement);
            return Ok(());
        }
        remarks.push(format!("view {name}"));
    }
    if let Some(variable) = call.arguments.text("to") {
        let limit = call.arguments.integer("limit");
        return script.bind(last, variable, limit, call.timeout()).await;
    }
    if let Some(path) = call.arguments.text("sink") {
        let path_at = call.arguments.position("sink").unwrap_or(call.position());
        let written = script.sink(path, path_at, last, call.timeout()).await?;
        script.acknowledge(&written);
        return Ok(());
    }
    let showing = Showing {
        format: Format::read(call.arguments.text("format")),
        limit: call.arguments.integer("limit"),
        rows: call.arguments.integer("rows"),
        remarks,
        is_result: true,
    };
    run_statement(script, last, showing, call).await
}
