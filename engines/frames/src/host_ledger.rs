//! Who holds how much host memory, by consumer and by query, and who is refused more. Limits, the
//! disk and the words of a refusal are left to the budget.

use datafusion::execution::memory_pool::MemoryConsumer;
use std::collections::HashMap;
use std::sync::Arc;

/// Above this part of the limit a consumer that can spill is held to its share; below it the
/// first to ask gets, so that one query alone can use the machine.
const PRESSURE_PERCENT: usize = 75;
/// Above this part it gets nothing. To spill takes memory first: a sorter merges what it holds
/// before it writes it, and cannot spill the keys of that merge.
const SPILLABLE_PERCENT: usize = 85;
/// But a consumer that holds next to nothing cannot spill either, so it gets up to this part of its
/// share whatever others hold.
const FLOOR_PART: usize = 8;
/// It also gets its first batch, of up to this part of the limit, until so much of the limit is held in all: a
/// sorter that is refused another batch spills, but one that is refused its first fails.
const FIRST_PART: usize = 8;
const FIRST_PERCENT: usize = 90;
/// Frames that are being read give way to one that can spill while it holds no more than this part of the limit.
const UNSPILT_PART: usize = 16;
/// A consumer that can spill and gives back a part has begun to sort or to emit, and needs up to
/// so many times what it still holds. That much, if it held it before, is kept for it from others
/// that can spill.
const KEPT_FOR_SPILLING: usize = 2;
/// A sorter that has put its batches together cannot spill before it has sorted them. Where the whole takes more
/// than its parts, it gets up to this part of what it holds, as late as a first batch.
const ROUNDING_PART: usize = 64;

/// What DataFusion's names of consumers of aggregates contain.
const AGGREGATE: &str = "AggregateStream[";
/// How DataFusion names the two consumers of a sort. The second cannot spill.
const SORTER: &str = "ExternalSorter[";
const MERGE_OF_SORTER: &str = "ExternalSorterMerge[";

#[derive(Debug, Default)]
pub(crate) struct HostLedger {
    pub(crate) used: usize,
    pub(crate) peak: usize,
    pub(crate) refused: u64,
    pub(crate) overcommitted_peak: usize,
    pub(crate) consumers: HashMap<usize, Consumer>,
    pub(crate) queries: HashMap<Arc<str>, Query>,
    /// What frames hold. It is in nobody's way: frames leave memory before anybody is refused.
    pub(crate) frames: usize,
    /// Free memory that the system has not been given back: nobody's, and gone before it is missed.
    pub(crate) spare: usize,
    /// What is kept for consumers beyond what they hold.
    kept: usize,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) query: Arc<str>,
    pub(crate) can_spill: bool,
    pub(crate) used: usize,
    pub(crate) peak: usize,
    /// At least `used`: what it held lately and may soon need again.
    claim: usize,
    /// What the groups of an aggregate hold that adds up what it has spilled.
    groups: Option<usize>,
    /// What the merge of this sorter holds.
    merging: usize,
    /// What this sorter keeps for its merge while it collects: what its merge got first.
    kept_for_merge: usize,
    /// Whether that merges what this sorter has collected: it began when it gave back what it kept until then, and
    /// ends when it gives all back.
    merges: bool,
    /// A sorter that hands what it holds to its merge: what both held when that began. In between it
    /// is in neither's name, so that others would take what the merge is about to ask for.
    handing_over: Option<usize>,
    /// The sorter whose merge this is.
    sorter: Option<usize>,
    registrations: usize,
}

/// Who wants more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// The consumer.
    pub(crate) id: usize,
    /// What that of its reservations which is to grow holds.
    pub(crate) held: usize,
    pub(crate) additional: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(crate) used: usize,
    pub(crate) peak: usize,
    pub(crate) consumers: usize,
    unspillable: usize,
    active_spillers: usize,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// There is no more.
    Limit,
    /// There is, once frames have given back so many bytes.
    Frames(usize),
    /// It can spill, and would hold more than this many bytes, its share.
    Share(usize),
    /// It can spill, and what is left is for those that spill.
    Spilling,
    /// It can spill, and the frames that hold the rest are being read.
    Read,
}

impl HostLedger {
    pub(crate) fn register(&mut self, query: &Arc<str>, consumer: &MemoryConsumer) {
        self.queries.entry(Arc::clone(query)).or_default().consumers += 1;
        let sorter = self.sorter_of(query, consumer.name());
        let entry = self
            .consumers
            .entry(consumer.id())
            .or_insert_with(|| Consumer {
                name: consumer.name().to_string(),
                query: Arc::clone(query),
                can_spill: consumer.can_spill(),
                used: 0,
                peak: 0,
                claim: 0,
                groups: None,
                merging: 0,
                kept_for_merge: 0,
                merges: false,
                handing_over: None,
                sorter,
                registrations: 0,
            });
        entry.registrations += 1;
    }

