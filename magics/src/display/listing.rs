//! What the cluster is and does, as listings: engines, jobs, history, settings, parameters.

use bireme_protocol::Fault;
use bireme_protocol::proto::{ClusterStatus, EngineStatus, QueryRecord, QueryState};
use bireme_settings::Settings;
use serde_json::Value;

use super::grid::{Cell, Column, Grid, Look};
use super::units::{
    clip, count, counted, escape_html, format_bytes, milliseconds, moment, one_line,
};
use crate::mime_bundle::MimeBundle;

/// Widest statement in a listing.
const STATEMENT_WIDTH: usize = 60;

/// The engines of a cluster.
pub fn engines(status: &ClusterStatus, now_ms: u64) -> MimeBundle {
    let up = status
        .engines
        .iter()
        .filter(|engine| engine.state == "up")
        .count() as u64;
    let wanted = u64::from(status.engines_wanted);
    let headline = match up == wanted {
        true => counted(up, "engine"),
        false => format!("{up} of {} up", counted(wanted, "engine")),
    };
    let has_exits = status
        .engines
        .iter()
        .any(|engine| !engine.last_exit.is_empty());
    let mut columns: Vec<Column> = vec![
        Column::right("rank"),
        Column::left("state"),
        Column::left("slot"),
        Column::right("pid"),
        Column::left("up for"),
        Column::right("queries"),
        Column::right("reserved"),
        Column::right("limit"),
        Column::right("resident"),
        Column::right("spilled"),
        Column::right("restarts"),
    ];
    if has_exits {
        columns.push(Column::left("last exit"));
    }
    let mut grid = Grid::new(columns);
    for engine in &status.engines {
        let mut cells = engine_cells(engine, now_ms);
        if has_exits {
            cells.push(engine.last_exit.clone().into());
        }
        grid.push(cells);
    }
    under(&headline, &grid)
}

fn engine_cells(engine: &EngineStatus, now_ms: u64) -> Vec<Cell> {
    let look = if engine.state == "up" {
        Look::Normal
    } else {
        Look::Strong
    };
    vec![
        engine.rank.to_string().into(),
        Cell {
            look,
            ..Cell::from(engine.state.clone())
        },
        engine.slot.clone().into(),
        engine.pid.to_string().into(),
        milliseconds(now_ms.saturating_sub(engine.started_at_ms)).into(),
        engine.queries.to_string().into(),
        format_bytes(engine.memory_reserved).into(),
        format_bytes(engine.memory_limit).into(),
        format_bytes(engine.resident_bytes).into(),
        format_bytes(engine.spill_bytes).into(),
        engine.restarts.to_string().into(),
    ]
}

/// A cluster in a few lines.
pub fn cluster(status: &ClusterStatus, session: &str, now_ms: u64) -> MimeBundle {
    let up = status
        .engines
        .iter()
        .filter(|engine| engine.state == "up")
        .count();
    let mut grid = Grid::new(vec![
        Column::left("cluster"),
        Column::left(&status.cluster_id),
    ]);
    let queries = format!(
        "{} running, {} queued",
        status.queries_running, status.queries_queued
    );
    let rows = [
        ("session", session.to_string()),
        ("engines", format!("{up} up of {}", status.engines_wanted)),
        ("queries", queries),
        ("sessions", status.sessions.to_string()),
        (
            "controller",
            format!(
                "pid {}, {} resident",
                status.controller_pid,
                format_bytes(status.controller_resident_bytes)
            ),
        ),
        (
            "up for",
            milliseconds(now_ms.saturating_sub(status.started_at_ms)),
        ),
        ("build", clip(&status.build_id, STATEMENT_WIDTH)),
    ];
    for (name, value) in rows {
        grid.push(vec![name.into(), value.into()]);
    }
    MimeBundle::new(grid.to_plain(), grid.to_html())
}

