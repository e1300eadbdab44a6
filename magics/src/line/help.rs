//! `%help`: the magics, or the page of one.

use async_trait::async_trait;
use bireme_protocol::{ErrorCode, Fault};

use crate::help;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Form, Forms, Magic, Positional, Spec, ValueKind};
use crate::registry;

/// `%help`.
#[derive(Debug)]
pub struct Help;

static SPEC: Spec = Spec {
    name: "help",
    forms: Forms::Line,
    summary: "Lists the magics, or shows the page of one.",
    doc: "",
    positionals: &[Positional {
        name: "MAGIC",
        kind: ValueKind::MagicName,
        is_required: false,
        doc: "Whose page.",
    }],
    flags: &[],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%help sql",
        doc: "see what %%sql takes",
    }],
};

#[async_trait]
impl Magic for Help {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let Some(typed) = call.arguments.text("MAGIC") else {
            host.display(help::list());
            return Ok(());
        };
        let name = typed.trim_matches(['%', '?']);
        if let Some(magic) = registry::find(name) {
            host.display(help::page(magic));
            return Ok(());
        }
        let fault = Fault::new(
            ErrorCode::InvalidArgument,
            format!("there is no magic {typed}"),
        );
        let position = call.arguments.position("MAGIC").unwrap_or(call.position());
        let hint = match registry::nearest(name, Form::Line) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "%help lists the magics".into(),
        };
        Err(fault.at(position).with_hint(hint))
    }
}
