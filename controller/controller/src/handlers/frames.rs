//! Frames are made, published, lost, made again, and dropped.

use crate::action::{Action, Answer};
use crate::clock::Moment;
use crate::message::Reply;
use crate::state::State;
use crate::state::query_table::Query;
use crate::state::sessions::Session;
use crate::store::Write;
use bireme_protocol::proto::{
    Catalog, CatalogEntry, DropSegments, Frame, FrameMade, Lineage, PublishRequest, Segment,
    engine_command,
};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use std::collections::{BTreeSet, HashSet};

impl State {
    /// The names a session's statements may read: its own, and frames that others have published.
    pub(super) fn catalog_of(&self, session: &str) -> Result<Catalog, Fault> {
        let session = self.sessions.get(session)?;
        let own: BTreeSet<&str> = session
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        let others = self
            .sessions
            .iter()
            .filter(|other| other.name != session.name);
        let published = others
            .flat_map(|other| other.entries.iter())
            .filter(|entry| {
                let is_published = entry.frame.as_ref().is_some_and(|frame| frame.published);
                is_published && !own.contains(entry.name.as_str())
            });
        let mut entries: Vec<CatalogEntry> =
            session.entries.iter().chain(published).map(brief).collect();
        for frame in entries.iter_mut().filter_map(|entry| entry.frame.as_mut()) {
            frame.lost = self.segments.loss(frame);
            frame.pending = !frame.lost.is_empty() && !self.segments.is_given_up(frame);
        }
        Ok(Catalog {
            session: session.name.clone(),
            version: session.catalog_version,
            entries,
        })
    }

    /// A query has made a segment: it becomes a frame of its session, or a part of one.
    pub(super) fn frame_made(
        &mut self,
        query: QueryId,
        session: &str,
        made: FrameMade,
        actions: &mut Vec<Action>,
    ) {
        self.segments.end_rebuild(query);
        let Some(mut entry) = made.entry.filter(|_| !made.is_reused) else {
            return;
        };
        let segments = entry.frame.iter().flat_map(|frame| frame.segments.clone());
        let new: Vec<Segment> = segments.collect();
        new.iter().for_each(|segment| self.segments.add(segment));
        let ids = || new.iter().map(|segment| segment.id.clone()).collect();
        // It is the head that tells what its query makes again: a controller that has returned
        // does not know.
        let kept = match made.remakes.as_str() {
            "" if made.is_appended => self.append(session, &entry.name, &new, actions),
            "" => {
                if let Some(frame) = &mut entry.frame {
                    frame.session = session.to_string();
                }
                self.define_frame(session, entry, actions)
            }
            remade => self.put_back(session, remade, &new, actions),
        };
        if let Err(fault) = kept {
            tracing::warn!(%fault, query_id = %query, "a frame is not kept");
            self.segments.drop_now(ids());
        }
    }

    fn define_frame(
        &mut self,
        session: &str,
        mut entry: CatalogEntry,
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let session = self.sessions.get_mut(session)?;
        let existing = session.resolve(&entry.name);
        let replaced = existing.and_then(|name| {
            entry.name.clone_from(&name);
            session
                .entries
                .iter()
                .find(|known| known.name == name)
                .cloned()
        });
        // Who has published a frame goes on to do so when its cell runs again.
        let was_published = replaced.as_ref().and_then(|entry| entry.frame.as_ref());
        if let (Some(frame), Some(before)) = (&mut entry.frame, was_published) {
            frame.published = before.published;
        }
        session.define(entry.clone())?;
        actions.push(Action::Save(Write::Name {
            session: session.name.clone(),
            version: session.catalog_version,
            entry,
        }));
        if let Some(replaced) = replaced {
            self.release_frame(&replaced);
        }
        Ok(())
    }

    fn append(
        &mut self,
        session: &str,
        name: &str,
        new: &[Segment],
        actions: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let session = self.sessions.get_mut(session)?;
        let name = session.resolve(name);
        let entry = session
            .entries
            .iter_mut()
            .find(|entry| Some(&entry.name) == name.as_ref());
        let frame = entry.as_ref().and_then(|entry| entry.frame.clone());
        let (Some(entry), Some(mut frame)) = (entry, frame) else {
            return Err(Fault::new(ErrorCode::NotFound, "the frame is no more"));
        };
        frame.segments.extend_from_slice(new);
        entry.frame = Some(frame);
        let entry = entry.clone();
        session.catalog_version += 1;
        actions.push(Action::Save(Write::Name {
            session: session.name.clone(),
            version: session.catalog_version,
            entry,
        }));
        Ok(())
    }

    /// Lets go of what a name that is replaced or dropped held.
    pub(super) fn release_frame(&mut self, entry: &CatalogEntry) {
        let segments = entry.frame.iter().flat_map(|frame| &frame.segments);
        let segments: Vec<String> = segments.map(|segment| segment.id.clone()).collect();
        if !segments.is_empty() {
            let readers: HashSet<QueryId> = self.queries.live.keys().copied().collect();
            self.segments.release(segments, readers);
        }
    }