/// Queries: those that run and wait, or those of the past.
pub fn queries(records: &[QueryRecord], headline: &str, now_ms: i64) -> MimeBundle {
    let mut grid = Grid::new(vec![
        Column::left("id"),
        Column::left("state"),
        Column::left("at"),
        Column::right("time"),
        Column::right("rows"),
        Column::right("read"),
        Column::right("spilled"),
        Column::left("statement"),
    ]);
    for record in records {
        grid.push(query_cells(record, now_ms));
    }
    match records.is_empty() {
        true => MimeBundle::plain(headline),
        false => under(headline, &grid),
    }
}

fn query_cells(record: &QueryRecord, now_ms: i64) -> Vec<Cell> {
    let progress = record.progress.unwrap_or_default();
    let statement = one_line(&record.sql.split_whitespace().collect::<Vec<_>>().join(" "));
    let clipped = clip(&statement, STATEMENT_WIDTH);
    let title = (clipped != statement).then_some(statement);
    vec![
        clip_id(&record.query_id).into(),
        state(record),
        moment(record.submitted_at_ms, now_ms).into(),
        milliseconds(record.elapsed_ms).into(),
        count(progress.rows_out).into(),
        format_bytes(progress.bytes_scanned).into(),
        format_bytes(progress.bytes_spilled).into(),
        Cell {
            text: clipped,
            title,
            look: Look::Normal,
        },
    ]
}

/// The eight characters of an id that people see and type.
pub fn clip_id(id: &str) -> String {
    id.chars().filter(|c| *c != '-').take(8).collect()
}

fn state(record: &QueryRecord) -> Cell {
    let fault = (!record.fault_json.is_empty()).then(|| Fault::from_json(&record.fault_json));
    match record.state() {
        QueryState::Queued => format!("queued, place {}", record.place).into(),
        QueryState::Running => "running".into(),
        QueryState::Succeeded => "succeeded".into(),
        QueryState::Cancelled => Cell::dim("cancelled"),
        QueryState::Failed => {
            let code = fault
                .as_ref()
                .map_or("failed".into(), |fault| fault.code.to_string());
            let title = fault.map(|fault| fault.to_string());
            Cell {
                text: code,
                title,
                look: Look::Strong,
            }
        }
        QueryState::Unspecified => Cell::dim("unknown"),
    }
}

/// Settings; those whose key begins with `prefix`.
pub fn settings(settings: &Settings, prefix: &str) -> MimeBundle {
    let mut grid = Grid::new(vec![
        Column::left("key"),
        Column::left("value"),
        Column::left("default"),
        Column::left("type"),
        Column::left("from"),
        Column::left("doc"),
    ]);
    for (setting, value, source) in settings
        .iter()
        .filter(|(s, _, _)| s.key.starts_with(prefix))
    {
        let look = if value == setting.default {
            Look::Normal
        } else {
            Look::Strong
        };
        grid.push(vec![
            setting.key.into(),
            Cell {
                look,
                ..Cell::from(value)
            },
            setting.default.into(),
            setting.kind.name().into(),
            source.name().into(),
            setting.doc.into(),
        ]);
    }
    MimeBundle::new(grid.to_plain(), grid.to_html())
}

/// Parameters of a notebook.
pub fn parameters(parameters: &[(String, Value)]) -> MimeBundle {
    if parameters.is_empty() {
        return MimeBundle::plain("no parameters; %param name = value sets one");
    }
    let mut grid = Grid::new(vec![Column::left("parameter"), Column::left("value")]);
    for (name, value) in parameters {
        grid.push(vec![
            name.as_str().into(),
            one_line(&value.to_string()).into(),
        ]);
    }
    MimeBundle::new(grid.to_plain(), grid.to_html())
}

/// A grid below a line.
pub(crate) fn under(headline: &str, grid: &Grid) -> MimeBundle {
    let small = format!(
        "<small style=\"opacity:0.7\">{}</small>",
        escape_html(headline)
    );
    MimeBundle::new(
        format!("{headline}\n{}", grid.to_plain()),
        format!(
            "<div style=\"overflow-x:auto\">{small}{}</div>",
            grid.to_html()
        ),
    )
}
