//! Free ranges of an arena: adjacent ones are one, and the smallest that suffices is taken.

use std::collections::{BTreeMap, BTreeSet};

/// Free ranges, by where they begin and by how long they are.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    by_offset: BTreeMap<u64, u64>,
    by_length: BTreeSet<(u64, u64)>,
    total: u64,
}

impl Ranges {
    /// One range from 0.
    pub(crate) fn whole(length: u64) -> Self {
        let mut ranges = Self::default();
        ranges.add(0, length);
        ranges
    }

    /// The sum of their lengths.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Takes a range of this length out and returns where it begins.
    pub(crate) fn take(&mut self, length: u64) -> Option<u64> {
        let &(found, offset) = self.by_length.range((length, 0)..).next()?;
        self.remove(offset, found);
        if found > length {
            self.insert(offset + length, found - length);
        }
        Some(offset)
    }

    /// Takes a part of the largest out, at most this long.
    pub(crate) fn take_part(&mut self, most: u64) -> Option<(u64, u64)> {
        let &(found, offset) = self.by_length.last()?;
        let length = found.min(most);
        self.remove(offset, found);
        if found > length {
            self.insert(offset + length, found - length);
        }
        Some((offset, length))
    }

    /// Takes all out.
    pub(crate) fn take_all(&mut self) -> Vec<(u64, u64)> {
        let all = std::mem::take(self);
        all.by_offset.into_iter().collect()
    }

    /// Adds a range that overlaps none.
    pub(crate) fn add(&mut self, offset: u64, length: u64) {
        let (mut offset, mut length) = (offset, length);
        let before = self.by_offset.range(..offset).next_back();
        if let Some((&start, &size)) = before
            && start + size == offset
        {
            self.remove(start, size);
            (offset, length) = (start, size + length);
        }
        let end = offset + length;
        if let Some(&size) = self.by_offset.get(&end) {
            self.remove(end, size);
            length += size;
        }
        self.insert(offset, length);
    }

    fn insert(&mut self, offset: u64, length: u64) {
        self.by_offset.insert(offset, length);
        self.by_length.insert((length, offset));
        self.total += length;
    }

    fn remove(&mut self, offset: u64, length: u64) {
        self.by_offset.remove(&offset);
        self.by_length.remove(&(length, offset));
        self.total -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_suffices_is_taken_and_neighbours_become_one() {
        let mut ranges = Ranges::whole(100);
        let taken: Vec<_> = (0..10).map(|_| ranges.take(10).unwrap()).collect();
        assert_eq!(taken, (0..10).map(|i| i * 10).collect::<Vec<_>>());
        assert_eq!((ranges.take(1), ranges.total()), (None, 0));
        for offset in [0, 10, 40, 60, 70, 80] {
            ranges.add(offset, 10);
        }
        assert_eq!(ranges.take(10), Some(40));
        assert_eq!(ranges.take(15), Some(0));
        assert_eq!(ranges.take(31), None);
        ranges.add(50, 10);
        assert_eq!(ranges.take(40), Some(50));
        assert_eq!(ranges.take_part(2), Some((15, 2)));
        assert_eq!(ranges.take_all(), [(17, 3)]);
        assert_eq!(ranges.total(), 0);
    }
}
