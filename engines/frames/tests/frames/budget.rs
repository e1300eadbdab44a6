//! The budget as operators meet it.

use bireme_frames::{Budget, FrameRoom, Reclaim, Tier};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use std::sync::Arc;

const KIB: usize = 1024;

fn pool(budget: &Arc<Budget>, query: &str) -> Arc<dyn MemoryPool> {
    Arc::new(budget.for_query(query))
}

fn spiller(pool: &Arc<dyn MemoryPool>, name: &str) -> MemoryReservation {
    MemoryConsumer::new(name)
        .with_can_spill(true)
        .register(pool)
}

#[test]
fn one_consumer_alone_may_use_all_but_what_spilling_takes() {
    let budget = Budget::new(1000 * KIB, 0);
    let spiller = MemoryConsumer::new("sort")
        .with_can_spill(true)
        .register(&pool(&budget, "a"));
    spiller.try_grow(850 * KIB).unwrap();
    assert!(spiller.try_grow(1).is_err());
    let keys = MemoryConsumer::new("merge").register(&pool(&budget, "a"));
    keys.try_grow(150 * KIB).unwrap();
    assert!(keys.try_grow(1).is_err());
    drop((spiller, keys));
    assert_eq!(budget.host_used(), 0);
}

#[test]
fn a_consumer_with_nothing_to_spill_gets_a_little_whatever_others_hold() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "a");
    let make = |name: &str| spiller(&pool, name);
    let (first, second) = (make("first"), make("second"));
    first.try_grow(850 * KIB).unwrap();
    // An eighth of half of what consumers that can spill may have.
    second.try_grow(50 * KIB).unwrap();
    assert!(second.try_grow(10 * KIB).is_err());
}

#[test]
fn what_a_consumer_gives_back_when_it_begins_to_spill_is_kept_for_its_merge() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "a");
    let make = |name: &str| spiller(&pool, name);
    let (first, second) = (make("first"), make("second"));
    first.try_grow(740 * KIB).unwrap();
    second.try_grow(100 * KIB).unwrap();
    // Both are refused, and the first sorts what it has: that frees half of it.
    assert!(first.try_grow(10 * KIB).is_err());
    first.shrink(370 * KIB);
    let refused = second.try_grow(100 * KIB).unwrap_err().to_string();
    assert!(
        refused.contains("the rest is for those that spill"),
        "{refused}"
    );
    let keys = MemoryConsumer::new("merge").register(&pool);
    keys.try_grow(480 * KIB).unwrap();
    drop(keys);
    first.free();
    second.try_grow(500 * KIB).unwrap();
}

#[test]
fn what_is_on_its_way_from_a_sorter_to_its_merge_is_not_taken_by_others() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "a");
    let sorter = spiller(&pool, "ExternalSorter[0]");
    let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool);
    let other = spiller(&pool, "ExternalSorter[1]");
    merge.try_grow(10 * KIB).unwrap();
    sorter.try_grow(600 * KIB).unwrap();
    other.try_grow(100 * KIB).unwrap();
    // It spills: its sorted batches are under way, in nobody's name.
    merge.free();
    sorter.shrink(600 * KIB);
    let refused = other.try_grow(250 * KIB).unwrap_err().to_string();
    assert!(
        refused.contains("the rest is for those that spill"),
        "{refused}"
    );
    merge.try_grow(610 * KIB).unwrap();
    // What was written gives room to others, and nothing is kept any more.
    merge.shrink(500 * KIB);
    other.try_grow(250 * KIB).unwrap();
    drop((sorter, merge, other));
    assert_eq!(budget.host_used(), 0);
}

#[test]
fn under_pressure_a_spiller_is_held_to_its_share_of_active_ones() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "a");
    let make = |name: &str| spiller(&pool, name);
    let (first, second) = (make("first"), make("second"));
    let _idle: Vec<_> = (0..50).map(|i| make(&format!("idle {i}"))).collect();
    first.try_grow(700 * KIB).unwrap();
    second.try_grow(40 * KIB).unwrap();
    let refused = first.try_grow(100 * KIB).unwrap_err().to_string();
    assert!(
        refused.contains("its share under pressure is 425.0 KiB"),
        "{refused}"
    );
    second.try_grow(100 * KIB).unwrap();
}

