//! What `bireme cluster status` says of the engines, read back from the table it draws.

use bireme_settings::parse_bytes;

/// One engine, as the controller last heard from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// Its rank.
    pub rank: u32,
    /// `up`, `starting`, `leaving`, `lost`.
    pub state: String,
    /// Its process.
    pub pid: u32,
    /// Queries that run on it.
    pub queries: u32,
    /// Bytes of memory its queries have reserved, rounded as a person reads them; 0 is exact.
    pub reserved: u64,
    /// Bytes it has on disk, rounded likewise.
    pub spilled: u64,
}

impl EngineStatus {
    /// Whether no query has left anything on it.
    pub fn is_free(&self) -> bool {
        self.state == "up" && self.queries == 0 && self.reserved == 0 && self.spilled == 0
    }
}

/// Reads the table of engines.
///
/// # Panics
///
/// When there is none, or it looks otherwise.
pub(crate) fn parse(status: &str) -> Vec<EngineStatus> {
    let mut rows = status.lines().filter_map(cells);
    let names = rows.next();
    let names = names.unwrap_or_else(|| panic!("no table of engines in\n{status}"));
    rows.map(|row| {
        let value = |name: &str| {
            let column = names.iter().position(|found| *found == name);
            let value = column.and_then(|column| row.get(column).copied());
            value.unwrap_or_else(|| panic!("no column {name:?} in\n{status}"))
        };
        let number = |name: &str| {
            let number = value(name).parse::<u32>();
            number.unwrap_or_else(|_| panic!("no number in column {name:?} of\n{status}"))
        };
        let bytes = |name: &str| {
            let bytes = parse_bytes(value(name));
            bytes.unwrap_or_else(|| panic!("no size in column {name:?} of\n{status}"))
        };
        EngineStatus {
            rank: number("rank"),
            state: value("state").to_string(),
            pid: number("pid"),
            queries: number("queries"),
            reserved: bytes("reserved"),
            spilled: bytes("spilled"),
        }
    })
    .collect()
}

/// The values of a row of the table; `None` for every other line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('│')?.strip_suffix('│')?;
    Some(inner.split('┆').map(str::trim).collect())
}