    pub(super) fn publish(
        &mut self,
        request: &PublishRequest,
        reply: Reply<()>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.touched = now;
        match self.published(request) {
            Ok(write) => actions.push(Action::SaveThenAnswer(write, Answer::Done(reply))),
            Err(fault) => crate::message::answer(reply, Err(fault)),
        }
    }

    fn published(&mut self, request: &PublishRequest) -> Result<Write, Fault> {
        let wrong = |reason: &str| {
            let message = format!("publish {:?}: {reason}", request.name);
            Fault::new(ErrorCode::NotFound, message).with_hint("%frames lists the frames there are")
        };
        let name = self.sessions.get(&request.session)?.resolve(&request.name);
        let name = name.ok_or_else(|| wrong("the session has nothing of this name"))?;
        let is_taken = |other: &&Session| {
            let is_published = |entry: &CatalogEntry| {
                let frame = entry.frame.as_ref();
                entry.name == name && frame.is_some_and(|frame| frame.published)
            };
            other.name != request.session && other.entries.iter().any(is_published)
        };
        let taken = self.sessions.iter().find(is_taken);
        if let Some(other) = taken.filter(|_| !request.withdraw) {
            let reason = format!(
                "session {:?} has published a frame of this name",
                other.name
            );
            return Err(wrong(&reason));
        }
        let session = self.sessions.get_mut(&request.session)?;
        let entry = session.entries.iter_mut().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| wrong("it is gone"))?;
        let Some(frame) = &mut entry.frame else {
            return Err(wrong(
                "it is no frame; views and tables belong to their session",
            ));
        };
        frame.published = !request.withdraw;
        self.segments.change();
        let entry = entry.clone();
        session.catalog_version += 1;
        Ok(Write::Name {
            session: session.name.clone(),
            version: session.catalog_version,
            entry,
        })
    }

    /// An engine that has come holds these segments. What nobody knows any more it drops.
    pub(super) fn segments_held(&mut self, rank: u32, segments: Vec<String>) {
        let known: HashSet<&str> = self
            .sessions
            .iter()
            .flat_map(|session| session.entries.iter())
            .flat_map(|entry| entry.frame.iter())
            .flat_map(|frame| frame.segments.iter().map(|segment| segment.id.as_str()))
            .collect();
        let is_live = |segment: &str| {
            let query = segment.parse::<QueryId>();
            query.is_ok_and(|query| self.queries.live.contains_key(&query))
        };
        let unknown: Vec<String> = segments
            .iter()
            .filter(|one| {
                !known.contains(one.as_str()) && !is_live(one) && !self.segments.is_leaving(one)
            })
            .cloned()
            .collect();
        self.segments.set_held(rank, segments);
        if !unknown.is_empty() {
            tracing::info!(
                rank,
                count = unknown.len(),
                "engine holds frames that are no more"
            );
            self.segments.drop_now(unknown);
        }
    }

    /// What a query that did not succeed has made is no frame.
    pub(super) fn nothing_made(&mut self, query: &Query, fault: Option<&Fault>) {
        if let Some(rebuild) = self.segments.end_rebuild(query.id) {
            self.not_rebuilt(&rebuild, fault);
        }
        if !query.request.trivial {
            self.segments.drop_now(vec![query.id.to_string()]);
        }
    }

    /// Tells engines what to let go of.
    pub(super) fn tell_dropped(&mut self) {
        let ids = self.segments.take_dropped();
        if ids.is_empty() {
            return;
        }
        for (rank, _) in self.engines.clients() {
            let command = engine_command::Command::DropSegments(DropSegments { ids: ids.clone() });
            // One that takes no more is about to be lost, and tells what it holds when it is back.
            if !self.engines.send(rank, command) {
                tracing::warn!(rank, "engine does not hear which frames are no more");
            }
        }
    }

    /// Whether engines hold something that a restart would cost.
    pub(crate) fn has_frames(&self) -> bool {
        let mut entries = self.sessions.iter().flat_map(|session| &session.entries);
        entries.any(|entry| entry.frame.is_some())
    }
}

/// A name as queries need it: of what made a frame, which may list thousands of files, the
/// fingerprint tells enough.
fn brief(entry: &CatalogEntry) -> CatalogEntry {
    let frame = entry.frame.as_ref().map(|frame| Frame {
        layout: frame.layout.clone(),
        segments: frame.segments.iter().map(without_sources).collect(),
        session: frame.session.clone(),
        published: frame.published,
        ..Frame::default()
    });
    CatalogEntry {
        name: entry.name.clone(),
        kind: entry.kind,
        sql: entry.sql.clone(),
        schema_json: entry.schema_json.clone(),
        defined_at_ms: entry.defined_at_ms,
        directory: entry.directory.clone(),
        frame,
    }
}

fn without_sources(segment: &Segment) -> Segment {
    let brief = |lineage: &Lineage| Lineage {
        fingerprint: lineage.fingerprint.clone(),
        ..Lineage::default()
    };
    Segment {
        id: segment.id.clone(),
        partitions: segment.partitions.clone(),
        lineage: segment.lineage.as_ref().map(brief),
        owners: segment.owners.clone(),
    }
}