/// Refused another batch it would spill; refused the first it fails, with memory left.
#[test]
fn the_first_batch_of_a_spiller_is_not_held_to_its_share() {
    let budget = Budget::new(1600 * KIB, 0);
    let pool = pool(&budget, "a");
    let others: Vec<_> = (0..20).map(|i| spiller(&pool, &format!("s{i}"))).collect();
    for other in &others {
        other.try_grow(62 * KIB).unwrap();
    }
    let late = spiller(&pool, "late");
    // Its share is a part of 21 of 85 %, 64 KiB.
    late.try_grow(100 * KIB).unwrap();
    late.try_grow(KIB).unwrap_err();
    let last = spiller(&pool, "last");
    last.try_grow(101 * KIB).unwrap_err();
}

/// It has put its batches together and cannot spill before it has sorted them.
#[test]
fn a_sorter_gets_the_little_that_its_batches_take_more_together() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "a");
    let sorter = spiller(&pool, "ExternalSorter[0]");
    let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool);
    merge.try_grow(KIB).unwrap();
    let _others: Vec<_> = (1..4)
        .map(|i| {
            let other = spiller(&pool, &format!("ExternalSorter[{i}]"));
            other.try_grow(200 * KIB).unwrap();
            other
        })
        .collect();
    // Its share is a quarter of 85 %.
    sorter.try_grow(212 * KIB).unwrap();
    assert!(sorter.try_grow(KIB).is_err());
    // It lets go of what it kept for its merge: no further batch comes before that is over.
    merge.free();
    assert!(sorter.try_grow(4 * KIB).is_err());
    sorter.try_grow(3 * KIB).unwrap();
}

/// A sorter that is refused more of what it has merged writes what it has.
#[test]
fn what_a_sorter_has_merged_does_not_take_what_its_merge_needs() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "a");
    let sorter = spiller(&pool, "ExternalSorter[0]");
    let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool);
    merge.try_grow(10 * KIB).unwrap();
    sorter.try_grow(400 * KIB).unwrap();
    let other = spiller(&pool, "ExternalSorter[1]");
    other.try_grow(400 * KIB).unwrap();
    merge.free();
    sorter.free();
    merge.try_grow(460 * KIB).unwrap();
    assert!(sorter.try_grow(KIB).is_err());
    // It has spilled, and collects again.
    merge.free();
    merge.try_grow(10 * KIB).unwrap();
    other.try_grow(20 * KIB).unwrap();
    MemoryConsumer::new("join").register(&pool).grow(430 * KIB);
    sorter.try_grow(KIB).unwrap();
}

/// It is sorted without a merge.
#[test]
fn a_sorter_that_has_written_a_single_batch_gets_the_next() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "a");
    let sorter = spiller(&pool, "ExternalSorter[0]");
    let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool);
    let join = MemoryConsumer::new("join").register(&pool);
    join.grow(750 * KIB);
    for _ in 0..3 {
        merge.try_grow(10 * KIB).unwrap();
        sorter.try_grow(100 * KIB).unwrap();
        assert!(sorter.try_grow(100 * KIB).is_err());
        merge.free();
        sorter.free();
    }
    // Several are merged, and what is on its way to that is still kept for it.
    merge.try_grow(10 * KIB).unwrap();
    join.shrink(600 * KIB);
    sorter.try_grow(600 * KIB).unwrap();
    merge.free();
    sorter.free();
    let other = spiller(&pool, "ExternalSorter[1]");
    other.try_grow(200 * KIB).unwrap_err();
    merge.try_grow(500 * KIB).unwrap();
}

