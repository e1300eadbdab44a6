//! Segments of frames are made again: those that an engine took along when it ended, from what made
//! them, and those that lie on other engines than they should after the cluster was scaled, from
//! themselves. The frame stays as it is until the new segment is there.

use crate::action::Action;
use crate::clock::Moment;
use crate::state::State;
use crate::state::frames::{Rebuild, Source};
use crate::state::query_table::Query;
use crate::state::sessions::Session;
use crate::store::Write;
use bireme_protocol::proto::{
    Catalog, CatalogEntry, Frame, LayoutKind, PersistOptions, RunningQuery, Segment, Setting,
    StartRequest, SubmitRequest,
};
use bireme_protocol::{ErrorCode, Fault, QueryId};

/// Buckets of an owner table, and bytes of each entry.
const BUCKETS: usize = 256;
const OWNER_BYTES: usize = 2;
/// Rows without a layout are spread over more engines if there are so many: fewer are read by one as fast.
const SPREAD_ROWS_MIN: u64 = 1 << 16;
/// How often a segment is made again when engines end or are missing meanwhile.
const ATTEMPTS_MAX: u32 = 3;
/// How long it may take: the time a session gives its queries is another matter.
const REBUILD_LIMIT_MS: u64 = 24 * 60 * 60 * 1000;

impl State {
    /// Makes segments again that are lost or not where they should be, once all engines are there.
    pub(super) fn start_rebuilds(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let seen = (self.segments.version(), self.engines.wanted);
        if !self.engines.are_all_up() || self.settled == Some(seen) {
            return;
        }
        // One of an earlier controller's queries may be making again what looks lost.
        if self.queries.live.values().any(Query::is_unconfirmed) {
            return;
        }
        self.settled = Some(seen);
        for (rebuild, segment, layout) in self.unsettled() {
            let begun = match rebuild.source {
                Source::Lineage => self.make_again(&rebuild, &segment, layout, now, actions),
                Source::Itself => self.move_rows(&rebuild, layout, now, actions),
            };
            match begun {
                // The queue is full: once more with the next news.
                Err(fault) if fault.code == ErrorCode::Unavailable => self.settled = None,
                Err(fault) => self.not_rebuilt(&rebuild, Some(&fault)),
                Ok(()) => {}
            }
        }
    }

    fn unsettled(&self) -> Vec<(Rebuild, Segment, PersistOptions)> {
        let mut unsettled = Vec::new();
        let wanted = self.engines.wanted;
        for session in self.sessions.iter() {
            for entry in &session.entries {
                let Some(frame) = &entry.frame else {
                    continue;
                };
                let is_wanted = is_wanted(session, frame);
                for segment in &frame.segments {
                    let is_lost = !self.segments.missing(segment).is_empty();
                    let source = match is_lost {
                        true if !is_wanted => continue,
                        true => Source::Lineage,
                        false if self.is_displaced(frame, segment) => Source::Itself,
                        false => continue,
                    };
                    if self.segments.is_settled(&segment.id, source) {
                        continue;
                    }
                    let rebuild = Rebuild {
                        session: session.name.clone(),
                        name: entry.name.clone(),
                        segment: segment.id.clone(),
                        source,
                    };
                    let more = source == Source::Itself && is_of_fewer(segment, wanted);
                    unsettled.push((rebuild, segment.clone(), options(frame, more)));
                }
            }
        }
        unsettled
    }

    /// Whether a segment lies on engines that are to leave, or not as its layout puts it on those
    /// there are.
    fn is_displaced(&self, frame: &Frame, segment: &Segment) -> bool {
        let wanted = self.engines.wanted;
        let holders: Vec<u32> = segment.partitions.iter().map(|part| part.rank).collect();
        let kind = frame
            .layout
            .as_ref()
            .map_or(LayoutKind::Unspecified, |layout| layout.kind());
        let is_leaving = holders.iter().any(|rank| *rank >= wanted);
        is_leaving
            || match kind {
                LayoutKind::Hash => segment.owners != dealt(wanted),
                LayoutKind::Replicated => !(0..wanted).all(|rank| holders.contains(&rank)),
                LayoutKind::RoundRobin | LayoutKind::Unspecified => {
                    let rows: u64 = segment.partitions.iter().map(|part| part.rows).sum();
                    rows >= SPREAD_ROWS_MIN && is_of_fewer(segment, wanted)
                }
            }
    }

