//! `%engines`: who rows, with how much memory.

use async_trait::async_trait;
use bireme_protocol::Fault;

use crate::clock::now_ms;
use crate::display::listing;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Forms, Magic, Spec};
use crate::runner::attach;

/// `%engines`.
#[derive(Debug)]
pub struct Engines;

static SPEC: Spec = Spec {
    name: "engines",
    forms: Forms::Line,
    summary: "Lists the engines: state, queries, memory, spill, restarts.",
    doc: "",
    positionals: &[],
    flags: &[],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%engines",
        doc: "the engines of the cluster",
    }],
};

#[async_trait]
impl Magic for Engines {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, _call: &Call) -> Result<(), Fault> {
        let status = attach(host).await?.status().await?;
        host.display(listing::engines(&status, now_ms().cast_unsigned()));
        Ok(())
    }
}
