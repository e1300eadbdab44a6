//! Rows that come to a Rust variable: what is said once they are there, and the faults when they
//! are more than `rust.bind_limit`. How they get there is the host's matter.

use std::time::Duration;

use arrow::datatypes::Schema;
use bireme_protocol::{ErrorCode, Fault};

use crate::display::units::{counted, format_bytes, milliseconds};

/// What has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Totals {
    /// What is said of a variable that has its rows: `v: Table, 6 rows × 2 columns (48 B) in 41 ms`.
    pub(crate) fn told(self, variable: &str, schema: &Schema, elapsed: Duration) -> String {
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        format!(
            "{variable}: Table, {} × {} ({}) in {}",
            counted(self.rows, "row"),
            counted(schema.fields().len() as u64, "column"),
            format_bytes(self.bytes),
            milliseconds(elapsed)
        )
    }
}

/// More rows of a query have come than Rust takes. How many there are is not known.
pub(crate) fn too_many(tried: &str, bytes: u64, most: u64) -> Fault {
    let found = format!("{tried}: {} have come", format_bytes(bytes));
    above_limit(&found, most, "a limit")
}

/// A frame, a view or a table has more than Rust takes.
pub(crate) fn too_large(name: &str, variable: &str, bytes: u64, most: u64) -> Fault {
    let found = format!(
        "gather {name} into the Rust variable {variable}: it has {} or more",
        format_bytes(bytes)
    );
    above_limit(&found, most, "--limit")
}

/// The limit and what helps, the same wherever rows go to Rust; only the way to fewer rows differs.
fn above_limit(found: &str, most: u64, fewer: &str) -> Fault {
    let message = format!("{found}, and rust.bind_limit is {}", format_bytes(most));
    let hint =
        format!("aggregate on the engines, use {fewer}, or raise it with %config rust.bind_limit");
    Fault::new(ErrorCode::OutOfMemory, message).with_hint(hint)
}