    fn make_again(
        &mut self,
        rebuild: &Rebuild,
        segment: &Segment,
        layout: PersistOptions,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let gone = |reason: &str| Fault::new(ErrorCode::NotFound, reason);
        let lineage = segment.lineage.as_ref();
        let lineage = lineage.ok_or_else(|| gone("what made it is not known"))?;
        if !lineage.obstacle.is_empty() {
            return Err(gone(&lineage.obstacle));
        }
        // What is missing of a frame it was made from is made first.
        for read in lineage.names.iter().filter(|entry| entry.frame.is_some()) {
            let current = self.current(&rebuild.session, read)?;
            let Some(frame) = &current.frame else {
                continue;
            };
            if self.segments.is_given_up(frame) {
                let reason = format!("the frame {:?} it was made from is lost", read.name);
                return Err(gone(&reason));
            }
            if !self.segments.loss(frame).is_empty() {
                self.note_use(owner_of(read, &rebuild.session), now);
                return Ok(());
            }
        }
        let request = SubmitRequest {
            session: rebuild.session.clone(),
            sql: lineage.sql.clone(),
            values: lineage.values.clone(),
            persist: Some(layout),
            ..SubmitRequest::default()
        };
        self.begin_rebuild(rebuild, request, now, actions)
    }

    fn move_rows(
        &mut self,
        rebuild: &Rebuild,
        layout: PersistOptions,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let name = rebuild.name.replace('"', "\"\"");
        let request = SubmitRequest {
            session: rebuild.session.clone(),
            sql: format!("CREATE TABLE \"{name}\" AS SELECT * FROM \"{name}\""),
            persist: Some(layout),
            ..SubmitRequest::default()
        };
        self.begin_rebuild(rebuild, request, now, actions)
    }

    fn begin_rebuild(
        &mut self,
        rebuild: &Rebuild,
        mut request: SubmitRequest,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let id = QueryId::random();
        request.query_id = id.to_string();
        request.timeout_ms = REBUILD_LIMIT_MS;
        let query = self.admit(id, request, now)?;
        tracing::info!(frame = %rebuild.name, query_id = %id, source = ?rebuild.source, "a frame is made again");
        actions.push(Action::Save(Write::Query {
            record: Box::new(query.record(0, now)),
            head: None,
        }));
        self.queries.live.insert(id, query);
        self.segments.begin_rebuild(id, rebuild.clone());
        Ok(())
    }

    /// A query of an earlier controller makes a segment again: nobody else is to.
    pub(super) fn know_rebuild(&mut self, id: QueryId, session: String, report: &RunningQuery) {
        let entries = self.sessions.get(&session).map(|session| &session.entries);
        let has_segment = |entry: &&CatalogEntry| {
            let mut segments = entry.frame.iter().flat_map(|frame| &frame.segments);
            segments.any(|segment| segment.id == report.remakes)
        };
        let Some(entry) = entries.into_iter().flatten().find(has_segment) else {
            return;
        };
        let rebuild = Rebuild {
            session,
            name: entry.name.clone(),
            segment: report.remakes.clone(),
            source: match report.moves {
                true => Source::Itself,
                false => Source::Lineage,
            },
        };
        self.segments.begin_rebuild(id, rebuild);
    }

    /// Makes a query one that makes a segment again: with the names and the directory of then.
    ///
    /// # Errors
    /// The frame has changed or is gone meanwhile.
    pub(super) fn with_source(&self, query: &Query, start: &mut StartRequest) -> Result<(), Fault> {
        let Some(rebuild) = self.segments.rebuild(query.id) else {
            return Ok(());
        };
        let gone = || Fault::new(ErrorCode::NotFound, "the frame has changed or is gone");
        let entries = self
            .sessions
            .get(&rebuild.session)
            .map(|session| &session.entries);
        let mut entries = entries.into_iter().flatten();
        let entry = entries.find(|entry| entry.name == rebuild.name);
        let entry = entry.ok_or_else(gone)?;
        let mut segments = entry.frame.iter().flat_map(|frame| &frame.segments);
        let segment = segments.find(|one| one.id == rebuild.segment);
        let segment = segment.ok_or_else(gone)?;
        start.reuse_before_ms = 0;
        start.remakes.clone_from(&segment.id);
        let entries = match (rebuild.source, &segment.lineage) {
            (Source::Itself, _) => vec![only(entry, segment)],
            (Source::Lineage, Some(lineage)) => {
                let key = "session.directory".to_string();
                start.settings.retain(|setting| setting.key != key);
                start.settings.push(Setting {
                    key,
                    value: lineage.directory.clone(),
                });
                start.rebuild = Some(lineage.clone());
                self.then(rebuild, &lineage.names)
            }
            (Source::Lineage, None) => return Err(gone()),
        };
        start.catalog = Some(Catalog {
            session: rebuild.session.clone(),
            version: 0,
            entries,
        });
        Ok(())
    }

