//! TPC-H tables from the `tpchgen` crates, cut into parts that can be generated apart.

use std::path::PathBuf;
use std::sync::Arc;

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow,
    RecordBatchIterator, RegionArrow, SupplierArrow,
};

use crate::dataset::{Piece, Rows, Source, file_count};

/// Changes when `tpchgen` or the file layout changes what is written.
pub(crate) const REVISION: u32 = 1;

/// Lines of an order, on average.
const LINES_PER_ORDER: u64 = 4;

/// A table of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Lineitem,
    Orders,
    Partsupp,
    Part,
    Customer,
    Supplier,
    Nation,
    Region,
}

impl Table {
    /// All tables, the largest first.
    pub(crate) const ALL: [Self; 8] = [
        Self::Lineitem,
        Self::Orders,
        Self::Partsupp,
        Self::Part,
        Self::Customer,
        Self::Supplier,
        Self::Nation,
        Self::Region,
    ];

    /// The name in the specification.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lineitem => "lineitem",
            Self::Orders => "orders",
            Self::Partsupp => "partsupp",
            Self::Part => "part",
            Self::Customer => "customer",
            Self::Supplier => "supplier",
            Self::Nation => "nation",
            Self::Region => "region",
        }
    }

    /// Rows of one part of the table; for `lineitem` an estimate, as orders vary in length.
    fn part_rows(self, scale: f64, part: i32, parts: i32) -> u64 {
        let rows = match self {
            Self::Lineitem => {
                let orders = OrderGenerator::calculate_row_count(scale, part, parts);
                return orders.unsigned_abs() * LINES_PER_ORDER;
            }
            Self::Orders => OrderGenerator::calculate_row_count(scale, part, parts),
            Self::Partsupp => PartSuppGenerator::calculate_row_count(scale, part, parts),
            Self::Part => PartGenerator::calculate_row_count(scale, part, parts),
            Self::Customer => CustomerGenerator::calculate_row_count(scale, part, parts),
            Self::Supplier => SupplierGenerator::calculate_row_count(scale, part, parts),
            Self::Nation => 25,
            Self::Region => 5,
        };
        rows.unsigned_abs()
    }
}

/// Lists the files of some tables.
pub(crate) fn pieces(tables: &[Table], scale: f64) -> Vec<Piece> {
    tables
        .iter()
        .flat_map(|&table| table_pieces(table, scale))
        .collect()
}

fn table_pieces(table: Table, scale: f64) -> Vec<Piece> {
    let parts = i32::try_from(file_count(table.part_rows(scale, 1, 1))).unwrap_or(i32::MAX);
    (1..=parts)
        .map(|part| Piece {
            path: PathBuf::from(table.name()).join(format!("{}-{part:04}.parquet", table.name())),
            rows_expected: table.part_rows(scale, part, parts),
            source: Arc::new(TablePart {
                table,
                scale,
                part,
                parts,
            }),
        })
        .collect()
}

/// One part of a table.
struct TablePart {
    table: Table,
    scale: f64,
    part: i32,
    parts: i32,
}

impl Source for TablePart {
    fn open(&self) -> Rows {
        let Self {
            table,
            scale,
            part,
            parts,
        } = *self;
        match table {
            Table::Lineitem => rows(LineItemArrow::new(LineItemGenerator::new(
                scale, part, parts,
            ))),
            Table::Orders => rows(OrderArrow::new(OrderGenerator::new(scale, part, parts))),
            Table::Partsupp => rows(PartSuppArrow::new(PartSuppGenerator::new(
                scale, part, parts,
            ))),
            Table::Part => rows(PartArrow::new(PartGenerator::new(scale, part, parts))),
            Table::Customer => rows(CustomerArrow::new(CustomerGenerator::new(
                scale, part, parts,
            ))),
            Table::Supplier => rows(SupplierArrow::new(SupplierGenerator::new(
                scale, part, parts,
            ))),
            Table::Nation => rows(NationArrow::new(NationGenerator::new(scale, part, parts))),
            Table::Region => rows(RegionArrow::new(RegionGenerator::new(scale, part, parts))),
        }
    }
}

fn rows(batches: impl RecordBatchIterator + 'static) -> Rows {
    Rows {
        schema: Arc::clone(batches.schema()),
        batches: Box::new(batches.map(Ok)),
    }
}
