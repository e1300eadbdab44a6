//! Position reports: rows, with the errors and gaps of real instruments, as record batches.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Builder, Int16Builder, Int32Array, Int32Builder, RecordBatch,
    StringArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::SEED;
use super::fleet::{Fault, Fleet, Vessel};
use super::vessel_type::{STATUSES, UNDEFINED, VESSEL_TYPES};
use super::voyage::Moment;
use crate::random::SplitMix64;

/// 2026-01-05 00:00:00, a Monday.
const START_SECONDS: i64 = 1_767_571_200;
const PERIOD_SECONDS: u64 = 2 * 24 * 3600;
const MICROSECONDS: i64 = 1_000_000;

/// A vessel that lies still reports less often: such a draw is repeated this often at most.
const REDRAWS_MAX: usize = 3;
const REDRAW: f64 = 0.7;

/// Reports in one that lack a value, or have a wrong one.
const NO_SPEED: f64 = 0.02;
const NO_STATUS: f64 = 0.01;
const NO_STATUS_CLASS_B: f64 = 0.9;
const NO_DESTINATION: f64 = 0.05;
const TYPE_NOT_HEARD: f64 = 0.01;
const GLITCH: f64 = 0.01;
/// Speed over ground, in knots, that a broken sensor reports.
const GLITCH_KNOTS: (f64, f64) = (45.0, 102.2);

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let field = Field::new;
    Arc::new(Schema::new(vec![
        field(
            "Timestamp",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            false,
        ),
        field("MMSI", DataType::Int32, false),
        field("Latitude", DataType::Float64, false),
        field("Longitude", DataType::Float64, false),
        field("Status", text(), true),
        field("ROT", DataType::Float64, true),
        field("SOG", DataType::Float64, true),
        field("COG", DataType::Float64, true),
        field("Heading", DataType::Int16, true),
        field("VesselType", text(), true),
        field("Name", text(), true),
        field("Length", DataType::Int16, true),
        field("Draught", DataType::Float64, true),
        field("Destination", text(), true),
    ]))
});

/// Makes reports of a fleet over the whole period.
pub(crate) struct Reports {
    fleet: Arc<Fleet>,
    rows_total: u64,
    statuses: Arc<StringArray>,
    vessel_types: Arc<StringArray>,
    destinations: Arc<StringArray>,
}

impl Reports {
    /// Spreads `rows_total` reports over the period.
    pub(crate) fn new(fleet: Arc<Fleet>, rows_total: u64) -> Self {
        let types = VESSEL_TYPES.iter().map(|vessel_type| vessel_type.name);
        let destinations = fleet.lanes.iter().flat_map(|lane| lane.ends);
        Self {
            rows_total,
            statuses: Arc::new(StringArray::from_iter_values(STATUSES)),
            vessel_types: Arc::new(StringArray::from_iter_values(types.chain([UNDEFINED]))),
            destinations: Arc::new(StringArray::from_iter_values(destinations)),
            fleet,
        }
    }

    /// The columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    /// Makes the rows with these numbers.
    pub(crate) fn batch(&self, rows: Range<u64>) -> Result<RecordBatch, ArrowError> {
        let mut columns = Columns::default();
        for row in rows {
            self.append(row, &mut columns);
        }
        columns.finish(self)
    }

    fn append(&self, row: u64, columns: &mut Columns) {
        let mut random = SplitMix64::for_item(SEED, row);
        let seconds =
            (u128::from(row) * u128::from(PERIOD_SECONDS) / u128::from(self.rows_total)) as u64;
        let (vessel_index, moment) = self.draw_vessel(seconds, &mut random);
        let vessel = &self.fleet.vessels[vessel_index];
        columns
            .timestamp
            .append_value((START_SECONDS + seconds as i64) * MICROSECONDS);
        columns.mmsi.append_value(vessel.mmsi);
        columns.append_motion(vessel, &moment, &mut random);
        columns.append_particulars(vessel_index, vessel, &moment, &mut random);
    }

    fn draw_vessel(&self, seconds: u64, random: &mut SplitMix64) -> (usize, Moment) {
        let mut draws = 0;
        loop {
            let index = self.fleet.heard.draw(random);
            let vessel = &self.fleet.vessels[index];
            let vessel_type = &VESSEL_TYPES[vessel.vessel_type];
            let moment = vessel
                .voyage
                .at(seconds as f64, &self.fleet.lanes, vessel_type);
            draws += 1;
            if draws > REDRAWS_MAX || !moment.is_stay() || !random.chance(REDRAW) {
                return (index, moment);
            }
        }
    }
}

