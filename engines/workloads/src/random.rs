//! The random numbers of the generators.
//!
//! SplitMix64 is written out here because its sequence is part of the data: a library is free to
//! change its generators between versions, and the sample data must stay the same.

/// A SplitMix64 generator.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// Starts the sequence that belongs to one item (a row, a vessel) of one seed.
    pub(crate) fn for_item(seed: u64, item: u64) -> Self {
        Self {
            state: mix(seed ^ mix(item.wrapping_add(INCREMENT))),
        }
    }

    /// Draws 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(INCREMENT);
        mix(self.state)
    }

    /// Draws a number in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        const MANTISSA_STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.bits() >> 11) as f64 * MANTISSA_STEP
    }

    /// Draws a number in `low..high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Draws an index in `0..count`.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// Is true with the given probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Draws items in proportion to their weights, in constant time (the alias method).
#[derive(Debug)]
pub(crate) struct WeightedIndex {
    keep: Vec<f64>,
    alias: Vec<u32>,
}

impl WeightedIndex {
    /// Prepares the draw. Weights must be positive; there must be at least one.
    pub(crate) fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut keep: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut alias: Vec<u32> = (0..weights.len() as u32).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..keep.len()).partition(|&item| keep[item] < 1.0);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            alias[poor] = rich as u32;
            keep[rich] -= 1.0 - keep[poor];
            if keep[rich] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        // What is left differs from 1.0 by rounding only.
        for item in small.into_iter().chain(large) {
            keep[item] = 1.0;
        }
        Self { keep, alias }
    }

    /// Draws one item.
    pub(crate) fn draw(&self, random: &mut SplitMix64) -> usize {
        let item = random.index(self.keep.len());
        if random.unit() < self.keep[item] {
            item
        } else {
            self.alias[item] as usize
        }
    }
}
