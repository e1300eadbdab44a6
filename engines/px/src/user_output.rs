//! Tells what a cell printed from what it displays.
//!
//! A cell's standard output carries the user's bytes, evcxr's content blocks
//! (`EVCXR_BEGIN_CONTENT <mime>` ... `EVCXR_END_CONTENT`) and a few lines of evcxr's own, which may
//! follow user bytes that end without a newline. [`UserOutput`] cuts the stream into
//! [`Piece`]s, whatever the bytes and however they are cut. What a piece becomes is the relay's matter.

use crate::host_protocol::InputRequest;

/// How every marker begins.
const MARK: &[u8] = b"EVCXR_";
const BEGIN: &str = "EVCXR_BEGIN_CONTENT ";
const END: &[u8] = b"EVCXR_END_CONTENT\n";
/// The line of a cell that ended by a panic.
pub(crate) const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
/// The line of a cell that a `?` ended.
pub(crate) const FAILED: &str = "EVCXR_ERROR_OCCURRED";
/// What stands before the name of a variable that evcxr is to forget.
pub(crate) const CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
/// What stands before the prompt of a line that the crate `evcxr_input` reads next, and of a password.
const INPUT_REQUEST: &str = "EVCXR_INPUT_REQUEST:";
const PASSWORD_REQUEST: &str = "EVCXR_INPUT_REQUEST_PASSWORD:";
/// What a marker line may begin with.
const PREFIXES: [&str; 3] = [CHANGED_TYPE, INPUT_REQUEST, PASSWORD_REQUEST];
/// Lines of evcxr's generated code that evcxr itself wants to read.
const WHOLE_LINES: [&str; 2] = [PANICKED, FAILED];
/// The longest marker line that is waited for.
const LINE_LIMIT: usize = 512;
/// The largest content block; a larger one is shown as the text it is.
const BLOCK_LIMIT: usize = 96 << 20;

/// A part of a cell's standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes for the user.
    Text(Vec<u8>),
    /// A content block.
    Block {
        /// The MIME type.
        mime: String,
        /// The content, invalid UTF-8 replaced.
        content: String,
    },
    /// A line for evcxr, or an [`InputRequest`], without its newline.
    Line(String),
}

/// What a marker line asks the user for, if it is such a line.
pub(crate) fn input_request(line: &str) -> Option<InputRequest> {
    let request = |prompt: &str, is_password| InputRequest {
        prompt: prompt.to_string(),
        is_password,
    };
    let password = line.strip_prefix(PASSWORD_REQUEST);
    let password = password.map(|prompt| request(prompt, true));
    password.or_else(|| Some(request(line.strip_prefix(INPUT_REQUEST)?, false)))
}

/// The state between two reads of a cell's standard output.
#[derive(Debug, Default)]
pub struct UserOutput {
    buffer: Vec<u8>,
    block: Option<Block>,
}

#[derive(Debug)]
struct Block {
    mime: String,
    /// Where the search for the end goes on.
    searched: usize,
}

/// What a marker at the start of some bytes is.
enum Marker {
    Begin { mime: String, length: usize },
    Line { line: String, length: usize },
    Unfinished,
    None,
}

impl UserOutput {
    /// Takes bytes that were read and gives what they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.buffer.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        loop {
            let more = match self.block {
                Some(_) => self.end_block(&mut pieces),
                None => self.next_marker(&mut pieces),
            };
            if !more {
                return pieces;
            }
        }
    }

    /// Whether bytes are held back because they may begin a marker.
    pub fn is_holding(&self) -> bool {
        self.block.is_none() && !self.buffer.is_empty()
    }

    /// Gives up waiting for the rest of a marker.
    pub fn release(&mut self) -> Option<Piece> {
        if !self.is_holding() {
            return None;
        }
        Some(Piece::Text(std::mem::take(&mut self.buffer)))
    }

    /// The end of a cell: whatever is left is text, an unfinished block too.
    pub fn finish(&mut self) -> Option<Piece> {
        let block = self.block.take();
        let rest = std::mem::take(&mut self.buffer);
        let mut text = Vec::new();
        if let Some(block) = block {
            text.extend_from_slice(format!("{BEGIN}{}\n", block.mime).as_bytes());
        }
        text.extend(rest);
        (!text.is_empty()).then_some(Piece::Text(text))
    }

    /// Handles the next marker outside a block; false when more bytes are needed.
    fn next_marker(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some(at) = find_mark(&self.buffer) else {
            self.emit_text(self.buffer.len(), pieces);
            return false;
        };
        match classify(&self.buffer[at..]) {
            Marker::None => {
                self.emit_text(at + MARK.len().min(self.buffer.len() - at), pieces);
                !self.buffer.is_empty()
            }
            Marker::Unfinished => {
                self.emit_text(at, pieces);
                false
            }
            Marker::Line { line, length } => {
                self.emit_text(at, pieces);
                self.buffer.drain(..length);
                pieces.push(Piece::Line(line));
                true
            }
            Marker::Begin { mime, length } => {
                self.emit_text(at, pieces);
                self.buffer.drain(..length);
                self.block = Some(Block { mime, searched: 0 });
                true
            }
        }
    }

    /// Looks for the end of the open block; false when more bytes are needed.
    fn end_block(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some(block) = &mut self.block else {
            return false;
        };
        let found = find_end(&self.buffer, block.searched);
        block.searched = self.buffer.len().saturating_sub(END.len());
        let Some(at) = found else {
            if self.buffer.len() > BLOCK_LIMIT {
                pieces.extend(self.finish());
            }
            return false;
        };
        let content = &self.buffer[..at];
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let content = String::from_utf8_lossy(content).into_owned();
        let mime = std::mem::take(&mut block.mime);
        self.buffer.drain(..at + END.len());
        self.block = None;
        pieces.push(Piece::Block { mime, content });
        true
    }

    fn emit_text(&mut self, length: usize, pieces: &mut Vec<Piece>) {
        if length == 0 {
            return;
        }
        let text: Vec<u8> = self.buffer.drain(..length).collect();
        match pieces.last_mut() {
            Some(Piece::Text(before)) => before.extend(text),
            _ => pieces.push(Piece::Text(text)),
        }
    }
}

