//! What the prelude of a cell reports beside its output: panics, and errors of a failed `?`.

use crate::relay::{Call, PanicReport};
use std::path::PathBuf;

/// A report is shorter, as cells write them; what is longer is none.
const REPORT_BYTES_MAX: usize = 1 << 20;

/// The last panic and the last error of a failed `?` that a cell's prelude reported.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    pub(crate) panic: Option<PanicReport>,
    pub(crate) error: Option<String>,
}

/// Reads reports as they come in, piece by piece. Each is a line
/// `panic <line> <column> <file bytes> <message bytes> <calls bytes>` or `error <bytes>`, then the bytes.
#[derive(Debug, Default)]
pub(crate) struct ReportReader {
    /// The beginning of a report.
    rest: Vec<u8>,
    reports: Reports,
}

impl ReportReader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let head = String::from_utf8_lossy(&self.rest[..end]).into_owned();
            let Some(lengths) = lengths(&head) else {
                return self.rest.clear();
            };
            let whole = end + 1 + lengths.iter().sum::<usize>();
            if whole > self.rest.len() {
                return;
            }
            let mut at = end + 1;
            let mut texts = lengths.iter().map(|length| {
                let text = &self.rest[at..at + length];
                at += length;
                String::from_utf8_lossy(text).into_owned()
            });
            match (texts.next(), texts.next(), texts.next()) {
                (Some(file), Some(message), Some(calls)) => {
                    let (library, calls) = calls.split_once('\n').unwrap_or((&calls, ""));
                    self.reports.panic = Some(PanicReport {
                        line: number(&head, 1).unwrap_or(0),
                        column: number(&head, 2).unwrap_or(0),
                        file,
                        message,
                        library: PathBuf::from(library),
                        calls: calls.lines().filter_map(call).collect(),
                    });
                }
                (error, ..) => self.reports.error = error,
            }
            self.rest.drain(..whole);
        }
    }

    /// What has been reported since it was last taken.
    pub(crate) fn seen(&self) -> &Reports {
        &self.reports
    }

    /// The same, and none of it from now on; none if there is nothing.
    pub(crate) fn take(&mut self) -> Option<Reports> {
        let taken = std::mem::take(self).reports;
        (taken.panic.is_some() || taken.error.is_some()).then_some(taken)
    }
}

/// How long the texts behind a first line are; none if it begins no report.
fn lengths(head: &str) -> Option<Vec<usize>> {
    let at: &[usize] = match head.split(' ').next()? {
        "panic" => &[3, 4, 5],
        "error" => &[1],
        _ => return None,
    };
    let lengths: Option<Vec<usize>> = at.iter().map(|at| number(head, *at)).collect();
    lengths.filter(|lengths| {
        lengths
            .iter()
            .try_fold(0_usize, |sum, length| sum.checked_add(*length))
            .is_some_and(|sum| sum <= REPORT_BYTES_MAX)
    })
}

/// A line `<hexadecimal number> <file>`.
fn call(line: &str) -> Option<Call> {
    let (offset, library) = line.split_once(' ')?;
    Some(Call {
        library: PathBuf::from(library),
        offset: u64::from_str_radix(offset, 16).ok()?,
    })
}

fn number<N: std::str::FromStr>(head: &str, at: usize) -> Option<N> {
    head.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_in_any_pieces_and_the_last_counts() {
        let told =
            "error 3\nwoepanic 7 5 10 4 2\nsrc/lib.rsboom/apanic 8 1 1 7 12\nfné\nfü/a\n1f /b\nx y";
        for size in 1..told.len() {
            let mut reader = ReportReader::default();
            told.as_bytes()
                .chunks(size)
                .for_each(|piece| reader.push(piece));
            assert_eq!(reader.seen().error.as_deref(), Some("woe"));
            let reports = reader.take().unwrap();
            let panic = reports.panic.unwrap();
            assert_eq!((panic.line, panic.column), (8, 1), "{size}");
            assert_eq!(
                (panic.file.as_str(), panic.message.as_str()),
                ("f", "né\nfü")
            );
            let (library, offset) = (PathBuf::from("/b"), 31);
            assert_eq!(panic.library, PathBuf::from("/a"));
            assert_eq!(panic.calls, [Call { library, offset }]);
            assert!(reader.take().is_none());
        }
    }

    #[test]
    fn what_is_no_report_is_let_go() {
        let mut reader = ReportReader::default();
        for told in ["nothing of ours\n", "error x\n", "error 99999999999\nabc"] {
            reader.push(told.as_bytes());
            assert!(reader.take().is_none(), "{told}");
        }
        reader.push(b"error 1\nx");
        assert_eq!(reader.take().unwrap().error.as_deref(), Some("x"));
    }
}
