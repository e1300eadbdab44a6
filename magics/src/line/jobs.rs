//! `%jobs`: queries that run or wait, of all sessions.

use async_trait::async_trait;
use bireme_protocol::Fault;

use crate::clock::now_ms;
use crate::display::listing;
use crate::display::units::counted;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Forms, Magic, Spec};
use crate::runner::attach;

/// `%jobs`.
#[derive(Debug)]
pub struct Jobs;

static SPEC: Spec = Spec {
    name: "jobs",
    forms: Forms::Line,
    summary: "Lists the queries that run or wait, of all sessions.",
    doc: "`%cancel ID` ends one, `%history` shows those of the past.",
    positionals: &[],
    flags: &[],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%jobs",
        doc: "what the engines are busy with",
    }],
};

#[async_trait]
impl Magic for Jobs {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, _call: &Call) -> Result<(), Fault> {
        let jobs = attach(host).await?.jobs().await?;
        let headline = match jobs.len() {
            0 => "nothing runs and nothing waits".to_string(),
            many => counted(many as u64, "query"),
        };
        host.display(listing::queries(&jobs, &headline, now_ms()));
        Ok(())
    }
}