#[test]
fn the_groups_of_an_aggregate_that_adds_up_what_it_has_spilled_are_not_held_to_its_share() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "a");
    let (first, second) = (
        spiller(&pool, "FinalHashAggregateStream[0]"),
        spiller(&pool, "FinalHashAggregateStream[1]"),
    );
    first.try_grow(420 * KIB).unwrap();
    second.try_grow(360 * KIB).unwrap();
    // Its share is 425: it spills, and its input ends.
    assert!(first.try_grow(20 * KIB).is_err());
    first.free();
    // It merges four files, and does without the fifth.
    for _ in 0..4 {
        first.try_grow(100 * KIB).unwrap();
    }
    assert!(first.try_grow(100 * KIB).is_err());
    // Its groups cannot be spilled again, and get all there is.
    let groups = first.new_empty();
    groups.try_grow(110 * KIB).unwrap();
    assert!(first.try_grow(100 * KIB).is_err());
    groups.try_grow(100 * KIB).unwrap();
    groups.shrink(10 * KIB);
    groups.try_grow(30 * KIB).unwrap();
    assert!(groups.try_grow(50 * KIB).is_err());
    // The other has not spilled yet, and can.
    assert!(second.try_grow(10 * KIB).is_err());
}

#[test]
fn queries_share_before_consumers_do() {
    let budget = Budget::new(1200 * KIB, 0);
    let (a, b) = (pool(&budget, "a"), pool(&budget, "b"));
    let many: Vec<_> = (0..8)
        .map(|i| {
            MemoryConsumer::new(format!("a{i}"))
                .with_can_spill(true)
                .register(&a)
        })
        .collect();
    for one in &many {
        one.try_grow(100 * KIB).unwrap();
    }
    let other = MemoryConsumer::new("b").with_can_spill(true).register(&b);
    other.try_grow(180 * KIB).unwrap();
    assert!(many[0].try_grow(10 * KIB).is_err());
    other.try_grow(40 * KIB).unwrap();
}

#[test]
fn a_refusal_says_who_asked_for_what_and_who_holds_the_most() {
    let budget = Budget::new(1000 * KIB, 0);
    let pool = pool(&budget, "0af1");
    let big = MemoryConsumer::new("HashJoinInput[0]").register(&pool);
    big.try_grow(900 * KIB).unwrap();
    let small = MemoryConsumer::new("TopK[1]").register(&pool);
    small.try_grow(10 * KIB).unwrap();
    insta::assert_snapshot!(small.try_grow(200 * KIB).unwrap_err(), @"Resources exhausted: reserve 200.0 KiB of host memory for TopK[1] of query 0af1: it holds 10.0 KiB, 90.0 KiB of 1000.0 KiB remain; HashJoinInput[0] holds the most, 900.0 KiB; raise memory.host_limit, use more engines, or let fewer queries run at once");
}

#[test]
fn what_cannot_be_refused_is_counted() {
    let budget = Budget::new(100 * KIB, 0);
    let consumer = MemoryConsumer::new("receive").register(&pool(&budget, "a"));
    consumer.grow(150 * KIB);
    let snapshot = budget.snapshot();
    assert_eq!(snapshot.overcommitted, 50 * KIB as u64);
    consumer.shrink(150 * KIB);
    let snapshot = budget.snapshot();
    assert_eq!(snapshot.overcommitted, 0);
    assert_eq!(snapshot.overcommitted_peak, 50 * KIB as u64);
    assert!(snapshot.queries.is_empty() && snapshot.consumers.is_empty());
    assert_eq!(snapshot.tiers[0].tier, Tier::Host);
}

/// Frames that are all being read: they give way to what comes before their readers.
#[derive(Debug)]
struct BeingRead(Arc<Budget>);

impl Reclaim for BeingRead {
    fn reclaim(&self, bytes: usize, of_read: bool) -> usize {
        let given = bytes.min(self.0.frames_used());
        let given = if of_read { given } else { 0 };
        self.0.release_frames(given);
        given
    }

    fn obstacle(&self) -> Option<String> {
        None
    }

    fn wake(&self) {}

    fn trim(&self, _: usize) {}
}

/// A budget of 1,000 KiB, and frames that are all being read.
fn read_frames() -> (Arc<Budget>, Arc<dyn Reclaim>) {
    let budget = Budget::new(1000 * KIB, 0);
    let frames: Arc<dyn Reclaim> = Arc::new(BeingRead(Arc::clone(&budget)));
    budget.reclaim_from(Arc::downgrade(&frames));
    (budget, frames)
}

