//! Numbers as people read them: counts, times, rates, moments. And text made safe for HTML.

use std::time::Duration;

pub use bireme_settings::format_bytes;

/// A count with its digits in groups: `1_000_000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with its noun: `1 row`, `3 rows`.
pub fn counted(number: u64, noun: &str) -> String {
    let ending = match (number, noun) {
        (1, _) => "",
        (_, noun) if noun.ends_with("ry") => {
            return format!("{} {}ies", count(number), &noun[..noun.len() - 1]);
        }
        _ => "s",
    };
    format!("{} {noun}{ending}", count(number))
}

/// A count to three digits: `12.3M`.
pub fn rough_count(number: u64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut size = number as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => number.to_string(),
        _ if size < 10.0 => format!("{size:.2}{}", UNITS[unit]),
        _ if size < 100.0 => format!("{size:.1}{}", UNITS[unit]),
        _ => format!("{size:.0}{}", UNITS[unit]),
    }
}

/// A time: `41 ms`, `1.23 s`, `2 min 05 s`, `3 h 07 min`.
pub fn milliseconds(elapsed: u64) -> String {
    let seconds = elapsed / 1000;
    match elapsed {
        0..1_000 => format!("{elapsed} ms"),
        1_000..10_000 => format!("{:.2} s", elapsed as f64 / 1e3),
        10_000..60_000 => format!("{:.1} s", elapsed as f64 / 1e3),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A time in microseconds.
pub fn microseconds(elapsed: u64) -> String {
    match elapsed {
        0..1_000 => format!("{elapsed} µs"),
        1_000..10_000 => format!("{:.1} ms", elapsed as f64 / 1e3),
        _ => milliseconds(elapsed / 1000),
    }
}

/// A time.
pub fn duration(elapsed: Duration) -> String {
    microseconds(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}

/// Bytes over a time: `12.1 GB/s`.
pub fn rate(bytes: u64, elapsed_ms: u64) -> Option<String> {
    if elapsed_ms == 0 || bytes == 0 {
        return None;
    }
    let per_second = bytes as f64 / elapsed_ms as f64 * 1e3;
    Some(match per_second {
        rate if rate >= 1e9 => format!("{:.1} GB/s", rate / 1e9),
        rate if rate >= 1e6 => format!("{:.0} MB/s", rate / 1e6),
        rate => format!("{:.0} kB/s", rate / 1e3),
    })
}

/// A moment in the local time zone: `14:03:07`, with the date when it was another day.
pub fn moment(unix_ms: i64, now_ms: i64) -> String {
    let zone = jiff::tz::TimeZone::system();
    let read = |ms| jiff::Timestamp::from_millisecond(ms).map(|t| t.to_zoned(zone.clone()));
    match (read(unix_ms), read(now_ms)) {
        (Ok(then), Ok(now)) if then.date() == now.date() => then.strftime("%H:%M:%S").to_string(),
        (Ok(then), _) => then.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        (Err(_), _) => String::new(),
    }
}

/// Text as HTML.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The first line of a text, clipped to a width in columns.
pub fn clip(text: &str, width: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if text.width() <= width {
        return text.to_string();
    }
    let mut clipped = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        clipped.push(character);
    }
    clipped.push('…');
    clipped
}

/// Control characters made visible, so that one value stays on one line.
pub fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_string();
    }
    let mut line = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => line.push('\u{fffd}'),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1_234_567");
        assert_eq!(rough_count(1_234_567), "1.23M");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(2, "query"), "2 queries");
        assert_eq!(milliseconds(41), "41 ms");
        assert_eq!(milliseconds(1_234), "1.23 s");
        assert_eq!(milliseconds(125_000), "2 min 05 s");
        assert_eq!(milliseconds(11_220_000), "3 h 07 min");
        assert_eq!(rate(12_100_000_000, 1000).as_deref(), Some("12.1 GB/s"));
        assert_eq!(rate(1, 0), None);
    }

    #[test]
    fn text_is_clipped_by_what_it_occupies() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("日本語文字", 6), "日本…");
        assert_eq!(one_line("a\nb\u{7}"), "a\\nb\u{fffd}");
    }
}