/// The columns in the making.
#[derive(Default)]
struct Columns {
    timestamp: TimestampMicrosecondBuilder,
    mmsi: Int32Builder,
    latitude: Float64Builder,
    longitude: Float64Builder,
    status: Vec<Option<i32>>,
    rate_of_turn: Float64Builder,
    speed: Float64Builder,
    course: Float64Builder,
    heading: Int16Builder,
    vessel_type: Vec<Option<i32>>,
    name: Vec<Option<i32>>,
    length: Int16Builder,
    draught: Float64Builder,
    destination: Vec<Option<i32>>,
}

impl Columns {
    fn append_motion(&mut self, vessel: &Vessel, moment: &Moment, random: &mut SplitMix64) {
        let drift = random.between(-1.0, 1.0);
        let position = &moment.position;
        self.latitude.append_value(rounded(
            position.latitude + vessel.side_step.0 + drift * 2e-4,
            1e6,
        ));
        self.longitude.append_value(rounded(
            position.longitude + vessel.side_step.1 - drift * 3e-4,
            1e6,
        ));
        let speed = if moment.is_stay() {
            if random.chance(0.75) {
                0.0
            } else {
                random.between(0.0, 0.3)
            }
        } else {
            moment.knots * random.between(0.92, 1.08)
        };
        let is_glitch = vessel.fault == Fault::FaultySensor && random.chance(GLITCH);
        let speed = if is_glitch {
            random.between(GLITCH_KNOTS.0, GLITCH_KNOTS.1)
        } else {
            speed
        };
        let has_speed = !random.chance(NO_SPEED);
        self.speed
            .append_option(has_speed.then(|| rounded(speed, 10.0)));
        let course = (moment.course + drift * 4.0).rem_euclid(360.0);
        let has_course = has_speed && (!moment.is_stay() || random.chance(0.5));
        self.course
            .append_option(has_course.then(|| rounded(course, 10.0) % 360.0));
        let heading = (course + drift * 3.0).rem_euclid(360.0) as i16;
        self.heading
            .append_option(vessel.has_gyro.then_some(heading));
        let turn = if moment.is_stay() {
            0.0
        } else {
            drift * drift * drift * 12.0
        };
        self.rate_of_turn
            .append_option(vessel.has_turn_indicator.then(|| rounded(turn, 10.0)));
    }

    fn append_particulars(
        &mut self,
        index: usize,
        vessel: &Vessel,
        moment: &Moment,
        random: &mut SplitMix64,
    ) {
        let no_status = if vessel.is_class_b {
            NO_STATUS_CLASS_B
        } else {
            NO_STATUS
        };
        self.status
            .push((!random.chance(no_status)).then(|| status_key(vessel, moment)));
        let vessel_type = if random.chance(TYPE_NOT_HEARD) {
            VESSEL_TYPES.len()
        } else {
            vessel.vessel_type
        };
        self.vessel_type
            .push(vessel.is_type_known.then_some(vessel_type as i32));
        self.name.push(vessel.is_named.then_some(index as i32));
        self.length
            .append_option(vessel.is_type_known.then_some(vessel.length_meters));
        self.draught
            .append_option((!vessel.is_class_b).then_some(vessel.draught_meters));
        let has_destination = !vessel.is_class_b && !random.chance(NO_DESTINATION);
        let destination = 2 * vessel.voyage.lane + moment.towards;
        self.destination
            .push(has_destination.then_some(destination as i32));
    }

    fn finish(mut self, reports: &Reports) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.timestamp.finish()),
            Arc::new(self.mmsi.finish()),
            Arc::new(self.latitude.finish()),
            Arc::new(self.longitude.finish()),
            words(self.status, &reports.statuses)?,
            Arc::new(self.rate_of_turn.finish()),
            Arc::new(self.speed.finish()),
            Arc::new(self.course.finish()),
            Arc::new(self.heading.finish()),
            words(self.vessel_type, &reports.vessel_types)?,
            words(self.name, &reports.fleet.names)?,
            Arc::new(self.length.finish()),
            Arc::new(self.draught.finish()),
            words(self.destination, &reports.destinations)?,
        ];
        RecordBatch::try_new(reports.schema(), columns)
    }
}

/// The status as reported; a forgetful crew leaves the one from the last stay.
fn status_key(vessel: &Vessel, moment: &Moment) -> i32 {
    let status = match vessel.fault {
        Fault::Forgetful => vessel.voyage.stay_status(),
        Fault::None | Fault::FaultySensor => moment.status,
    };
    let key = STATUSES.iter().position(|&known| known == status);
    key.map_or(0, |key| key as i32)
}

fn words(keys: Vec<Option<i32>>, values: &Arc<StringArray>) -> Result<ArrayRef, ArrowError> {
    let values = Arc::clone(values) as ArrayRef;
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(
        Int32Array::from(keys),
        values,
    )?))
}

fn rounded(value: f64, steps: f64) -> f64 {
    // Adding zero turns -0.0 into 0.0.
    (value * steps).round() / steps + 0.0
}
