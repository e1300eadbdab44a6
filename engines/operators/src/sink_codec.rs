//! Files that are written, in the bytes of a plan.

use crate::codec::failed;
use crate::file_sink::{FileSink, SinkFormat};
use crate::sink_exec::SinkExec;
use crate::sink_target::SinkTarget;
use datafusion::datasource::file_format::csv::CsvSink;
use datafusion::datasource::file_format::json::JsonSink;
use datafusion::datasource::file_format::parquet::ParquetSink;
use datafusion::datasource::physical_plan::{FileSink as _, FileSinkConfig};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::protobuf;
use prost::Message;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SinkProto {
    #[prost(string, tag = "1")]
    query: String,
    #[prost(oneof = "Format", tags = "2, 3, 4, 5")]
    format: Option<Format>,
    /// DataFusion's encoding forgets it.
    #[prost(string, tag = "6")]
    path: String,
    #[prost(bool, tag = "7")]
    is_directory: bool,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Format {
    #[prost(message, boxed, tag = "2")]
    Parquet(Box<protobuf::ParquetSink>),
    #[prost(message, boxed, tag = "3")]
    Csv(Box<protobuf::CsvSink>),
    #[prost(message, boxed, tag = "4")]
    Json(Box<protobuf::JsonSink>),
    #[prost(message, boxed, tag = "5")]
    Arrow(Box<protobuf::FileSinkConfig>),
}

pub(crate) fn encode_sink(node: &SinkExec) -> Result<SinkProto> {
    let sink = node.sink();
    let config = sink.config().clone();
    let format = match sink.format() {
        SinkFormat::Parquet(options) => {
            let sink = ParquetSink::new(config, options.as_ref().clone());
            Format::Parquet(Box::new((&sink).try_into()?))
        }
        SinkFormat::Csv(options) => {
            let sink = CsvSink::new(config, options.clone());
            Format::Csv(Box::new((&sink).try_into()?))
        }
        SinkFormat::Json(options) => {
            let sink = JsonSink::new(config, options.clone());
            Format::Json(Box::new((&sink).try_into()?))
        }
        SinkFormat::Arrow => Format::Arrow(Box::new((&config).try_into()?)),
    };
    Ok(SinkProto {
        query: sink.target().query().to_string(),
        format: Some(format),
        path: sink.target().path().to_string_lossy().into_owned(),
        is_directory: sink.target().is_directory(),
    })
}

pub(crate) fn decode_sink(
    proto: &SinkProto,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wrong = |reason: &str| failed("decode", "a sink", reason);
    let query = proto.query.parse();
    let query = query.map_err(|_| wrong("its query id is none"))?;
    let (config, format): (FileSinkConfig, _) = match &proto.format {
        None => return Err(wrong("it has no format")),
        Some(Format::Parquet(sink)) => {
            let sink = ParquetSink::try_from(sink.as_ref())?;
            let options = Box::new(sink.parquet_options().clone());
            (sink.config().clone(), SinkFormat::Parquet(options))
        }
        Some(Format::Csv(sink)) => {
            let sink = CsvSink::try_from(sink.as_ref())?;
            let options = sink.writer_options().clone();
            (sink.config().clone(), SinkFormat::Csv(options))
        }
        Some(Format::Json(sink)) => {
            let sink = JsonSink::try_from(sink.as_ref())?;
            let options = sink.writer_options().clone();
            (sink.config().clone(), SinkFormat::Json(options))
        }
        Some(Format::Arrow(config)) => (config.as_ref().try_into()?, SinkFormat::Arrow),
    };
    let path = PathBuf::from(&proto.path);
    let target = SinkTarget::new(query, path, proto.is_directory, &config);
    let sink = FileSink::new(config, format, target);
    Ok(Arc::new(SinkExec::new(Arc::new(sink), input)))
}
