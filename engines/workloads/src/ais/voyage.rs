//! Where a vessel is and what it does at a given second: back and forth on its lane, with stays.

use super::lane::{Lane, Position};
use super::vessel_type::{AT_ANCHOR, MOORED, VesselType};

/// The part of a voyage at each end that is spent gaining or losing speed.
const RAMP: f64 = 0.04;
/// The middle part of a voyage in which working vessels work.
const WORK: std::ops::Range<f64> = 0.2..0.8;

/// A vessel's timetable. It repeats for ever.
#[derive(Debug, Clone)]
pub(crate) struct Voyage {
    pub(crate) lane: usize,
    /// The stretch of the lane that is used, in miles from its first end.
    pub(crate) miles: (f64, f64),
    pub(crate) cruise_knots: f64,
    pub(crate) stay_seconds: f64,
    /// Seconds into the timetable when the data begins.
    pub(crate) offset_seconds: f64,
    pub(crate) stays_at_anchor: bool,
}

/// What a vessel does at one moment, before the errors of its instruments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moment {
    pub(crate) position: Position,
    pub(crate) knots: f64,
    /// Degrees clockwise from north.
    pub(crate) course: f64,
    pub(crate) status: &'static str,
    /// Which end of the lane it goes to, or came to.
    pub(crate) towards: usize,
}

impl Moment {
    /// Whether the vessel lies still.
    pub(crate) fn is_stay(&self) -> bool {
        self.knots == 0.0
    }
}

impl Voyage {
    /// Looks the timetable up.
    pub(crate) fn at(&self, seconds: f64, lanes: &[Lane], vessel_type: &VesselType) -> Moment {
        let lane = &lanes[self.lane];
        let voyage_seconds = (self.miles.1 - self.miles.0) / self.cruise_knots * 3600.0;
        let leg_seconds = voyage_seconds + self.stay_seconds;
        let since_start = seconds + self.offset_seconds;
        let leg = (since_start / leg_seconds).floor();
        let is_return = leg % 2.0 == 1.0;
        let done = ((since_start - leg * leg_seconds) / voyage_seconds).min(1.0);
        let along = if is_return { 1.0 - done } else { done };
        let position = lane.at(self.miles.0 + along * (self.miles.1 - self.miles.0));
        let course = if is_return {
            (position.course + 180.0) % 360.0
        } else {
            position.course
        };
        let (status, knots) = if done < 1.0 {
            self.under_way(done, vessel_type)
        } else {
            (self.stay_status(), 0.0)
        };
        Moment {
            position,
            knots,
            course,
            status,
            towards: usize::from(!is_return),
        }
    }

    /// The status between voyages.
    pub(crate) fn stay_status(&self) -> &'static str {
        if self.stays_at_anchor {
            AT_ANCHOR
        } else {
            MOORED
        }
    }

    fn under_way(&self, done: f64, vessel_type: &VesselType) -> (&'static str, f64) {
        if let Some((status, knots)) = vessel_type.work
            && WORK.contains(&done)
        {
            return (status, knots);
        }
        let ramp = (done / RAMP).min((1.0 - done) / RAMP).clamp(0.1, 1.0);
        (vessel_type.sailing_status, self.cruise_knots * ramp)
    }
}
