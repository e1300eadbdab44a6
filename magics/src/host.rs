//! All that a magic may ask of its kernel. The kernel implements [`Host`] per running cell; tests
//! implement it with a script. Outputs return at once: pacing and delivery are the kernel's.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use bireme_protocol::Fault;
use bireme_protocol::proto::SharedBatch;
use bireme_settings::Settings;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::magic::Body;
use crate::mime_bundle::MimeBundle;
use crate::query::QueryService;

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a restart forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The kernel's own variables.
    Kernel,
    /// Those, and the session's names on the cluster.
    KernelAndSession,
}

/// Takes the rows of a query, for a Rust variable.
#[async_trait]
pub trait RowSink: Send {
    /// Takes rows; tells the bytes taken so far.
    fn write(&mut self, batch: &RecordBatch) -> Result<u64, Fault>;

    /// So many files in memory, by path, for engines to write rows to, in place of [`RowSink::write`].
    fn file_places(&mut self, count: usize) -> Result<Vec<String>, Fault>;

    /// Takes what engines have written to these files.
    fn take(&mut self, schema: &Schema, batches: &[SharedBatch]) -> Result<(), Fault>;

    /// Binds the variable.
    async fn finish(self: Box<Self>, schema: &Schema) -> Result<(), Fault>;
}

/// Rows in shared memory, for as long as this lives.
pub struct RowsFile {
    path: String,
    _kept: Box<dyn Send + Sync>,
}

impl RowsFile {
    /// Rows that go with `kept`.
    pub fn new(path: String, kept: Box<dyn Send + Sync>) -> Self {
        Self { path, _kept: kept }
    }

    /// Where it is told what lies where.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// What runs a cell: where a magic's outputs go and its questions are answered.
#[async_trait]
pub trait Host: Send + Sync {
    /// Shows something.
    fn display(&self, bundle: MimeBundle);

    /// Shows how far the cell's work is, in the place of what this showed before: a cell has one line
    /// for it, whatever it does.
    fn progress(&self, bundle: MimeBundle);

    /// Shows the value of the cell.
    fn result(&self, bundle: MimeBundle);

    /// Prints.
    fn stream(&self, name: StreamName, text: &str);

    /// Removes the cell's outputs, at once or when the next one comes.
    fn clear_output(&self, wait: bool);

    /// Shows a page of help beside the notebook.
    fn page(&self, bundle: MimeBundle);

    /// Fires when the user interrupts the cell.
    fn cancellation(&self) -> CancellationToken;

    /// The session's door to the cluster. Attaches, and starts a cluster, on first need.
    async fn queries(&self) -> Result<Arc<dyn QueryService>, Fault>;

    /// The same, when it is attached already.
    fn attached(&self) -> Option<Arc<dyn QueryService>>;

    /// All settings as they are for this session.
    fn settings(&self) -> Settings;

    /// Sets a setting for this session, here and on the cluster; with no value, back to what it
    /// was without.
    async fn configure(&self, key: &str, value: Option<&str>) -> Result<(), Fault>;

    /// The notebook's parameters, in the order they were set: JSON scalars.
    fn parameters(&self) -> Vec<(String, Value)>;

    /// Sets a parameter; Rust cells see it as a `let`.
    async fn set_parameter(&self, name: &str, value: Value) -> Result<(), Fault>;

    /// Whether Rust has a variable or item of this name.
    fn is_rust_name(&self, name: &str) -> bool;

    /// The value of a Rust expression: a JSON scalar. Nothing is shown.
    async fn rust_value(&self, expression: &str) -> Result<Value, Fault>;

    /// Where rows for a Rust variable go; an error when that cannot be the name of one.
    fn rows_for_rust(&self, variable: &str) -> Result<Box<dyn RowSink>, Fault>;

    /// The rows of a Rust variable, where engines can read them.
    async fn rows_of_rust(&self, variable: &str) -> Result<RowsFile, Fault>;

    /// Runs text as a cell of its own: Rust or magics. [`Body::padded`] keeps its positions.
    async fn evaluate(&self, body: &Body) -> Result<(), Fault>;

    /// Restarts the kernel once the cell has ended.
    async fn restart(&self, restart: Restart) -> Result<(), Fault>;

    /// Lines of a cluster process's log: the engine of a rank, or the controller.
    async fn logs(&self, process: LogSource, lines: usize) -> Result<String, Fault>;
}

/// Whose log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// The launcher and the controller.
    Controller,
    /// The engine of a rank.
    Engine(u32),
}
