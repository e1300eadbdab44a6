//! `%memory` and `%stats`: what the engines hold, and what they have moved.

use async_trait::async_trait;
use bireme_protocol::Fault;

use crate::display::memory;
use crate::host::Host;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Spec};
use crate::runner::attach;

/// `%memory`.
#[derive(Debug)]
pub struct Memory;

static MEMORY: Spec = Spec {
    name: "memory",
    forms: Forms::Line,
    summary: "Shows what each engine holds: tiers, operators, frames.",
    doc: "Frames hold memory only as long as nobody needs it more: under pressure the coldest go to disk, and come back \
          when they are read.",
    positionals: &[],
    flags: &[],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%memory",
        doc: "memory and disk of every engine",
    }],
};

#[async_trait]
impl Magic for Memory {
    fn spec(&self) -> &'static Spec {
        &MEMORY
    }

    async fn run(&self, host: &dyn Host, _call: &Call) -> Result<(), Fault> {
        let service = attach(host).await?;
        let (engines, catalog) = (service.memory().await?, service.catalog().await?);
        host.display(memory::memory(&engines, &catalog));
        Ok(())
    }
}

/// `%stats`.
#[derive(Debug)]
pub struct Stats;

static STATS: Spec = Spec {
    name: "stats",
    forms: Forms::Line,
    summary: "Shows the counters of each engine: bytes, times and seconds of every movement.",
    doc: "`copy-host-to-disk` is what frames have pushed to disk, `copy-disk-to-host` what came back, `drop-host` what left \
          memory without being written since it was on disk already; `spill` is all files of queries and frames.",
    positionals: &[],
    flags: &[Flag::switch("all", "Counters that are 0 too.")],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%stats",
        doc: "what has moved since the engines started",
    }],
};

#[async_trait]
impl Magic for Stats {
    fn spec(&self) -> &'static Spec {
        &STATS
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let engines = attach(host).await?.memory().await?;
        host.display(memory::stats(&engines, call.arguments.has("all")));
        Ok(())
    }
}
