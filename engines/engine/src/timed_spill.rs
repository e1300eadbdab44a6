//! Puts what operators spill on the timeline: a span per file, from the first byte written to the
//! last, and one per reader, from the first byte copied back to the last. A query that has ended
//! spills no more.

use crate::spans::SpanRing;
use bireme_frames::SpillDirectory;
use bireme_operators::QueryEnd;
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
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

/// The spill directory of an engine, as one query uses it.
pub(crate) struct TimedSpill {
    query: QueryId,
    end: QueryEnd,
    directory: SpillDirectory,
    spans: Arc<SpanRing>,
}

impl TimedSpill {
    pub(crate) fn new(
        query: QueryId,
        end: QueryEnd,
        directory: SpillDirectory,
        spans: Arc<SpanRing>,
    ) -> Self {
        Self {
            query,
            end,
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
            end: self.end.clone(),
            name: description.to_string(),
            spans: Arc::clone(&self.spans),
        }))
    }
}

struct TimedFile {
    file: Arc<dyn SpillFile>,
    query: QueryId,
    end: QueryEnd,
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
        Ok(Box::pin(TimedRead {
            stream: self.file.read_stream()?,
            timed: self.timed("copy"),
        }))
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(TimedWriter {
            writer: self.file.open_writer()?,
            end: self.end.clone(),
            timed: self.timed("spill"),
        }))
    }
}

impl TimedFile {
    fn timed(&self, kind: &str) -> TimedSpan {
        TimedSpan {
            spans: Arc::clone(&self.spans),
            span: Span {
                query_id: self.query.to_string(),
                kind: kind.to_string(),
                name: self.name.clone(),
                ..Span::default()
            },
        }
    }
}

/// A span that is added to the timeline when it is dropped, if anything was moved.
struct TimedSpan {
    spans: Arc<SpanRing>,
    span: Span,
}

impl TimedSpan {
    fn begin(&mut self) {
        if self.span.start_us == 0 {
            self.span.start_us = now_us();
        }
    }

    fn add(&mut self, bytes: usize) {
        self.span.bytes += bytes as u64;
        self.span.duration_us = now_us().saturating_sub(self.span.start_us);
    }
}

impl Drop for TimedSpan {
    fn drop(&mut self) {
        if self.span.bytes > 0 {
            self.spans.push(std::mem::take(&mut self.span));
        }
    }
}

struct TimedWriter {
    writer: Box<dyn SpillWriter>,
    end: QueryEnd,
    timed: TimedSpan,
}

impl Write for TimedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.end.has_come() {
            return Err(io::Error::other("write a spill file: its query has ended"));
        }
        self.timed.begin();
        let written = self.end.in_turn(|| self.writer.write(bytes))?;
        self.timed.add(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SpillWriter for TimedWriter {
    fn finish(&mut self) -> Result<()> {
        self.writer.finish()?;
        self.timed.add(0);
        Ok(())
    }
}

struct TimedRead {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    timed: TimedSpan,
}

impl Stream for TimedRead {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.timed.begin();
        let next = ready!(self.stream.as_mut().poll_next(context));
        if let Some(Ok(bytes)) = &next {
            self.timed.add(bytes.len());
        }
        Poll::Ready(next)
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
    use futures::TryStreamExt;
    use std::path::PathBuf;
    use tokio_util::sync::CancellationToken;

    struct Spilled {
        path: PathBuf,
        query: QueryId,
        spans: Arc<SpanRing>,
        file: Arc<dyn SpillFile>,
    }

    impl Spilled {
        fn new(name: &str, end: QueryEnd) -> Self {
            let path = directory(name);
            let spill = SpillDirectory::open(&path, Budget::new(0, 1 << 20)).unwrap();
            let (query, spans) = (QueryId::random(), Arc::new(SpanRing::default()));
            let factory = TimedSpill::new(query, end, spill, Arc::clone(&spans));
            let file = factory.create_temp_file("sorting").unwrap();
            Self {
                path,
                query,
                spans,
                file,
            }
        }

        fn recorded(&self) -> Vec<(String, String, u64)> {
            let spans = self.spans.read(Some(self.query));
            assert!(spans.iter().all(|span| span.start_us > 0), "{spans:?}");
            let parts = |span: Span| (span.kind, span.name, span.bytes);
            spans.into_iter().map(parts).collect()
        }
    }

    impl Drop for Spilled {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.path).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_spilled_and_copied_back_is_a_span_each() {
        let spilled = Spilled::new("timed-spill", QueryEnd::default());
        let mut writer = spilled.file.open_writer().unwrap();
        writer.write_all(&[7; 100]).unwrap();
        writer.finish().unwrap();
        drop(writer);
        assert_eq!(spilled.file.size(), Some(100));
        let read: Vec<Bytes> = spilled
            .file
            .read_stream()
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(read.concat(), [7; 100]);
        let span = |kind: &str| (kind.to_string(), "sorting".to_string(), 100);
        assert_eq!(spilled.recorded(), [span("spill"), span("copy")]);
    }

    #[test]
    fn a_query_that_has_ended_spills_no_more() {
        let cancelled = CancellationToken::new();
        let spilled = Spilled::new("ended-spill", QueryEnd::from(cancelled.clone()));
        let mut writer = spilled.file.open_writer().unwrap();
        writer.write_all(&[7; 100]).unwrap();
        cancelled.cancel();
        let refused = writer.write_all(&[7; 100]).unwrap_err().to_string();
        assert_eq!(refused, "write a spill file: its query has ended");
    }
}
