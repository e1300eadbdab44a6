//! The places bytes can be, ordered by preference: device first, disk last.

use std::fmt;

/// Where bytes are. The order is the order of preference: a spill goes to a greater tier, a
/// restore to a lesser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Memory of the GPU.
    Device,
    /// Host memory registered with the GPU driver.
    Pinned,
    /// Host memory.
    Host,
    /// Files in the spill directory.
    Disk,
}

impl Tier {
    /// Every tier, best first.
    pub const ALL: [Self; 4] = [Self::Device, Self::Pinned, Self::Host, Self::Disk];

    /// The tier a spill goes to next, if there is one.
    pub fn below(self) -> Option<Self> {
        match self {
            Self::Device => Some(Self::Pinned),
            Self::Pinned => Some(Self::Host),
            Self::Host => Some(Self::Disk),
            Self::Disk => None,
        }
    }

    /// The name users see, also in setting names and counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Pinned => "pinned",
            Self::Host => "host",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_ordered_by_preference_and_chained_downward() {
        assert!(Tier::ALL.is_sorted());
        for pair in Tier::ALL.windows(2) {
            assert_eq!(pair[0].below(), Some(pair[1]));
        }
        assert_eq!(Tier::Disk.below(), None);
    }
}
