//! A frame between its statement and the controller's catalog: what is described of it, with what it
//! takes to make it again.

use crate::engine::HeadSession;
use crate::fault_from::fault_from;
use crate::frame_statement::{FrameAction, FrameStatement};
use crate::lineage::{self, Origin};
use crate::session_tables::SessionTables;
use bireme_frames::{deal, owners_to_bytes};
use bireme_operators::Keep;
use bireme_protocol::proto::{
    CatalogEntry, EntryKind, Frame, FrameLayout, FrameMade, LayoutKind, Lineage, PartitionFacts,
    Segment, StartRequest,
};
use bireme_protocol::{Fault, process};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use std::sync::Arc;

/// A planned statement that makes a frame.
pub(crate) struct Beginning<'a> {
    pub(crate) statement: FrameStatement,
    pub(crate) keep: Keep,
    pub(crate) request: &'a StartRequest,
    pub(crate) directory: &'a str,
    pub(crate) tables: &'a SessionTables,
    pub(crate) logical: &'a LogicalPlan,
    pub(crate) optimized: &'a LogicalPlan,
}

/// A frame that is being made.
#[derive(Clone, Debug)]
pub(crate) struct FrameInMaking {
    pub(crate) statement: FrameStatement,
    pub(crate) keep: Keep,
    pub(crate) schema: SchemaRef,
    pub(crate) sql: String,
    pub(crate) directory: String,
    /// None when rows are moved: they still come from what made them first.
    pub(crate) lineage: Option<Lineage>,
    /// The segment that is made again; empty when this is a new one.
    pub(crate) remakes: String,
    pub(crate) partitions: usize,
    pub(crate) engines: usize,
    /// The frame that holds the very rows already.
    pub(crate) reused: Option<CatalogEntry>,
}

impl FrameInMaking {
    /// What a planned statement is about to make: nothing, if a frame holds the very rows.
    ///
    /// # Errors
    /// It is to make again what comes from files that have changed.
    pub(crate) fn begin(beginning: Beginning<'_>, head: &HeadSession) -> Result<Self, Fault> {
        let Beginning {
            statement,
            keep,
            request,
            directory,
            tables,
            logical,
            optimized,
        } = beginning;
        let origin = Origin {
            sql: &request.sql,
            values: &request.values,
            directory,
            catalog: tables.catalog(),
            names: &tables.used(),
            logical,
            optimized,
            sources: keep.sources.files(),
        };
        let lineage = origin.lineage().map_err(|error| fault_from(&error))?;
        if let Some(then) = &request.rebuild {
            lineage::check_sources(then, &lineage)?;
        }
        let existing = lineage::find(tables.catalog(), &statement.name);
        let reused = existing.filter(|existing| match statement.action {
            FrameAction::Create {
                if_not_exists: true,
            } => true,
            FrameAction::Create { .. } => {
                existing.defined_at_ms < request.reuse_before_ms
                    && holds_the_same(existing, &keep, &lineage)
            }
            FrameAction::Insert => false,
        });
        let is_moved = !request.remakes.is_empty() && request.rebuild.is_none();
        Ok(Self {
            reused: reused.cloned(),
            statement,
            keep,
            schema: Arc::clone(optimized.schema().inner()),
            sql: request.sql.clone(),
            directory: directory.to_string(),
            lineage: (!is_moved).then_some(lineage),
            remakes: request.remakes.clone(),
            partitions: head.partitions,
            engines: head.engines,
        })
    }

    /// What was made, by the facts about its partitions.
    ///
    /// # Errors
    /// The columns cannot be written down.
    pub(crate) fn made(&self, facts: Vec<PartitionFacts>) -> Result<FrameMade, Fault> {
        if let Some(entry) = &self.reused {
            return Ok(FrameMade {
                entry: Some(entry.clone()),
                is_appended: false,
                is_reused: true,
                remakes: String::new(),
            });
        }
        let schema_json = serde_json::to_string(self.schema.as_ref())
            .map_err(|error| Fault::internal(format!("write a schema: {error}")))?;
        let ranks = u16::try_from(self.engines).unwrap_or(u16::MAX);
        let layout = FrameLayout {
            kind: self.keep.layout.into(),
            columns: self.keep.columns.clone(),
            partitions: u32::try_from(self.partitions).unwrap_or(u32::MAX),
        };
        let segment = Segment {
            id: self.keep.segment.to_string(),
            partitions: facts,
            lineage: self.lineage.clone(),
            owners: match self.keep.layout {
                LayoutKind::Replicated => Vec::new(),
                _ => owners_to_bytes(&deal(ranks)),
            },
        };
        let entry = CatalogEntry {
            name: self.statement.name.clone(),
            kind: EntryKind::Frame.into(),
            sql: self.sql.clone(),
            schema_json,
            defined_at_ms: process::now_ms(),
            directory: self.directory.clone(),
            frame: Some(Frame {
                layout: Some(layout),
                segments: vec![segment],
                ..Frame::default()
            }),
        };
        Ok(FrameMade {
            entry: Some(entry),
            is_appended: self.statement.action == FrameAction::Insert,
            is_reused: false,
            remakes: self.remakes.clone(),
        })
    }
}

/// Whether a frame that is there holds just what a statement would make.
fn holds_the_same(entry: &CatalogEntry, keep: &Keep, lineage: &Lineage) -> bool {
    let Some(frame) = &entry.frame else {
        return false;
    };
    let layout = frame.layout.clone().unwrap_or_default();
    let [segment] = frame.segments.as_slice() else {
        return false;
    };
    let then = segment
        .lineage
        .as_ref()
        .map(|lineage| lineage.fingerprint.as_str());
    frame.lost.is_empty()
        && layout.kind() == keep.layout
        && layout.columns == keep.columns
        && !lineage.fingerprint.is_empty()
        && then == Some(lineage.fingerprint.as_str())
}