    /// The sorter of this query that a merge of this name belongs to: the one that came last.
    fn sorter_of(&self, query: &Arc<str>, merge: &str) -> Option<usize> {
        let sorter = format!("{SORTER}{}", merge.strip_prefix(MERGE_OF_SORTER)?);
        let same = self.consumers.iter();
        let same = same.filter(|(_, one)| one.query == *query && one.name == sorter);
        same.map(|(id, _)| *id).max()
    }

    /// What everybody holds.
    pub(crate) fn total(&self) -> usize {
        self.used.saturating_add(self.frames)
    }

    /// What of the spare memory stands in the way of what is held.
    pub(crate) fn spare_in_excess(&self, limit: usize) -> usize {
        let total = self.total().saturating_add(self.spare);
        total.saturating_sub(limit).min(self.spare)
    }

    /// `None` if the request is granted.
    pub(crate) fn refusal(&self, limit: usize, request: Request) -> Option<Refusal> {
        let total = self.used.saturating_add(request.additional);
        if total > limit {
            return Some(Refusal::Limit);
        }
        self.refusal_of_spiller(limit, total, request).or_else(|| {
            let missing = total.saturating_add(self.frames).saturating_sub(limit);
            (missing > 0).then_some(Refusal::Frames(missing))
        })
    }

    /// Whether frames that are being read give way too: to what cannot spill, or not again, and to what has too
    /// little to do so.
    pub(crate) fn comes_before_readers(&self, limit: usize, request: Request) -> bool {
        let Request { id, additional, .. } = request;
        let Some(consumer) = self.consumers.get(&id).filter(|one| one.can_spill) else {
            return true;
        };
        if consumer.is_for_groups(request) {
            return true;
        }
        consumer.is_first(limit, additional)
            || consumer.used.saturating_add(additional) <= limit / UNSPILT_PART
    }

    /// What one that can spill is refused for the sake of others.
    fn refusal_of_spiller(&self, limit: usize, total: usize, request: Request) -> Option<Refusal> {
        let Request { id, additional, .. } = request;
        let consumer = self.consumers.get(&id).filter(|one| one.can_spill)?;
        let percent = |percent: usize| limit / 100 * percent;
        let kept_for_others = self.kept - consumer.kept();
        let claimed = total.saturating_add(kept_for_others);
        if claimed <= percent(PRESSURE_PERCENT) {
            return None;
        }
        if consumer.is_for_groups(request) {
            return None;
        }
        let is_rounding = consumer.merges && additional <= consumer.used / ROUNDING_PART;
        if (consumer.is_first(limit, additional) || is_rounding) && total <= percent(FIRST_PERCENT)
        {
            return None;
        }
        let share = self.share(consumer, percent(SPILLABLE_PERCENT));
        let wanted = consumer.used.saturating_add(additional);
        if wanted > share {
            return Some(Refusal::Share(share));
        }
        let is_little = wanted <= share / FLOOR_PART && !consumer.merges;
        (claimed > percent(SPILLABLE_PERCENT) && !is_little).then_some(Refusal::Spilling)
    }

    /// An equal part for each query, and of what its operators cannot spill the rest for each of
    /// its consumers that can.
    fn share(&self, consumer: &Consumer, limit: usize) -> usize {
        let Some(query) = self.queries.get(&consumer.query) else {
            return limit;
        };
        let others = self
            .queries
            .iter()
            .filter(|(name, query)| query.used > 0 && **name != consumer.query)
            .count();
        let spillers = query.active_spillers + usize::from(consumer.used == 0);
        (limit / (others + 1)).saturating_sub(query.unspillable) / spillers.max(1)
    }

    pub(crate) fn add(&mut self, limit: usize, request: Request) {
        let Request {
            id,
            held,
            additional,
        } = request;
        self.used = self.used.saturating_add(additional);
        self.peak = self.peak.max(self.total());
        self.overcommitted_peak = self
            .overcommitted_peak
            .max(self.total().saturating_sub(limit));
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        let was_idle = consumer.used == 0;
        if consumer.is_for_groups(request) {
            consumer.groups = consumer.groups.map(|groups| groups + additional);
        }
        self.kept -= consumer.kept();
        consumer.used = consumer.used.saturating_add(additional);
        consumer.peak = consumer.peak.max(consumer.used);
        consumer.claim = consumer.claim.max(consumer.used);
        self.kept += consumer.kept();
        let sorter = consumer.sorter;
        if let Some(query) = self.queries.get_mut(&consumer.query) {
            query.used = query.used.saturating_add(additional);
            query.peak = query.peak.max(query.used);
            if !consumer.can_spill {
                query.unspillable = query.unspillable.saturating_add(additional);
            } else if was_idle && additional > 0 {
                query.active_spillers += 1;
            }
        }
        self.tell_sorter(sorter, |sorter| sorter.merge_took(held, additional));
    }

