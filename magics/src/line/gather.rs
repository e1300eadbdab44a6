//! `%gather`: the rows of a frame come to a Rust variable.

use async_trait::async_trait;
use bireme_client::RunOptions;
use bireme_protocol::{ErrorCode, Fault};

use super::show::select_all;
use crate::display::units::{counted, format_bytes, milliseconds};
use crate::frame;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind};
use crate::mime_bundle::MimeBundle;
use crate::runner::{Runner, attach};

/// `%gather`.
#[derive(Debug)]
pub struct Gather;

static SPEC: Spec = Spec {
    name: "gather",
    forms: Forms::Line,
    summary: "Brings the rows of a frame into a Rust variable.",
    doc: "The variable is a `Table`, whose `batches()` are Arrow record batches, in the order of the partitions. A frame \
          that is larger than `rust.bind_limit` is refused before anything moves.",
    positionals: &[Positional {
        name: "NAME",
        kind: ValueKind::Table,
        is_required: true,
        doc: "A frame, a view or a table.",
    }],
    flags: &[
        Flag::value("to", ValueKind::NewName, "NAME", "The Rust variable."),
        Flag::value("limit", ValueKind::Count, "none", "Most rows that come."),
        Flag::value(
            "timeout",
            ValueKind::Duration,
            "query.timeout",
            "Longest time it may run.",
        ),
    ],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%gather fast --to rows",
        doc: "the rows of a frame, for Rust",
    }],
};

#[async_trait]
impl Magic for Gather {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let name = call.arguments.text("NAME").unwrap_or_default();
        let variable = call.arguments.text("to").unwrap_or(name);
        let limit = call.arguments.integer("limit");
        let most = host.settings().bytes("rust.bind_limit");
        let placed = |mut fault: Fault| {
            fault.position = call.arguments.position("NAME");
            fault
        };
        if limit.is_none() {
            refuse_too_large(host, name, variable, most)
                .await
                .map_err(placed)?;
        }
        let mut rows = host.rows_for_rust(variable)?;
        let mut bytes = 0;
        let mut take = |batch| {
            bytes = rows.write(&batch)?;
            match bytes > most {
                true => Err(too_large(name, variable, bytes, most)),
                false => Ok(()),
            }
        };
        let options = RunOptions {
            limit,
            timeout: call.timeout(),
            ..RunOptions::default()
        };
        let mut runner = Runner::new(host);
        let outcome = runner
            .run_into(&select_all(name), &options, &mut take)
            .await;
        let (schema, summary) = outcome.map_err(placed)?;
        rows.finish(&schema).await?;
        let elapsed = u64::try_from(summary.elapsed.as_millis()).unwrap_or(u64::MAX);
        let told = format!(
            "{variable}: Table, {} × {} ({}) in {}",
            counted(summary.rows, "row"),
            counted(schema.fields().len() as u64, "column"),
            format_bytes(bytes),
            milliseconds(elapsed)
        );
        host.display(MimeBundle::plain(told), None);
        Ok(())
    }
}

/// What is known to be too large is not begun.
async fn refuse_too_large(
    host: &dyn Host,
    name: &str,
    variable: &str,
    most: u64,
) -> Result<(), Fault> {
    let catalog = attach(host).await?.catalog().await?;
    let plain = name.trim_matches('"');
    let entry = catalog.entries.iter().find(|entry| entry.name == plain);
    let bytes = entry.map_or(0, |entry| frame::size(entry).bytes);
    match bytes > most {
        true => Err(too_large(name, variable, bytes, most)),
        false => Ok(()),
    }
}

fn too_large(name: &str, variable: &str, bytes: u64, most: u64) -> Fault {
    let message = format!(
        "gather {name} into the Rust variable {variable}: it has {} or more, and rust.bind_limit is {}",
        format_bytes(bytes),
        format_bytes(most)
    );
    let hint = "aggregate on the engines, use --limit, or raise it with %config rust.bind_limit";
    Fault::new(ErrorCode::OutOfMemory, message).with_hint(hint)
}
