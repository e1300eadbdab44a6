//! What engines hold and have moved, as listings.

use std::collections::{BTreeMap, HashMap};

use bireme_protocol::proto::{Catalog, EngineMemory, TierMemory};

use super::grid::{Cell, Column, Grid};
use super::listing::{clip_id, under};
use super::units::{count, counted, format_bytes};
use crate::mime_bundle::MimeBundle;

/// Holders shown, the largest first.
const HOLDERS_SHOWN: usize = 12;

/// The tiers of each engine, and who holds what in them.
pub fn memory(engines: &[EngineMemory], catalog: &Catalog) -> MimeBundle {
    let tiers = tiers(engines);
    let holders = holders(engines, catalog);
    match holders {
        None => tiers,
        Some(holders) => MimeBundle::new(
            format!("{}\n\n{}", tiers.plain, holders.plain),
            format!(
                "{}{}",
                tiers.html.unwrap_or_default(),
                holders.html.unwrap_or_default()
            ),
        ),
    }
}

fn tiers(engines: &[EngineMemory]) -> MimeBundle {
    let mut grid = Grid::new(vec![
        Column::right("engine"),
        Column::left("tier"),
        Column::right("used"),
        Column::right("of"),
        Column::right(""),
        Column::right("frames"),
        Column::right("queries"),
        Column::right("peak"),
        Column::right("refused"),
        Column::right("resident"),
    ]);
    for engine in engines {
        for (index, tier) in engine.tiers.iter().enumerate() {
            let on_disk: u64 = engine
                .segments
                .iter()
                .map(|segment| segment.disk_bytes)
                .sum();
            let frames = match tier.tier.as_str() {
                "disk" => on_disk.min(tier.used),
                _ => tier.frames,
            };
            let resident = match index {
                0 => format_bytes(engine.resident_bytes),
                _ => String::new(),
            };
            let rank = match index {
                0 => engine.rank.to_string(),
                _ => String::new(),
            };
            grid.push(vec![
                rank.into(),
                tier.tier.clone().into(),
                format_bytes(tier.used).into(),
                format_bytes(tier.limit).into(),
                Cell::dim(percent(tier)),
                format_bytes(frames).into(),
                format_bytes(tier.used.saturating_sub(frames)).into(),
                format_bytes(tier.peak).into(),
                count(tier.refused).into(),
                resident.into(),
            ]);
        }
    }
    under(&counted(engines.len() as u64, "engine"), &grid)
}

fn percent(tier: &TierMemory) -> String {
    match tier.limit {
        0 => String::new(),
        limit => format!("{:.0} %", tier.used as f64 * 100.0 / limit as f64),
    }
}

/// Frames and operators that hold something; none when nobody does.
fn holders(engines: &[EngineMemory], catalog: &Catalog) -> Option<MimeBundle> {
    let mut grid = Grid::new(vec![
        Column::right("engine"),
        Column::left("holder"),
        Column::right("memory"),
        Column::right("disk"),
        Column::left("query"),
    ]);
    let names = frame_names(catalog);
    let mut rows = 0;
    for engine in engines {
        let mut frames: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for segment in &engine.segments {
            let name = names.get(segment.id.as_str());
            let name = name.map_or_else(
                || format!("frame of another session ({})", clip_id(&segment.id)),
                |name| format!("frame {name}"),
            );
            let (host, disk) = frames.entry(name).or_default();
            *host += segment.host_bytes;
            *disk += segment.disk_bytes;
        }
        for (name, (host, disk)) in frames {
            rows += 1;
            grid.push(vec![
                engine.rank.to_string().into(),
                name.into(),
                format_bytes(host).into(),
                format_bytes(disk).into(),
                "".into(),
            ]);
        }
        for holder in engine.holders.iter().take(HOLDERS_SHOWN) {
            rows += 1;
            let can_spill = if holder.can_spill { "can spill" } else { "" };
            grid.push(vec![
                engine.rank.to_string().into(),
                holder.name.clone().into(),
                format_bytes(holder.used).into(),
                Cell::dim(can_spill),
                holder.query.clone().into(),
            ]);
        }
    }
    (rows > 0).then(|| under("held by", &grid))
}

fn frame_names(catalog: &Catalog) -> HashMap<&str, &str> {
    let frames = catalog
        .entries
        .iter()
        .filter_map(|entry| Some((entry, entry.frame.as_ref()?)));
    frames
        .flat_map(|(entry, frame)| {
            let segments = frame.segments.iter();
            segments.map(|segment| (segment.id.as_str(), entry.name.as_str()))
        })
        .collect()
}

/// The counters of each engine.
pub fn stats(engines: &[EngineMemory], with_zeros: bool) -> MimeBundle {
    let mut columns = vec![Column::left("counter")];
    columns.extend(
        engines
            .iter()
            .map(|engine| Column::right(&format!("engine {}", engine.rank))),
    );
    columns.push(Column::right("all"));
    let mut grid = Grid::new(columns);
    let mut names: Vec<&str> = Vec::new();
    for counter in engines.iter().flat_map(|engine| &engine.counters) {
        if !names.contains(&counter.name.as_str()) {
            names.push(&counter.name);
        }
    }
    for name in names {
        let values: Vec<u64> = engines
            .iter()
            .map(|engine| {
                let mut counters = engine.counters.iter();
                counters
                    .find(|one| one.name == name)
                    .map_or(0, |one| one.value)
            })
            .collect();
        let sum: u64 = values.iter().sum();
        if sum == 0 && !with_zeros {
            continue;
        }
        let mut cells: Vec<Cell> = vec![name.to_string().into()];
        cells.extend(
            values
                .iter()
                .chain([&sum])
                .map(|value| Cell::from(shown(name, *value))),
        );
        grid.push(cells);
    }
    under("since the engines started", &grid)
}

fn shown(name: &str, value: u64) -> String {
    if name.ends_with("-bytes") {
        format_bytes(value)
    } else if name.ends_with("-nanoseconds") {
        format!("{:.3} s", value as f64 / 1e9)
    } else {
        count(value)
    }
}
