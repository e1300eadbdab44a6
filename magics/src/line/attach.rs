//! `%attach`: follows a query that another cell, notebook or command has submitted.

use async_trait::async_trait;
use bireme_protocol::{ErrorCode, Fault};

use crate::display::listing::clip_id;
use crate::display::progress::summary_line;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Forms, Magic, Positional, Spec, ValueKind};
use crate::mime_bundle::MimeBundle;
use crate::runner::Runner;

/// `%attach`.
#[derive(Debug)]
pub struct Attach;

static SPEC: Spec = Spec {
    name: "attach",
    forms: Forms::Line,
    summary: "Follows a query that runs or waits, to its end.",
    doc: "It shows the progress of a query of any session, also over a restart of the kernel or the controller, and how \
          it ends. Its rows are for who asked for them. Interrupting the cell leaves the query alone; %cancel ends it.",
    positionals: &[Positional {
        name: "ID",
        kind: ValueKind::QueryId,
        is_required: true,
        doc: "the query's id, or a unique beginning of it; %jobs shows it.",
    }],
    flags: &[],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%attach 3f2a",
        doc: "follow the query whose id begins so",
    }],
};

#[async_trait]
impl Magic for Attach {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let id = call.arguments.text("ID").unwrap_or_default();
        let watched = Runner::new(host).watch(id).await;
        let (id, summary) = watched.map_err(|mut fault| {
            if fault.code == ErrorCode::NotFound {
                fault.position = fault.position.or(call.arguments.position("ID"));
            }
            fault
        })?;
        let did = summary_line(summary.rows, &summary.progress);
        let line = format!("query {} has ended: {did}", clip_id(&id));
        host.display(MimeBundle::plain(line));
        Ok(())
    }
}
