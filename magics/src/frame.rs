//! Statements that make frames, and what is said of what they made. Where a frame lies is the
//! engines' to know.

use std::time::Duration;

use bireme_client::QuerySummary;
use bireme_protocol::proto::{CatalogEntry, Frame, LayoutKind, PersistOptions};
use bireme_protocol::{ErrorCode, Fault};

use crate::columns::columns;
use crate::display::units::{counted, format_bytes, milliseconds};
use crate::magic::{Call, Flag, ValueKind};

/// The name of a frame: for the magics of one line that make one. What it is without the flag differs.
pub(crate) const fn name_flag(default: &'static str) -> Flag {
    Flag::value("as", ValueKind::NewName, default, "The name of the frame.")
}

/// How the rows of a frame are laid out: for every magic that makes one.
pub(crate) const BY: Flag = Flag::value(
    "by",
    ValueKind::Text,
    "round-robin",
    "Put rows with equal values of these columns (`a,b`) on the same engine: joins and groups by them move nothing.",
);
/// The same.
pub(crate) const REPLICATE: Flag = Flag::switch(
    "replicate",
    "Put all rows on every engine: joins with it move nothing.",
);

/// The layout that a call asks for.
///
/// # Errors
/// It asks for two.
pub(crate) fn layout(call: &Call) -> Result<PersistOptions, Fault> {
    let by = call.arguments.text("by").unwrap_or_default();
    let names = by.split(',').map(|name| name.trim().trim_matches('"'));
    let by: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect();
    let replicate = call.arguments.has("replicate");
    if replicate && !by.is_empty() {
        let message =
            "--by puts each row on one engine, --replicate on all: a frame has one layout";
        let fault = Fault::new(ErrorCode::InvalidArgument, message);
        let position = call
            .arguments
            .position("replicate")
            .unwrap_or(call.position());
        return Err(fault.with_hint("leave one of the two out").at(position));
    }
    Ok(PersistOptions {
        by,
        replicate,
        spread: false,
    })
}

/// What a statement has made: `frame f: 10 rows x 2 columns, 1 KB on 2 engines, by k, in 3 ms`.
pub fn made(summary: &QuerySummary) -> String {
    let Some(made) = &summary.made else {
        return "made nothing".to_string();
    };
    let entry = made.entry.clone().unwrap_or_default();
    let elapsed = u64::try_from(summary.elapsed.as_millis()).unwrap_or(u64::MAX);
    let size = size(&entry);
    match (made.is_reused, made.is_appended) {
        (true, _) => format!(
            "frame {} is there already: {}",
            entry.name,
            describe(&entry)
        ),
        (false, true) => format!(
            "inserted {} ({}) into {} in {}",
            counted(size.rows, "row"),
            format_bytes(size.bytes),
            entry.name,
            milliseconds(elapsed)
        ),
        (false, false) => format!(
            "frame {}: {} in {}",
            entry.name,
            describe(&entry),
            milliseconds(elapsed)
        ),
    }
}

/// Rows, columns, bytes, engines and layout of a frame.
pub(crate) fn describe(entry: &CatalogEntry) -> String {
    let size = size(entry);
    let layout = match layout_text(entry.frame.as_ref()) {
        text if text.is_empty() => text,
        text => format!(", {text}"),
    };
    format!(
        "{} × {}, {} on {}{layout}",
        counted(size.rows, "row"),
        counted(columns(&entry.schema_json).len() as u64, "column"),
        format_bytes(size.bytes),
        counted(size.engines, "engine"),
    )
}

/// `by k`, `replicated`, or nothing.
pub(crate) fn layout_text(frame: Option<&Frame>) -> String {
    let layout = frame
        .and_then(|frame| frame.layout.clone())
        .unwrap_or_default();
    match layout.kind() {
        LayoutKind::Hash => format!("by {}", layout.columns.join(", ")),
        LayoutKind::Replicated => "replicated".to_string(),
        LayoutKind::RoundRobin | LayoutKind::Unspecified => String::new(),
    }
}

/// The sizes of a frame; copies count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) engines: u64,
}

pub(crate) fn size(entry: &CatalogEntry) -> Size {
    let Some(frame) = &entry.frame else {
        return Size::default();
    };
    let held = frame.segments.iter().flat_map(|one| &one.partitions);
    let mut ranks: Vec<u32> = held
        .filter(|part| part.rows > 0)
        .map(|part| part.rank)
        .collect();
    ranks.sort_unstable();
    ranks.dedup();
    let counted = frame.counted_partitions();
    let (rows, bytes) = counted.fold((0, 0), |(rows, bytes), part| {
        (rows + part.rows, bytes + part.bytes)
    });
    Size {
        rows,
        bytes,
        engines: ranks.len() as u64,
    }
}

/// The options that make a frame with this layout.
pub(crate) fn options(
    layout: PersistOptions,
    timeout: Option<Duration>,
) -> bireme_client::RunOptions {
    bireme_client::RunOptions {
        persist: Some(layout),
        timeout,
        ..bireme_client::RunOptions::default()
    }
}
