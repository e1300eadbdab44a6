//! The vessels: what stays the same about each of them while the reports go by.

use std::sync::Arc;

use arrow::array::StringArray;

use super::SEED;
use super::lane::{Lane, LaneKind};
use super::vessel_type::VESSEL_TYPES;
use super::voyage::Voyage;
use crate::random::{SplitMix64, WeightedIndex};

const ROWS_PER_VESSEL: u64 = 4_000;
const VESSELS_MIN: u64 = 300;
const VESSELS_MAX: u64 = 100_000;
/// A vessel of rank r is heard in proportion to `1 / (r + SKEW_SHIFT)`: few vessels send most.
const SKEW_SHIFT: f64 = 25.0;

/// One vessel of so many has a fault, beginning with this one: small fleets have some too, and the
/// busiest vessels are in order.
const FORGETFUL: (u64, u64) = (131, 97);
const FAULTY_SENSOR: (u64, u64) = (211, 140);

/// Vessels in one that have each lack.
const TYPE_UNKNOWN: f64 = 0.02;
const NAME_UNKNOWN: f64 = 0.01;
const NO_TURN_INDICATOR: f64 = 0.35;
const NO_GYRO: f64 = 0.08;

/// First three digits of MMSI numbers: the flag.
const FLAGS: [i32; 16] = [
    219, 220, 219, 211, 265, 257, 230, 244, 261, 273, 248, 636, 538, 351, 563, 235,
];

const NAME_STARTS: [&str; 24] = [
    "NORD", "BALTIC", "SCAN", "ATLANTIC", "KATTEGAT", "ARCTIC", "POLAR", "SILVER", "BLUE", "GREEN",
    "STENA", "OCEAN", "GOLDEN", "NORTHERN", "EASTERN", "SEA", "VIKING", "BELT", "AMBER", "STORM",
    "SUND", "FJORD", "CORAL", "MARE",
];
const NAME_ENDS: [&str; 24] = [
    "STAR", "QUEEN", "TRADER", "SWAN", "EAGLE", "SPIRIT", "PEARL", "BREEZE", "CARRIER", "EXPRESS",
    "FALCON", "HAWK", "WIND", "WAVE", "DOLPHIN", "MAERSK", "FREYA", "THOR", "FRIGG", "BALDER",
    "PIONEER", "HOPE", "GRACE", "RUNNER",
];

/// What is wrong with a vessel's reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The crew never changes the status from the one in port.
    Forgetful,
    /// The speed jumps now and then.
    FaultySensor,
}

/// One vessel.
#[derive(Debug, Clone)]
pub(crate) struct Vessel {
    pub(crate) mmsi: i32,
    /// Index into [`VESSEL_TYPES`].
    pub(crate) vessel_type: usize,
    pub(crate) is_type_known: bool,
    pub(crate) is_named: bool,
    pub(crate) is_class_b: bool,
    pub(crate) has_turn_indicator: bool,
    pub(crate) has_gyro: bool,
    pub(crate) length_meters: i16,
    pub(crate) draught_meters: f64,
    /// Degrees that the vessel keeps to the side of its lane.
    pub(crate) side_step: (f64, f64),
    pub(crate) fault: Fault,
    pub(crate) voyage: Voyage,
}

/// All vessels, and how often each is heard.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) vessels: Vec<Vessel>,
    pub(crate) names: Arc<StringArray>,
    pub(crate) heard: WeightedIndex,
}

impl Fleet {
    /// Makes as many vessels as suit a number of reports.
    pub(crate) fn for_rows(rows: u64) -> Self {
        let count = (rows / ROWS_PER_VESSEL).clamp(VESSELS_MIN, VESSELS_MAX);
        let lanes = Lane::all();
        let shares = VESSEL_TYPES.each_ref().map(|vessel_type| vessel_type.share);
        let types = WeightedIndex::new(&shares);
        let mut vessels = Vec::new();
        let mut names = Vec::new();
        let mut weights = Vec::new();
        for number in 0..count {
            let mut random = SplitMix64::for_item(SEED, number | 1 << 63);
            vessels.push(vessel(number, &types, &lanes, &mut random));
            names.push(name(number, &mut random));
            weights.push(1.0 / (number as f64 + SKEW_SHIFT));
        }
        Self {
            lanes,
            vessels,
            names: Arc::new(StringArray::from(names)),
            heard: WeightedIndex::new(&weights),
        }
    }
}

fn vessel(number: u64, types: &WeightedIndex, lanes: &[Lane], random: &mut SplitMix64) -> Vessel {
    let index = types.draw(random);
    let vessel_type = &VESSEL_TYPES[index];
    let flag = FLAGS[random.index(FLAGS.len())];
    let is_class_b = random.chance(vessel_type.class_b);
    let size = random.unit();
    let between = |(low, high): (f64, f64)| low + size * (high - low);
    Vessel {
        // 7919 has no factor in common with a million, so the numbers differ.
        mmsi: flag * 1_000_000 + (number * 7919 % 1_000_000) as i32,
        vessel_type: index,
        is_type_known: !random.chance(TYPE_UNKNOWN),
        is_named: !random.chance(NAME_UNKNOWN),
        is_class_b,
        has_turn_indicator: !is_class_b && !random.chance(NO_TURN_INDICATOR),
        has_gyro: !is_class_b && !random.chance(NO_GYRO),
        length_meters: between(vessel_type.length_meters) as i16,
        draught_meters: (between(vessel_type.draught_meters) * 10.0).round() / 10.0,
        side_step: (random.between(-0.015, 0.015), random.between(-0.03, 0.03)),
        fault: fault(number),
        voyage: voyage(index, lanes, random),
    }
}

fn fault(number: u64) -> Fault {
    let is_hit = |(every, first)| number % every == first;
    if is_hit(FORGETFUL) {
        Fault::Forgetful
    } else if is_hit(FAULTY_SENSOR) {
        Fault::FaultySensor
    } else {
        Fault::None
    }
}

fn voyage(vessel_type: usize, lanes: &[Lane], random: &mut SplitMix64) -> Voyage {
    let vessel_type = &VESSEL_TYPES[vessel_type];
    let fitting: Vec<usize> = (0..lanes.len())
        .filter(|&lane| lanes[lane].kind == vessel_type.lane)
        .collect();
    let lane = fitting[random.index(fitting.len())];
    let length = lanes[lane].length_miles();
    // A ferry goes all the way; others use a part of the lane, at least a third of it.
    let (from, to) = match vessel_type.lane {
        LaneKind::Ferry => (0.0, 1.0),
        LaneKind::Transit => (random.between(0.0, 0.33), random.between(0.67, 1.0)),
        LaneKind::Fishing => (0.0, random.between(0.5, 1.0)),
    };
    Voyage {
        lane,
        miles: (from * length, to * length),
        cruise_knots: random.between(vessel_type.cruise_knots.0, vessel_type.cruise_knots.1),
        stay_seconds: random.between(vessel_type.stay_hours.0, vessel_type.stay_hours.1) * 3600.0,
        offset_seconds: random.between(0.0, 200.0) * 3600.0,
        stays_at_anchor: random.chance(0.2),
    }
}

fn name(number: u64, random: &mut SplitMix64) -> String {
    let start = NAME_STARTS[random.index(NAME_STARTS.len())];
    let end = NAME_ENDS[random.index(NAME_ENDS.len())];
    let sisters = (NAME_STARTS.len() * NAME_ENDS.len()) as u64;
    match number / sisters {
        0 => format!("{start} {end}"),
        sister => format!("{start} {end} {}", sister + 1),
    }
}
