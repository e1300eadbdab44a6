//! Carries to other engines what DataFusion's encoding of a file scan forgets: how text files are
//! compressed, and that Arrow files are streams. On the way it stands above the scan; when it is
//! decoded it is the scan again.

use crate::file_leaf::file_scan;
use crate::pass_through::pass_through_methods;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::{ArrowSource, FileScanConfig, FileSource};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// DataFusion's name of the format.
const ARROW_STREAM: &str = "arrow_stream";

/// How the files of a scan are framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    /// DataFusion's name of the compression; empty for none.
    pub(crate) compression: String,
    /// Whether Arrow files are streams, without a footer.
    pub(crate) is_stream: bool,
}

impl Framing {
    /// What the encoding of this scan forgets, if it forgets anything.
    fn of(scan: &FileScanConfig) -> Option<Self> {
        let compression = &scan.file_compression_type;
        let framing = Self {
            compression: match compression.is_compressed() {
                true => compression.get_variant().to_string(),
                false => String::new(),
            },
            is_stream: scan.file_source().file_type() == ARROW_STREAM,
        };
        (framing.is_stream || !framing.compression.is_empty()).then_some(framing)
    }

    /// The decoded scan, as it was before it was encoded.
    pub(crate) fn restore(&self, scan: &FileScanConfig) -> Result<Arc<dyn ExecutionPlan>> {
        let mut scan = scan.clone();
        if !self.compression.is_empty() {
            scan.file_compression_type = FileCompressionType::from_str(&self.compression)?;
        }
        if self.is_stream {
            scan.file_source = stream_source(scan.file_source())?;
        }
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// The source that reads the same columns of streams.
fn stream_source(files: &Arc<dyn FileSource>) -> Result<Arc<dyn FileSource>> {
    let streams = ArrowSource::new_stream_file_source(files.table_schema().clone());
    let Some(projection) = files.projection() else {
        return Ok(Arc::new(streams));
    };
    let projected = streams.try_pushdown_projection(projection)?;
    projected.ok_or_else(|| {
        let reason = "decode a scan of Arrow streams: its columns cannot be chosen";
        DataFusionError::Internal(reason.to_string())
    })
}

/// A file scan whose framing has to be told.
#[derive(Debug)]
pub(crate) struct FramedScanExec {
    input: Arc<dyn ExecutionPlan>,
    framing: Framing,
}

impl FramedScanExec {
    /// The scan, in a frame if it needs one.
    pub(crate) fn around(leaf: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        match file_scan(&leaf).and_then(Framing::of) {
            Some(framing) => Arc::new(Self {
                input: leaf,
                framing,
            }),
            None => leaf,
        }
    }

    pub(crate) fn framing(&self) -> &Framing {
        &self.framing
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            input,
            framing: self.framing.clone(),
        }
    }
}

impl DisplayAs for FramedScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_as(format, f)
    }
}

impl ExecutionPlan for FramedScanExec {
    pass_through_methods!("FramedScanExec");

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
