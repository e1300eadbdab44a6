//! The map: shipping lanes, ferry lines and ways to fishing grounds around Denmark.
//!
//! Way points are rough and lie in the water; they are good for a picture, not for navigation.

/// Nautical miles of one degree of latitude.
const MILES_PER_DEGREE: f64 = 60.0;

/// What a lane is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneKind {
    Transit,
    Ferry,
    Fishing,
}

/// A named lane as (latitude, longitude) way points.
struct LaneDefinition {
    kind: LaneKind,
    ends: [&'static str; 2],
    points: &'static [(f64, f64)],
}

const LANES: &[LaneDefinition] = &[
    LaneDefinition {
        kind: LaneKind::Transit,
        ends: ["SKAGEN", "GDYNIA"],
        points: &[
            (57.95, 10.85),
            (57.30, 11.30),
            (56.80, 11.20),
            (56.20, 11.00),
            (55.95, 10.90),
            (55.60, 10.92),
            (55.35, 11.03),
            (55.05, 10.98),
            (54.80, 10.88),
            (54.58, 11.20),
            (54.42, 12.15),
            (54.75, 12.80),
            (55.30, 14.40),
            (55.45, 16.20),
        ],
    },
    LaneDefinition {
        kind: LaneKind::Transit,
        ends: ["GOTEBORG", "ST PETERSBURG"],
        points: &[
            (57.60, 11.50),
            (57.00, 11.75),
            (56.35, 12.20),
            (56.05, 12.63),
            (55.75, 12.69),
            (55.53, 12.71),
            (55.25, 12.75),
            (55.25, 13.80),
            (55.32, 14.45),
            (55.75, 16.40),
        ],
    },
    LaneDefinition {
        kind: LaneKind::Transit,
        ends: ["ROTTERDAM", "SKAGEN"],
        points: &[
            (54.60, 6.20),
            (55.50, 7.20),
            (56.60, 7.60),
            (57.25, 8.10),
            (57.65, 9.20),
            (57.90, 10.40),
            (57.95, 10.85),
        ],
    },
    LaneDefinition {
        kind: LaneKind::Transit,
        ends: ["KIEL", "AARHUS"],
        points: &[
            (54.45, 10.20),
            (54.62, 10.60),
            (54.80, 10.88),
            (55.05, 10.98),
            (55.35, 11.03),
            (55.65, 10.90),
            (55.95, 10.70),
            (56.13, 10.35),
        ],
    },
    LaneDefinition {
        kind: LaneKind::Transit,
        ends: ["FREDERICIA", "FLENSBURG"],
        points: &[
            (55.55, 9.78),
            (55.48, 9.72),
            (55.25, 9.72),
            (54.98, 9.98),
            (54.83, 9.90),
        ],
    },
    LaneDefinition {
        kind: LaneKind::Ferry,
        ends: ["AARHUS", "ODDEN"],
        points: &[(56.15, 10.24), (56.02, 10.65), (55.98, 11.36)],
    },
    LaneDefinition {
        kind: LaneKind::Ferry,
        ends: ["RODBY", "PUTTGARDEN"],
        points: &[(54.65, 11.35), (54.51, 11.23)],
    },
    LaneDefinition {
        kind: LaneKind::Ferry,
        ends: ["RONNE", "YSTAD"],
        points: &[(55.10, 14.68), (55.42, 13.83)],
    },
    LaneDefinition {
        kind: LaneKind::Ferry,
        ends: ["HELSINGOR", "HELSINGBORG"],
        points: &[(56.03, 12.62), (56.04, 12.69)],
    },
    LaneDefinition {
        kind: LaneKind::Ferry,
        ends: ["FREDERIKSHAVN", "GOTEBORG"],
        points: &[(57.43, 10.56), (57.45, 11.00), (57.66, 11.75)],
    },
    LaneDefinition {
        kind: LaneKind::Fishing,
        ends: ["HIRTSHALS", "SKAGERRAK"],
        points: &[(57.61, 9.95), (57.90, 9.30), (57.95, 8.40)],
    },
    LaneDefinition {
        kind: LaneKind::Fishing,
        ends: ["HVIDE SANDE", "HORNS REV"],
        points: &[(56.00, 8.08), (55.90, 7.40), (55.70, 6.90)],
    },
    LaneDefinition {
        kind: LaneKind::Fishing,
        ends: ["THYBORON", "DOGGER"],
        points: &[(56.71, 8.16), (56.65, 7.20), (56.40, 5.90)],
    },
    LaneDefinition {
        kind: LaneKind::Fishing,
        ends: ["GRENAA", "KATTEGAT"],
        points: &[(56.41, 10.95), (56.60, 11.25), (57.05, 11.35)],
    },
];

/// Where a vessel is on a lane, and which way the lane runs there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Position {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    /// Degrees clockwise from north, towards the lane's second end.
    pub(crate) course: f64,
}

/// A lane with its distances worked out.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) kind: LaneKind,
    pub(crate) ends: [&'static str; 2],
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    from: (f64, f64),
    to: (f64, f64),
    start_miles: f64,
    length_miles: f64,
    course: f64,
}

impl Lane {
    /// Works out all lanes.
    pub(crate) fn all() -> Vec<Self> {
        LANES.iter().map(Self::new).collect()
    }

    fn new(definition: &LaneDefinition) -> Self {
        let mut start_miles = 0.0;
        let segments = definition.points.windows(2).map(|pair| {
            let segment = Segment::new(pair[0], pair[1], start_miles);
            start_miles += segment.length_miles;
            segment
        });
        Self {
            kind: definition.kind,
            ends: definition.ends,
            segments: segments.collect(),
        }
    }

    /// The length from end to end.
    pub(crate) fn length_miles(&self) -> f64 {
        self.segments
            .iter()
            .map(|segment| segment.length_miles)
            .sum()
    }

    /// The place so many miles from the first end.
    pub(crate) fn at(&self, miles: f64) -> Position {
        let passed = self
            .segments
            .partition_point(|segment| segment.start_miles <= miles);
        let segment = &self.segments[passed.saturating_sub(1)];
        let share = ((miles - segment.start_miles) / segment.length_miles).clamp(0.0, 1.0);
        Position {
            latitude: segment.from.0 + share * (segment.to.0 - segment.from.0),
            longitude: segment.from.1 + share * (segment.to.1 - segment.from.1),
            course: segment.course,
        }
    }
}

impl Segment {
    fn new(from: (f64, f64), to: (f64, f64), start_miles: f64) -> Self {
        let north = (to.0 - from.0) * MILES_PER_DEGREE;
        let east = (to.1 - from.1) * MILES_PER_DEGREE * from.0.to_radians().cos();
        let course = east.atan2(north).to_degrees().rem_euclid(360.0);
        Self {
            from,
            to,
            start_miles,
            length_miles: north.hypot(east),
            course,
        }
    }
}
