//! What the controller asks of this engine: describe, start, cancel. Answered on the control
//! runtime; planning goes to the query runtime.

use crate::describe;
use crate::engine::{Engine, HeadNeeds};
use crate::head_query;
use crate::memory_report;
use crate::queries::Remakes;
use crate::query_plan;
use crate::session_tables::SessionTables;
use async_trait::async_trait;
use bireme_operators::QueryEnd;
use bireme_protocol::proto::engine_server;
use bireme_protocol::proto::{
    DescribeReply, DescribeRequest, Empty, EngineCancelRequest, EngineMemory, Hello, HelloReply,
    ReadSpansReply, ReadSpansRequest, StartReply, StartRequest,
};
use bireme_protocol::{ErrorCode, Fault, QueryId, build_id};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The control plane's service.
pub(crate) struct Control {
    engine: Arc<Engine>,
}

impl Control {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

fn query_id(text: &str) -> Result<QueryId, Fault> {
    text.parse().map_err(|_| {
        Fault::new(
            ErrorCode::InvalidArgument,
            format!("read query id {text:?}: 32 hexadecimal digits are expected"),
        )
    })
}

#[async_trait]
impl engine_server::Engine for Control {
    async fn hello(&self, request: Request<Hello>) -> Result<Response<HelloReply>, Status> {
        let hello = request.into_inner();
        build_id::check(&hello.role, &hello.build_id)?;
        Ok(Response::new(HelloReply {
            build_id: build_id().to_string(),
            cluster_id: String::new(),
            pid: std::process::id(),
        }))
    }

    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeReply>, Status> {
        let engine = Arc::clone(&self.engine);
        let request = request.into_inner();
        let described = self.engine.on_queries(async move {
            let start = StartRequest {
                settings: request.settings,
                ..StartRequest::default()
            };
            let settings = query_plan::settings_of(&engine, &start)?;
            let directory = settings.get("session.directory").to_string();
            let catalog = request.catalog.unwrap_or_default();
            let tables = SessionTables::new(catalog, directory.clone());
            let head = engine
                .head_session(
                    QueryId::random(),
                    &QueryEnd::default(),
                    &settings,
                    &tables,
                    HeadNeeds::default(),
                )
                .await?;
            let state = head.context.state();
            describe::describe(&state, &request.sql, &request.values, &tables, &directory).await
        });
        let entry = described.await?;
        Ok(Response::new(DescribeReply { entry: Some(entry) }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartReply>, Status> {
        let request = request.into_inner();
        let id = query_id(&request.query_id)?;
        let rank = self.engine.rank();
        let of_this = |fault: Fault| fault.on_engine(rank).of_query(id.to_string());
        let remakes = Remakes {
            segment: request.remakes.clone(),
            is_moved: request.rebuild.is_none(),
        };
        let is_unattended = !remakes.segment.is_empty();
        // Should the controller go away meanwhile, this call is dropped, and the query forgotten.
        let announced = self.engine.queries().announce(id, remakes)?;
        let cancel = announced.cancel().clone();
        let engine = Arc::clone(&self.engine);
        let planned = self.engine.on_queries(async move {
            tokio::select! {
                biased;
                fault = cancel.cancelled() => Err(fault),
                planned = head_query::plan(&engine, id, request, cancel.clone()) => planned,
            }
        });
        let query = planned.await.map_err(of_this)?;
        let engines = match query.engines() {
            1 => vec![rank],
            _ => Vec::new(),
        };
        announced.keep(Box::new(query)).map_err(of_this)?;
        if is_unattended {
            let query = self.engine.queries().fetch(id).map_err(of_this)?;
            self.engine.run_unattended(*query);
        }
        Ok(Response::new(StartReply { engines }))
    }

    async fn cancel_query(
        &self,
        request: Request<EngineCancelRequest>,
    ) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        let id = query_id(&request.query_id)?;
        self.engine
            .cancel(id, Fault::from_json(&request.fault_json));
        Ok(Response::new(Empty {}))
    }

    async fn read_spans(
        &self,
        request: Request<ReadSpansRequest>,
    ) -> Result<Response<ReadSpansReply>, Status> {
        let text = request.into_inner().query_id;
        let query = match text.as_str() {
            "" => None,
            text => Some(query_id(text)?),
        };
        self.engine.live().release_ended(self.engine.spans());
        Ok(Response::new(ReadSpansReply {
            spans: self.engine.spans().read(query),
        }))
    }

    async fn read_memory(&self, _: Request<Empty>) -> Result<Response<EngineMemory>, Status> {
        self.engine.live().release_ended(self.engine.spans());
        Ok(Response::new(memory_report::memory(&self.engine)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_engine::TestEngine;
    use bireme_protocol::proto::Span;
    use engine_server::Engine as _;
    use std::task::Poll;

    #[tokio::test]
    async fn a_start_whose_caller_goes_away_leaves_nothing() {
        let test = TestEngine::new("dropped-start");
        let control = Control::new(Arc::clone(&test.engine));
        let id = QueryId::random();
        let mut start = control.start(Request::new(StartRequest {
            query_id: id.to_string(),
            sql: "SELECT 1".to_string(),
            ..StartRequest::default()
        }));
        std::future::poll_fn(|context| {
            assert!(start.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(test.engine.queries().held().contains_key(&id));
        drop(start);
        assert!(test.engine.queries().held().is_empty());
    }

    #[tokio::test]
    async fn no_query_id_means_the_spans_of_all() {
        let test = TestEngine::new("all-spans");
        let (one, other) = (QueryId::random(), QueryId::random());
        for query in [one, other] {
            test.engine.spans().push(Span {
                query_id: query.to_string(),
                ..Span::default()
            });
        }
        let control = Control::new(Arc::clone(&test.engine));
        for (query_id, found) in [(String::new(), 2), (one.to_string(), 1)] {
            let request = Request::new(ReadSpansRequest { query_id });
            let reply = control.read_spans(request).await.unwrap();
            assert_eq!(reply.into_inner().spans.len(), found);
        }
    }
}