/// Where a marker begins, or a tail that could become one.
fn find_mark(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(step) = bytes[from..].iter().position(|byte| *byte == MARK[0]) {
        let at = from + step;
        let rest = &bytes[at..];
        let shared = rest.len().min(MARK.len());
        if rest[..shared] == MARK[..shared] {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Where the end marker begins, at the start of a line.
fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    while let Some(step) = bytes[from..].iter().position(|byte| *byte == END[0]) {
        let at = from + step;
        let starts_line = at == 0 || bytes[at - 1] == b'\n';
        if starts_line && bytes[at..].starts_with(END) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// What the bytes from a possible marker on are.
fn classify(bytes: &[u8]) -> Marker {
    let end = bytes
        .iter()
        .take(LINE_LIMIT)
        .position(|byte| *byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len().min(LINE_LIMIT))];
    let Ok(line) = std::str::from_utf8(line) else {
        return Marker::None;
    };
    let Some(end) = end else {
        return if could_begin(line) && bytes.len() < LINE_LIMIT {
            Marker::Unfinished
        } else {
            Marker::None
        };
    };
    let length = end + 1;
    if let Some(mime) = line.strip_prefix(BEGIN) {
        let mime = mime.trim().to_string();
        return Marker::Begin { mime, length };
    }
    if WHOLE_LINES.contains(&line) || PREFIXES.iter().any(|prefix| line.starts_with(prefix)) {
        let line = line.to_string();
        return Marker::Line { line, length };
    }
    Marker::None
}

fn could_begin(line: &str) -> bool {
    WHOLE_LINES.iter().any(|whole| whole.starts_with(line))
        || PREFIXES
            .iter()
            .chain([&BEGIN])
            .any(|prefix| prefix.starts_with(line) || line.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Piece {
        Piece::Text(bytes.to_vec())
    }

    /// All pieces of a stream that arrives in two parts, neighbouring texts joined.
    fn cut_at(stream: &[u8], cut: usize) -> Vec<Piece> {
        let mut output = UserOutput::default();
        let mut pieces = output.push(&stream[..cut]);
        pieces.extend(output.push(&stream[cut..]));
        pieces.extend(output.finish());
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(more)) => before.extend(more),
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    #[test]
    fn blocks_lines_and_bytes_come_apart_at_any_cut() {
        let stream = b"no newline\xffEVCXR_BEGIN_CONTENT text/html\n<b>\nEVCXR_END_CONTENT x\nEVCXR_END_CONTENT\nEVCXR_MINE EVEEVCXR_PANIC_NOTIFICATION\nE";
        let expected = vec![
            text(b"no newline\xff"),
            Piece::Block {
                mime: "text/html".into(),
                content: "<b>\nEVCXR_END_CONTENT x".into(),
            },
            text(b"EVCXR_MINE EVE"),
            Piece::Line("EVCXR_PANIC_NOTIFICATION".into()),
            text(b"E"),
        ];
        for cut in 0..=stream.len() {
            assert_eq!(cut_at(stream, cut), expected, "cut at {cut}");
        }
    }

    #[test]
    fn text_is_given_at_once_and_only_a_possible_marker_waits() {
        let mut output = UserOutput::default();
        assert_eq!(output.push(b"50 %"), [text(b"50 %")]);
        assert!(!output.is_holding());
        assert_eq!(output.push(b" EVCX"), [text(b" ")]);
        assert!(output.is_holding());
        assert_eq!(output.release(), Some(text(b"EVCX")));
        assert!(!output.is_holding());
    }

    #[test]
    fn an_empty_block_and_an_unfinished_one() {
        let pieces = cut_at(b"EVCXR_BEGIN_CONTENT a/b\nEVCXR_END_CONTENT\n", 10);
        let content = String::new();
        let mime = "a/b".to_string();
        assert_eq!(pieces, [Piece::Block { mime, content }]);
        let pieces = cut_at(b"EVCXR_BEGIN_CONTENT a/b\nabc", 10);
        assert_eq!(pieces, [text(b"EVCXR_BEGIN_CONTENT a/b\nabc")]);
    }
}
