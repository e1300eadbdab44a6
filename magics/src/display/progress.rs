//! The progress of a cell: one line, as a bar in HTML and in text.
//!
//! [`Pace`] says when a line may be shown; the time is an argument, so that it can be tested.

use std::time::{Duration, Instant};

use bireme_protocol::proto::{EngineProgress, QueryProgress};

use super::units::{counted, escape_html, format_bytes, milliseconds, rate, rough_count};
use crate::mime_bundle::MimeBundle;

/// Least time between two updates: four a second.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// Characters of the bar in text.
const BAR_WIDTH: u64 = 20;

/// How far a query is.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Summed over engines.
    pub total: QueryProgress,
    /// By rank, where known.
    pub engines: Vec<EngineProgress>,
}

/// Decides when progress is shown: not before a cell is slow, then at most four times a second.
#[derive(Debug)]
pub struct Pace {
    next: Instant,
    has_shown: bool,
}

impl Pace {
    /// Starts the clock of a cell.
    pub fn new(started: Instant, after: Duration) -> Self {
        Self {
            next: started + after,
            has_shown: false,
        }
    }

    /// When the next update is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Whether anything was shown yet.
    pub fn has_shown(&self) -> bool {
        self.has_shown
    }

    /// Whether an update may be shown now; if so, the next may follow after [`INTERVAL`].
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + INTERVAL;
            self.has_shown = true;
        }
        is_due
    }
}

/// Draws how far a query is; `elapsed` is the client's own clock.
pub fn running(step: &Step, elapsed: Duration) -> MimeBundle {
    let total = &step.total;
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let facts = facts(step, elapsed_ms).join(" · ");
    match percent(total) {
        Some(percent) => {
            let filled = BAR_WIDTH * percent / 100;
            let bar = "#".repeat(filled as usize) + &"-".repeat((BAR_WIDTH - filled) as usize);
            MimeBundle::new(
                format!("[{bar}] {percent:>3}% {facts}"),
                format!(
                    "<progress value=\"{percent}\" max=\"100\"></progress> <small>{percent} % · {}</small>",
                    escape_html(&facts)
                ),
            )
        }
        None => MimeBundle::new(
            format!("[{}] {facts}", "·".repeat(BAR_WIDTH as usize)),
            format!(
                "<progress></progress> <small>{}</small>",
                escape_html(&facts)
            ),
        ),
    }
}

/// Draws a query that waits.
pub fn queued(place: u32, elapsed: Duration) -> MimeBundle {
    doing(&format!("waiting, place {place} in the queue"), elapsed)
}

/// Draws something that goes on and has no numbers.
pub fn doing(what: &str, elapsed: Duration) -> MimeBundle {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let text = format!("{what} · {}", milliseconds(elapsed_ms));
    let html = format!("<small>{}</small>", escape_html(&text));
    MimeBundle::new(text, html)
}

/// The line that is left when a query has ended well.
pub fn summary(rows: u64, progress: &QueryProgress) -> MimeBundle {
    let text = summary_line(rows, progress);
    MimeBundle::new(
        text.clone(),
        format!(
            "<small style=\"opacity:0.7\">{}</small>",
            escape_html(&text)
        ),
    )
}

/// What a query did, in one line.
pub fn summary_line(rows: u64, progress: &QueryProgress) -> String {
    let mut parts = vec![format!(
        "{} in {}",
        counted(rows, "row"),
        milliseconds(progress.elapsed_ms)
    )];
    if let Some(read) = read(progress.rows_scanned, progress.bytes_scanned) {
        let rate = rate(progress.bytes_scanned, progress.elapsed_ms);
        let rate = rate.map(|rate| format!(" at {rate}")).unwrap_or_default();
        parts.push(format!("{read}{rate}"));
    }
    parts.extend(moved(progress));
    if progress.engines > 0 {
        parts.push(counted(u64::from(progress.engines), "engine"));
    }
    parts.join(" · ")
}

/// The line that is left when something has ended without numbers, well or not.
pub fn stopped(what: &str, elapsed: Duration) -> MimeBundle {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let text = format!("{what} after {}", milliseconds(elapsed_ms));
    MimeBundle::new(
        text.clone(),
        format!(
            "<small style=\"opacity:0.7\">{}</small>",
            escape_html(&text)
        ),
    )
}

/// What a query has read, if it read anything.
pub(crate) fn read(rows: u64, bytes: u64) -> Option<String> {
    let rows = counted(rows, "row");
    (bytes > 0).then(|| format!("read {rows}, {}", format_bytes(bytes)))
}

fn percent(progress: &QueryProgress) -> Option<u64> {
    (progress.bytes_to_scan > 0)
        .then(|| (progress.bytes_scanned.saturating_mul(100) / progress.bytes_to_scan).min(99))
}

fn facts(step: &Step, elapsed_ms: u64) -> Vec<String> {
    let total = &step.total;
    let mut facts = vec![format!("{} rows", rough_count(total.rows_scanned))];
    if total.bytes_scanned > 0 {
        facts.push(match total.bytes_to_scan {
            0 => format_bytes(total.bytes_scanned),
            all => format!(
                "{} of {}",
                format_bytes(total.bytes_scanned),
                format_bytes(all)
            ),
        });
        facts.extend(rate(total.bytes_scanned, elapsed_ms));
    }
    facts.extend(moved(total));
    if total.engines > 0 {
        facts.push(format!(
            "{}{}",
            counted(u64::from(total.engines), "engine"),
            skew(step)
        ));
    }
    facts.push(milliseconds(elapsed_ms));
    facts
}

fn moved(progress: &QueryProgress) -> Vec<String> {
    let mut parts = Vec::new();
    if progress.bytes_shuffled > 0 {
        parts.push(format!(
            "shuffled {}",
            format_bytes(progress.bytes_shuffled)
        ));
    }
    if progress.bytes_spilled > 0 {
        parts.push(format!("spilled {}", format_bytes(progress.bytes_spilled)));
    }
    if progress.bytes_written > 0 {
        parts.push(format!("wrote {}", format_bytes(progress.bytes_written)));
    }
    parts
}

/// How unevenly the engines have read, when it is worth a word.
fn skew(step: &Step) -> String {
    let rows = step
        .engines
        .iter()
        .filter_map(|engine| engine.progress.as_ref());
    let rows: Vec<u64> = rows.map(|progress| progress.rows_scanned).collect();
    let (Some(least), Some(most)) = (rows.iter().min(), rows.iter().max()) else {
        return String::new();
    };
    match rows.len() > 1 && *most >= 1_000_000 && *most > least.saturating_mul(2) {
        true => format!(
            " ({} to {} rows each)",
            rough_count(*least),
            rough_count(*most)
        ),
        false => String::new(),
    }
}
