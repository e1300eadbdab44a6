//! `%cluster`: the cluster in a few lines, and what its processes have logged.

use async_trait::async_trait;
use bireme_protocol::Fault;

use crate::clock::now_ms;
use crate::display::listing;
use crate::host::{Host, LogSource, StreamName};
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind};
use crate::runner::attach;

/// `%cluster`.
#[derive(Debug)]
pub struct Cluster;

/// Lines of a log shown without `--lines`.
const LOG_LINES: u64 = 40;
/// Most lines of a log shown.
const LOG_LINES_MAX: u64 = 10_000;

static SPEC: Spec = Spec {
    name: "cluster",
    forms: Forms::Line,
    summary: "Shows the cluster, or the end of a process's log.",
    doc: "`bireme cluster start`, `stop` and `scale` change it.",
    positionals: &[Positional {
        name: "WHAT",
        kind: ValueKind::Choice(&["status", "logs"]),
        is_required: false,
        doc: "`status` (without it, too) or `logs`.",
    }],
    flags: &[
        Flag::value(
            "engine",
            ValueKind::Integer,
            "the controller's log",
            "The rank whose log to show.",
        ),
        Flag::value(
            "lines",
            ValueKind::Integer,
            "40",
            "Lines of the log, from its end.",
        ),
    ],
    body: BodyKind::None,
    examples: &[
        Example {
            cell: "%cluster",
            doc: "what runs where",
        },
        Example {
            cell: "%cluster logs --engine 1",
            doc: "the last lines engine 1 has logged",
        },
    ],
};

#[async_trait]
impl Magic for Cluster {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        if call.arguments.text("WHAT") == Some("logs") {
            return logs(host, call).await;
        }
        let service = attach(host).await?;
        let status = service.status().await?;
        let listing = listing::cluster(&status, &service.session(), now_ms().cast_unsigned());
        host.display(listing);
        Ok(())
    }
}

async fn logs(host: &dyn Host, call: &Call) -> Result<(), Fault> {
    let source = match call.arguments.integer("engine") {
        Some(rank) => LogSource::Engine(u32::try_from(rank).unwrap_or(u32::MAX)),
        None => LogSource::Controller,
    };
    let lines = call
        .arguments
        .integer("lines")
        .unwrap_or(LOG_LINES)
        .clamp(1, LOG_LINES_MAX);
    let text = host
        .logs(source, usize::try_from(lines).unwrap_or(usize::MAX))
        .await?;
    let text = if text.ends_with('\n') {
        text
    } else {
        format!("{text}\n")
    };
    host.stream(StreamName::Stdout, &text);
    Ok(())
}
