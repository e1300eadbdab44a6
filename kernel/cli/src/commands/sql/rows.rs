//! Rows in formats other programs read, written to standard output as they come.

use super::Format;
use crate::error::CliError;
use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::io::{BufWriter, Stdout, Write};
use std::sync::Arc;

type Out = BufWriter<Stdout>;

/// Writes the rows of one query.
pub(crate) struct RowWriter {
    format: Format,
    state: State,
}

enum State {
    Idle,
    Csv(Box<csv::Writer<Out>>),
    Json(arrow::json::Writer<Out, LineDelimited>),
    Parquet(Box<ArrowWriter<Out>>),
    Arrow(Box<StreamWriter<Out>>),
}

impl RowWriter {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            state: State::Idle,
        }
    }

    /// Starts the result of the statement at `index`, which counts from 0.
    pub(crate) fn begin(&mut self, schema: &SchemaRef, index: usize) -> Result<(), CliError> {
        let mut out = BufWriter::new(std::io::stdout());
        self.state = match self.format {
            Format::Table => State::Idle,
            Format::Csv => {
                if index > 0 {
                    out.write_all(b"\n").map_err(broken)?;
                }
                let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
                // An empty batch writes the header, also of a result without rows.
                let empty = RecordBatch::new_empty(Arc::clone(schema));
                writer.write(&empty).map_err(|error| failed("csv", error))?;
                State::Csv(Box::new(writer))
            }
            Format::Json => State::Json(
                WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .build::<_, LineDelimited>(out),
            ),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(Default::default()));
                let writer =
                    ArrowWriter::try_new(out, Arc::clone(schema), Some(properties.build()));
                State::Parquet(Box::new(writer.map_err(parquet_failed)?))
            }
            Format::Arrow => {
                let writer = StreamWriter::try_new(out, schema);
                State::Arrow(Box::new(writer.map_err(|error| failed("arrow", error))?))
            }
        };
        Ok(())
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), CliError> {
        match &mut self.state {
            State::Idle => Ok(()),
            State::Csv(writer) => writer.write(batch).map_err(|error| failed("csv", error)),
            State::Json(writer) => writer.write(batch).map_err(|error| failed("json", error)),
            State::Parquet(writer) => writer.write(batch).map_err(parquet_failed),
            State::Arrow(writer) => writer.write(batch).map_err(|error| failed("arrow", error)),
        }
    }

    /// Writes what is left and the end of the format.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        match self.state {
            State::Idle => Ok(()),
            State::Csv(writer) => writer.into_inner().flush().map_err(broken),
            State::Json(mut writer) => {
                writer.finish().map_err(|error| failed("json", error))?;
                writer.into_inner().flush().map_err(broken)
            }
            State::Parquet(writer) => {
                let mut out = writer.into_inner().map_err(parquet_failed)?;
                out.flush().map_err(broken)
            }
            State::Arrow(writer) => {
                let mut out = writer
                    .into_inner()
                    .map_err(|error| failed("arrow", error))?;
                out.flush().map_err(broken)
            }
        }
    }
}

fn broken(source: std::io::Error) -> CliError {
    CliError::io("write to standard output", source)
}

fn failed(format: &'static str, error: ArrowError) -> CliError {
    match error {
        ArrowError::IoError(_, source) => broken(source),
        other => CliError::Format {
            format,
            reason: other.to_string(),
        },
    }
}

fn parquet_failed(error: ParquetError) -> CliError {
    CliError::Format {
        format: "parquet",
        reason: error.to_string(),
    }
}
