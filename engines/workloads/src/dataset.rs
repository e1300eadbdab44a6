//! The data sets by name and parameter, and the files each is made of.
//!
//! A data set is a list of [`Piece`]s, one Parquet file each, that can be made in any order. What a
//! piece holds is the matter of `ais` and `tpch`; how it reaches the disk that of `parquet_file`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::file::properties::WriterPropertiesBuilder;
use serde::{Deserialize, Serialize};

use crate::{WorkloadError, ais, tpch};

/// Rows of one file; more rows make more files.
const FILE_ROWS: u64 = 2_500_000;
/// Tables with at least this many rows get [`FILES_MIN`] files, so that every engine finds work.
const SEVERAL_FILES_FROM_ROWS: u64 = 100_000;
/// Files of a table that is worth splitting.
const FILES_MIN: u64 = 4;

/// The tables of wholesale orders.
const ORDERS_TABLES: [tpch::Table; 4] = [
    tpch::Table::Lineitem,
    tpch::Table::Orders,
    tpch::Table::Customer,
    tpch::Table::Supplier,
];
/// The scale factor of TPC-H that has 23.75 million orders.
const ORDERS_FULL_SCALE: f64 = 23.75 / 1.5;

const ROWS_MAX: u64 = 1 << 40;
const SCALE_MIN: f64 = 0.001;
const SCALE_MAX: f64 = 10_000.0;

/// A data set and its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dataset {
    /// Two days of synthetic vessel traffic around Denmark, in the columns of the Danish AIS
    /// archive: one table, directly in the output directory.
    Ais {
        /// Position reports to make.
        rows: u64,
    },
    /// The eight tables of TPC-H, one directory each.
    Tpch {
        /// The scale factor: 1.0 is about a gigabyte as text.
        scale: f64,
    },
    /// Wholesale orders: four tables of TPC-H in the sizes of a large wholesaler, one directory
    /// each. At full scale 95 million lines of 23.75 million orders of 2.375 million customers,
    /// delivered by 0.16 million suppliers.
    Orders {
        /// The part of the full size: 1.0 is all.
        scale: f64,
    },
}

impl Dataset {
    /// The name used on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ais { .. } => "ais",
            Self::Tpch { .. } => "tpch",
            Self::Orders { .. } => "orders",
        }
    }

    /// Returns each table with the glob of its files, relative to the output directory.
    pub fn tables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Ais { .. } => vec![("ais", "*.parquet".to_owned())],
            Self::Tpch { .. } => files_of(&tpch::Table::ALL),
            Self::Orders { .. } => files_of(&ORDERS_TABLES),
        }
    }

    /// Checks the parameters.
    pub(crate) fn validate(&self) -> Result<(), WorkloadError> {
        let (is_valid, parameter, value, allowed) = match *self {
            Self::Ais { rows } => (
                (1..=ROWS_MAX).contains(&rows),
                "rows",
                rows.to_string(),
                format!("1 to {ROWS_MAX}"),
            ),
            Self::Tpch { scale } | Self::Orders { scale } => (
                (SCALE_MIN..=SCALE_MAX).contains(&scale),
                "scale",
                scale.to_string(),
                format!("{SCALE_MIN} to {SCALE_MAX}"),
            ),
        };
        if is_valid {
            return Ok(());
        }
        Err(WorkloadError::Parameter {
            dataset: self.name(),
            parameter,
            value,
            allowed,
        })
    }

    /// The version of the rows: it changes when the same parameters give other rows.
    pub(crate) fn revision(&self) -> u32 {
        match self {
            Self::Ais { .. } => ais::REVISION,
            Self::Tpch { .. } | Self::Orders { .. } => tpch::REVISION,
        }
    }

    /// Lists the files, the largest tables first.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        match *self {
            Self::Ais { rows } => ais::pieces(rows),
            Self::Tpch { scale } => tpch::pieces(&tpch::Table::ALL, scale),
            Self::Orders { scale } => tpch::pieces(&ORDERS_TABLES, scale * ORDERS_FULL_SCALE),
        }
    }
}

fn files_of(tables: &[tpch::Table]) -> Vec<(&'static str, String)> {
    let names = tables.iter().map(|table| table.name());
    names
        .map(|name| (name, format!("{name}/*.parquet")))
        .collect()
}

/// How many files a table of so many rows is written to.
pub(crate) fn file_count(rows: u64) -> u64 {
    let least = if rows >= SEVERAL_FILES_FROM_ROWS {
        FILES_MIN
    } else {
        1
    };
    rows.div_ceil(FILE_ROWS).max(least)
}

/// One file of a data set.
pub(crate) struct Piece {
    /// Where it goes, relative to the output directory.
    pub(crate) path: PathBuf,
    /// How many rows it will hold, as far as is known beforehand.
    pub(crate) rows_expected: u64,
    /// What makes its rows.
    pub(crate) source: Arc<dyn Source>,
}

/// What makes the rows of one file.
pub(crate) trait Source: Send + Sync {
    /// Starts over and returns all rows, batch by batch.
    fn open(&self) -> Rows;

    /// Chooses encodings that suit the columns.
    fn tune(&self, properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        properties
    }
}

/// The rows of one file.
pub(crate) struct Rows {
    /// Their columns.
    pub(crate) schema: SchemaRef,
    /// The rows themselves.
    pub(crate) batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>,
}