    /// Puts a segment that was made again in the place of the old one.
    pub(super) fn put_back(
        &mut self,
        session: &str,
        remade: &str,
        new: &[Segment],
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let session = self.sessions.get_mut(session)?;
        let placed = session.entries.iter_mut().find_map(|entry| {
            let frame = entry.frame.as_mut()?;
            let old = frame.segments.iter_mut().find(|one| one.id == remade)?;
            let lineage = old.lineage.take();
            old.clone_from(new.first()?);
            // Rows that were moved still come from what made them first.
            if old.lineage.is_none() {
                old.lineage = lineage;
            }
            Some(entry.clone())
        });
        let entry =
            placed.ok_or_else(|| Fault::new(ErrorCode::NotFound, "the frame is no more"))?;
        tracing::info!(frame = %entry.name, "frame made again");
        session.catalog_version += 1;
        actions.push(Action::Save(Write::Name {
            session: session.name.clone(),
            version: session.catalog_version,
            entry,
        }));
        let readers = self.queries.live.keys().copied().collect();
        self.segments.release(vec![remade.to_string()], readers);
        Ok(())
    }

    /// A segment could not be made again. Where that says nothing about its sources it is tried once
    /// more, a few times.
    pub(super) fn not_rebuilt(&mut self, rebuild: &Rebuild, fault: Option<&Fault>) {
        let is_passing = |fault: &Fault| {
            matches!(
                fault.code,
                ErrorCode::EngineLost | ErrorCode::Unavailable | ErrorCode::NotReady
            )
        };
        if fault.is_some_and(is_passing) && self.segments.attempt(rebuild) < ATTEMPTS_MAX {
            return;
        }
        let reason = fault.map_or("it was cancelled", |fault| fault.message.as_str());
        tracing::warn!(frame = %rebuild.name, reason, "a frame is not made again");
        let what = match rebuild.source {
            Source::Lineage => "it could not be made again",
            Source::Itself => "they could not be moved",
        };
        self.segments.give_up(rebuild, format!("{what}: {reason}"));
    }

    /// The names of a lineage, with the frames among them as they are now.
    fn then(&self, rebuild: &Rebuild, names: &[CatalogEntry]) -> Vec<CatalogEntry> {
        let entries = names.iter().map(|entry| match entry.frame.is_some() {
            true => self
                .current(&rebuild.session, entry)
                .unwrap_or_else(|_| entry.clone()),
            false => entry.clone(),
        });
        entries.collect()
    }

    /// The frame that another was made from, as it is now.
    fn current(&self, session: &str, read: &CatalogEntry) -> Result<CatalogEntry, Fault> {
        let entries = &self.sessions.get(owner_of(read, session))?.entries;
        let is_same = |entry: &&CatalogEntry| {
            entry.name == read.name && entry.defined_at_ms == read.defined_at_ms
        };
        let mut current = entries.iter().find(is_same).cloned().ok_or_else(|| {
            let reason = format!("the frame {:?} it was made from is gone", read.name);
            Fault::new(ErrorCode::NotFound, reason)
        })?;
        // Rows that were added since were not read: segments are added at the end, and what is made
        // again keeps its place.
        if let (Some(frame), Some(read)) = (&mut current.frame, &read.frame) {
            frame.segments.truncate(read.segments.len());
        }
        Ok(current)
    }
}

/// Whether a lost frame is made again: not what was lost before this controller began, until
/// somebody comes who may read it.
fn is_wanted(session: &Session, frame: &Frame) -> bool {
    session.is_in_use || frame.published
}

/// The session of a frame that one of this session reads.
fn owner_of<'a>(read: &'a CatalogEntry, session: &'a str) -> &'a str {
    let owner = read.frame.as_ref().map(|frame| frame.session.as_str());
    owner.filter(|owner| !owner.is_empty()).unwrap_or(session)
}

/// The frame as if it had one segment.
fn only(entry: &CatalogEntry, segment: &Segment) -> CatalogEntry {
    let mut entry = entry.clone();
    if let Some(frame) = &mut entry.frame {
        frame.segments = vec![segment.clone()];
    }
    entry
}

/// Whether a segment was made when there were fewer engines.
fn is_of_fewer(segment: &Segment, engines: u32) -> bool {
    (1..engines).any(|fewer| segment.owners == dealt(fewer))
}

/// How rows are kept again; those without a layout stay where they are unless they spread.
fn options(frame: &Frame, spread: bool) -> PersistOptions {
    let layout = frame.layout.clone().unwrap_or_default();
    PersistOptions {
        replicate: layout.kind() == LayoutKind::Replicated,
        by: layout.columns,
        spread,
    }
}

/// The owner table of so many engines, as engines write it: buckets dealt out in turn.
fn dealt(engines: u32) -> Vec<u8> {
    let ranks = (0..BUCKETS as u32).map(|bucket| bucket % engines.max(1));
    ranks
        .flat_map(|rank| rank.to_le_bytes().into_iter().take(OWNER_BYTES))
        .collect()
}
