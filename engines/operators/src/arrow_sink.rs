//! The format of Arrow files as COPY knows it. DataFusion's own does not tell which files its sink
//! writes.

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::{GetExt, Statistics};
use datafusion::datasource::file_format::arrow::{ArrowFormat, ArrowFormatFactory};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::{
    FileFormat, FileFormatFactory, file_type_to_format, format_as_file_type,
};
use datafusion::datasource::physical_plan::{FileScanConfig, FileSinkConfig, FileSource};
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::CopyTo;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::physical_expr::LexRequirement;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Makes a COPY to Arrow files tell which these are.
pub fn tell_arrow_files(copy: &mut CopyTo) -> Result<()> {
    if file_type_to_format(&copy.file_type)?.is::<ArrowFormatFactory>() {
        copy.file_type = format_as_file_type(Arc::new(ArrowSinkFormat));
    }
    Ok(())
}

/// The format, and what makes it.
#[derive(Debug)]
struct ArrowSinkFormat;

/// DataFusion's sink, with what it writes.
#[derive(Debug)]
pub(crate) struct ArrowSink {
    config: FileSinkConfig,
    plan: Arc<dyn ExecutionPlan>,
}

impl ArrowSink {
    pub(crate) fn config(&self) -> &FileSinkConfig {
        &self.config
    }
}

impl GetExt for ArrowSinkFormat {
    fn get_ext(&self) -> String {
        ArrowFormatFactory::new().get_ext()
    }
}

impl FileFormatFactory for ArrowSinkFormat {
    fn create(&self, _: &dyn Session, _: &HashMap<String, String>) -> Result<Arc<dyn FileFormat>> {
        Ok(Arc::new(Self))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(Self)
    }
}

#[async_trait]
impl FileFormat for ArrowSinkFormat {
    fn get_ext(&self) -> String {
        GetExt::get_ext(self)
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        ArrowFormat.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        ArrowFormat.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        ArrowFormat.infer_schema(state, store, objects).await
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        ArrowFormat.infer_stats(state, store, schema, object).await
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        config: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        ArrowFormat.create_physical_plan(state, config).await
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        config: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let writing = ArrowFormat.create_writer_physical_plan(
            Arc::clone(&input),
            state,
            config.clone(),
            order.clone(),
        );
        let plan = writing.await?;
        let sink = ArrowSink { config, plan };
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), order)))
    }

    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        ArrowFormat.file_source(schema)
    }
}

impl DisplayAs for ArrowSink {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrowSink")
    }
}

#[async_trait]
impl DataSink for ArrowSink {
    fn schema(&self) -> &SchemaRef {
        self.config.output_schema()
    }

    async fn write_all(
        &self,
        rows: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let plan = self.plan.downcast_ref::<DataSinkExec>().ok_or_else(|| {
            DataFusionError::Internal(format!(
                "write Arrow files: {} is no sink",
                self.plan.name()
            ))
        })?;
        plan.sink().write_all(rows, context).await
    }
}
