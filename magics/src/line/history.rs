//! `%history`: queries of the past, with their counters.

use async_trait::async_trait;
use bireme_protocol::Fault;

use crate::clock::now_ms;
use crate::display::listing;
use crate::display::units::counted;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Spec, ValueKind};
use crate::runner::attach;

/// `%history`.
#[derive(Debug)]
pub struct History;

/// Queries shown without `--limit`.
const LIMIT: u64 = 20;
/// Most queries shown.
const LIMIT_MAX: u64 = 1000;

static SPEC: Spec = Spec {
    name: "history",
    forms: Forms::Line,
    summary: "Lists past queries of this session, newest first.",
    doc: "",
    positionals: &[],
    flags: &[
        Flag::value("limit", ValueKind::Integer, "20", "Most queries shown."),
        Flag::switch("all", "Those of all sessions."),
    ],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%history --limit 5",
        doc: "the last five queries",
    }],
};

#[async_trait]
impl Magic for History {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let limit = call
            .arguments
            .integer("limit")
            .unwrap_or(LIMIT)
            .clamp(1, LIMIT_MAX);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let service = attach(host).await?;
        let past = service.history(call.arguments.has("all"), limit).await?;
        let headline = match past.len() {
            0 => "no query has run yet".to_string(),
            many => counted(many as u64, "query"),
        };
        host.display(listing::queries(&past, &headline, now_ms()));
        Ok(())
    }
}