    /// A merge holds more or less than before.
    fn tell_sorter(&mut self, sorter: Option<usize>, change: impl FnOnce(&mut Consumer)) {
        if let Some(sorter) = sorter.and_then(|id| self.consumers.get_mut(&id)) {
            self.kept -= sorter.kept();
            change(sorter);
            self.kept += sorter.kept();
        }
    }

    pub(crate) fn add_frames(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_add(bytes);
        self.peak = self.peak.max(self.total());
    }

    pub(crate) fn subtract_frames(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_sub(bytes);
    }

    /// A reservation of this consumer that held so many bytes gives some back.
    pub(crate) fn subtract(&mut self, id: usize, held: usize, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        let was_active = consumer.used > 0;
        self.kept -= consumer.kept();
        consumer.used = consumer.used.saturating_sub(bytes);
        consumer.claim = consumer.claim.min(consumer.used * KEPT_FOR_SPILLING);
        consumer.groups = match consumer.groups {
            Some(groups) if groups == held => Some(groups.saturating_sub(bytes)),
            _ if was_active && consumer.used == 0 && consumer.name.contains(AGGREGATE) => Some(0),
            groups => groups,
        };
        self.kept += consumer.kept();
        let sorter = consumer.sorter.filter(|_| bytes > 0);
        if let Some(query) = self.queries.get_mut(&consumer.query) {
            query.used = query.used.saturating_sub(bytes);
            if !consumer.can_spill {
                query.unspillable = query.unspillable.saturating_sub(bytes);
            } else if was_active && consumer.used == 0 {
                query.active_spillers = query.active_spillers.saturating_sub(1);
            }
        }
        self.tell_sorter(sorter, |sorter| sorter.merge_gave_back(bytes));
    }

    pub(crate) fn forget(&mut self, id: usize) {
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        consumer.registrations -= 1;
        let gone = consumer.registrations == 0;
        let name = Arc::clone(&consumer.query);
        if gone {
            self.kept -= consumer.kept();
            self.consumers.remove(&id);
        }
        if let Some(query) = self.queries.get_mut(&name) {
            query.consumers = query.consumers.saturating_sub(1);
            if query.consumers == 0 {
                self.queries.remove(&name);
            }
        }
    }
}

impl Consumer {
    /// What others that can spill must leave to it.
    fn kept(&self) -> usize {
        match self.handing_over {
            _ if !self.can_spill => 0,
            Some(claim) => claim.saturating_sub(self.used + self.merging),
            None => self.claim - self.used,
        }
    }

    /// Whether this is the first batch, which cannot be spilt before there is room for it. A sorter that merges writes
    /// what it has merged instead.
    fn is_first(&self, limit: usize, additional: usize) -> bool {
        self.used == 0 && !self.merges && additional <= limit / FIRST_PART
    }

    /// Whether the groups of an aggregate ask that adds up what it has spilled: it cannot spill again. It has given
    /// all back once its input had ended, then asked for the files that it merges, and makes do with fewer; its
    /// groups have a reservation of their own.
    fn is_for_groups(&self, request: Request) -> bool {
        match self.groups {
            None => false,
            Some(0) => request.held == 0 && self.used > 0,
            Some(groups) => request.held == groups,
        }
    }

    /// A single batch is sorted and written without a merge, which would tell by what it gives back that it has
    /// ended: what is kept for the next one tells.
    fn merge_took(&mut self, held: usize, bytes: usize) {
        let is_empty = held == 0 && self.used == 0 && self.merging == 0;
        if self.kept_for_merge == 0 {
            self.kept_for_merge = bytes;
        } else if is_empty && bytes == self.kept_for_merge {
            self.merges = false;
            self.handing_over = None;
        }
        self.merging += bytes;
    }

    /// A sorter frees what is kept for its merge right before it hands over what it holds; what its
    /// merge gives back next says that all of it has arrived.
    fn merge_gave_back(&mut self, bytes: usize) {
        let held = self.merging;
        self.merging = held.saturating_sub(bytes);
        let begins = self.merging == 0 && !self.merges && self.used > 0;
        self.handing_over = begins.then_some(self.used + held);
        self.merges = begins || (self.merges && self.merging > 0);
    }
}
