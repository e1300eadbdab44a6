//! Turns what a cell wrote into events, in order and in few pieces.
//!
//! Text is gathered for a moment, displays and results go at once. Content blocks of different MIME types that follow each other
//! directly are one value in several representations, as with evcxr; a value of the
//! `bireme` crate comes whole, in one block. Inside the marks of the tail expression a value is the
//! cell's result.

use crate::host_protocol::{Bundle, HostEvent, InputRequest, OutputStream};
use crate::relay::{EventSink, Shared};
use crate::reports::Reports;
use crate::user_output::{FAILED, PANICKED, Piece, input_request};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A block whose content is a whole [`Bundle`] as JSON.
const BUNDLE_MIME: &str = "application/vnd.bireme.bundle+json";
/// A block that says where the tail expression's value begins and ends.
const TAIL_MIME: &str = "application/vnd.bireme.tail";
/// Text is told after this long.
const TEXT_DELAY: Duration = Duration::from_millis(10);
/// Text is told when it is this long.
const TEXT_LIMIT: usize = 64 << 10;

/// A bundle as the `bireme` crate writes it.
#[derive(Deserialize)]
struct WrittenBundle {
    #[serde(flatten)]
    bundle: Bundle,
    #[serde(default)]
    display_id: Option<String>,
    #[serde(default)]
    update: bool,
}

/// What a cell wrote and is not told yet.
pub(crate) struct CellOutput {
    shared: Arc<Shared>,
    sink: EventSink,
    text: Vec<u8>,
    stream: OutputStream,
    due: Option<Instant>,
    last_told: Option<Instant>,
    bundle: Option<Bundle>,
    in_tail: bool,
    result_told: bool,
    lines: Vec<Line>,
    /// How the next line of input is asked for, and the line that says so.
    asked: Option<(InputRequest, String)>,
}

/// A line for evcxr.
struct Line {
    line: String,
    /// The cell's prelude reported what the line says; otherwise the cell itself may have printed it.
    reported: bool,
}

impl CellOutput {
    pub(crate) fn new(shared: Arc<Shared>, sink: EventSink) -> CellOutput {
        CellOutput {
            shared,
            sink,
            text: Vec::new(),
            stream: OutputStream::Stdout,
            due: None,
            last_told: None,
            bundle: None,
            in_tail: false,
            result_told: false,
            lines: Vec::new(),
            asked: None,
        }
    }

    /// A cell begins to run.
    pub(crate) fn begin(&mut self) {
        self.flush();
        self.in_tail = false;
        self.result_told = false;
        self.lines.clear();
        self.asked = None;
    }

    /// Tells that a cell begins to run.
    pub(crate) fn started(&mut self, id: u64) {
        self.tell(HostEvent::Started { id }, b"");
    }

    /// Tells that the cell waits for a line, behind what it has printed.
    pub(crate) fn input_wanted(&mut self, id: u64) {
        let (request, _) = self.asked.take().unwrap_or_default();
        self.flush();
        self.tell(HostEvent::InputWanted { id, request }, b"");
    }

    /// When gathered text has to be told.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether text was told so recently that more is worth waiting for.
    pub(crate) fn is_busy(&self) -> bool {
        self.last_told
            .is_some_and(|told| told.elapsed() < TEXT_DELAY)
    }

