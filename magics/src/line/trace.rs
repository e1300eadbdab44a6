//! `%trace`: when which engine scanned, computed, shuffled, copied and spilled.

use std::path::Path;

use async_trait::async_trait;
use bireme_protocol::proto::EngineSpans;
use bireme_protocol::{ErrorCode, Fault};

use crate::display::timeline;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind};
use crate::mime_bundle::MimeBundle;
use crate::runner::attach;

/// `%trace`.
#[derive(Debug)]
pub struct Trace;

static SPEC: Spec = Spec {
    name: "trace",
    forms: Forms::Line,
    summary: "Shows or saves what the engines did when.",
    doc: "The engines always record; they keep the latest work only. A saved trace opens in Perfetto and \
          `chrome://tracing`.",
    positionals: &[
        Positional {
            name: "WHAT",
            kind: ValueKind::Choice(&["show", "save"]),
            is_required: false,
            doc: "`show` (without it, too) sums by engine and kind; `save` writes FILE.",
        },
        Positional {
            name: "FILE",
            kind: ValueKind::Text,
            is_required: false,
            doc: "Where `save` writes Chrome's trace format.",
        },
    ],
    flags: &[
        Flag::value(
            "query",
            ValueKind::QueryId,
            "the session's last",
            "Whose work.",
        ),
        Flag::switch("all", "The work of all queries that is still recorded."),
    ],
    body: BodyKind::None,
    examples: &[
        Example {
            cell: "%trace",
            doc: "sum up the last query",
        },
        Example {
            cell: "%trace save trace.json --all",
            doc: "keep the timeline of everything",
        },
    ],
};

#[async_trait]
impl Magic for Trace {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let file = call.arguments.text("FILE");
        let is_save = call.arguments.text("WHAT") == Some("save");
        let file = match (is_save, file) {
            (true, None) => {
                let message = "%trace save needs FILE: where to write";
                return Err(Fault::new(ErrorCode::InvalidArgument, message).at(call.position()));
            }
            (true, file) => file,
            (false, _) => None,
        };
        let engines = spans(host, call).await?;
        match file {
            None => host.display(timeline::summary(&engines)),
            Some(file) => {
                let trace = timeline::chrome_trace(&engines).to_string();
                save(Path::new(file), &trace).await?;
                host.display(MimeBundle::plain(format!("saved {file}")));
            }
        }
        Ok(())
    }
}

async fn spans(host: &dyn Host, call: &Call) -> Result<Vec<EngineSpans>, Fault> {
    let service = attach(host).await?;
    if call.arguments.has("all") {
        return service.spans("").await;
    }
    if let Some(id) = call.arguments.text("query") {
        return service.spans(id).await.map_err(|mut fault| {
            fault.position = fault.position.or(call.arguments.position("query"));
            fault
        });
    }
    match service.history(false, 1).await?.first() {
        Some(last) => service.spans(&last.query_id).await,
        None => Ok(Vec::new()),
    }
}

/// Writes beside the file and renames, so that a file of this name is always whole.
async fn save(file: &Path, text: &str) -> Result<(), Fault> {
    let failed = |error: std::io::Error| {
        let message = format!("save the trace to {}: {error}", file.display());
        Fault::new(ErrorCode::InvalidArgument, message)
    };
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    tokio::fs::write(&partial, text).await.map_err(failed)?;
    tokio::fs::rename(&partial, file).await.map_err(failed)
}
