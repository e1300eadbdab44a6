//! `%cancel`: ends a query of any session.

use async_trait::async_trait;
use bireme_protocol::Fault;

use crate::display::listing::clip_id;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Forms, Magic, Positional, Spec, ValueKind};
use crate::mime_bundle::MimeBundle;
use crate::runner::attach;

/// `%cancel`.
#[derive(Debug)]
pub struct Cancel;

static SPEC: Spec = Spec {
    name: "cancel",
    forms: Forms::Line,
    summary: "Ends a query on all engines.",
    doc: "Interrupting the cell ends its own query; this ends any other.",
    positionals: &[Positional {
        name: "ID",
        kind: ValueKind::QueryId,
        is_required: true,
        doc: "the query's id, or a unique beginning of it; %jobs shows it.",
    }],
    flags: &[],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%cancel 3f2a",
        doc: "end the query whose id begins so",
    }],
};

#[async_trait]
impl Magic for Cancel {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let id = call.arguments.text("ID").unwrap_or_default();
        let service = attach(host).await?;
        let reply = service
            .cancel(id, "%cancel")
            .await
            .map_err(|fault| place(fault, call))?;
        let id = clip_id(&reply.query_id);
        let line = match reply.cancelled {
            true => format!("query {id} is cancelled"),
            false => format!("query {id} had ended already"),
        };
        host.display(MimeBundle::plain(line));
        Ok(())
    }
}

fn place(mut fault: Fault, call: &Call) -> Fault {
    fault.position = fault.position.or(call.arguments.position("ID"));
    fault
}
