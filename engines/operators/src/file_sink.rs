//! What the rows of a COPY become: the format, its options, and where the files go. DataFusion reads
//! them from the statement; its own sinks write from one partition only, and straight to the place.

use crate::arrow_sink::ArrowSink;
use crate::sink_target::SinkTarget;
use bireme_protocol::QueryId;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::file_options::csv_writer::CsvWriterOptions;
use datafusion::common::file_options::json_writer::JsonWriterOptions;
use datafusion::datasource::file_format::csv::CsvSink;
use datafusion::datasource::file_format::json::JsonSink;
use datafusion::datasource::file_format::parquet::ParquetSink;
use datafusion::datasource::file_format::write::get_writer_schema;
use datafusion::datasource::physical_plan::{FileSink as _, FileSinkConfig};
use datafusion::datasource::sink::DataSinkExec;

/// What is written, and where.
#[derive(Clone, Debug)]
pub struct FileSink {
    config: FileSinkConfig,
    format: SinkFormat,
    target: SinkTarget,
}

/// How rows are written.
#[derive(Clone, Debug)]
pub(crate) enum SinkFormat {
    Parquet(Box<TableParquetOptions>),
    Csv(CsvWriterOptions),
    Json(JsonWriterOptions),
    Arrow,
}

impl FileSink {
    /// What a plan of DataFusion's writes; `None` if that is left to DataFusion: it is on no file
    /// system of this machine, or of a level of compression that does not travel.
    pub fn of(plan: &DataSinkExec, query: QueryId) -> Option<Self> {
        let sink = plan.sink();
        let (config, format) = if let Some(sink) = sink.downcast_ref::<ParquetSink>() {
            let options = Box::new(sink.parquet_options().clone());
            (sink.config(), SinkFormat::Parquet(options))
        } else if let Some(sink) = sink.downcast_ref::<CsvSink>() {
            (
                sink.config(),
                SinkFormat::Csv(sink.writer_options().clone()),
            )
        } else if let Some(sink) = sink.downcast_ref::<JsonSink>() {
            let options = sink.writer_options().clone();
            (sink.config(), SinkFormat::Json(options))
        } else {
            let sink = sink.downcast_ref::<ArrowSink>()?;
            (sink.config(), SinkFormat::Arrow)
        };
        let level = match &format {
            SinkFormat::Csv(options) => options.compression_level,
            SinkFormat::Json(options) => options.compression_level,
            SinkFormat::Parquet(_) | SinkFormat::Arrow => None,
        };
        let target = SinkTarget::of(config, query).filter(|_| level.is_none())?;
        Some(Self::new(config.clone(), format, target))
    }

    pub(crate) fn new(config: FileSinkConfig, format: SinkFormat, target: SinkTarget) -> Self {
        Self {
            config,
            format,
            target,
        }
    }

    /// Where the files go.
    pub fn target(&self) -> &SinkTarget {
        &self.target
    }

    pub(crate) fn config(&self) -> &FileSinkConfig {
        &self.config
    }

    pub(crate) fn format(&self) -> &SinkFormat {
        &self.format
    }

    /// The columns of the rows that come.
    pub(crate) fn rows_schema(&self) -> &SchemaRef {
        self.config.output_schema()
    }

    /// The columns of a file.
    pub(crate) fn file_schema(&self) -> SchemaRef {
        get_writer_schema(&self.config)
    }

    /// The columns whose values name directories.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let columns = self.config.table_partition_cols.iter();
        columns.map(|(name, _)| name.as_str()).collect()
    }
}

impl SinkFormat {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Parquet(_) => "parquet",
            Self::Csv(_) => "csv",
            Self::Json(_) => "json",
            Self::Arrow => "arrow",
        }
    }
}
