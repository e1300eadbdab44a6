//! Numbers with the bars they are held against, for people and as JSON.

use super::write_json;
use crate::error::CliError;
use crate::terminal;
use serde_json::json;
use std::path::Path;

/// One number.
pub(super) struct Line {
    name: String,
    value: f64,
    unit: &'static str,
    /// The most it may be; none where the design sets no bar.
    bar: Option<f64>,
    /// The bar is the least it may be.
    is_floor: bool,
}

impl Line {
    /// A number that may be as large as `bar`; one that could not be measured is no number.
    pub(super) fn new(
        name: impl Into<String>,
        value: Option<f64>,
        unit: &'static str,
        bar: Option<f64>,
    ) -> Self {
        Self {
            name: name.into(),
            value: value.unwrap_or(f64::NAN),
            unit,
            bar,
            is_floor: false,
        }
    }

    /// A ratio that has to reach `bar`.
    pub(super) fn at_least(name: impl Into<String>, value: Option<f64>, bar: f64) -> Self {
        Self {
            is_floor: true,
            ..Self::new(name, value, "x", Some(bar))
        }
    }

    /// A time in milliseconds, of seconds.
    pub(super) fn milliseconds(
        name: impl Into<String>,
        seconds: Option<f64>,
        bar: Option<f64>,
    ) -> Self {
        Self::new(name, seconds.map(|seconds| seconds * 1e3), "ms", bar)
    }

    /// Memory in MiB.
    pub(super) fn mebibytes(name: impl Into<String>, bytes: u64, bar: Option<f64>) -> Self {
        Self::new(name, Some(bytes as f64 / (1 << 20) as f64), "MiB", bar)
    }

    fn text(&self) -> String {
        let against = self.bar.map(|bar| {
            let (is_met, missed) = match self.is_floor {
                true => (self.value >= bar, "below"),
                false => (self.value <= bar, "above"),
            };
            let verdict = if is_met { "ok" } else { missed };
            let digits = if self.unit == "x" { 2 } else { 0 };
            format!("  bar {bar:>6.digits$} {:<3}  {verdict}", self.unit)
        });
        let (name, value, unit) = (&self.name, self.value, self.unit);
        let against = against.unwrap_or_default();
        let row = format!("{name:<44} {value:>9.2} {unit:<3}{against}");
        format!("{}\n", row.trim_end())
    }
}

/// Prints the numbers, and writes them to a file.
pub(super) fn report(bench: &str, lines: &[Line], json: Option<&Path>) -> Result<(), CliError> {
    let text: String = lines.iter().map(Line::text).collect();
    terminal::print(&text)?;
    let Some(path) = json else {
        return Ok(());
    };
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| json!({"name": line.name, "value": line.value, "unit": line.unit, "bar": line.bar}))
        .collect();
    write_json(path, &json!({"bench": bench, "numbers": numbers}))
}
