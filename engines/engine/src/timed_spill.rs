//! Puts what operators spill on the timeline: a span per file, from the first byte written to the
//! last.

use crate::spans::SpanRing;
use bireme_frames::SpillDirectory;
use bireme_protocol::QueryId;
use bireme_protocol::proto::Span;
use datafusion::error::Result;
use datafusion::execution::spill_file::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;
use prost::bytes::Bytes;
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The spill directory of an engine, as one query uses it.
pub(crate) struct TimedSpill {
    query: QueryId,
    directory: SpillDirectory,
    spans: Arc<SpanRing>,
}

impl TimedSpill {
    pub(crate) fn new(query: QueryId, directory: SpillDirectory, spans: Arc<SpanRing>) -> Self {
        Self {
            query,
            directory,
            spans,
        }
    }
}

impl TempFileFactory for TimedSpill {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        Ok(Arc::new(TimedFile {
            file: self.directory.create_temp_file(description)?,
            query: self.query,
            name: description.to_string(),
            spans: Arc::clone(&self.spans),
        }))
    }
}

struct TimedFile {
    file: Arc<dyn SpillFile>,
    query: QueryId,
    name: String,
    spans: Arc<SpanRing>,
}

impl SpillFile for TimedFile {
    fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    fn size(&self) -> Option<u64> {
        self.file.size()
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        self.file.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(TimedWriter {
            writer: self.file.open_writer()?,
            spans: Arc::clone(&self.spans),
            span: Span {
                query_id: self.query.to_string(),
                kind: "spill".to_string(),
                name: self.name.clone(),
                ..Span::default()
            },
        }))
    }
}

struct TimedWriter {
    writer: Box<dyn SpillWriter>,
    spans: Arc<SpanRing>,
    span: Span,
}

impl Write for TimedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.span.bytes == 0 {
            self.span.start_us = now_us();
        }
        let written = self.writer.write(bytes)?;
        self.span.bytes += written as u64;
        self.span.duration_us = now_us().saturating_sub(self.span.start_us);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SpillWriter for TimedWriter {
    fn finish(&mut self) -> Result<()> {
        self.writer.finish()?;
        self.span.duration_us = now_us().saturating_sub(self.span.start_us);
        Ok(())
    }
}

impl Drop for TimedWriter {
    fn drop(&mut self) {
        if self.span.bytes > 0 {
            self.spans.push(std::mem::take(&mut self.span));
        }
    }
}

/// Microseconds since the epoch, as the spans of nodes have them.
fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_engine::directory;
    use bireme_frames::Budget;

    #[test]
    fn a_spilled_file_is_a_span() {
        let path = directory("timed-spill");
        let spill = SpillDirectory::open(&path, Budget::new(0, 1 << 20)).unwrap();
        let (query, spans) = (QueryId::random(), Arc::new(SpanRing::default()));
        let factory = TimedSpill::new(query, spill, Arc::clone(&spans));
        let file = factory.create_temp_file("sorting").unwrap();
        let mut writer = file.open_writer().unwrap();
        writer.write_all(&[7; 100]).unwrap();
        writer.finish().unwrap();
        drop(writer);
        assert_eq!(file.size(), Some(100));
        let recorded = spans.read(Some(query));
        let [span] = recorded.as_slice() else {
            panic!("one span is expected: {recorded:?}");
        };
        assert_eq!(
            (span.kind.as_str(), span.name.as_str(), span.bytes),
            ("spill", "sorting", 100)
        );
        assert!(span.start_us > 0);
        drop(file);
        std::fs::remove_dir_all(path).unwrap();
    }
}
