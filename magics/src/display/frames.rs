//! The frames of a session, as a listing.

use std::collections::HashMap;

use bireme_protocol::proto::{Catalog, CatalogEntry, EngineMemory};

use super::grid::{Cell, Column, Grid, Look};
use super::listing::under;
use super::units::{count, counted, format_bytes};
use crate::frame::{layout_text, size};
use crate::mime_bundle::MimeBundle;

/// The frames that a session can read, with where they lie.
pub fn frames(catalog: &Catalog, memory: &[EngineMemory], session: &str) -> MimeBundle {
    let frames: Vec<&CatalogEntry> = catalog
        .entries
        .iter()
        .filter(|entry| entry.frame.is_some())
        .collect();
    if frames.is_empty() {
        return MimeBundle::plain(
            "no frames: %persist NAME or CREATE TABLE f AS SELECT ... makes one",
        );
    }
    let mut grid = Grid::new(vec![
        Column::left("frame"),
        Column::right("rows"),
        Column::right("bytes"),
        Column::right("memory"),
        Column::right("disk"),
        Column::right("skew"),
        Column::left("layout"),
        Column::left("rows on each engine"),
        Column::left("state"),
    ]);
    let held = held(memory);
    for entry in &frames {
        grid.push(cells(entry, &held, session));
    }
    under(&counted(frames.len() as u64, "frame"), &grid)
}

/// Bytes in memory and on disk, by segment.
fn held(memory: &[EngineMemory]) -> HashMap<&str, (u64, u64)> {
    let mut held: HashMap<&str, (u64, u64)> = HashMap::new();
    for segment in memory.iter().flat_map(|engine| &engine.segments) {
        let (host, disk) = held.entry(segment.id.as_str()).or_default();
        *host += segment.host_bytes;
        *disk += segment.disk_bytes;
    }
    held
}

fn cells(entry: &CatalogEntry, held: &HashMap<&str, (u64, u64)>, session: &str) -> Vec<Cell> {
    let frame = entry.frame.clone().unwrap_or_default();
    let size = size(entry);
    let (mut host, mut disk) = (0, 0);
    for segment in &frame.segments {
        let (in_memory, on_disk) = held.get(segment.id.as_str()).copied().unwrap_or_default();
        host += in_memory;
        disk += on_disk;
    }
    let by_engine = rows_by_engine(entry);
    let state = match (
        frame.lost.as_str(),
        frame.published,
        frame.session == session,
    ) {
        ("", _, false) => Cell::dim(format!("published by {}", frame.session)),
        ("", true, true) => "published".into(),
        ("", false, true) => "".into(),
        (lost, ..) => Cell {
            text: "lost".to_string(),
            title: Some(lost.to_string()),
            look: Look::Strong,
        },
    };
    let lost = match frame.lost.as_str() {
        "" => state,
        lost => Cell {
            text: format!("lost: {lost}"),
            ..state
        },
    };
    let layout = layout_text(Some(&frame));
    vec![
        entry.name.clone().into(),
        count(size.rows).into(),
        format_bytes(size.bytes).into(),
        format_bytes(host).into(),
        format_bytes(disk).into(),
        skew(&by_engine).into(),
        if layout.is_empty() {
            Cell::dim("round-robin")
        } else {
            layout.into()
        },
        by_engine
            .iter()
            .map(|rows| count(*rows))
            .collect::<Vec<_>>()
            .join(" · ")
            .into(),
        lost,
    ]
}

/// The rows of each engine, by rank.
fn rows_by_engine(entry: &CatalogEntry) -> Vec<u64> {
    let frame = entry.frame.iter();
    let parts = frame
        .flat_map(|frame| &frame.segments)
        .flat_map(|segment| &segment.partitions);
    let mut rows: Vec<u64> = Vec::new();
    for part in parts {
        let rank = part.rank as usize;
        if rows.len() <= rank {
            rows.resize(rank + 1, 0);
        }
        rows[rank] += part.rows;
    }
    rows
}

/// The largest part over an equal part.
fn skew(rows: &[u64]) -> String {
    let (all, largest) = (
        rows.iter().sum::<u64>(),
        rows.iter().copied().max().unwrap_or(0),
    );
    match all {
        0 => "".to_string(),
        all => format!("{:.2}", largest as f64 * rows.len() as f64 / all as f64),
    }
}