    /// The lines for evcxr with which the cell ended.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.take_request_for_text();
        self.flush();
        let lines = std::mem::take(&mut self.lines);
        lines.into_iter().map(|line| line.line).collect()
    }

    pub(crate) fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => {
                self.take_lines_for_text();
                self.text(OutputStream::Stdout, &text);
            }
            Piece::Line(line) => self.line(line, &Reports::default()),
            Piece::Block { mime, content } => {
                self.take_lines_for_text();
                self.block(mime, content);
            }
        }
    }

    /// A line that evcxr would read, with what the cell reported before it.
    pub(crate) fn line(&mut self, line: String, reports: &Reports) {
        if let Some(request) = input_request(&line) {
            self.take_lines_for_text();
            self.asked = Some((request, line));
            return;
        }
        let reported = match line.as_str() {
            PANICKED => reports.panic.is_some(),
            FAILED => reports.error.is_some(),
            _ => false,
        };
        // A cell ends with one such line, or with one for each variable that evcxr is to forget.
        let is_end = |line: &str| line == PANICKED || line == FAILED;
        if is_end(&line) || self.lines.iter().any(|before| is_end(&before.line)) {
            self.take_lines_for_text();
        }
        self.lines.push(Line { line, reported });
    }

    /// A cell that goes on writing did not end with the lines before it: it printed them itself,
    /// unless it reported the same.
    pub(crate) fn take_lines_for_text(&mut self) {
        let printed: Vec<Line> = self.lines.extract_if(.., |line| !line.reported).collect();
        for Line { line, .. } in printed {
            self.text(OutputStream::Stdout, format!("{line}\n").as_bytes());
        }
        self.take_request_for_text();
    }

    /// A cell that does something else than to wait for a line printed the request itself.
    fn take_request_for_text(&mut self) {
        if let Some((_, line)) = self.asked.take() {
            self.text(OutputStream::Stdout, format!("{line}\n").as_bytes());
        }
    }

    pub(crate) fn text(&mut self, stream: OutputStream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.tell_bundle();
        if self.stream != stream {
            self.tell_text();
            self.stream = stream;
        }
        self.text.extend_from_slice(bytes);
        if !self.is_busy() || self.text.len() >= TEXT_LIMIT {
            self.tell_text();
        } else if self.due.is_none() {
            self.due = Some(Instant::now() + TEXT_DELAY);
        }
    }

    /// Tells everything gathered.
    pub(crate) fn flush(&mut self) {
        self.tell_bundle();
        self.tell_text();
    }

    fn block(&mut self, mime: String, content: String) {
        self.tell_text();
        match mime.as_str() {
            TAIL_MIME => {
                self.tell_bundle();
                self.in_tail = content == "begin";
            }
            BUNDLE_MIME => {
                self.tell_bundle();
                match serde_json::from_str(&content) {
                    Ok(written) => self.written(written),
                    Err(_) => self.text(OutputStream::Stdout, content.as_bytes()),
                }
            }
            _ => self.content(mime, content),
        }
    }

    /// A plain block: joins the value before it when that lacks this representation.
    fn content(&mut self, mime: String, content: String) {
        if self
            .bundle
            .as_ref()
            .is_some_and(|bundle| bundle.data.contains_key(&mime))
        {
            self.tell_bundle();
        }
        let is_json = mime == "application/json" || mime.ends_with("+json");
        let content = match serde_json::from_str(&content) {
            Ok(value) if is_json => value,
            _ => Value::String(content),
        };
        let bundle = self.bundle.get_or_insert_default();
        bundle.data.insert(mime, content);
        self.due.get_or_insert(Instant::now() + TEXT_DELAY);
    }

    fn written(&mut self, written: WrittenBundle) {
        if written.display_id.is_none() && !written.update {
            self.bundle = Some(written.bundle);
            return self.tell_bundle();
        }
        let id = self.cell();
        self.tell(
            HostEvent::Display {
                id,
                bundle: written.bundle,
                display_id: written.display_id,
                update: written.update,
            },
            b"",
        );
    }

    fn tell_bundle(&mut self) {
        let Some(bundle) = self.bundle.take() else {
            return;
        };
        let cell = self.cell();
        let event = match cell {
            Some(id) if self.in_tail && !self.result_told => {
                self.result_told = true;
                HostEvent::Result { id, bundle }
            }
            id => HostEvent::Display {
                id,
                bundle,
                display_id: None,
                update: false,
            },
        };
        self.tell(event, b"");
    }

    fn tell_text(&mut self) {
        self.due = None;
        let text = std::mem::take(&mut self.text);
        let stream = self.stream;
        for part in text.chunks(TEXT_LIMIT) {
            let id = self.cell();
            self.tell(HostEvent::Output { id, stream }, part);
            self.last_told = Some(Instant::now());
        }
    }

    fn cell(&self) -> Option<u64> {
        self.shared.lock().cell
    }

    /// Output of what no cell asked for, such as evcxr's own start-up cell, goes nowhere.
    fn tell(&self, event: HostEvent, body: &[u8]) {
        if self.cell().is_some() {
            (self.sink)(event, body);
        }
    }
}
