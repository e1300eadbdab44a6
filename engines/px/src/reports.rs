//! What the prelude of a cell reports beside its output: panics, and errors of a failed `?`.

use crate::relay::PanicReport;

/// The last panic and the last error of a failed `?` that the cell's prelude reported. A report is
/// a line `panic <line> <column> <file bytes> <message bytes>` or `error <bytes>`, then the bytes.
pub(crate) fn parse_reports(mut bytes: &[u8]) -> (Option<PanicReport>, Option<String>) {
    let (mut panic, mut error) = (None, None);
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
                panic = Some(PanicReport {
                    line: number(1),
                    column: number(2),
                    file: take(number(3)),
                    message: take(number(4)),
                });
            }
            "error" => error = Some(take(number(1))),
            _ => return (panic, error),
        }
    }
    (panic, error)
}
