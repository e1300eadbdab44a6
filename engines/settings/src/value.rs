//! Types of setting values and how people write them.

use std::time::Duration;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds, both allowed.
    Integer {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A size: `512MB`, `2GiB`, `80%` of what the process may use.
    Memory,
    /// A time: `250ms`, `30s`, `5m`, `24h`, `0` for none.
    Duration,
    /// One of a list of words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
}

impl Kind {
    /// The type's name as help shows it.
    pub fn name(&self) -> String {
        match self {
            Self::Bool => "bool".into(),
            Self::Integer { min, max } => format!("integer {min}..={max}"),
            Self::Memory => "size".into(),
            Self::Duration => "duration".into(),
            Self::Choice(words) => words.join(" | "),
            Self::Text => "text".into(),
        }
    }

    /// Says what is wrong with a value, if anything is.
    pub fn reject(&self, value: &str) -> Option<String> {
        let fits = match self {
            Self::Bool => matches!(value, "true" | "false"),
            Self::Integer { min, max } => value
                .replace('_', "")
                .parse::<u64>()
                .is_ok_and(|n| (*min..=*max).contains(&n)),
            Self::Memory => {
                parse_bytes(value).is_some()
                    || value.strip_suffix('%').is_some_and(|p| {
                        p.trim().parse::<f64>().is_ok_and(|p| p > 0.0 && p <= 100.0)
                    })
            }
            Self::Duration => parse_duration(value).is_some(),
            Self::Choice(words) => words.contains(&value),
            Self::Text => true,
        };
        (!fits).then(|| format!("{value:?} is not {}", self.name()))
    }
}

/// Reads a size in bytes: `1048576`, `512MB`, `2GiB`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let number: f64 = text[..split].replace('_', "").parse().ok()?;
    let unit = match text[split..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" | "k" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "tb" | "t" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * unit;
    (bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// Writes a size the way people read it: `1.5 GiB`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{size:.1} {}", UNITS[unit]),
    }
}

/// Reads a duration: `250ms`, `30s`, `1.5m`, `24h`, a bare number of seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let seconds = match text[split..].trim() {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("512MB"), Some(512_000_000));
        assert_eq!(parse_bytes("2 GiB"), Some(2 << 30));
        assert_eq!(parse_bytes("1_000"), Some(1000));
        assert_eq!(parse_bytes("-1"), None);
        assert_eq!(parse_bytes("7 parsecs"), None);
        assert_eq!(format_bytes(1_610_612_736), "1.5 GiB");
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("soon"), None);
    }

    #[test]
    fn a_rejected_value_is_named_with_its_type() {
        let kind = Kind::Integer { min: 1, max: 64 };
        assert_eq!(kind.reject("4"), None);
        assert_eq!(
            kind.reject("0").as_deref(),
            Some("\"0\" is not integer 1..=64")
        );
        assert_eq!(Kind::Memory.reject("80%"), None);
        assert!(Kind::Memory.reject("140%").is_some());
    }
}
