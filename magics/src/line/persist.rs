//! `%persist`: runs a view and keeps its rows on the engines.

use async_trait::async_trait;
use bireme_protocol::Fault;

use super::show::select_all;
use crate::frame;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind};
use crate::mime_bundle::MimeBundle;
use crate::runner::Runner;

/// `%persist`.
#[derive(Debug)]
pub struct Persist;

static SPEC: Spec = Spec {
    name: "persist",
    forms: Forms::Line,
    summary: "Runs a view and keeps its rows on the engines.",
    doc: "The frame gets the view's own name, and takes its place, unless `--as` gives another. It stays until it is \
          dropped: other cells, a restart of the kernel and a crash of the controller leave it alone.",
    positionals: &[Positional {
        name: "NAME",
        kind: ValueKind::Table,
        is_required: true,
        doc: "A view or table.",
    }],
    flags: &[
        frame::name_flag("NAME"),
        frame::BY,
        frame::REPLICATE,
        Flag::TIMEOUT,
    ],
    body: BodyKind::None,
    examples: &[
        Example {
            cell: "%persist fast_vessels",
            doc: "keep the rows of a view",
        },
        Example {
            cell: "%persist ais --as by_vessel --by MMSI",
            doc: "keep a table, the rows of each vessel together",
        },
    ],
};

#[async_trait]
impl Magic for Persist {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let name = call.arguments.text("NAME").unwrap_or_default();
        let frame = call.arguments.text("as").unwrap_or(name);
        let made = keep(host, call, frame, &select_all(name), "NAME").await?;
        host.display(MimeBundle::plain(made));
        Ok(())
    }
}

/// Keeps the rows of a query as a frame; gives the acknowledgement. Faults are placed at an
/// argument of the call.
pub(super) async fn keep(
    host: &dyn Host,
    call: &Call,
    frame: &str,
    query: &str,
    place: &str,
) -> Result<String, Fault> {
    let options = frame::options(frame::layout(call)?, call.timeout());
    let sql = format!("CREATE TABLE {frame} AS {query}");
    let outcome = Runner::new(host).run(&sql, &options).await;
    let outcome = outcome.map_err(|mut fault| {
        fault.position = call.arguments.position(place);
        fault
    })?;
    Ok(frame::made(&outcome.summary))
}
