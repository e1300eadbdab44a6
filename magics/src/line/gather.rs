//! `%gather`: the rows of a frame come to a Rust variable.

use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use bireme_client::RunOptions;
use bireme_protocol::proto::{CatalogEntry, Frame, SharedArray};
use bireme_protocol::{ErrorCode, Fault};

use super::show::select_all;
use crate::frame;
use crate::host::{Host, RowSink};
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Positional, Spec, ValueKind};
use crate::mime_bundle::MimeBundle;
use crate::query::QueryService;
use crate::runner::{Runner, attach};
use crate::rust_rows::{Totals, too_large};

/// Files in memory that engines fill, each at the same time as the others.
const FILES: usize = 8;

/// `%gather`.
#[derive(Debug)]
pub struct Gather;

static SPEC: Spec = Spec {
    name: "gather",
    forms: Forms::Line,
    summary: "Brings the rows of a frame into a Rust variable.",
    doc: "The variable is a `Table`, whose `batches()` are Arrow record batches, in the order of the partitions. A frame \
          that is larger than `rust.bind_limit` is refused before anything moves.",
    positionals: &[Positional {
        name: "NAME",
        kind: ValueKind::Table,
        is_required: true,
        doc: "A frame, a view or a table.",
    }],
    flags: &[
        Flag::value("to", ValueKind::NewName, "NAME", "The Rust variable."),
        Flag::value("limit", ValueKind::Count, "none", "Most rows that come."),
        Flag::TIMEOUT,
    ],
    body: BodyKind::None,
    examples: &[Example {
        cell: "%gather fast --to rows",
        doc: "the rows of a frame, for Rust",
    }],
};

#[async_trait]
impl Magic for Gather {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let name = call.arguments.text("NAME").unwrap_or_default();
        let variable = call.arguments.text("to").unwrap_or(name);
        let limit = call.arguments.integer("limit");
        let most = host.settings().bytes("rust.bind_limit");
        let placed = |mut fault: Fault| {
            fault.position = call.arguments.position("NAME");
            fault
        };
        let service = attach(host).await?;
        let catalog = service.catalog().await?;
        let plain = name.trim_matches('"');
        let entry = catalog.entries.iter().find(|entry| entry.name == plain);
        // A query waits for what is being made again.
        let is_there = |frame: &Frame| !frame.pending && limit.is_none();
        let frame = entry.filter(|entry| entry.frame.as_ref().is_some_and(is_there));
        if let Some(entry) = frame {
            let bytes = frame::size(entry).bytes;
            if bytes > most {
                return Err(placed(too_large(name, variable, bytes, most)));
            }
        }
        let mut rows = host.rows_for_rust(variable)?;
        let started = Instant::now();
        let (schema, gathered) = match frame {
            Some(entry) => from_engines(host, service.as_ref(), entry, rows.as_mut()).await,
            None => {
                let mut gathered = Totals::default();
                let mut take = |batch: RecordBatch| {
                    gathered.rows += batch.num_rows() as u64;
                    gathered.bytes = rows.write(&batch)?;
                    match gathered.bytes > most {
                        true => Err(too_large(name, variable, gathered.bytes, most)),
                        false => Ok(()),
                    }
                };
                let options = RunOptions {
                    limit,
                    timeout: call.timeout(),
                    ..RunOptions::default()
                };
                let mut runner = Runner::new(host);
                let query = select_all(name);
                let outcome = runner.run_into(&query, &options, &mut take).await;
                outcome.map(|(schema, _)| (Schema::clone(&schema), gathered))
            }
        }
        .map_err(placed)?;
        rows.finish(&schema).await?;
        let told = gathered.told(variable, &schema, started.elapsed());
        host.display(MimeBundle::plain(told));
        Ok(())
    }
}

/// Has the engines that hold a frame put its rows into memory, until the user interrupts; its columns.
async fn from_engines(
    host: &dyn Host,
    service: &dyn QueryService,
    entry: &CatalogEntry,
    rows: &mut dyn RowSink,
) -> Result<(Schema, Totals), Fault> {
    let schema: Schema = serde_json::from_str(&entry.schema_json)
        .map_err(|error| Fault::internal(format!("read the columns of a frame: {error}")))?;
    let files = rows.file_places(FILES)?;
    let cancellation = host.cancellation();
    let batches = tokio::select! {
        biased;
        () = cancellation.cancelled() => {
            return Err(Fault::new(ErrorCode::Cancelled, "interrupted while rows came"));
        }
        batches = service.gather(entry, &files) => batches?,
    };
    rows.take(&schema, &batches)?;
    let columns = batches.iter().flat_map(|batch| &batch.columns);
    let gathered = Totals {
        rows: batches.iter().map(|batch| batch.rows).sum(),
        bytes: columns.fold(0, add_bytes),
    };
    Ok((schema, gathered))
}

fn add_bytes(bytes: u64, array: &SharedArray) -> u64 {
    let own = array.nulls.iter().chain(&array.buffers);
    let bytes = own.fold(bytes, |sum, buffer| sum + buffer.length);
    array.children.iter().fold(bytes, add_bytes)
}
