//! What made a segment of a frame: its statement, the names it read and the files behind them, so
//! that it can be made again, or need not be.

use bireme_frames::SharedRows;
use bireme_protocol::proto::{BoundValue, Catalog, CatalogEntry, EntryKind, Lineage, SourceFile};
use bireme_protocol::{ErrorCode, Fault};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Files that a lineage lists; a plan that reads more is not made again by itself.
const SOURCES_MAX: usize = 10_000;

/// What a lineage is made of.
pub(crate) struct Origin<'a> {
    pub(crate) sql: &'a str,
    pub(crate) values: &'a [BoundValue],
    pub(crate) directory: &'a str,
    pub(crate) catalog: &'a Catalog,
    /// The names the statement read, itself or through a view.
    pub(crate) names: &'a [String],
    /// As it was written, and as it is optimized.
    pub(crate) logical: &'a LogicalPlan,
    pub(crate) optimized: &'a LogicalPlan,
    pub(crate) sources: Vec<SourceFile>,
}

impl Origin<'_> {
    /// The lineage of what the plan makes.
    ///
    /// # Errors
    /// The plan cannot be walked.
    pub(crate) fn lineage(self) -> Result<Lineage, DataFusionError> {
        let entries = self.names.iter();
        let names: Vec<CatalogEntry> = entries
            .filter_map(|name| find(self.catalog, name))
            .map(without_lineage)
            .collect();
        let sources = self.sources;
        let mut obstacle = String::new();
        if sources.len() > SOURCES_MAX {
            obstacle = format!(
                "it reads {} files, at most {SOURCES_MAX} are remembered",
                sources.len()
            );
        }
        if sources
            .iter()
            .any(|source| SharedRows::is_path(&source.path))
        {
            obstacle = "its rows were those of a Rust variable: scatter it again".to_string();
        }
        let is_volatile = is_volatile(self.optimized)?;
        if is_volatile || reads_the_clock(self.logical)? {
            obstacle = "its statement gives other rows each time it runs".to_string();
        }
        let fingerprint = match is_volatile {
            true => String::new(),
            false => fingerprint(self.optimized, &names, &sources),
        };
        Ok(Lineage {
            sql: self.sql.to_string(),
            values: self.values.to_vec(),
            names,
            directory: self.directory.to_string(),
            sources: if obstacle.is_empty() {
                sources
            } else {
                Vec::new()
            },
            fingerprint,
            obstacle,
        })
    }
}

/// An entry by its exact name, else without regard to case.
pub(crate) fn find<'a>(catalog: &'a Catalog, name: &str) -> Option<&'a CatalogEntry> {
    let entries = &catalog.entries;
    let exact = entries.iter().find(|entry| entry.name == name);
    exact.or_else(|| {
        let mut alike = entries
            .iter()
            .filter(|entry| entry.name.eq_ignore_ascii_case(name));
        alike.next().filter(|_| alike.next().is_none())
    })
}

/// Refuses to make rows again from files that are not what they were.
///
/// # Errors
/// One is gone, or has another size or time.
pub(crate) fn check_sources(then: &Lineage, now: &Lineage) -> Result<(), Fault> {
    if !then.obstacle.is_empty() {
        return Err(Fault::new(ErrorCode::NotFound, then.obstacle.clone()));
    }
    for source in &then.sources {
        let current = now.sources.iter().find(|one| one.path == source.path);
        let reason = match current {
            None => "it is no more".to_string(),
            Some(current) if current.bytes != source.bytes => {
                format!("it had {} bytes and has {}", source.bytes, current.bytes)
            }
            Some(current) if current.modified_ns != source.modified_ns => {
                "it was written since".to_string()
            }
            Some(_) => continue,
        };
        return Err(changed(&source.path, &reason));
    }
    let is_new = |source: &&SourceFile| then.sources.iter().all(|one| one.path != source.path);
    match now.sources.iter().find(is_new) {
        Some(source) => Err(changed(&source.path, "it was not there then")),
        None => Ok(()),
    }
}

fn changed(path: &str, reason: &str) -> Fault {
    Fault::new(
        ErrorCode::NotFound,
        format!("the file {path} is not what it was: {reason}"),
    )
    .with_hint("run the cell that makes the frame again")
}

/// A frame that another was made from is read, not made again: its own lineage stays with it.
fn without_lineage(entry: &CatalogEntry) -> CatalogEntry {
    let mut entry = entry.clone();
    if let Some(frame) = &mut entry.frame {
        frame
            .segments
            .iter_mut()
            .for_each(|segment| segment.lineage = None);
    }
    entry
}

/// Whether running the plan again may give other rows.
fn is_volatile(plan: &LogicalPlan) -> Result<bool, DataFusionError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= node
            .expressions()
            .iter()
            .any(|expression| expression.is_volatile());
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// Whether the rows depend on when the plan is made: the time is a constant once it is optimized.
fn reads_the_clock(plan: &LogicalPlan) -> Result<bool, DataFusionError> {
    let is_stable = |expression: &Expr| match expression {
        Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Stable,
        _ => false,
    };
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        for expression in node.expressions() {
            found |= expression.exists(|part| Ok(is_stable(part)))?;
        }
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

fn fingerprint(plan: &LogicalPlan, names: &[CatalogEntry], sources: &[SourceFile]) -> String {
    let mut text = plan.display_indent_schema().to_string();
    for entry in names {
        let segments = entry.frame.iter().flat_map(|frame| &frame.segments);
        let segments: Vec<&str> = segments.map(|segment| segment.id.as_str()).collect();
        // Of views and tables the plan and its sources tell all.
        if entry.kind() == EntryKind::Frame {
            text.push_str(&format!("\n{} {}", entry.name, segments.join(" ")));
        }
    }
    for source in sources {
        let SourceFile {
            path,
            bytes,
            modified_ns,
        } = source;
        text.push_str(&format!("\n{path} {bytes} {modified_ns}"));
    }
    // Two hashes of different texts: 64 bits alone would be few.
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let (one, other) = (hasher.hash_one(&text), hasher.hash_one(("again", &text)));
    format!("{one:016x}{other:016x}")
}
