//! What kinds of vessels there are, how many of each, and how they behave.

use super::lane::LaneKind;

pub(crate) const MOORED: &str = "Moored";
pub(crate) const AT_ANCHOR: &str = "At anchor";
pub(crate) const UNDER_WAY_ENGINE: &str = "Under way using engine";
pub(crate) const UNDER_WAY_SAIL: &str = "Under way sailing";
pub(crate) const FISHING: &str = "Engaged in fishing";
pub(crate) const RESTRICTED: &str = "Restricted maneuverability";
pub(crate) const CONSTRAINED: &str = "Constrained by her draught";

/// All navigational statuses; reports refer to them by index.
pub(crate) const STATUSES: [&str; 7] = [
    UNDER_WAY_ENGINE,
    AT_ANCHOR,
    MOORED,
    FISHING,
    UNDER_WAY_SAIL,
    RESTRICTED,
    CONSTRAINED,
];

/// Sent as long as the static data of a vessel has not been heard.
pub(crate) const UNDEFINED: &str = "Undefined";

/// How vessels of one type behave.
#[derive(Debug)]
pub(crate) struct VesselType {
    pub(crate) name: &'static str,
    /// Vessels in a thousand.
    pub(crate) share: f64,
    pub(crate) lane: LaneKind,
    pub(crate) cruise_knots: (f64, f64),
    pub(crate) stay_hours: (f64, f64),
    pub(crate) length_meters: (f64, f64),
    pub(crate) draught_meters: (f64, f64),
    /// The status between port and port.
    pub(crate) sailing_status: &'static str,
    /// Status and speed of work in the middle of a voyage.
    pub(crate) work: Option<(&'static str, f64)>,
    /// Part of the vessels with a simple (class B) transponder, which has no status.
    pub(crate) class_b: f64,
}

/// The types, the most frequent first.
pub(crate) const VESSEL_TYPES: [VesselType; 14] = [
    VesselType {
        share: 330.0,
        cruise_knots: (9.0, 15.5),
        stay_hours: (6.0, 30.0),
        length_meters: (70.0, 300.0),
        draught_meters: (3.5, 13.0),
        ..vessel("Cargo")
    },
    VesselType {
        share: 150.0,
        cruise_knots: (9.0, 14.0),
        stay_hours: (10.0, 40.0),
        length_meters: (80.0, 250.0),
        draught_meters: (5.0, 14.5),
        sailing_status: CONSTRAINED,
        ..vessel("Tanker")
    },
    VesselType {
        share: 140.0,
        lane: LaneKind::Fishing,
        cruise_knots: (6.5, 10.5),
        stay_hours: (8.0, 30.0),
        length_meters: (12.0, 45.0),
        draught_meters: (2.0, 6.0),
        work: Some((FISHING, 3.4)),
        class_b: 0.15,
        ..vessel("Fishing")
    },
    VesselType {
        share: 90.0,
        class_b: 0.9,
        cruise_knots: (5.0, 22.0),
        stay_hours: (12.0, 60.0),
        length_meters: (7.0, 24.0),
        draught_meters: (0.8, 2.5),
        ..vessel("Pleasure")
    },
    VesselType {
        share: 80.0,
        lane: LaneKind::Ferry,
        cruise_knots: (13.0, 21.0),
        stay_hours: (0.4, 3.0),
        length_meters: (40.0, 240.0),
        draught_meters: (3.0, 7.0),
        ..vessel("Passenger")
    },
    VesselType {
        share: 60.0,
        class_b: 0.85,
        cruise_knots: (4.0, 7.5),
        stay_hours: (10.0, 50.0),
        length_meters: (8.0, 30.0),
        draught_meters: (1.2, 3.5),
        sailing_status: UNDER_WAY_SAIL,
        ..vessel("Sailing")
    },
    VesselType {
        share: 45.0,
        cruise_knots: (6.0, 11.0),
        stay_hours: (4.0, 30.0),
        length_meters: (18.0, 45.0),
        draught_meters: (2.5, 6.0),
        ..vessel("Tug")
    },
    VesselType {
        share: 20.0,
        lane: LaneKind::Ferry,
        cruise_knots: (27.0, 38.0),
        stay_hours: (0.5, 4.0),
        length_meters: (20.0, 110.0),
        draught_meters: (1.0, 4.0),
        ..vessel("HSC")
    },
    VesselType {
        share: 18.0,
        lane: LaneKind::Ferry,
        cruise_knots: (12.0, 24.0),
        stay_hours: (1.0, 8.0),
        length_meters: (10.0, 25.0),
        draught_meters: (0.8, 2.0),
        ..vessel("Pilot")
    },
    VesselType {
        share: 17.0,
        cruise_knots: (7.0, 10.0),
        stay_hours: (5.0, 20.0),
        length_meters: (40.0, 130.0),
        draught_meters: (3.0, 8.0),
        work: Some((RESTRICTED, 1.6)),
        ..vessel("Dredging")
    },
    VesselType {
        share: 15.0,
        cruise_knots: (14.0, 28.0),
        stay_hours: (12.0, 60.0),
        length_meters: (10.0, 40.0),
        draught_meters: (1.0, 3.0),
        ..vessel("SAR")
    },
    VesselType {
        share: 10.0,
        cruise_knots: (10.0, 20.0),
        stay_hours: (12.0, 60.0),
        length_meters: (20.0, 120.0),
        draught_meters: (2.0, 6.0),
        ..vessel("Military")
    },
    VesselType {
        share: 10.0,
        cruise_knots: (8.0, 18.0),
        stay_hours: (12.0, 50.0),
        length_meters: (10.0, 40.0),
        draught_meters: (1.0, 3.0),
        ..vessel("Law enforcement")
    },
    VesselType {
        share: 15.0,
        cruise_knots: (5.0, 12.0),
        stay_hours: (8.0, 40.0),
        length_meters: (10.0, 90.0),
        draught_meters: (1.0, 6.0),
        class_b: 0.3,
        ..vessel("Other")
    },
];

const fn vessel(name: &'static str) -> VesselType {
    VesselType {
        name,
        share: 0.0,
        lane: LaneKind::Transit,
        cruise_knots: (0.0, 0.0),
        stay_hours: (0.0, 0.0),
        length_meters: (0.0, 0.0),
        draught_meters: (0.0, 0.0),
        sailing_status: UNDER_WAY_ENGINE,
        work: None,
        class_b: 0.0,
    }
}
