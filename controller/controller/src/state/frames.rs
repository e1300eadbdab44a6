//! Which engine holds which segment of a frame, which are being made again, and which are to go once
//! their last reader has ended. Frames themselves are names of sessions.

use bireme_protocol::QueryId;
use bireme_protocol::proto::{Frame, Segment};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A segment that is being made again.
#[derive(Clone, Debug)]
pub(crate) struct Rebuild {
    pub(crate) session: String,
    /// The frame.
    pub(crate) name: String,
    /// The old segment, in whose place the new one goes.
    pub(crate) segment: String,
    pub(crate) source: Source,
}

/// Where the rows of a segment that is made again come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// What made it: a part of it is lost.
    Lineage,
    /// Itself: it lies on the wrong engines.
    Itself,
}

/// Segments of a frame that is no more, which queries may still read.
#[derive(Debug)]
struct Leaving {
    segments: Vec<String>,
    readers: HashSet<QueryId>,
}

/// What is known of segments.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    held: BTreeMap<u32, HashSet<String>>,
    leaving: Vec<Leaving>,
    rebuilds: HashMap<QueryId, Rebuild>,
    /// Why a lost segment is not made again.
    given_up: HashMap<String, String>,
    /// How often it was tried in vain to make a segment again.
    attempts: HashMap<String, u32>,
    /// Why a segment stays where it is.
    unmoved: HashMap<String, String>,
    /// What engines are to let go of, and were not told.
    dropped: Vec<String>,
    /// Grows with every change of what is held, being made, or given up.
    version: u64,
}

impl Segments {
    /// An engine has told what it holds.
    pub(crate) fn set_held(&mut self, rank: u32, segments: Vec<String>) {
        self.version += 1;
        self.held.insert(rank, segments.into_iter().collect());
    }

    /// What an engine held is gone with it.
    pub(crate) fn forget_engine(&mut self, rank: u32) {
        self.version += 1;
        self.held.remove(&rank);
    }

    /// A segment has been made.
    pub(crate) fn add(&mut self, segment: &Segment) {
        self.version += 1;
        for rank in ranks(segment) {
            self.held
                .entry(rank)
                .or_default()
                .insert(segment.id.clone());
        }
    }

    /// The engines that miss their part of a segment; one that has not come is told apart.
    pub(crate) fn missing(&self, segment: &Segment) -> Vec<(u32, bool)> {
        let misses = |rank: u32| match self.held.get(&rank) {
            Some(held) if held.contains(&segment.id) => None,
            known => Some((rank, known.is_some())),
        };
        ranks(segment).into_iter().filter_map(misses).collect()
    }

    /// Why a frame cannot be read now; empty when it can.
    pub(crate) fn loss(&self, frame: &Frame) -> String {
        for segment in &frame.segments {
            let Some((rank, has_come)) = self.missing(segment).first().copied() else {
                continue;
            };
            if !has_come {
                return format!("engine {rank}, which holds a part of it, is not there yet");
            }
            if let Some(reason) = self.given_up.get(&segment.id) {
                return format!("engine {rank} ended with a part of it, and {reason}");
            }
            return format!("engine {rank} ended with a part of it, which is being made again");
        }
        String::new()
    }

    /// Whether a frame is lost for good.
    pub(crate) fn is_given_up(&self, frame: &Frame) -> bool {
        let mut segments = frame.segments.iter();
        segments.any(|segment| {
            self.given_up.contains_key(&segment.id) && !self.missing(segment).is_empty()
        })
    }

    /// Something has changed of what is to be made again.
    pub(crate) fn change(&mut self) {
        self.version += 1;
    }

    /// Differs once something has changed of what is held, being made, or given up.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// A lost segment is made again by this query.
    pub(crate) fn begin_rebuild(&mut self, query: QueryId, rebuild: Rebuild) {
        self.rebuilds.insert(query, rebuild);
    }

    /// What a query makes again.
    pub(crate) fn rebuild(&self, query: QueryId) -> Option<&Rebuild> {
        self.rebuilds.get(&query)
    }

    /// A query that makes something again has ended.
    pub(crate) fn end_rebuild(&mut self, query: QueryId) -> Option<Rebuild> {
        let ended = self.rebuilds.remove(&query)?;
        self.version += 1;
        Some(ended)
    }

    /// A segment was not made again for a passing reason; how often that has happened.
    pub(crate) fn attempt(&mut self, rebuild: &Rebuild) -> u32 {
        self.version += 1;
        let attempts = self.attempts.entry(rebuild.segment.clone()).or_default();
        *attempts += 1;
        *attempts
    }

    /// A segment is not made again.
    pub(crate) fn give_up(&mut self, rebuild: &Rebuild, reason: String) {
        self.version += 1;
        match rebuild.source {
            Source::Lineage => drop(self.given_up.insert(rebuild.segment.clone(), reason)),
            Source::Itself => drop(self.unmoved.insert(rebuild.segment.clone(), reason)),
        }
    }

    /// The engines have changed: what could not be moved may be now.
    pub(crate) fn retry_moves(&mut self) {
        self.version += 1;
        self.unmoved.clear();
        self.attempts.clear();
    }

    /// Whether a segment is being made again, or is not going to be.
    pub(crate) fn is_settled(&self, segment: &str, source: Source) -> bool {
        let is_given_up = match source {
            Source::Lineage => self.given_up.contains_key(segment),
            Source::Itself => self.unmoved.contains_key(segment),
        };
        is_given_up
            || self
                .rebuilds
                .values()
                .any(|rebuild| rebuild.segment == segment)
    }

    /// Why a segment stays on engines that it should leave, if it was tried in vain.
    pub(crate) fn why_unmoved(&self, segment: &str) -> Option<&str> {
        self.unmoved.get(segment).map(String::as_str)
    }

    /// Lets segments go once these queries have ended.
    pub(crate) fn release(&mut self, segments: Vec<String>, readers: HashSet<QueryId>) {
        self.version += 1;
        for segment in &segments {
            self.given_up.remove(segment);
            self.attempts.remove(segment);
            self.unmoved.remove(segment);
        }
        match readers.is_empty() {
            true => self.drop_now(segments),
            false => self.leaving.push(Leaving { segments, readers }),
        }
    }

    /// A query has ended: what only it could still read goes.
    pub(crate) fn ended(&mut self, query: QueryId) {
        let mut gone = Vec::new();
        self.leaving.retain_mut(|leaving| {
            leaving.readers.remove(&query);
            if leaving.readers.is_empty() {
                gone.append(&mut leaving.segments);
            }
            !leaving.readers.is_empty()
        });
        if !gone.is_empty() {
            self.drop_now(gone);
        }
    }

    /// Whether a segment waits for its last reader.
    pub(crate) fn is_leaving(&self, segment: &str) -> bool {
        let mut leaving = self.leaving.iter().flat_map(|leaving| &leaving.segments);
        leaving.any(|one| one == segment)
    }

    /// Lets segments go.
    pub(crate) fn drop_now(&mut self, mut segments: Vec<String>) {
        for held in self.held.values_mut() {
            segments.iter().for_each(|segment| {
                held.remove(segment);
            });
        }
        self.dropped.append(&mut segments);
    }

    /// What engines are to be told to let go of.
    pub(crate) fn take_dropped(&mut self) -> Vec<String> {
        std::mem::take(&mut self.dropped)
    }
}

/// The engines that hold rows of a segment.
fn ranks(segment: &Segment) -> BTreeSet<u32> {
    let parts = segment.partitions.iter();
    parts
        .filter(|part| part.rows > 0)
        .map(|part| part.rank)
        .collect()
}
