//! `%restart`: starts the kernel anew. The restart itself is the kernel's.

use async_trait::async_trait;
use bireme_protocol::Fault;

use crate::host::{Host, Restart as Extent};
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Spec};

/// `%restart`.
#[derive(Debug)]
pub struct Restart;

static SPEC: Spec = Spec {
    name: "restart",
    forms: Forms::Line,
    summary: "Forgets the Rust variables; views and tables stay.",
    doc: "The session's names live on the cluster and outlast the kernel. `--all` drops them too, as \
          well as parameters and session settings.",
    positionals: &[],
    flags: &[Flag::switch(
        "all",
        "Also drop the session's views and tables.",
    )],
    body: BodyKind::None,
    examples: &[
        Example {
            cell: "%restart",
            doc: "a fresh Rust, the same views",
        },
        Example {
            cell: "%restart --all",
            doc: "everything as in a new notebook",
        },
    ],
};

#[async_trait]
impl Magic for Restart {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let extent = match call.arguments.has("all") {
            true => Extent::KernelAndSession,
            false => Extent::Kernel,
        };
        host.restart(extent).await
    }
}
