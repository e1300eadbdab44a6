//! What the prelude of a cell reports beside its output: panics, and errors of a failed `?`.

use crate::relay::PanicReport;

/// The last panic and the last error of a failed `?` that a cell's prelude reported.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    pub(crate) panic: Option<PanicReport>,
    pub(crate) error: Option<String>,
}

impl Reports {
    /// Reads reports. Each is a line `panic <line> <column> <file bytes> <message bytes>` or
    /// `error <bytes>`, then the bytes; what is no report ends them.
    pub(crate) fn parse(mut bytes: &[u8]) -> Reports {
        let mut reports = Reports::default();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            bytes = &bytes[end + 1..];
            let words: Vec<&str> = head.split(' ').collect();
            let number = |at: usize| {
                words
                    .get(at)
                    .and_then(|word| word.parse().ok())
                    .unwrap_or(0)
            };
            let mut take = |length: usize| {
                let (taken, rest) = bytes.split_at(length.min(bytes.len()));
                bytes = rest;
                String::from_utf8_lossy(taken).into_owned()
            };
            match words[0] {
                "panic" => {
                    reports.panic = Some(PanicReport {
                        line: number(1),
                        column: number(2),
                        file: take(number(3)),
                        message: take(number(4)),
                    });
                }
                "error" => reports.error = Some(take(number(1))),
                _ => break,
            }
        }
        reports
    }
}
