//! What a scripted host hands out: a query whose updates come from the script, and a place for the
//! rows that go to a Rust variable. Both tell the host what became of them.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use bireme_client::QueryUpdate;
use bireme_magics::RunningQuery;
use bireme_magics::host::RowSink;
use bireme_protocol::Fault;
use bireme_protocol::proto::SharedBatch;

use crate::samples::Step;
use crate::scripted_host::{Event, ScriptedHost};

pub(crate) struct ScriptedQuery {
    steps: VecDeque<Step>,
    host: ScriptedHost,
    is_done: bool,
}

impl ScriptedQuery {
    pub(crate) fn new(steps: Vec<Step>, host: ScriptedHost) -> Self {
        Self {
            steps: steps.into(),
            host,
            is_done: false,
        }
    }
}

#[async_trait]
impl RunningQuery for ScriptedQuery {
    fn id(&self) -> String {
        "3f2a0c1d".into()
    }

    async fn next(&mut self) -> Option<Result<QueryUpdate, Fault>> {
        let (after, update) = self.steps.pop_front()?;
        tokio::time::sleep(after).await;
        self.is_done |= matches!(update, QueryUpdate::Done(_));
        Some(Ok(update))
    }
}

impl Drop for ScriptedQuery {
    fn drop(&mut self) {
        if !self.is_done {
            self.host.count_dropped_query();
        }
    }
}

pub(crate) struct ScriptedRows {
    host: ScriptedHost,
    variable: String,
    rows: usize,
}

impl ScriptedRows {
    pub(crate) fn new(host: ScriptedHost, variable: &str) -> Self {
        Self {
            host,
            variable: variable.to_string(),
            rows: 0,
        }
    }
}

#[async_trait]
impl RowSink for ScriptedRows {
    fn write(&mut self, batch: &RecordBatch) -> Result<u64, Fault> {
        self.rows += batch.num_rows();
        Ok(self.rows as u64 * 8)
    }

    fn file_places(&mut self, count: usize) -> Result<Vec<String>, Fault> {
        Ok((0..count).map(|index| format!("file {index}")).collect())
    }

    fn take(&mut self, _: &Schema, batches: &[SharedBatch]) -> Result<(), Fault> {
        self.rows = batches.iter().map(|batch| batch.rows as usize).sum();
        Ok(())
    }

    async fn finish(self: Box<Self>, _: &Schema) -> Result<(), Fault> {
        self.host.record(Event::Bound(self.variable, self.rows));
        Ok(())
    }
}
