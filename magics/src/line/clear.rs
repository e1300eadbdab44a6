//! `%clear`: removes the outputs of the cell.

use async_trait::async_trait;
use bireme_protocol::Fault;

use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Spec};

/// `%clear`.
#[derive(Debug)]
pub struct Clear;

static SPEC: Spec = Spec {
    name: "clear",
    forms: Forms::Line,
    summary: "Removes what the cell has shown so far.",
    doc: "",
    positionals: &[],
    flags: &[Flag::switch(
        "wait",
        "Remove it when the next output comes, so that nothing flickers.",
    )],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%clear --wait",
        doc: "replace the outputs by what comes next",
    }],
};

#[async_trait]
impl Magic for Clear {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        host.clear_output(call.arguments.has("wait"));
        Ok(())
    }
}
