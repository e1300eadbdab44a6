//! Writes rows into one file of a format. Memory that a format takes until a part of the file is
//! whole can be given back at any time, by ending that part.

use crate::file_sink::{FileSink, SinkFormat};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::MetadataVersion;
use datafusion::arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::datasource::file_format::csv::CsvSerializer;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonSerializer;
use datafusion::datasource::file_format::write::BatchSerializer;
use datafusion::error::Result;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions;
use datafusion::parquet::file::properties::WriterPropertiesBuilder;
use datafusion::physical_plan::metrics::Count;
use futures::channel::mpsc;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use prost::bytes::Bytes;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 128 << 10;
/// Alignment of buffers in Arrow files, as DataFusion writes them.
const ARROW_ALIGNMENT: usize = 64;

/// A file that rows are written into.
#[derive(Debug)]
pub(crate) struct SinkWriter {
    encoder: Encoder,
    failure: Failure,
}

enum Encoder {
    Parquet(Box<ArrowWriter<Output>>),
    Arrow(Box<FileWriter<Output>>),
    Text(Box<TextWriter>),
}

/// What the file system has said. The libraries that encode keep its words only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().take()
    }
}

impl SinkWriter {
    /// Makes a file.
    pub(crate) fn create(sink: &FileSink, path: &Path, bytes: Count) -> Result<Self> {
        let failure = Failure::default();
        let output = Output {
            file: BufWriter::with_capacity(BUFFER_BYTES, File::create_new(path)?),
            bytes,
            failure: failure.clone(),
        };
        let encoder = match sink.format() {
            SinkFormat::Parquet(options) => parquet(sink, options, output)?,
            SinkFormat::Arrow => {
                let options =
                    IpcWriteOptions::try_new(ARROW_ALIGNMENT, false, MetadataVersion::V5)?
                        .try_with_compression(Some(CompressionType::LZ4_FRAME))?;
                let schema = sink.file_schema();
                let writer = FileWriter::try_new_with_options(output, &schema, options)?;
                Encoder::Arrow(Box::new(writer))
            }
            SinkFormat::Csv(options) => {
                let builder = options.writer_options.clone();
                let header = builder.header();
                let serializer = CsvSerializer::new()
                    .with_builder(builder)
                    .with_header(header);
                text(Box::new(serializer), options.compression, output)?
            }
            SinkFormat::Json(options) => {
                text(Box::new(JsonSerializer::new()), options.compression, output)?
            }
        };
        Ok(Self { encoder, failure })
    }

    /// What the file system has said when something failed.
    pub(crate) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.encoder {
            Encoder::Parquet(writer) => writer.write(batch)?,
            Encoder::Arrow(writer) => writer.write(batch)?,
            Encoder::Text(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    /// Memory that [`SinkWriter::flush`] frees.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.encoder {
            Encoder::Parquet(writer) => writer.memory_size(),
            Encoder::Arrow(_) | Encoder::Text(_) => 0,
        }
    }

    /// Writes what is held back.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if let Encoder::Parquet(writer) = &mut self.encoder {
            writer.flush()?;
        }
        Ok(())
    }

    /// Makes the file whole.
    pub(crate) fn finish(self) -> Result<()> {
        match self.encoder {
            Encoder::Parquet(mut writer) => {
                writer.finish()?;
                writer.inner_mut().flush()?;
            }
            Encoder::Arrow(mut writer) => {
                writer.finish()?;
                writer.get_mut().flush()?;
            }
            Encoder::Text(writer) => writer.finish()?,
        }
        Ok(())
    }
}

fn parquet(sink: &FileSink, options: &TableParquetOptions, output: Output) -> Result<Encoder> {
    let mut options = options.clone();
    let skips_schema = options.global.skip_arrow_metadata;
    if !skips_schema {
        options.arrow_schema(sink.rows_schema());
    }
    let properties = WriterPropertiesBuilder::try_from(&options)?.build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(skips_schema);
    let writer = ArrowWriter::try_new_with_options(output, sink.file_schema(), options)?;
    Ok(Encoder::Parquet(Box::new(writer)))
}

fn text(
    serializer: Box<dyn BatchSerializer>,
    compression: CompressionTypeVariant,
    output: Output,
) -> Result<Encoder> {
    let compression = FileCompressionType::from(compression);
    let compressed = match compression.is_compressed() {
        true => Some(Compressed::new(compression)?),
        false => None,
    };
    Ok(Encoder::Text(Box::new(TextWriter {
        serializer,
        compressed,
        output,
        is_begun: false,
    })))
}

/// Rows as text, a batch after the other.
struct TextWriter {
    serializer: Box<dyn BatchSerializer>,
    compressed: Option<Compressed>,
    output: Output,
    is_begun: bool,
}

impl TextWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let text = self.serializer.serialize(batch.clone(), !self.is_begun)?;
        self.is_begun = true;
        match &mut self.compressed {
            None => self.output.write_all(&text)?,
            Some(compressed) => {
                compressed.push(text);
                compressed.write_ready(&mut self.output)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if let Some(mut compressed) = self.compressed.take() {
            compressed.end();
            compressed.write_ready(&mut self.output)?;
        }
        Ok(self.output.flush()?)
    }
}

/// Compresses what is pushed. DataFusion's compression takes a stream: it gets one that never has
/// more than what was pushed last.
struct Compressed {
    input: Option<mpsc::UnboundedSender<Result<Bytes>>>,
    output: BoxStream<'static, Result<Bytes>>,
}

impl Compressed {
    fn new(compression: FileCompressionType) -> Result<Self> {
        let (input, rows) = mpsc::unbounded();
        Ok(Self {
            input: Some(input),
            output: compression.convert_to_compress_stream(rows.boxed())?,
        })
    }

    fn push(&self, text: Bytes) {
        if let Some(input) = &self.input {
            // The stream ends with this.
            let _ = input.unbounded_send(Ok(text));
        }
    }

    fn end(&mut self) {
        self.input = None;
    }

    fn write_ready(&mut self, output: &mut Output) -> Result<()> {
        while let Some(Some(compressed)) = self.output.next().now_or_never() {
            output.write_all(&compressed?)?;
        }
        Ok(())
    }
}

/// The file, with what is written to it counted.
struct Output {
    file: BufWriter<File>,
    bytes: Count,
    failure: Failure,
}

impl Output {
    fn noted<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.inspect_err(|error| {
            let same = match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            };
            *self.failure.0.lock() = Some(same);
        })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        let written = self.noted(written)?;
        self.bytes.add(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.noted(flushed)
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet(_) => "Parquet",
            Self::Arrow(_) => "Arrow",
            Self::Text(_) => "Text",
        })
    }
}
