//! `%scatter`: files, a view or a Rust variable become a frame on the engines.

use async_trait::async_trait;
use bireme_protocol::Fault;

use super::persist::keep;
use super::show::select_all;
use crate::frame;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind};
use crate::mime_bundle::MimeBundle;

/// `%scatter`.
#[derive(Debug)]
pub struct Scatter;

static SPEC: Spec = Spec {
    name: "scatter",
    forms: Forms::Line,
    summary: "Makes a frame of files, a view, or a Rust variable.",
    doc: "A Rust variable is a `Table`, a `RecordBatch`, or a `Vec` of numbers or strings; of a `Vec` the frame has one \
          column, `value`. A name that is a Rust variable means that, any other a view or table.",
    positionals: &[Positional {
        name: "SRC",
        kind: ValueKind::Table,
        is_required: true,
        doc: "Files such as 'data/*.parquet', a view or table, or a Rust variable.",
    }],
    flags: &[
        frame::name_flag("SRC"),
        frame::BY,
        frame::REPLICATE,
        Flag::TIMEOUT,
    ],
    body: BodyKind::None,
    examples: &[
        Example {
            cell: "%scatter 'data/*.parquet' --as ais --by MMSI",
            doc: "read files once, and keep them",
        },
        Example {
            cell: "%scatter ports --as ports --replicate",
            doc: "put a small variable on every engine",
        },
    ],
};

#[async_trait]
impl Magic for Scatter {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let source = call.arguments.text("SRC").unwrap_or_default();
        let frame = match call.arguments.text("as") {
            Some(frame) => frame,
            None if crate::magic::is_name(source) => source,
            None => {
                let message = format!("scatter {source}: --as NAME names the frame");
                let fault = Fault::new(bireme_protocol::ErrorCode::InvalidArgument, message);
                return Err(fault.at(call.arguments.position("SRC").unwrap_or(call.position())));
            }
        };
        let made = match host.is_rust_name(source) {
            true => {
                let rows = host.rows_of_rust(source).await?;
                let query = format!("SELECT * FROM '{}'", rows.path().replace('\'', "''"));
                // The rows lie there until they are on the engines.
                keep(host, call, frame, &query, "SRC").await?
            }
            false => keep(host, call, frame, &select_all(source), "SRC").await?,
        };
        host.display(MimeBundle::plain(made));
        Ok(())
    }
}
