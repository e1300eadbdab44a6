//! `%frames`, `%drop` and `%publish`: what the engines hold, and who sees it.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bireme_protocol::Fault;
use bireme_protocol::proto::Catalog;

use crate::display::frames;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind};
use crate::mime_bundle::MimeBundle;
use crate::query::QueryService;
use crate::runner::attach;

/// How long the engines may take to let go of a frame before that is told.
const GONE_WITHIN: Duration = Duration::from_secs(1);
const GONE_POLL: Duration = Duration::from_millis(10);

/// `%frames`.
#[derive(Debug)]
pub struct Frames;

static FRAMES: Spec = Spec {
    name: "frames",
    forms: Forms::Line,
    summary: "Lists the frames: rows, bytes, tiers, skew, layout.",
    doc: "Skew is the largest engine's part of the rows over an equal part: 1.00 is even. Copies of a replicated frame \
          count once in rows and bytes.",
    positionals: &[],
    flags: &[],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%frames",
        doc: "the frames that this notebook can read",
    }],
};

#[async_trait]
impl Magic for Frames {
    fn spec(&self) -> &'static Spec {
        &FRAMES
    }

    async fn run(&self, host: &dyn Host, _call: &Call) -> Result<(), Fault> {
        let service = attach(host).await?;
        let catalog = service.catalog().await?;
        let memory = service.memory().await?;
        host.display(frames::frames(&catalog, &memory, &service.session()));
        Ok(())
    }
}

/// `%drop`.
#[derive(Debug)]
pub struct Drop;

static DROP: Spec = Spec {
    name: "drop",
    forms: Forms::Line,
    summary: "Drops a frame, view or table.",
    doc: "Queries that read a frame go on to their end; its memory and files are free then.",
    positionals: &[Positional {
        name: "NAME",
        kind: ValueKind::Table,
        is_required: true,
        doc: "A frame, a view or a table of this session.",
    }],
    flags: &[],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%drop fast",
        doc: "drop a frame",
    }],
};

#[async_trait]
impl Magic for Drop {
    fn spec(&self) -> &'static Spec {
        &DROP
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let name = call.arguments.text("NAME").unwrap_or_default();
        let service = attach(host).await?;
        let plain = name.trim_matches('"');
        let segments = segments(&service.catalog().await?, plain);
        let dropped = service.drop_name(plain, false).await;
        dropped.map_err(|fault| placed(fault, call))?;
        let told = match are_gone(service.as_ref(), &segments).await {
            true => format!("dropped {name}"),
            false => format!(
                "dropped {name}; its memory is free once the queries that read it have ended"
            ),
        };
        host.display(MimeBundle::plain(told));
        Ok(())
    }
}

/// `%publish`.
#[derive(Debug)]
pub struct Publish;

static PUBLISH: Spec = Spec {
    name: "publish",
    forms: Forms::Line,
    summary: "Lets other notebooks read a frame.",
    doc: "They see it under its name, unless they have that name themselves. It still belongs to this session, which alone \
          can change or drop it.",
    positionals: &[Positional {
        name: "NAME",
        kind: ValueKind::Table,
        is_required: true,
        doc: "A frame of this session.",
    }],
    flags: &[Flag::switch("withdraw", "Keep it to this session again.")],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%publish fast",
        doc: "let others read a frame",
    }],
};

#[async_trait]
impl Magic for Publish {
    fn spec(&self) -> &'static Spec {
        &PUBLISH
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let name = call.arguments.text("NAME").unwrap_or_default();
        let withdraw = call.arguments.has("withdraw");
        let published = attach(host)
            .await?
            .publish(name.trim_matches('"'), withdraw)
            .await;
        published.map_err(|fault| placed(fault, call))?;
        let told = match withdraw {
            true => format!("{name} is this session's own again"),
            false => format!("other sessions can read {name}"),
        };
        host.display(MimeBundle::plain(told));
        Ok(())
    }
}

/// The segments of a frame.
fn segments(catalog: &Catalog, name: &str) -> Vec<String> {
    let entry = catalog.entries.iter().find(|entry| entry.name == name);
    let frame = entry.and_then(|entry| entry.frame.as_ref());
    let segments = frame.iter().flat_map(|frame| &frame.segments);
    segments.map(|segment| segment.id.clone()).collect()
}

/// Waits a moment until no engine holds any of these.
async fn are_gone(service: &dyn QueryService, segments: &[String]) -> bool {
    let until = Instant::now() + GONE_WITHIN;
    while !segments.is_empty() {
        let Ok(engines) = service.memory().await else {
            return true;
        };
        let mut held = engines.iter().flat_map(|engine| &engine.segments);
        if !held.any(|segment| segments.contains(&segment.id)) {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(GONE_POLL).await;
    }
    true
}

fn placed(mut fault: Fault, call: &Call) -> Fault {
    fault.position = call.arguments.position("NAME");
    fault
}
