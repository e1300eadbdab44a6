//! What the vessel traffic looks like.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Int32Type, TimestampMicrosecondType};
use arrow::util::pretty::pretty_format_batches;
use bireme_workloads::Dataset;

use crate::{fingerprint, generate_quietly, read_directory};

fn traffic(rows: u64) -> RecordBatch {
    let directory = tempfile::tempdir().unwrap();
    generate_quietly(&Dataset::Ais { rows }, directory.path());
    let batches = read_directory(directory.path());
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[test]
fn the_rows_never_change() {
    insta::assert_snapshot!(fingerprint(&[traffic(10_000)]), @"10000 rows, ba3afea8285ebf58");
    insta::assert_snapshot!(fingerprint(&[traffic(150_001)]), @"150001 rows, 91fc8e4184f90e8c");
    insta::assert_snapshot!(pretty_format_batches(&[traffic(5)]).unwrap(), @r"
    +---------------------+-----------+-----------+-----------+----------------------------+-----+------+-------+---------+------------+-----------------+--------+---------+-------------+
    | Timestamp           | MMSI      | Latitude  | Longitude | Status                     | ROT | SOG  | COG   | Heading | VesselType | Name            | Length | Draught | Destination |
    +---------------------+-----------+-----------+-----------+----------------------------+-----+------+-------+---------+------------+-----------------+--------+---------+-------------+
    | 2026-01-05T00:00:00 | 351981956 | 57.577652 | 11.405356 | Under way using engine     | 0.0 | 22.1 | 62.5  | 62      | Pilot      | NORD CARRIER    | 23     | 1.9     | GOTEBORG    |
    | 2026-01-05T09:36:00 | 235837208 | 56.640284 | 12.026141 | At anchor                  | 0.0 | 0.0  |       | 338     | Tanker     |                 | 186    | 11.0    |             |
    | 2026-01-05T19:12:00 | 219172012 | 56.008184 | 10.914049 | Under way using engine     |     | 8.2  | 9.2   | 6       | Tug        | EASTERN CARRIER | 25     | 3.4     | SKAGEN      |
    | 2026-01-06T04:48:00 | 265364274 | 55.251291 | 13.263456 | Constrained by her draught |     | 14.1 | 91.4  | 92      | Tanker     | EASTERN DOLPHIN | 206    | 12.0    |             |
    | 2026-01-06T14:24:00 | 219166299 | 54.941096 | 9.940847  | Moored                     | 0.0 | 0.0  | 193.9 | 191     | Cargo      | POLAR TRADER    | 167    | 7.5     | FLENSBURG   |
    +---------------------+-----------+-----------+-----------+----------------------------+-----+------+-------+---------+------------+-----------------+--------+---------+-------------+
    ");
}

#[test]
fn time_only_grows() {
    let traffic = traffic(120_000);
    let seconds = traffic["Timestamp"].as_primitive::<TimestampMicrosecondType>();
    assert!(seconds.values().is_sorted());
    let period = (seconds.value(seconds.len() - 1) - seconds.value(0)) / 1_000_000;
    assert!((172_790..172_800).contains(&period), "{period} seconds");
}

#[test]
fn few_vessels_send_most_reports() {
    let traffic = traffic(200_000);
    let mut reports = HashMap::<i32, usize>::new();
    for mmsi in traffic["MMSI"].as_primitive::<Int32Type>().values() {
        *reports.entry(*mmsi).or_default() += 1;
    }
    let mut counts: Vec<_> = reports.into_values().collect();
    counts.sort_unstable_by(|left, right| right.cmp(left));
    let busiest: usize = counts[..counts.len() / 10].iter().sum();
    assert!(counts.len() >= 250, "{} vessels", counts.len());
    assert!(
        busiest * 10 > 200_000 * 3,
        "a tenth of the vessels sent {busiest} of 200000 reports"
    );
}

#[test]
fn optional_columns_have_some_nulls() {
    let traffic = traffic(100_000);
    for (field, column) in traffic.schema().fields().iter().zip(traffic.columns()) {
        let nulls = column.null_count();
        if field.is_nullable() {
            assert!(
                (500..60_000).contains(&nulls),
                "{}: {nulls} nulls",
                field.name()
            );
        } else {
            assert_eq!(nulls, 0, "{}", field.name());
        }
    }
}

#[test]
fn some_vessels_are_much_faster_than_their_cohort() {
    let traffic = traffic(400_000);
    let (types, statuses) = (&traffic["VesselType"], &traffic["Status"]);
    let speeds = traffic["SOG"].as_primitive::<Float64Type>();
    let text = |column: &dyn Array, row| {
        column
            .is_valid(row)
            .then(|| column.as_string::<i32>().value(row).to_owned())
    };
    let reports: Vec<_> = (0..traffic.num_rows())
        .filter_map(|row| {
            let cohort = (text(types, row)?, text(statuses, row)?);
            speeds
                .is_valid(row)
                .then(|| (row, cohort, speeds.value(row)))
        })
        .collect();
    let mut cohorts = HashMap::<_, (f64, f64)>::new();
    for (_, cohort, speed) in &reports {
        let (sum, count) = cohorts.entry(cohort).or_default();
        *sum += speed;
        *count += 1.0;
    }
    let mmsi = traffic["MMSI"].as_primitive::<Int32Type>();
    let outliers: HashSet<i32> = reports
        .iter()
        .filter(|(_, cohort, speed)| *speed > 10.0 * cohorts[cohort].0 / cohorts[cohort].1)
        .map(|(row, ..)| mmsi.value(*row))
        .collect();
    assert!(cohorts.len() >= 30, "{} cohorts", cohorts.len());
    assert!(
        (1..60).contains(&outliers.len()),
        "{} vessels",
        outliers.len()
    );
}
