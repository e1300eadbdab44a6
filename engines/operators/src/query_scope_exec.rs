//! The head's root of a distributed plan: when its stream ends or is dropped, the plan ends on
//! every engine and frees what it holds there.

use crate::error::OperatorsError;
use crate::pass_through::pass_through_methods;
use bireme_collectives::{Exchange, PlanGuard};
use bireme_protocol::QueryId;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// Ends a plan on every engine with its result.
#[derive(Debug)]
pub struct QueryScopeExec {
    query: QueryId,
    plan: u64,
    input: Arc<dyn ExecutionPlan>,
    ran: Arc<AtomicBool>,
}

impl QueryScopeExec {
    /// The root of a plan whose collectives have these ids.
    pub fn new(query: QueryId, plan: u64, input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            query,
            plan,
            input,
            ran: Arc::default(),
        }
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            query: self.query,
            plan: self.plan,
            input,
            ran: Arc::clone(&self.ran),
        }
    }
}

impl DisplayAs for QueryScopeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryScopeExec")
    }
}

impl ExecutionPlan for QueryScopeExec {
    pass_through_methods!("QueryScopeExec");

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let query = || self.query.short();
        // Ids are minted per plan: a second run would meet the messages of the first.
        if self.ran.swap(true, Ordering::AcqRel) {
            return Err(OperatorsError::RunTwice { query: query() }.into());
        }
        let exchange = context.session_config().get_extension::<Exchange>();
        let exchange = exchange.ok_or_else(|| OperatorsError::NoExchange {
            node: "QueryScopeExec",
            query: query(),
        })?;
        let guard = exchange.guard(self.query, self.plan);
        Ok(Box::pin(ScopedStream {
            stream: Some(self.input.execute(partition, context)?),
            schema: self.schema(),
            guard: Some(guard),
        }))
    }
}

struct ScopedStream {
    stream: Option<SendableRecordBatchStream>,
    schema: SchemaRef,
    guard: Option<PlanGuard>,
}

impl Stream for ScopedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        let next = stream.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.stream = None;
            self.guard = None;
        }
        next
    }
}

impl RecordBatchStream for ScopedStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