#[test]
fn frames_that_are_being_read_give_way_to_groups_that_cannot_spill_again() {
    let (budget, _frames) = read_frames();
    let aggregate = spiller(&pool(&budget, "a"), "FinalHashAggregateStream[0]");
    aggregate.try_grow(400 * KIB).unwrap();
    assert!(budget.reserve_frames(450 * KIB, FrameRoom::Most));
    let refused = aggregate.try_grow(200 * KIB).unwrap_err().to_string();
    assert!(refused.contains("while they are read"), "{refused}");
    // It writes its groups, its input ends, and it adds them up again.
    aggregate.free();
    assert!(budget.reserve_frames(400 * KIB, FrameRoom::Most));
    aggregate.try_grow(50 * KIB).unwrap();
    let groups = aggregate.new_empty();
    groups.try_grow(100 * KIB).unwrap();
    groups.try_grow(100 * KIB).unwrap();
    assert_eq!(budget.frames_used(), 750 * KIB);
    // One file more to merge: it can do without.
    assert!(aggregate.try_grow(100 * KIB).is_err());
}

#[test]
fn frames_that_are_being_read_stay_where_a_sorter_can_write_what_it_has_merged() {
    let (budget, _frames) = read_frames();
    let pool = pool(&budget, "a");
    let sorter = spiller(&pool, "ExternalSorter[0]");
    let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool);
    assert!(budget.reserve_frames(850 * KIB, FrameRoom::Most));
    merge.try_grow(100 * KIB).unwrap();
    // It can do nothing without its first batch.
    sorter.try_grow(100 * KIB).unwrap();
    assert_eq!(budget.frames_used(), 800 * KIB);
    merge.free();
    sorter.free();
    merge.try_grow(200 * KIB).unwrap();
    assert!(sorter.try_grow(100 * KIB).is_err());
    assert_eq!(budget.frames_used(), 800 * KIB);
}

/// Frames that give all they have to another request first.
#[derive(Debug)]
struct TakenBefore(Arc<Budget>);

impl Reclaim for TakenBefore {
    fn reclaim(&self, _: usize, _: bool) -> usize {
        self.0.release_frames(self.0.frames_used());
        0
    }

    fn obstacle(&self) -> Option<String> {
        None
    }

    fn wake(&self) {}

    fn trim(&self, _: usize) {}
}

#[test]
fn a_request_gets_what_frames_gave_back_for_another_while_it_waited() {
    let budget = Budget::new(1000 * KIB, 0);
    let frames: Arc<dyn Reclaim> = Arc::new(TakenBefore(Arc::clone(&budget)));
    budget.reclaim_from(Arc::downgrade(&frames));
    assert!(budget.reserve_frames(600 * KIB, FrameRoom::Most));
    let merge = MemoryConsumer::new("merge").register(&pool(&budget, "a"));
    merge.try_grow(900 * KIB).unwrap();
    assert!(budget.frames_used() == 0 && merge.try_grow(200 * KIB).is_err());
}

#[test]
fn disk_is_claimed_up_to_its_limit() {
    let budget = Budget::new(0, 100);
    budget.reserve_disk(60).unwrap();
    insta::assert_snapshot!(budget.reserve_disk(50).unwrap_err(), @"reserve 50 B of disk for spilling: 60 B of 100 B are in use; raise memory.disk_limit or let fewer queries run at once");
    budget.release_disk(60);
    budget.reserve_disk(100).unwrap();
    assert_eq!(budget.snapshot().tiers[1].refused, 1);
}

#[test]
fn a_split_reservation_is_one_consumer_and_ends_clean() {
    let budget = Budget::new(1000 * KIB, 0);
    let whole = MemoryConsumer::new("sort")
        .with_can_spill(true)
        .register(&pool(&budget, "a"));
    whole.try_grow(100 * KIB).unwrap();
    let part = whole.split(40 * KIB);
    assert_eq!(budget.snapshot().consumers.len(), 1);
    drop(whole);
    assert_eq!(budget.host_used(), 40 * KIB);
    drop(part);
    assert_eq!(budget.host_used(), 0);
    assert!(budget.snapshot().queries.is_empty());
}
